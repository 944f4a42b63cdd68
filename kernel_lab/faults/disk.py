"""A full disk: the files of a store are on a small file system, which somebody else fills.

The file system is a tmpfs in a mount namespace of the server's own, so it is there for that server alone and ends with
it. Nobody has to unmount it: a run that is killed leaves none behind.
"""

from __future__ import annotations

import errno
import shutil
import signal
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path

import psutil

from kernel_lab.deployments.deployment import Deployment
from kernel_lab.deployments.live import Live
from kernel_lab.faults.fault import Fault, Inject, Landing, unprepared
from kernel_lab.faults.stores import store_of
from kernel_lab.faults.workers import FIRST, end, not_ours, servers_of

SIZE_MB = 16
FULL_S = 3.0
"""The seconds for which the disk stays full: long enough that even a server that writes little needs another
block."""
_CHUNK_BYTES = 65_536
_MOUNT = f'mount -t tmpfs -o size={SIZE_MB}m none "$0" && exec "$@"'


@cache
def no_mount() -> str:
    """Why no file system can be mounted here; an empty string where it can. It is tried once."""
    if shutil.which("unshare") is None:
        return "there is no unshare, which gives a server a small file system of its own"
    tried = subprocess.run(
        ("unshare", "--mount", "mount", "-t", "tmpfs", "none", tempfile.gettempdir()),
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    if tried.returncode == 0:
        return ""
    why = " ".join(tried.stderr.split()) or f"exit code {tried.returncode}"
    return f"no small file system can be mounted here, which usually takes root ({why})"


@asynccontextmanager
async def _on_a_small_disk(live: Live) -> AsyncIterator[Inject]:
    """Start the server that writes the files again, with its files on a file system of its own."""
    servers, store = servers_of(live), store_of(live)
    name, disk = store or FIRST, servers.files / "disk"
    disk.mkdir()
    env: dict[str, str] = {}
    arguments: tuple[str, ...] = ()
    if store:
        arguments = ("--dir", str(disk), "--appendonly", "yes", "--appendfsync", "everysec")
    else:
        told = psutil.Process(servers.processes[name].pid).environ()
        files = f"{servers.files}/"
        env = {
            variable: value.replace(files, f"{disk}/")
            for variable, value in told.items()
            if variable.startswith("LAB_STATE") and files in value
        }
    await end(servers, name, signal.SIGTERM)
    before = ("unshare", "--mount", "sh", "-c", _MOUNT, str(disk))
    await servers.restart(name, env=env, arguments=arguments, before=before)

    @asynccontextmanager
    async def fill(_live: Live, _aim: str | None) -> AsyncIterator[Landing]:
        # the file system as the server sees it
        seen = Path(f"/proc/{servers.processes[name].pid}/root") / disk.relative_to("/")
        filler = seen / "of-somebody-else"
        try:
            said = _fill(filler)
            yield Landing(
                landed=said == errno.ENOSPC,
                evidence=f"{filler.stat().st_size / 1e6:.1f} of {SIZE_MB} MB are somebody else's, and one more write "
                f"fails with {errno.errorcode.get(said, 'nothing')}",
            )
        finally:
            filler.unlink(missing_ok=True)

    yield fill


def _fill(path: Path) -> int:
    """Write into a file until that fails, and return the error."""
    try:
        with path.open("wb", buffering=0) as file:
            for _ in range(2 * SIZE_MB * 1_000_000 // _CHUNK_BYTES):
                file.write(bytes(_CHUNK_BYTES))
    except OSError as error:
        return error.errno or 0
    return 0


def _no_disk(deployment: Deployment) -> str:
    """Why a deployment's disk is not filled; an empty string where it is."""
    on_file = "sqlite:" in deployment.state
    if not on_file and not deployment.store:
        return "it keeps no file"
    if not on_file and (
        deployment.store != "redis" or deployment.state != "{store}" or deployment.store_replica
    ):
        return "the disk of its store is filled on `redis`, whose store keeps the same files"
    return no_mount()


FAULTS = (
    Fault(
        name="full_disk",
        title=f"the disk with the store's files ({SIZE_MB} MB) is filled by somebody else for a while",
        inapplicable=not_ours, excluded=_no_disk,
        inject=unprepared("the store's files are not on a small file system"),
        prepare=_on_a_small_disk, lasts=True, lasts_s=FULL_S,
    ),
)  # fmt: skip
"""The one fault of a disk."""
