"""Evidence: what the end of an invoke proves about the token that was presented, in one table for all checkers.

Upstream verifies a token, then looks up its capability, then reserves budget, then runs a driver (`Kernel.invoke` of
weaver-kernel 0.12.0). So an error that arises after the verification proves that the token was accepted: the driver
that failed had been called with it. An error that arises before, or at an unknown place, proves nothing. One error
proves that the token was refused because it was revoked.

The second table says which operations must have succeeded at least once before a claim may be called valid. A
kernel that answers every invoke with the same error breaks no claim, and proves no claim either.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from enum import StrEnum
from typing import Final

from kernel_lab.judge.operation import OK, AnyOperation, Invoke, Outcome


class Proves(StrEnum):
    """The evidence that the end of an invoke gives about its token."""

    ACCEPTED = "accepted"
    """The token was good for this call: it was not tampered with, not expired and not revoked."""
    REVOKED = "revoked"
    """The token was refused because it was revoked."""
    NOTHING = "nothing"
    """The call was refused for another reason, or it is not known what became of it."""


ACCEPTED: Final = Proves.ACCEPTED
REVOKED: Final = Proves.REVOKED
NOTHING: Final = Proves.NOTHING
"""The same under short names, like the names of the outcomes, because code asks for them once for each operation."""

ERRORS: Mapping[str, Proves] = {
    "token_revoked": Proves.REVOKED,
    # after the verification
    "driver_failed": Proves.ACCEPTED,
    "budget_exhausted": Proves.ACCEPTED,
    "capability_not_found": Proves.ACCEPTED,
    # errors before the verification, or of other operations
    "token_invalid": Proves.NOTHING,
    "token_expired": Proves.NOTHING,
    "token_scope": Proves.NOTHING,
    "rate_limited": Proves.NOTHING,
    "malformed": Proves.NOTHING,
    "state_unavailable": Proves.NOTHING,
    "internal_error": Proves.NOTHING,
}
"""Reason code of an invoke → what it proves; a reason code that is not here proves nothing."""


def begun(op: Invoke) -> bool:
    """Whether this is a stream that sent frames: it was served, even if it broke off later."""
    return op.input.stream and op.output is not None and bool(op.output.frames)


def proves(op: Invoke) -> Proves:
    """Return what an invoke proves about its token: by its outcome, its frames, or its reason code."""
    if op.outcome is OK or (op.input.stream and begun(op)):
        return ACCEPTED
    return ERRORS.get(op.error, NOTHING) if op.error is not None else NOTHING


def accepted(op: AnyOperation) -> bool:
    """Whether this is an invoke whose token was accepted."""
    return isinstance(op, Invoke) and proves(op) is ACCEPTED


def _done(*kinds: str) -> Callable[[AnyOperation], bool]:
    return lambda op: op.f in kinds and op.outcome is Outcome.OK


def _told(op: AnyOperation) -> bool:
    """Whether this is an invoke that says whether its token was revoked."""
    return isinstance(op, Invoke) and proves(op) is not Proves.NOTHING


NEEDS: Mapping[str, Mapping[str, Callable[[AnyOperation], bool]]] = {
    "tokens": {"invoke": lambda op: accepted(op) and isinstance(op, Invoke) and not op.input.tampered},
    "rate_limit": {"grant": _done("grant")},
    "revocation": {"invoke": _told, "revoke": _done("revoke", "revoke_all")},
    "handles": {"expand": _done("expand")},
    "traces": {"explain": _done("explain")},
    "budget": {"invoke": _done("invoke")},
    "capabilities": {"import_capability": _done("import_capability")},
    "stats": {"stats": _done("stats")},
    "streams": {"stream": lambda op: accepted(op) and isinstance(op, Invoke) and op.input.stream},
}
"""Claim → the operations that must have succeeded at least once, by name."""


def untried(claim: str, history: Sequence[AnyOperation]) -> str:
    """Return, in one clause, which operation a claim needs and never succeeded; empty where all of them did."""
    for name, succeeded in NEEDS.get(claim, {}).items():
        if not any(succeeded(op) for op in history):
            return f"nothing was tried: no {name} succeeded{_how_they_ended(name, history)}"
    return ""


def _how_they_ended(name: str, history: Iterable[AnyOperation]) -> str:
    kinds = {"stream": ("invoke",), "revoke": ("revoke", "revoke_all")}.get(name, (name,))
    ends = Counter(op.error or "no error" for op in history if op.f in kinds and op.outcome is not Outcome.OK)
    if not ends:
        return ", because none was called"
    return f" ({', '.join(f'{count} × {error}' for error, count in ends.most_common(3))})"
