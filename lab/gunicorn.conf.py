"""gunicorn's settings for the lab: ``gunicorn -c lab/gunicorn.conf.py lab.app:app``.

Everything comes from ``WEAVER_KERNEL_SECRET`` and ``LAB_*`` (docs/interfaces.md) and is validated here,
before there is a worker: a bad value ends gunicorn with one line and exit code 3. gunicorn reads this file
again at SIGHUP.
"""
# ruff: noqa: N999 - gunicorn executes it as a file

import os
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Any

from lab.settings import BadSettings, beyond_loopback, is_local, read_settings
from lab.sidecar_process import Sidecar, SidecarFailed

try:
    settings = read_settings()
except BadSettings as error:
    print(error, file=sys.stderr)
    sys.exit(3)  # gunicorn's own exit code when a worker cannot boot

# Most of a worker's start is imports, and the lab starts hundreds of workers. So the libraries and the routes are
# imported once, here, and the workers inherit them at the fork. The modules open nothing and make no secret at
# import: each worker still has its own kernel, state and application. (A reload of gunicorn does not load a newer
# version of the modules.) httpx would also import its own command line with rich and pygments. That takes a sixth of
# the start, and no worker uses it.
sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type] # Python's own way to say: not to be imported
import_module("aiohttp" if settings.forwards else "lab.routes")
import_module("uvicorn_worker")

bind = settings.bind.split(",")
workers = settings.workers

# uvicorn.workers is deprecated, this is its successor; it takes uvloop and httptools where they are there
worker_class = settings.worker_class

# gunicorn's default is 2 s: a client that pauses for longer would lose its pinned connection and so its worker
keepalive = settings.keepalive_s

# only imports happen before the fork: each worker opens the kernel and its state itself, with preload or without
preload_app = settings.preload

# recycling of workers loses their state, so it is off unless a setting asks for it
max_requests = settings.max_requests
max_requests_jitter = settings.max_requests_jitter

# one listening socket per worker spreads connections evenly; off by default, because a plain gunicorn has one socket
reuse_port = settings.reuse_port

# gunicorn's default is one control socket for all of a user's gunicorns: a second run would take it away
control_socket = settings.control_socket or str(Path(tempfile.gettempdir()) / f"kernel-lab-{os.getpid()}.ctl")

if any(url.startswith("stash:") for url in (settings.state, *settings.state_overrides.values())):
    # the stash is kept by a process that gunicorn starts only if there is a "dirty" app; this app does nothing
    dirty_apps = ["lab.state.controls:Stash"]
    dirty_workers = 1
    # gunicorn finds that process by a file named after this, and would end another gunicorn's as an orphan
    proc_name = f"kernel-lab-{os.getpid()}"

# a worker that a fault has stopped cannot react to SIGTERM, and the end of a run must not wait 30 s for it
graceful_timeout = 4

# an access log would cost time in every deployment, and the histories hold more than it does
accesslog = None
loglevel = settings.log_level


def on_starting(server: Any) -> None:
    """Check the addresses that gunicorn will listen on (``-b`` wins over ``LAB_BIND``), then start the sidecar."""
    listeners = ",".join(server.cfg.bind)
    if not settings.allow_remote and not is_local(listeners):
        print(beyond_loopback("bind", listeners), file=sys.stderr)
        sys.exit(3)
    if settings.sidecar:
        server.sidecar = Sidecar(settings, server.log.error)
        os.environ["LAB_SIDECAR_SOCKET"] = server.sidecar.socket  # the workers inherit it
        try:
            server.sidecar.start()
        except SidecarFailed as error:
            print(error, file=sys.stderr)
            sys.exit(3)


def post_fork(server: Any, worker: Any) -> None:  # noqa: ARG001 - gunicorn's signature
    """Close the worker's copy of the line between arbiter and sidecar."""
    if settings.sidecar:
        server.sidecar.forget()


def on_exit(server: Any) -> None:
    """End the sidecar after the workers, which forward their calls to it."""
    if settings.sidecar:
        server.sidecar.stop()
