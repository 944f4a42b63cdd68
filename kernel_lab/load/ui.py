"""make load-ui: locust's page, for a deployment that runs already or one that is started for it.

``python -m kernel_lab.load.ui redis`` or ``python -m kernel_lab.load.ui http://127.0.0.1:8000``; what follows
is handed to locust. Ctrl-C ends it, and with it whatever was started.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from kernel_lab.deployments import AppSpec, NativeStack, StackFailed, StackUnavailable
from kernel_lab.run import registry

PAGE = "127.0.0.1"
"""The page can send load to any host, so it must not be reachable from other machines."""


def main(arguments: Sequence[str]) -> int:
    """Serve the page until it is ended; the exit code."""
    what, *more = arguments or ["memory-4"]
    if what.startswith(("http://", "https://")):
        return asyncio.run(_page(what, 0, more))
    known = registry.deployments()
    if what not in known:
        print(f"load-ui {what}: neither a URL nor a deployment; one of: {', '.join(known)}", file=sys.stderr)
        return 64
    try:
        return asyncio.run(_with_stack(what, more))
    except (StackFailed, StackUnavailable) as error:
        print(f"load-ui {what}: {error}", file=sys.stderr)
        return 1


async def _with_stack(name: str, more: Sequence[str]) -> int:
    deployment = registry.deployments()[name]
    app = AppSpec(root=registry.root())
    env = registry.settings(quick=False)
    with tempfile.TemporaryDirectory(prefix="kernel-lab-") as logs:
        async with NativeStack(deployment, app=app, folder=Path(logs), env=env) as stack:
            pin = deployment.workers if deployment.routing == "direct" else 0
            return await _page(stack.base_url, pin, more)


async def _page(host: str, pin: int, more: Sequence[str]) -> int:
    """Locust in a session of its own: we hand Ctrl-C on, once, and wait for its end."""
    print(f"the page is http://{PAGE}:8089, the load goes to {host}; Ctrl-C ends it", flush=True)
    locust = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "locust", "-f", "scenarios/locustfile.py", "--host", host, "--pin", str(pin),
        "--web-host", PAGE, "--processes", "2", *more, cwd=registry.root(), start_new_session=True,
    )  # fmt: skip
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, _end, locust)
    return await locust.wait()


def _end(locust: asyncio.subprocess.Process) -> None:
    with contextlib.suppress(ProcessLookupError):
        locust.send_signal(signal.SIGINT)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
