"""Operations and histories: what was asked, what came back, when, and from which worker.

One line of ``history.jsonl`` is one operation, from its call to its return::

    {"index":0,"client":"c0","f":"grant","input":{…},"output":{…},"outcome":"ok","call_ns":0,
     "return_ns":1,"worker":"r0/4711/ab12","connection":"k3","error":null}

Times are nanoseconds of one host's monotonic clock. An operation took effect, if it did, at one instant of
``[call_ns, return_ns]``; one with outcome ``info`` has no return and may take effect at any time after its
call, or never. Lines stand in the order in which calls ended, so a reader sorts by nothing and trusts
``call_ns`` and ``return_ns`` alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Any, BinaryIO, ClassVar, Self

import msgspec


class Outcome(StrEnum):
    """What is known about an operation's effect."""

    OK = "ok"
    """The call did what was asked."""
    FAIL = "fail"
    """The call was refused and certainly had no effect; ``error`` is the stable reason code."""
    INFO = "info"
    """Unknown: a 5xx, a time-out, a dropped connection. It may have happened."""


class Operation(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """One call. Each kind below adds a typed ``input`` and ``output``."""

    f: ClassVar[str]

    index: int
    client: str
    outcome: Outcome
    call_ns: int
    return_ns: int | None = None
    worker: str | None = None
    connection: str | None = None
    error: str | None = None


class GrantInput(msgspec.Struct, frozen=True, gc=False):
    principal: str
    capability: str


class GrantOutput(msgspec.Struct, frozen=True, gc=False):
    token_id: str | None = None


class Grant(Operation, frozen=True, kw_only=True, gc=False, tag_field="f", tag="grant"):
    """A principal asked for a token for a capability."""

    f: ClassVar[str] = "grant"
    input: GrantInput
    output: GrantOutput | None = None


class InvokeInput(msgspec.Struct, frozen=True, gc=False):
    token_id: str
    principal: str = ""
    capability: str = ""
    tampered: bool = False


class InvokeOutput(msgspec.Struct, frozen=True, gc=False):
    action_id: str | None = None
    handle_id: str | None = None
    tokens: int | None = None
    response_mode: str | None = None


class Invoke(Operation, frozen=True, kw_only=True, gc=False, tag_field="f", tag="invoke"):
    """A principal presented a token and asked for its capability to be carried out."""

    f: ClassVar[str] = "invoke"
    input: InvokeInput
    output: InvokeOutput | None = None


class ExpandInput(msgspec.Struct, frozen=True, gc=False):
    handle_id: str
    principal: str


class ExpandOutput(msgspec.Struct, frozen=True, gc=False):
    rows: int | list[Any] | None = None


class Expand(Operation, frozen=True, kw_only=True, gc=False, tag_field="f", tag="expand"):
    """A principal asked for rows behind a handle."""

    f: ClassVar[str] = "expand"
    input: ExpandInput
    output: ExpandOutput | None = None


class RevokeInput(msgspec.Struct, frozen=True, gc=False):
    token_id: str


class Revoke(Operation, frozen=True, kw_only=True, gc=False, tag_field="f", tag="revoke"):
    """Somebody revoked one token."""

    f: ClassVar[str] = "revoke"
    input: RevokeInput
    output: Any = None


class RevokeAllInput(msgspec.Struct, frozen=True, gc=False):
    principal: str


class RevokeAllOutput(msgspec.Struct, frozen=True, gc=False):
    revoked: int | None = None


class RevokeAll(Operation, frozen=True, kw_only=True, gc=False, tag_field="f", tag="revoke_all"):
    """Somebody revoked every token of a principal."""

    f: ClassVar[str] = "revoke_all"
    input: RevokeAllInput
    output: RevokeAllOutput | None = None


class ExplainInput(msgspec.Struct, frozen=True, gc=False):
    action_id: str


class Explain(Operation, frozen=True, kw_only=True, gc=False, tag_field="f", tag="explain"):
    """Somebody asked for the trace of one action."""

    f: ClassVar[str] = "explain"
    input: ExplainInput
    output: Any = None


class ListTracesOutput(msgspec.Struct, frozen=True, gc=False):
    action_ids: list[str] | None = None


class ListTraces(Operation, frozen=True, kw_only=True, gc=False, tag_field="f", tag="list_traces"):
    """Somebody listed the traces."""

    f: ClassVar[str] = "list_traces"
    input: Any = None
    output: ListTracesOutput | None = None


class AuditOutput(msgspec.Struct, frozen=True, gc=False):
    valid: bool | None = None
    records: int | list[Any] | None = None


class Audit(Operation, frozen=True, kw_only=True, gc=False, tag_field="f", tag="audit"):
    """Somebody asked the audit chain to verify itself."""

    f: ClassVar[str] = "audit"
    input: Any = None
    output: AuditOutput | None = None


class BudgetOutput(msgspec.Struct, frozen=True, gc=False):
    total: int | None = None
    used: int | None = None


class Budget(Operation, frozen=True, kw_only=True, gc=False, tag_field="f", tag="budget"):
    """Somebody read the budget."""

    f: ClassVar[str] = "budget"
    input: Any = None
    output: BudgetOutput | None = None


class Stats(Operation, frozen=True, kw_only=True, gc=False, tag_field="f", tag="stats"):
    """Somebody read a worker's counters: ``output`` has the fields of upstream's ``StatsSnapshot``."""

    f: ClassVar[str] = "stats"
    input: Any = None
    output: dict[str, Any] | None = None


class ImportCapabilityInput(msgspec.Struct, frozen=True, gc=False):
    capability: str


class ImportCapability(
    Operation, frozen=True, kw_only=True, gc=False, tag_field="f", tag="import_capability"
):
    """Somebody imported a remote capability through one worker."""

    f: ClassVar[str] = "import_capability"
    input: ImportCapabilityInput
    output: Any = None


class FaultEvent(Operation, frozen=True, kw_only=True, gc=False):
    """A fault, in the same history as the calls it disturbed; ``f`` is ``fault.<name>``."""

    f: str  # type: ignore[misc]  # the one kind whose f is open
    input: Any = None
    output: Any = None


Called = (
    Grant | Invoke | Expand | Revoke | RevokeAll | Explain | ListTraces | Audit | Budget | Stats
    | ImportCapability
)  # fmt: skip
AnyOperation = Called | FaultEvent

KINDS: tuple[str, ...] = tuple(kind.f for kind in Called.__args__)


class MalformedHistory(ValueError):  # noqa: N818 - it names a thing, as the field does
    """A line that is no operation; the message names the file, the line and what is wrong."""


_called = msgspec.json.Decoder(Called)
_fault = msgspec.json.Decoder(FaultEvent)
_encode = msgspec.json.Encoder().encode


def parse_line(line: bytes, *, where: str) -> AnyOperation:
    """One line as an operation; ``where`` (``"history.jsonl:7"``) opens the error message.

    Raises:
        MalformedHistory: The line is no JSON, no known operation, or lacks what its kind needs.
    """
    try:
        return _called.decode(line)
    except msgspec.ValidationError as error:
        if b'"fault.' in line:
            return _fault.decode(line)
        raise MalformedHistory(f"{where}: {error}") from None
    except msgspec.DecodeError as error:
        raise MalformedHistory(f"{where}: {error}") from None


def iter_history(path: Path) -> Iterator[AnyOperation]:
    """The operations of a file, one by one.

    A last line without its newline is what a killed recorder leaves: it never was a whole record, so it is
    passed over.

    Raises:
        MalformedHistory: With the number of the first bad line.
    """
    with path.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.endswith(b"\n"):
                try:
                    yield parse_line(line, where=f"{path.name}:{number}")
                except MalformedHistory:
                    return
            elif line.strip():
                yield parse_line(line, where=f"{path.name}:{number}")


def read_history(path: Path) -> list[AnyOperation]:
    """All operations of a file. See `iter_history`."""
    return list(iter_history(path))


class HistoryWriter:
    """Appends operations to ``history.jsonl``, each line whole and flushed: a killed run stays readable."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._next = 0

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


def to_line(operation: AnyOperation) -> dict[str, Any]:
    """The dict form of an operation, as it stands in a line."""
    plain: dict[str, Any] = msgspec.to_builtins(operation)
    plain["f"] = operation.f
    return plain


def write_history(path: Path, operations: Sequence[AnyOperation]) -> None:
    """Write a whole history at once (tests, saved counter-examples)."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"".join(_encode(to_line(operation)) + b"\n" for operation in operations))
