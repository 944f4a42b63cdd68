"""One stack in the foreground, with calls to try on it."""

from __future__ import annotations

import asyncio
import shlex
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType

from kernel_lab.deployments.deployment import Deployment
from kernel_lab.deployments.live import AppSpec, Stack, StackFailed, StackUnavailable
from kernel_lab.deployments.native.stack import NativeStack

ENDS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
"""The signals that end it: Ctrl-C, or the end of its terminal."""
_LOOK_S = 0.5
_TRY = """\
url={url}
call() {{ curl -sS --noproxy '*' -H 'X-Principal-Id: ada' -H 'Content-Type: application/json' "$@"; }}
field() {{ {python} -c 'import json, sys; print(json.dumps(json.load(sys.stdin)[sys.argv[1]]))' "$1"; }}
invoke() {{ call -o /dev/null -D - "$url/invocations" -d "{{\\"token\\": $token}}" | tr -d '\\r' |
  awk 'NR == 1 {{ status = $2 }} tolower($1) == "x-lab-worker:" {{ print status, "from", $2 }}'; }}

token=$(call "$url/grants" -d '{{"capability_id": "{capability}"}}' | field token)
for i in 1 2 3 4 5 6 7 8; do invoke; done    # 200: every worker takes the token
id=$(echo "$token" | field token_id | tr -d '"')
call -X POST "$url/tokens/$id/revocation"; echo
for i in 1 2 3 4 5 6 7 8; do invoke; done    # 403 from the workers that know of the revocation
"""


def what_to_try(stack: Stack, *, capability: str) -> str:
    """Lines for a shell: grant, invoke, revoke, invoke again; each call over a connection of its own."""
    return _TRY.format(url=stack.base_url, python=shlex.quote(sys.executable), capability=capability)


def up_forever(
    deployment: Deployment,
    *,
    app: AppSpec,
    folder: Path,
    env: Mapping[str, str] = MappingProxyType({}),
    capability: str = "billing.get_invoice",
) -> int:
    """Run a deployment natively until SIGINT (Ctrl-C) or SIGTERM. Its logs go to `folder`.

    Returns the exit code: 0 once it was stopped, 2 if it failed or this machine lacks something that it needs.
    The reason is then on stderr. 1 would mean that a guarantee is broken.
    """
    try:
        stack = NativeStack(deployment, app=app, folder=folder, env=env)
        asyncio.run(stay_up(stack, capability=capability))
    except (StackFailed, StackUnavailable) as error:
        print(error, file=sys.stderr)
        return 2
    return 0


async def stay_up(
    stack: Stack, *, tell: Callable[[str], None] = print, capability: str = "billing.get_invoice"
) -> None:
    """Start a stack, tell how to use it, and stop it at SIGINT (Ctrl-C) or SIGTERM.

    Raises:
        StackFailed: It did not start, or one of its servers ended by itself.
        StackUnavailable: This machine lacks what it needs.
    """
    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    assert task is not None  # noqa: S101 - we are in it
    asked_to_stop = asyncio.Event()

    def stop() -> None:
        asked_to_stop.set()
        task.cancel()

    for number in ENDS:
        loop.add_signal_handler(number, stop)
    try:
        async with stack:
            tell(_announce(stack))
            tell(what_to_try(stack, capability=capability))
            while stack.alive():  # noqa: ASYNC110 - a server that ends sends no event
                await asyncio.sleep(_LOOK_S)
            raise StackFailed(f"{', '.join(stack.ended())} ended; see the logs")
    except asyncio.CancelledError:
        if not asked_to_stop.is_set():
            raise
        tell(f"{stack.deployment.name} is down")
    finally:
        for number in ENDS:
            loop.remove_signal_handler(number)


def _announce(stack: Stack) -> str:
    deployment = stack.deployment
    lines = [
        f"{deployment.name} is up: {deployment.title or f'{stack.expected_workers} workers'}",
        f"  clients call  {stack.base_url}",
        *(f"  replica r{index}    {url}" for index, url in enumerate(stack.replica_urls)),
        *(f"  {process.name:13} pid {process.pid}, {process.log}" for process in stack.processes.values()),
        *(f"  note          {note}" for note in stack.notes),
        "Ctrl-C stops it. Try, in another terminal:",
        "",
    ]
    return "\n".join(lines)
