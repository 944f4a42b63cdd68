"""kernel-lab init: an app.toml for a service of yours, after three questions."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Annotated

import typer

import kernel_lab
from kernel_lab.apps.adapter import NEEDS
from kernel_lab.apps.mapping import read
from kernel_lab.bad_input import BadInput, pick
from kernel_lab.gate.starting import text_of
from kernel_lab.run import registry

CALLERS = ("header", "cookie", "bearer", "address")
MIDDLEWARE = "worker_header.py"

_HEAD = """\
# How kernel-lab measures {name}. Run it:  kernel-lab run --app {file}
# Every key is described in docs/any-app.md.
name = "{name}"

"""
_START = """\
[start]
# Your command, in your own environment, started in the folder of this file. The lab fills in {{workers}} and {{port}}.
command = "{command}"
# One deployment is measured for each number: one worker shows what the service means to promise.
workers = [1, 4]
# A path that answers once the service is up, with any status below 500.
ready = "/"
# store = "redis"                  # start a Redis too, and fill in {{store}}
# env = {{ REDIS_URL = "{{store}}" }}

"""
_ATTACH = """\
[attach]
url = "{url}"
# How many workers it has; without it the lab asks until it is certain enough.
# workers = 4
# headers = {{ Authorization = "Bearer ${{TOKEN}}" }}   # from the environment; never written to a file

"""
_CALLER = {
    "header": 'header = "X-User"                 # the header that names the caller',
    "cookie": 'cookie = "user"                   # the cookie that names the caller',
    "bearer": "bearer = true                     # Authorization: Bearer <caller>",
    "address": "address = true                    # the client's address: each caller gets another one",
}
_CLAIMS = {
    "rate_limit": """\
[rate_limit]
# What the service promises. Other kinds: fixed_window_clock, fixed_window_first_hit, token_bucket,
# sliding_counter_clock, sliding_counter_first_hit. A short window makes a short run.
promise = { limit = 5, window_s = 4, kind = "sliding_log" }
# The request that is limited, and the reply that means "denied by the limit".
attempt = { request = "GET /limited", refused = { status = 429 } }

""",
    "revocation": """\
[revocation]
# token: where the reply holds it (json = "/pointer", header = "Name" or regex = "…").
login = { request = "POST /login", json = { user = "{caller}" }, token = { json = "/token" } }
# refused: the reply that means "this token is revoked".
use = { request = "GET /me", headers = { Authorization = "Bearer {token}" }, refused = { status = 401 } }
revoke = { request = "POST /logout", headers = { Authorization = "Bearer {token}" } }

""",
    "handles": """\
[handles]
# Something is stored through one worker and fetched by its id through all of them.
put = { request = "POST /things", id = { json = "/id" } }
get = { request = "GET /things/{id}", refused = { status = 404 } }

""",
    "stats": """\
[stats]
# Something is counted, and the counter is read through every worker.
add = { request = "POST /things" }
read = { request = "GET /count", value = { json = "/count" } }

""",
}
_ASKED = {
    "rate_limit": "a rate limit holds",
    "revocation": "a revoked token or a closed session is refused everywhere",
    "handles": "what was stored through one worker is found on every worker",
    "stats": "a counter counts for all workers",
}


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(init)


def init(
    path: Annotated[
        Path | None, typer.Argument(help="The file to write [app.toml; guarantees.toml with --gate].")
    ] = None,
    command: Annotated[
        str | None, typer.Option(help="How the service is started, with {workers} and {port}.")
    ] = None,
    attach: Annotated[str | None, typer.Option(help="Or the URL of a service that runs already.")] = None,
    caller: Annotated[
        str | None, typer.Option(help="How it tells callers apart: header, cookie, bearer or address.")
    ] = None,
    claim: Annotated[
        list[str], typer.Option(help="rate_limit, revocation, handles or stats; may be repeated.")
    ] = [],  # noqa: B006
    name: Annotated[
        str | None, typer.Option(help="The name of the service [the name of the folder].")
    ] = None,
    gate: Annotated[
        bool, typer.Option("--gate", help="Write a guarantees.toml for `kernel-lab gate` instead.")
    ] = False,
    deployment: Annotated[
        str | None,
        typer.Option(help="With --gate: the deployment [app.toml where there is one, else redis]."),
    ] = None,
) -> None:
    """Write a commented app.toml for a service of yours, and the middleware that names its workers.

    The command asks for each answer that the options do not give. It overwrites no file. With --gate it writes a
    commented guarantees.toml and asks nothing.

    Exit code: 0 it is written, 64 it cannot be.
    """
    path = path or Path("guarantees.toml" if gate else "app.toml")
    if path.exists():
        raise BadInput(f"{path}: is there already; name another file, or remove it")
    if gate:
        if command is not None or attach is not None or caller is not None:
            raise BadInput("--gate writes guarantees; --command, --attach and --caller are about an app.toml")
        write_guarantees(path, deployment, claim)
        return
    if deployment is not None:
        raise BadInput("--deployment goes with --gate")
    if command is not None and attach is not None:
        raise BadInput(
            "--command and --attach exclude each other: the lab starts the service, or it runs already"
        )
    if command is None and attach is None:
        said = _ask(
            "1. How is it started, with {workers} and {port}? (Or the URL where it runs already.)",
            "gunicorn app:app --workers {workers} --bind 127.0.0.1:{port}",
            "--command or --attach",
        )
        command, attach = (None, said) if said.startswith(("http://", "https://")) else (said, None)
    if caller is None:
        caller = _ask(f"2. How does it tell callers apart? ({', '.join(CALLERS)})", "header", "--caller")
    if caller not in CALLERS:
        raise BadInput(f"--caller {caller}: one of: {', '.join(CALLERS)}")
    if not claim:
        for key, meaning in _ASKED.items():
            print(f"   {key}: {meaning}", file=sys.stderr)
        claim = _ask(
            "3. What should hold on every worker? (several with a space)", "rate_limit", "--claim"
        ).split()
    for one in claim:
        if one not in NEEDS:
            raise BadInput(f"--claim {one}: one of: {', '.join(NEEDS)}")
    _write(
        path, name or path.resolve().parent.name, command=command, attach=attach, caller=caller, claims=claim
    )


def write_guarantees(path: Path, deployment: str | None, claims: list[str]) -> None:
    """Write a guarantees.toml: of the app.toml that lies beside it, or of a deployment of the lab."""
    beside = path.with_name("app.toml")
    if deployment is None and beside.exists():
        text = text_of(claims or read(beside).claims(), app=beside.name)
    else:
        known = registry.deployments()
        pick("--deployment", deployment or "redis", known)
        for one in claims:
            pick("--claim", one, registry.scenarios())
        text = text_of(claims or ["tokens", "rate_limit", "revocation"], deployment=deployment or "redis")
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise BadInput(f"{path}: cannot be written ({error.strerror})") from None
    print(f"{path}: change it to what you promise, then: kernel-lab gate --guarantees {path}")


def _write(
    path: Path, name: str, *, command: str | None, attach: str | None, caller: str, claims: list[str]
) -> None:
    name = (
        "".join(c if c.isascii() and (c.isalnum() or c in "._+-") else "-" for c in name).strip(".-") or "app"
    )
    text = _HEAD.format(name=name[:60], file=path)
    quoted = (command or attach or "").replace("\\", "\\\\").replace('"', '\\"')
    text += _ATTACH.format(url=quoted) if attach else _START.format(command=quoted)
    text += f"[caller]\n{_CALLER[caller]}\n\n" + "".join(_CLAIMS[key] for key in NEEDS if key in claims)
    try:
        path.write_text(text.rstrip() + "\n", encoding="utf-8")
        read(path)
    except OSError as error:
        raise BadInput(f"{path}: cannot be written ({error.strerror})") from None
    except BadInput:
        path.unlink()
        raise
    print(f"{path}: say in it which requests these are, then: kernel-lab run --app {path}")
    beside = path.with_name(MIDDLEWARE)
    if not beside.exists():
        shutil.copyfile(Path(kernel_lab.__file__).with_name("middleware.py"), beside)
        print(f"{beside}: put it into your app, so that every reply names its worker:")
        print("    ASGI: app.add_middleware(WorkerASGI)        WSGI: app.wsgi_app = WorkerWSGI(app.wsgi_app)")


def _ask(question: str, default: str, option: str) -> str:
    """An answer from the terminal.

    Raises:
        BadInput: Nobody is there to answer.
    """
    if not sys.stdin.isatty():
        raise BadInput(f"kernel-lab init asks, and nobody can answer here: give {option}")
    said: str = typer.prompt(question, default=default, err=True)
    return said.strip()
