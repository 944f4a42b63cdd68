"""The guard: starts a stack's servers, and leaves nothing of them when the harness has gone.

A program of its own, run as ``python -I -S guard.py FOLDER HARNESS_PID``, standard library only. It makes
FOLDER, then takes one JSON order a line::

    {"name": "nginx", "argv": ["…"], "env": {}, "cwd": "…", "log": "…"}

and tells, one JSON line each, ``{"name": "guard", "pid": 1}`` once FOLDER is there, ``{"name", "pid"}`` when
a server was started, ``{"name", "error"}`` when it could not be, and ``{"name", "status"}`` when it has ended
(an exit code, or minus a signal's number) and nothing of its process group is left.

The end of its input is the end of the stack, however the harness died: every server is told to end (SIGTERM),
after `GRACE_S` its process group is killed, and FOLDER is removed. Each server leads a process group and the
guard a session, so no Ctrl-C meant for the harness reaches them. On Linux the guard also adopts what leaves
its group, and a server whose guard was killed gets SIGTERM from the kernel.

A guard that was killed together with its harness cannot remove FOLDER. So each guard holds a lock on a file in its
FOLDER for as long as it lives, and the next one to start removes the folders beside its own whose lock is free.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

GRACE_S = 2.0
PREFIX, LOCK = "kernel-lab-", "guard.lock"
_KILL_S = 5.0
"""A killed process has this long to vanish; one that hangs in the kernel longer is beyond anyone's reach."""
_PR_SET_PDEATHSIG, _PR_SET_CHILD_SUBREAPER = 1, 36
_LINUX = sys.platform == "linux"
_libc = ctypes.CDLL(None) if _LINUX else None

Servers = dict[int, tuple[str, "subprocess.Popen[bytes]"]]
"""The processes by pid, which is also the number of the process group."""


def main(folder: str, harness: int) -> None:
    """Obey orders until the harness has ended, then clear up."""
    Path(folder).mkdir(mode=0o700)
    lock = hold(Path(folder))
    remove_abandoned(Path(folder))
    woken = _wake_on_signals()
    if _libc:
        _libc.prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    servers: Servers = {}
    rest = b""
    tell(name="guard", pid=os.getpid())
    try:
        # a child forked by the harness may hold the other end of our input open, so check our parent as well
        while os.getppid() == harness:
            readable, _, _ = select.select([sys.stdin.fileno(), woken], [], [], 1.0)
            if woken in readable and signal.SIGTERM in os.read(woken, 4096):
                break
            reap(servers)
            if sys.stdin.fileno() in readable:
                chunk = os.read(sys.stdin.fileno(), 65_536)
                if not chunk:
                    break
                *orders, rest = (rest + chunk).split(b"\n")
                for order in orders:
                    start(servers, **json.loads(order))
    finally:
        end(servers)
        shutil.rmtree(folder, ignore_errors=True)
        os.close(lock)


def hold(folder: Path) -> int:
    """Lock a file in the folder, and give it its name once it is locked. No server inherits the descriptor."""
    lock = os.open(folder / f"{LOCK}.new", os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    (folder / f"{LOCK}.new").rename(folder / LOCK)
    return lock


def remove_abandoned(folder: Path) -> None:
    """Remove this user's folders beside `folder` whose guard has ended without removing its own."""
    for beside in folder.parent.glob(f"{PREFIX}*/{LOCK}"):
        with contextlib.suppress(OSError):
            if beside.parent.is_symlink() or beside.parent.lstat().st_uid != os.getuid():
                continue
            lock = os.open(beside, os.O_RDWR | os.O_NOFOLLOW)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # refused while its guard lives
                shutil.rmtree(beside.parent, ignore_errors=True)
            finally:
                os.close(lock)


def _wake_on_signals() -> int:
    """A descriptor that can be read when a signal came.

    Handlers are used and not SIG_IGN, because the servers would inherit SIG_IGN.
    """
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    for number in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: None)
    return woken


def tell(**event: Any) -> None:
    """One line to the harness, if it is still there."""
    with contextlib.suppress(OSError):
        os.write(sys.stdout.fileno(), json.dumps(event).encode() + b"\n")


def start(servers: Servers, *, name: str, argv: list[str], env: dict[str, str], cwd: str, log: str) -> None:
    """Start one server, leader of its own process group, its output in `log`."""
    guard = os.getpid()

    def die_with_guard() -> None:
        if _libc:
            _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
            if os.getppid() != guard:
                os._exit(1)

    try:
        with Path(log).open("ab") as output:
            server = subprocess.Popen(
                argv, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                process_group=0, preexec_fn=die_with_guard,  # noqa: PLW1509 - the guard has one thread
            )  # fmt: skip
    except (OSError, subprocess.SubprocessError) as error:
        tell(name=name, error=str(error))
    else:
        servers[server.pid] = (name, server)
        tell(name=name, pid=server.pid)


def reap(servers: Servers) -> None:
    """Take note of everything that has ended: servers, and adopted processes."""
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        if pid in servers:
            name, server = servers.pop(pid)
            server.returncode = os.waitstatus_to_exitcode(status)  # we reap it, and not Popen
            _clear(pid)
            tell(name=name, status=server.returncode)


def _clear(group: int) -> None:
    """Kill the processes that a dead leader left behind, because its workers would go on serving."""
    deadline = time.monotonic() + _KILL_S
    while time.monotonic() < deadline:
        try:
            os.killpg(group, signal.SIGKILL)
        except (ProcessLookupError, PermissionError):  # macOS says the latter of a group of zombies
            return
        with contextlib.suppress(ChildProcessError):
            while os.waitpid(-group, os.WNOHANG)[0]:
                pass
        time.sleep(0.005)


def end(servers: Servers) -> None:
    """End every server: ask it first, and kill it after `GRACE_S`. Then end the processes that had left its group."""
    for pid in servers:
        with contextlib.suppress(OSError):  # macOS refuses to signal what is dead and not yet reaped
            os.kill(pid, signal.SIGTERM)
            os.killpg(pid, signal.SIGCONT)  # a stopped process does not receive the signal
    _reap_until(time.monotonic() + GRACE_S, servers)
    for pid in servers:
        with contextlib.suppress(OSError):
            os.killpg(pid, signal.SIGKILL)
    _reap_until(time.monotonic() + _KILL_S, servers)
    deadline = time.monotonic() + _KILL_S
    while (strays := _children()) and time.monotonic() < deadline:
        for pid in strays:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.005)
        reap(servers)


def _reap_until(deadline: float, servers: Servers) -> None:
    while servers and time.monotonic() < deadline:
        reap(servers)
        time.sleep(0.01)


def _children() -> list[int]:
    """Our children, as far as this kernel lists them; all of them are strays once the servers are gone."""
    try:
        return [
            int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text("ascii").split()
        ]
    except OSError:
        return []


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
