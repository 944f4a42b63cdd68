"""Histories: the operations of one cell, in ``history.jsonl``.

One line is one operation, from its call to its return::

    {"index":0,"client":"c0","f":"grant","input":{…},"output":{…},"outcome":"ok","call_ns":0,
     "return_ns":1,"worker":"r0/4711/ab12","connection":"k3","error":null}

Lines stand in the order in which calls ended; a reader trusts ``call_ns`` and ``return_ns`` alone.
"""

from __future__ import annotations

import gc
import gzip
import os
import stat
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import repeat
from operator import attrgetter
from pathlib import Path
from types import TracebackType
from typing import IO, Any, BinaryIO, NoReturn, Self, cast

import msgspec
from msgspec.structs import force_setattr

from kernel_lab.judge.operation import (  # fmt: skip
    FAIL,
    FOREVER,
    INFO,
    KINDS,
    OK,
    AnyOperation,
    Audit,
    Budget,
    Called,
    Expand,
    Explain,
    FaultEvent,
    Grant,
    ImportCapability,
    Invoke,
    ListTraces,
    Operation,
    Outcome,
    Revoke,
    RevokeAll,
    Stats,
    ends_ns,
    of_kind,
)

__all__ = [
    "FAIL", "FOREVER", "INFO", "KINDS", "OK", "AnyOperation", "Audit", "Budget", "Called", "Expand",
    "Explain", "FaultEvent", "Grant", "HistoryWriter", "ImportCapability", "Invoke", "ListTraces",
    "MalformedHistory", "Operation", "Outcome", "Revoke", "RevokeAll", "Stats", "collector_paused",
    "ends_ns", "iter_history", "of_kind", "open_history", "parse_line", "read_history", "to_line", "write_history",
]  # fmt: skip


class MalformedHistory(ValueError):  # noqa: N818 - it names a thing, as the field does
    """A line that is not an operation; the message names the file, the line and what is wrong."""


_called = msgspec.json.Decoder(Called)
_fault = msgspec.json.Decoder(FaultEvent)
_members = msgspec.json.Decoder(dict[str, msgspec.Raw])
_encode = msgspec.json.Encoder().encode
_index = attrgetter("index")

_CHUNK_BYTES = 1 << 18
LONGEST_LINE = 1 << 22
"""Bytes of the longest line that is read."""
MOST_BYTES = 4 << 30
"""Bytes of the longest history that is read, unpacked."""

_SCOPED = frozenset({Grant, Invoke})


@contextmanager
def collector_paused() -> Iterator[None]:
    """Switch Python's cycle collector off, and afterwards restore its state.

    A history has millions of objects and no cycle, so each pass of the collector over them would be wasted.
    """
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


def parse_line(line: bytes, *, where: str) -> AnyOperation:
    """One line as an operation; ``where`` (``"history.jsonl:7"``) opens the error message.

    Raises:
        MalformedHistory: The line is not JSON or not a known operation, lacks a field that its kind needs, or
            returns before its call.
    """
    try:
        operation: AnyOperation = _called.decode(line)
    except RecursionError:
        raise MalformedHistory(f"{where}: is nested too deeply") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        operation = _parse_fault(line, error, where)
    if wrong := _impossible(operation):
        raise MalformedHistory(f"{where}: {wrong}")
    return operation


def _parse_fault(line: bytes, error: Exception, where: str) -> FaultEvent:
    """Read a line that is not a call as a fault, or say what is wrong with it."""
    wrong = str(error)
    try:
        f = msgspec.json.decode(_members.decode(line)["f"])
        if str(f).startswith("fault."):
            return _fault.decode(line)
        if f not in KINDS:
            wrong = f"no operation is called {f!r}; one of: {', '.join(KINDS)}, fault.<name>"
    except KeyError:
        wrong = "an operation has an f: " + ", ".join(KINDS) + " or fault.<name>"
    except RecursionError:
        wrong = "is nested too deeply"
    except (msgspec.DecodeError, UnicodeDecodeError) as other:
        wrong = str(other)
    raise MalformedHistory(f"{where}: {wrong}")


def _impossible(operation: AnyOperation) -> str | None:
    """Return why no clock could have recorded these times."""
    if operation.return_ns is None:
        if operation.outcome is Outcome.INFO or isinstance(operation, FaultEvent):
            return None
        return f"outcome {operation.outcome} without return_ns; only an info has no return"
    if operation.return_ns < operation.call_ns:
        return f"return_ns {operation.return_ns} is before call_ns {operation.call_ns}"
    return None


def iter_history(path: Path) -> Iterator[AnyOperation]:
    """The operations of a file, one by one.

    A killed recorder leaves a last line without a newline. It was never a whole record, so it is skipped.

    Raises:
        MalformedHistory: With the number of the first bad line.
    """
    for operations in _chunks(path):
        yield from operations


def _chunks(path: Path) -> Iterator[list[AnyOperation]]:
    same: dict[str | None, str | None] = {}
    number = 1
    came = 0
    with open_history(path) as file:
        rest = b""
        while chunk := _read(file, path):
            came += len(chunk)
            if came > MOST_BYTES:
                raise MalformedHistory(f"{path.name}: has more than the {MOST_BYTES:,} bytes that are read")
            end = chunk.rfind(b"\n") + 1
            if not end:
                rest += chunk
                if len(rest) > LONGEST_LINE:
                    raise MalformedHistory(
                        f"{path.name}:{number}: is longer than the {LONGEST_LINE:,} bytes that are read of a line"
                    )
                continue
            lines, rest = rest + chunk[:end], chunk[end:]
            yield _parse_lines(lines, same, where=path.name, first=number)
            number += lines.count(b"\n")
    if rest.strip():
        try:
            last = parse_line(rest, where=f"{path.name}:{number}")
        except MalformedHistory:
            return
        yield [last]


def open_history(path: Path) -> IO[bytes]:
    """The bytes of a history; one that was packed for git (``.gz``) is unpacked on the way."""
    try:
        # non-blocking: a fifo would wait for somebody to write
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    except OSError as error:
        raise MalformedHistory(f"{path.name}: cannot be read ({error.strerror})") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise MalformedHistory(f"{path.name}: is no regular file")
    file = os.fdopen(descriptor, "rb")
    return cast("IO[bytes]", _Unpacked(file)) if path.suffix == ".gz" else file


class _Unpacked(gzip.GzipFile):
    """A packed file that closes the file it reads."""

    def __init__(self, packed: IO[bytes]) -> None:
        super().__init__(fileobj=packed)
        self._packed = packed

    def close(self) -> None:
        """Close both."""
        super().close()
        self._packed.close()


def unpacked(path: Path) -> Iterator[bytes]:
    """The bytes of a history, in parts.

    Raises:
        MalformedHistory: They cannot be read.
    """
    with open_history(path) as file:
        while chunk := _read(file, path):
            yield chunk


def cut_line(path: Path) -> str:
    """Return where the last line of a history breaks off, in a few words; empty where it is whole."""
    if path.suffix != ".gz" and _last_byte(path) == b"\n":
        return ""  # a history nearly always ends so, and then it is not read again
    lines = at = 0
    rest = b""
    for chunk in unpacked(path):
        at += len(chunk)
        lines += chunk.count(b"\n")
        end = chunk.rfind(b"\n") + 1
        rest = chunk[end:] if end else rest + chunk
    if not rest.strip():
        return ""
    try:
        parse_line(rest, where=path.name)
    except MalformedHistory:
        return f"line {lines + 1} of {path.name} is cut off at byte {at}"
    return ""


def _last_byte(path: Path) -> bytes:
    """The last byte of a plain file; nothing where it is empty."""
    with open_history(path) as file:
        file.seek(max(0, file.seek(0, os.SEEK_END) - 1))
        return _read(file, path)


def _read(file: IO[bytes], path: Path) -> bytes:
    """The next bytes. A killed recorder leaves no packed file: one that is cut off is damaged."""
    try:
        return file.read(_CHUNK_BYTES)
    except (OSError, EOFError, zlib.error) as error:
        raise MalformedHistory(f"{path.name}: {error}") from None


def _parse_lines(
    lines: bytes, same: dict[str | None, str | None], *, where: str, first: int
) -> list[AnyOperation]:
    """Whole lines at once; the long names that repeat (workers, principals, capabilities) are kept once."""
    operations: list[AnyOperation]
    try:
        operations = _called.decode_lines(lines)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _parse_each(lines, where=where, first=first)
    if [
        op
        for op in operations
        if (op.outcome is not INFO if op.return_ns is None else op.return_ns < op.call_ns)
    ]:
        return _parse_each(lines, where=where, first=first)
    _keep_once(same, "worker", operations)
    scoped = [op.input for op in operations if type(op) in _SCOPED]
    _keep_once(same, "principal", scoped)
    _keep_once(same, "capability", scoped)
    return operations


def _keep_once(same: dict[str | None, str | None], name: str, owners: Sequence[Any]) -> None:
    """Make equal values of a field one object. Owners are frozen, but have not been handed to anybody yet."""
    values = list(map(attrgetter(name), owners))
    for _ in map(force_setattr, owners, repeat(name), map(same.setdefault, values, values)):
        pass


def _parse_each(lines: bytes, *, where: str, first: int) -> list[AnyOperation]:
    """Line by line: slower, but it knows faults and line numbers."""
    return [
        parse_line(line, where=f"{where}:{number}")
        for number, line in enumerate(lines.split(b"\n"), start=first)
        if line.strip()
    ]


def read_history(
    path: Path, *, lacks: Callable[[AnyOperation], str | None] | None = None
) -> list[AnyOperation]:
    """All operations of a file. See `iter_history`.

    `lacks` returns the field that a reader needs and an operation does not have.

    Raises:
        MalformedHistory: With the number of the first bad line; of the second line with one index; of a line
            that lacks something.
    """
    history: list[AnyOperation] = []
    taken: set[int] = set()
    with collector_paused():
        for operations in _chunks(path):
            taken.update(map(_index, operations))
            # while the line is still in memory
            missing = any(map(lacks, operations)) if lacks is not None else False
            history += operations
            if missing or len(taken) < len(history):
                _refuse(path, history, lacks)
    return history


def _refuse(
    path: Path, history: Sequence[AnyOperation], lacks: Callable[[AnyOperation], str | None] | None
) -> NoReturn:
    """Raise an error that names the operation that cannot be used."""
    taken: set[int] = set()
    for position, op in enumerate(history):
        wrong = f"index {op.index} is taken by an earlier line" if op.index in taken else lacks and lacks(op)
        if wrong:
            raise MalformedHistory(f"{path.name}:{_line_of(path, position)}: {wrong}")
        taken.add(op.index)
    raise AssertionError(path)


def _line_of(path: Path, position: int) -> int:
    """The number of the line that holds the operation at `position`: blank lines hold none."""
    with open_history(path) as lines:
        filled = (number for number, line in enumerate(lines, start=1) if line.strip())
        return next(number for at, number in enumerate(filled) if at == position)


class HistoryWriter:
    """Appends operations to ``history.jsonl``, each line whole and flushed: a killed run stays readable."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._next = 0
        self.written = 0
        """The number of lines that have been written."""
        self.info_ns = 0
        """The time when the last operation of unknown outcome was called; 0 before the first."""

    def __enter__(self) -> Self:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        self._file = self._path.open("ab", buffering=0)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()

    def next_index(self) -> int:
        """A fresh index, taken when the call is made."""
        index = self._next
        self._next += 1
        return index

    def write(self, operation: dict[str, Any]) -> None:
        """One operation, as the dict its line will hold."""
        assert self._file is not None, "the writer is not open"  # noqa: S101
        self._file.write(_encode(operation) + b"\n")
        self.written += 1
        if operation["outcome"] == Outcome.INFO:
            self.info_ns = max(self.info_ns, operation["call_ns"])


def to_line(operation: AnyOperation) -> dict[str, Any]:
    """The dict form of an operation, as it stands in a line."""
    plain: dict[str, Any] = msgspec.to_builtins(operation)
    plain["f"] = operation.f
    return {key: plain[key] for key in _KEYS}


_KEYS = (
    "index", "client", "f", "input", "output", "outcome", "call_ns", "return_ns", "worker", "connection",
    "error",
)  # fmt: skip


def write_history(path: Path, operations: Sequence[AnyOperation]) -> None:
    """Write a whole history at once (tests, saved counter-examples)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(_encode(to_line(operation)) + b"\n" for operation in operations))
