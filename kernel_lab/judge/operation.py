"""Operations: one call each, with its request, its reply, its times, and the worker that answered.

Times are nanoseconds of one host's monotonic clock. An operation took effect, if it did, at one instant of
``[call_ns, return_ns]``; one with outcome ``info`` has no return and may take effect at any time after its
call, or never. One operation is before another only where it returned earlier than the other was called: what
touches or overlaps is concurrent.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from typing import Any, ClassVar, Final, TypeVar, final

import msgspec


class Outcome(StrEnum):
    """The knowledge about an operation's effect."""

    OK = "ok"
    """The call did what was asked."""
    FAIL = "fail"
    """The call was refused and certainly had no effect; ``error`` is the stable reason code."""
    INFO = "info"
    """Unknown: a 5xx, a time-out, a dropped connection. The call may have had its effect."""


OK: Final = Outcome.OK
FAIL: Final = Outcome.FAIL
INFO: Final = Outcome.INFO
"""The outcomes under short names, for code that asks once for each operation.

Python 3.11 takes about twelve times as long to look up `Outcome.OK` as to look up `OK` (180 and 15 ns).
"""


FOREVER = 1 << 100
"""An instant later than any clock shows. An operation whose outcome is info ends then."""


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

    @property
    def end_ns(self) -> int:
        """The latest instant at which it can have taken effect: its return, or `FOREVER` where it is info."""
        return_ns = self.return_ns
        return FOREVER if return_ns is None or self.outcome is INFO else return_ns

    @property
    def recorded_ns(self) -> int:
        """The latest instant at which the server can have recorded it: its trace, its handle, its count."""
        return self.end_ns


class Unread(msgspec.Struct, frozen=True, gc=False):
    """An object that no checker looks into: a million of them cost next to nothing."""


Anything = Unread | list[Any] | str | int | float | bool | None


class GrantInput(msgspec.Struct, frozen=True, gc=False):
    """The principal that asks for a token, and the capability."""

    principal: str
    capability: str


class GrantOutput(msgspec.Struct, frozen=True, gc=False):
    """The token that was minted."""

    token_id: str | None = None


@final
class Grant(Operation, frozen=True, kw_only=True, gc=False, tag_field="f", tag="grant"):
    """A principal asked for a token for a capability."""

    f: ClassVar[str] = "grant"
    input: GrantInput
    output: GrantOutput | None = None


class InvokeInput(msgspec.Struct, frozen=True, gc=False):
    """The token that was presented, and by whom."""

    token_id: str
    principal: str = ""
    capability: str = ""
    tampered: bool = False
    dry_run: bool = False
    """The token is verified and the call is routed, but nothing is carried out: no action, no handle, no cost."""
    stream: bool = False
    """Answered in frames. ``kernel_lab.judge.checkers.streams`` says what its output holds."""
    args: dict[str, Any] | None = None
    """The arguments of the capability. Its trace repeats them."""


class InvokeOutput(msgspec.Struct, frozen=True, gc=False):
    """The action that was done, and the handle of its result."""

    action_id: str | None = None
    handle_id: str | None = None
    tokens: int | None = None
    response_mode: str | None = None
    frames: int | None = None
    """For a stream, the number of frames that came."""
    final: bool | None = None
    """The stream's last frame was marked as the last."""
    closed: bool | None = None
    """The caller hung up before that."""
    last_frame_ns: int | None = None
    digest: str | None = None
    """The digest of the first rows, where the reply showed them: an expansion of the handle must show the same rows."""


@final
class Invoke(Operation, frozen=True, kw_only=True, gc=False, tag_field="f", tag="invoke"):
    """A principal presented a token and asked for its capability to be carried out."""

    f: ClassVar[str] = "invoke"
    input: InvokeInput
    output: InvokeOutput | None = None

    @property
    def recorded_ns(self) -> int:
        """A stream that its caller closed is recorded once the server notices, which may be at any time."""
        return FOREVER if self.output is not None and self.output.closed else self.end_ns


class ExpandInput(msgspec.Struct, frozen=True, gc=False):
    """The handle, and the principal that expands it."""

    handle_id: str
    principal: str
    limit: int | None = None
    """The number of rows that were asked for."""


class ExpandOutput(msgspec.Struct, frozen=True, gc=False):
    """The rows that came, and their number."""

    rows: int | list[Any] | None = None
    digest: str | None = None
    """The digest of the rows: equal questions must get equal digests."""
    action_id: str | None = None
    """The expansion's own action, which has a trace of its own."""


@final
class Expand(Operation, frozen=True, kw_only=True, gc=False, tag_field="f", tag="expand"):
    """A principal asked for rows behind a handle."""

    f: ClassVar[str] = "expand"
    input: ExpandInput
    output: ExpandOutput | None = None


class RevokeInput(msgspec.Struct, frozen=True, gc=False):
    """The token that is revoked."""

    token_id: str


@final
class Revoke(Operation, frozen=True, kw_only=True, gc=False, tag_field="f", tag="revoke"):
    """Somebody revoked one token."""

    f: ClassVar[str] = "revoke"
    input: RevokeInput
    output: Anything = None


class RevokeAllInput(msgspec.Struct, frozen=True, gc=False):
    """The principal whose tokens are revoked."""

    principal: str


class RevokeAllOutput(msgspec.Struct, frozen=True, gc=False):
    """The number of tokens that were newly revoked."""

    revoked: int | None = None


@final
class RevokeAll(Operation, frozen=True, kw_only=True, gc=False, tag_field="f", tag="revoke_all"):
    """Somebody revoked every token of a principal."""

    f: ClassVar[str] = "revoke_all"
    input: RevokeAllInput
    output: RevokeAllOutput | None = None


class ExplainInput(msgspec.Struct, frozen=True, gc=False):
    """The action that is asked about."""

    action_id: str


class ExplainOutput(msgspec.Struct, frozen=True, gc=False):
    """The statements of the trace. A field that is null is not judged."""

    principal: str | None = None
    capability: str | None = None
    token_id: str | None = None
    handle_id: str | None = None
    status: str | None = None
    event_type: str | None = None
    args: dict[str, Any] | None = None


@final
class Explain(Operation, frozen=True, kw_only=True, gc=False, tag_field="f", tag="explain"):
    """Somebody asked for the trace of one action."""

    f: ClassVar[str] = "explain"
    input: ExplainInput
    output: ExplainOutput | list[Any] | str | int | float | bool | None = None


class ListTracesInput(msgspec.Struct, frozen=True, gc=False):
    """The filters of the list, under the history's names or the route's. Without a filter the list has every action."""

    principal: str | None = None
    capability: str | None = None
    principal_id: str | None = None
    capability_id: str | None = None
    event_type: str | None = None
    limit: int | None = None
    offset: int | None = None


class ListTracesOutput(msgspec.Struct, frozen=True, gc=False):
    """The actions of the traces, in their order."""

    action_ids: list[str] | None = None


@final
class ListTraces(Operation, frozen=True, kw_only=True, gc=False, tag_field="f", tag="list_traces"):
    """Somebody listed the traces."""

    f: ClassVar[str] = "list_traces"
    input: ListTracesInput | None = None
    output: ListTracesOutput | None = None


class AuditOutput(msgspec.Struct, frozen=True, gc=False):
    """Null where there is no chain to verify."""

    valid: bool | None = None
    records: int | list[Any] | None = None


@final
class Audit(Operation, frozen=True, kw_only=True, gc=False, tag_field="f", tag="audit"):
    """Somebody asked the audit chain to verify itself."""

    f: ClassVar[str] = "audit"
    input: Anything = None
    output: AuditOutput | None = None


class BudgetOutput(msgspec.Struct, frozen=True, gc=False):
    """Tokens; null where there is no budget."""

    total: int | None = None
    used: int | None = None


@final
class Budget(Operation, frozen=True, kw_only=True, gc=False, tag_field="f", tag="budget"):
    """Somebody read the budget."""

    f: ClassVar[str] = "budget"
    input: Anything = None
    output: BudgetOutput | None = None


class StatsOutput(msgspec.Struct, frozen=True, gc=False):
    """The counters of upstream's ``StatsSnapshot`` that a history can account for."""

    grants: int | None = None
    invocations: int | None = None
    expansions: int | None = None


@final
class Stats(Operation, frozen=True, kw_only=True, gc=False, tag_field="f", tag="stats"):
    """Somebody read a worker's counters."""

    f: ClassVar[str] = "stats"
    input: Anything = None
    output: StatsOutput | None = None


class ImportCapabilityInput(msgspec.Struct, frozen=True, gc=False):
    """The capability that is imported."""

    capability: str


@final
class ImportCapability(
    Operation, frozen=True, kw_only=True, gc=False, tag_field="f", tag="import_capability"
):
    """Somebody imported a remote capability through one worker."""

    f: ClassVar[str] = "import_capability"
    input: ImportCapabilityInput
    output: Anything = None


@final
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


def ends_ns(operations: Iterable[AnyOperation]) -> list[int]:
    """Return `end_ns` of each operation: in a third of the time, since nothing is called for each of them."""
    return [
        FOREVER if (return_ns := op.return_ns) is None or op.outcome is INFO else return_ns
        for op in operations
    ]


_Kind = TypeVar("_Kind", bound=AnyOperation)


def of_kind(history: Iterable[AnyOperation], kind: type[_Kind]) -> list[_Kind]:
    """Return the operations of one kind, in their order.

    Kinds are final: the class of an operation is the kind itself. So `is` decides, which takes a fraction of
    the time of `isinstance`. A loop over the result meets one class alone, whose fields Python finds faster.
    """
    return [op for op in history if type(op) is kind]
