"""The run folder. This module alone knows the names of its files, and it alone reads and writes them.

A run folder holds ``environment.json``, ``verdicts.csv``, ``shares.csv``, one CSV per scenario, ``report.html``,
``stacks/`` with the servers' logs, and ``cells/<scenario>/<deployment>-<connections>[-<fault>]/``. A cell folder
holds ``cell.json``, ``history.jsonl`` (``history.jsonl.gz`` once packed), ``probe.jsonl``, ``verdict.json`` and
``prediction.json``. `docs/interfaces.md` describes them.

No file is written outside of the folder, and every name is checked against one pattern before it becomes a path. A file
is written beside its place and then renamed, so a reader sees either the old file or the new file. A link that stands
in the file's place is replaced, and its target stays unchanged. The module refuses a folder that is a link. It does not
read a file that is a link or that is not a regular file.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from kernel_lab.judge.history import unpacked
from kernel_lab.judge.verdict import Cell, Measure, Verdict, merge
from kernel_lab.redaction import without_credentials

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,99}", re.ASCII)
"""The names that a scenario, a deployment, a connection policy, a fault or a table may have."""
MOST_BYTES = 64 << 20
"""The size of the largest file, other than a history, that is read."""


class NotARun(ValueError):  # noqa: N818 - it names a thing
    """A path without anything to judge, or with a file that cannot be used. The message says which file and why."""


def plain_name(name: str) -> str:
    """Return the name if it is fit to be a part of a path.

    Raises:
        NotARun: The name cannot be a part of a path.
    """
    if not NAME.fullmatch(name):
        raise NotARun(
            f"{name!r} cannot name a part of a run: letters, digits, '.', '_', '+' and '-' can, 100 at most"
        )
    return name


def write_whole(path: Path, data: bytes) -> None:
    """Write a file beside its place and rename it there.

    Raises:
        NotARun: The folder that holds it is a link.
        OSError: It cannot be written.
    """
    if path.parent.is_symlink():
        raise NotARun(
            f"{path.parent}: is a link; a run folder holds none, and nothing is written through one"
        )
    descriptor, beside = tempfile.mkstemp(prefix=".", suffix=".part", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
        mask = os.umask(0)
        os.umask(mask)
        os.chmod(beside, 0o666 & ~mask)  # noqa: PTH101 - a name, as mkstemp gave it
        os.replace(beside, path)  # noqa: PTH105
    except BaseException:
        Path(beside).unlink(missing_ok=True)
        raise


def read_whole(path: Path, *, most: int = MOST_BYTES) -> bytes:
    """Return the bytes of a regular file that is not a link and that has at most `most` bytes.

    Raises:
        NotARun: It is a link, is not a regular file, or is larger.
        OSError: It cannot be read.
    """
    try:
        # non-blocking: opening a fifo would otherwise wait for a writer
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except OSError as error:
        if path.is_symlink():
            raise NotARun(f"{path}: is a link; a run folder's files are files") from None
        raise error from None
    with os.fdopen(descriptor, "rb") as file:
        about = os.fstat(file.fileno())
        if not stat.S_ISREG(about.st_mode):
            raise NotARun(f"{path}: is no regular file")
        if about.st_size > most:
            raise NotARun(f"{path}: has {about.st_size:,} bytes; {most:,} are the most that are read")
        return file.read()


def write_json(path: Path, value: object) -> None:
    """Write a value as indented JSON."""
    write_whole(path, msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n")


@dataclass(frozen=True, slots=True)
class CellFolder:
    """The folder of one cell."""

    path: Path

    @property
    def facts(self) -> Path:
        """``cell.json``."""
        return self.path / "cell.json"

    @property
    def recorded(self) -> Path:
        """``history.jsonl``: the file that a run records."""
        return self.path / "history.jsonl"

    @property
    def packed(self) -> Path:
        """``history.jsonl.gz``: the same history, compressed for git."""
        return self.path / "history.jsonl.gz"

    @property
    def probe(self) -> Path:
        """``probe.jsonl``: the calls that only show the routing."""
        return self.path / "probe.jsonl"

    @property
    def verdict(self) -> Path:
        """``verdict.json``."""
        return self.path / "verdict.json"

    @property
    def replay(self) -> Path:
        """``replay.py``: the smallest counter-example as a script, where the verdict is invalid."""
        return self.path / "replay.py"

    @property
    def prediction(self) -> Path:
        """``prediction.json``."""
        return self.path / "prediction.json"

    @property
    def history(self) -> Path:
        """The path of the history, packed or as it was recorded.

        Raises:
            NotARun: There is no history.
        """
        for path in (self.recorded, self.packed):
            if path.exists():
                return path
        raise NotARun(f"{self.path}: no {self.recorded.name} beside its {self.facts.name}")

    def exists(self) -> bool:
        """Whether this is the folder of a cell."""
        return self.facts.exists()

    def create(self) -> None:
        """Make the folder. It must not exist yet."""
        self.path.mkdir(parents=True)

    def write_cell(self, cell: Cell) -> None:
        """Write ``cell.json``, without the assumptions that are not set."""
        write_json(self.facts, _plain(cell))

    def seal(self, cell: Cell) -> None:
        """Write ``cell.json`` of a cell whose history is complete, with the digest of both.

        The digest shows damage. It does not protect against somebody who changes a run on purpose and writes a new
        digest.
        """
        plain = _plain(cell)
        write_json(self.facts, {**plain, "sha256": self._digest(plain)})

    def damage(self) -> str:
        """Return why this cell is not as it was recorded. The text is empty if the cell is unchanged, or has no digest.

        Raises:
            MalformedHistory: The history cannot be read.
            NotARun: ``cell.json`` cannot be read.
        """
        try:
            said = msgspec.json.decode(read_whole(self.facts), type=dict[str, Any])
        except (OSError, msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            raise NotARun(f"{self.facts}: {_short(error)}") from None
        sealed = said.pop("sha256", None)
        if sealed is None or sealed == self._digest(said):
            return ""
        return (
            "cell.json or the history is not as it was recorded (their digest differs); leave sha256 out of cell.json "
            "to judge them as they are"
        )

    def _digest(self, plain: dict[str, Any]) -> str:
        digest = hashlib.sha256(msgspec.json.encode(plain, order="deterministic"))
        for chunk in unpacked(self.history):
            digest.update(chunk)
        return digest.hexdigest()

    def read_cell(self) -> Cell:
        """Read ``cell.json``.

        Raises:
            NotARun: It cannot be read, or a value in it is wrong.
        """
        try:
            # a cell.json that was written by hand may have null for an absent value
            said = msgspec.json.decode(read_whole(self.facts), type=dict[str, Any])
            return msgspec.convert({key: value for key, value in said.items() if value is not None}, Cell)
        except (OSError, msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            raise NotARun(f"{self.facts}: {_short(error)}") from None

    def write_verdict(self, verdicts: Sequence[Verdict]) -> None:
        """Write ``verdict.json``: the worst validity, and every verdict with its counter-example and story."""
        write_json(
            self.verdict, {"validity": merge(v.validity for v in verdicts), "verdicts": list(verdicts)}
        )

    def read_verdict(self) -> list[Verdict]:
        """Read the verdicts of ``verdict.json``.

        Raises:
            NotARun: It cannot be read, or a value in it is wrong.
        """
        try:
            written = msgspec.json.decode(read_whole(self.verdict), type=dict[str, msgspec.Raw])
            return msgspec.json.decode(written["verdicts"], type=list[Verdict])
        except KeyError:
            raise NotARun(f"{self.verdict}: has no verdicts") from None
        except (OSError, msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            raise NotARun(f"{self.verdict}: {_short(error)}") from None

    def write_prediction(self, predicted: dict[str, Measure]) -> None:
        """Write ``prediction.json``."""
        write_json(self.prediction, predicted)

    def link_logs(self, logs: Path) -> None:
        """Put links to the logs of the cell's stack into the cell's folder, because one stack serves many cells."""
        up = self.path.parents[2]
        for log in sorted(logs.glob("*.log")):
            (self.path / log.name).symlink_to(Path("../../..") / log.relative_to(up))


@dataclass(frozen=True, slots=True)
class RunFolder:
    """The folder of one run."""

    path: Path

    @property
    def environment(self) -> Path:
        """``environment.json``: the machine and the versions that the run was made with."""
        return self.path / "environment.json"

    @property
    def page(self) -> Path:
        """``report.html``."""
        return self.path / "report.html"

    @property
    def stacks(self) -> Path:
        """The folder of the servers' logs."""
        return self.path / "stacks"

    def exists(self) -> bool:
        """Return whether the folder holds a run, finished or interrupted: it has ``verdicts.csv``."""
        return self.table("verdicts").exists()

    def create(self) -> None:
        """Make the folder.

        Raises:
            NotARun: It holds something already, is a file, or cannot be made or written to.
        """
        try:
            if self.path.is_symlink() or (self.path.exists() and not self.path.is_dir()):
                raise NotARun(f"{self.path}: is no folder; name a new one")
            if self.path.exists() and any(self.path.iterdir()):
                raise NotARun(
                    f"{self.path}: already holds a run, and runs are never overwritten; name a new folder"
                )
            self.path.mkdir(parents=True, exist_ok=True)
            probe = self.path / ".writable"
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            raise NotARun(
                f"{self.path}: cannot be written to ({error.strerror}); name another folder"
            ) from None

    def write_environment(self, about: dict[str, Any]) -> None:
        """Write ``environment.json``, after removing the credentials that URLs in it may carry."""
        write_json(self.environment, _redacted(about))

    def read_environment(self) -> dict[str, Any]:
        """Read ``environment.json``.

        Raises:
            NotARun: It is not there, or is no JSON object.
        """
        try:
            return msgspec.json.decode(read_whole(self.environment), type=dict[str, Any])
        except (OSError, msgspec.MsgspecError, RecursionError, UnicodeDecodeError) as error:
            raise NotARun(f"{self.environment}: {_short(error)}") from None

    def write_environment_beside(self, name: str, about: dict[str, Any]) -> None:
        """Write ``environment-<name>.json``: the environment of another run whose CSVs were put beside this run's."""
        write_json(self.path / f"environment-{plain_name(name)}.json", _redacted(about))

    def table(self, name: str) -> Path:
        """Return the path of the CSV with this name, such as ``verdicts`` or ``rate_limit``."""
        return self.path / f"{plain_name(name)}.csv"

    def tables(self) -> list[Path]:
        """The paths of all CSVs."""
        return sorted(self.path.glob("*.csv"))

    def logs(self, stack: str) -> Path:
        """Return the folder for the logs of one stack."""
        return self.stacks / plain_name(stack)

    def new_logs(self, stack: str) -> Path:
        """Return the folder for the logs of a stack that starts now.

        The folder has another name if an interrupted run has left logs of an earlier stack with the same name.
        """
        names = (stack, *(f"{stack}-again{number}" for number in range(2, 100)))
        return next((logs for name in names if not (logs := self.logs(name)).exists()), self.logs(stack))

    def cell(self, scenario: str, deployment: str, connections: str, fault: str | None = None) -> CellFolder:
        """The folder of one cell."""
        parts = [plain_name(part) for part in (deployment, connections, fault) if part]
        return CellFolder(self.path / "cells" / plain_name(scenario) / "-".join(parts))

    def cells(self) -> Iterator[CellFolder]:
        """Return the folders of all cells by their paths. A cell that has lost its ``cell.json`` is among them."""
        for folder in sorted(self.path.glob("cells/*/*")):
            if folder.is_dir():
                yield CellFolder(folder)

    @staticmethod
    def executions(logs: Path) -> Path:
        """Return the file in which the drivers of a stack log their executions.

        It stands beside the logs of the servers.
        """
        return logs / "executions.log"

    def point_latest(self) -> None:
        """Make the link ``latest``, which stands beside this run, point to it."""
        latest = self.path.parent / "latest"
        latest.unlink(missing_ok=True)
        latest.symlink_to(self.path.name)


def _plain(cell: Cell) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(cell)
    plain["assumptions"] = {k: v for k, v in plain["assumptions"].items() if v is not None}
    if not plain["beside"]:
        del plain["beside"]
    return plain


def _redacted(value: Any) -> Any:
    """Return a JSON value in which no URL has a user or a password."""
    if isinstance(value, str):
        return without_credentials(value)
    if isinstance(value, dict):
        return {key: _redacted(inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_redacted(inner) for inner in value]
    return value


def _short(error: BaseException) -> str:
    """Return an error as one line."""
    if isinstance(error, FileNotFoundError):
        return "is missing"
    if isinstance(error, RecursionError):
        return "is nested too deeply"
    return " ".join(str(error).split()) or type(error).__name__
