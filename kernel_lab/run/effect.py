"""The effect of a fault on a deployment, as one recorded history shows it: ``faults.csv``.

The *mode* says how a claim fared. ``open``: the fault broke a guarantee that holds without it. Something was
admitted, shown or forgotten that must not be. ``times_n``: it is broken without a fault too, because each process
counts alone. ``closed``: requests failed, or something good was refused, and no guarantee broke. ``none``: the claim
held, and no request failed. It is empty where the cell is unknown or was skipped.

A claim can be invalid in the mode ``closed``: the refusal of a good token violates the claim, but admits no call that
should be refused. `Effect.broke` names the anomalies of a claim in every mode.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import msgspec

from kernel_lab.faults.liveness import Probed
from kernel_lab.judge.evidence import Proves, proves
from kernel_lab.judge.history import AnyOperation, FaultEvent, Invoke, Outcome, Revoke
from kernel_lab.judge.verdict import Validity, Verdict
from kernel_lab.run.folder import RunFolder
from kernel_lab.run.results import CellResult, write_rows

COLUMNS = (
    "deployment", "state", "fault", "connections", "claim", "validity", "mode", "landed", "lost_acknowledged",
    "carried_out_unacknowledged", "unavailable_ms", "recovered_ms", "failed_requests", "reason", "broke",
    "liveness_asked", "liveness_failed", "liveness_restarts", "requests",
)  # fmt: skip
"""The columns of ``faults.csv``."""

LOSSES = frozenset(
    {
        "leak",
        "resurrection",
        "miss",
        "lost_trace",
        "missing_from_listing",
        "lost_use",
        "used_went_back",
        "not_found",
    }
)
"""Kinds of anomaly which prove that the deployment lost a change that it had acknowledged."""

REFUSALS = frozenset(
    {
        "rejected",
        "expired_early",
        "wrongful_denial",
        "phantom",
        "false_denial",
        "refused_owner",
        "early_expiry",
    }
)
"""Kinds of anomaly which prove that a good request was refused. Nothing was let through, and nothing was lost."""

Mode = Literal["open", "closed", "times_n", "none", ""]


class Effect(msgspec.Struct, frozen=True, kw_only=True):
    """The effect of a fault. A value that was not measured is None."""

    mode: Mode = ""
    landed: str = ""
    """The sentence that shows that the fault was in force; empty where it did not land."""
    broke: str = ""
    """The kinds of anomaly that the checker found, the worst first; empty where it found none."""
    lost_acknowledged: int | None = None
    """The number of anomalies which prove that an acknowledged change was lost; None for a claim that is broken
    anyway."""
    carried_out_unacknowledged: int | None = None
    """The number of calls that failed for the client and had their effect all the same. These are revokes that were
    in force afterwards, and invokes whose driver ran. None where the claim makes neither, or where no log of the
    drivers' executions exists."""
    unavailable_ms: float | None = None
    """Milliseconds from the call of the first failed request to the first answer after the last failed request. If
    no such answer came, it is the time until the lab stopped looking. 0 if no request failed."""
    recovered_ms: float | None = None
    """Milliseconds from the fault to the first answer after the last failed request; None if no such answer came,
    or if no request failed."""
    failed_requests: int | None = None
    """The number of requests without an answer, or with a server's error such as 503."""
    requests: int | None = None
    """The number of requests that ended after the fault had begun. `failed_requests` counts those of them that
    failed."""
    liveness_asked: int | None = None
    """The number of liveness probes, over all replicas, from the beginning of the fault until requests had
    stopped failing."""
    liveness_failed: int | None = None
    """The number of these liveness probes that had no answer in time."""
    liveness_restarts: int | None = None
    """The number of restarts that the probes would have caused. Three failed probes in a row cause one."""


NOTHING = Effect()
"""The effect for a cell that was not recorded, or whose fault did not land."""


def failed(op: AnyOperation) -> bool:
    """Return whether a request failed because of the deployment: no answer, or a server's error such as 503."""
    return op.outcome is Outcome.INFO


def effect(
    history: Sequence[AnyOperation],
    verdict: Verdict | None,
    expected: Validity | None,
    *,
    executions: Mapping[str, int] | None = None,
    probed: Probed | None = None,
) -> Effect:
    """Return the effect of the fault of a history. For a fault that did not land, every field is empty.

    Args:
        history: The recorded operations, and the fault's own operations among them.
        verdict: The checker's verdict on the claim; None where nothing could be judged.
        expected: The verdict that this deployment gets without a fault.
        executions: Principal → the number of times that a driver ran for it; None where no log of this exists.
        probed: The findings of the liveness probe; None if the lab sent none.
    """
    faults = [op for op in history if isinstance(op, FaultEvent) and "ended" not in (op.input or {})]
    if verdict is None or not faults or faults[0].outcome is not Outcome.OK:
        return NOTHING
    begun = faults[0]
    calls = sorted(
        (op for op in history if not isinstance(op, FaultEvent) and _end(op) >= begun.call_ns),
        key=lambda op: op.call_ns,
    )
    bad = [op for op in calls if failed(op)]
    last_ns = max((op.call_ns for op in bad), default=0)
    answered = [op for op in calls if not failed(op) and op.call_ns > last_ns]
    after = [op.return_ns for op in answered if op.return_ns is not None]
    back_ns = min(after, default=max((_end(op) for op in calls), default=0))
    broken_anyway = expected is Validity.INVALID
    lost = sum(anomaly.kind in LOSSES for anomaly in verdict.anomalies)
    return Effect(
        mode=_mode(verdict, broken_anyway=broken_anyway, failures=len(bad)),
        landed=(begun.output or {}).get("evidence", ""),
        lost_acknowledged=None if broken_anyway or verdict.validity is Validity.UNKNOWN else lost,
        broke=" ".join(dict.fromkeys(anomaly.kind for anomaly in verdict.anomalies)),
        carried_out_unacknowledged=_carried_out(history, executions),
        unavailable_ms=(back_ns - bad[0].call_ns) / 1e6 if bad else 0.0,
        recovered_ms=(back_ns - begun.call_ns) / 1e6 if bad and after else None,
        failed_requests=len(bad),
        requests=len(calls),
        liveness_asked=None if probed is None else probed.asked,
        liveness_failed=None if probed is None else probed.failed,
        liveness_restarts=None if probed is None else probed.restarts,
    )


def _end(op: AnyOperation) -> int:
    """The time when a request ended for its client. If the end was not recorded, it is the time of the call."""
    return op.return_ns if op.return_ns is not None else op.call_ns


def _mode(verdict: Verdict, *, broken_anyway: bool, failures: int) -> Mode:
    if verdict.validity is Validity.INVALID:
        if broken_anyway:
            return "times_n"
        return "closed" if {anomaly.kind for anomaly in verdict.anomalies} <= REFUSALS else "open"
    if verdict.validity is not Validity.VALID:
        return ""
    return "closed" if failures else "none"


def _carried_out(history: Sequence[AnyOperation], executions: Mapping[str, int] | None) -> int | None:
    """The number of calls that failed for their client and took effect all the same."""
    told = [one for one in (_revoked(history), _executed(history, executions)) if one is not None]
    return sum(told) if told else None


def _executed(history: Sequence[AnyOperation], executions: Mapping[str, int] | None) -> int | None:
    """The number of executions beyond those of acknowledged invokes.

    Each invoke that was ok has exactly one execution.
    """
    invokes = [op for op in history if isinstance(op, Invoke) and not op.input.dry_run]
    if executions is None or not invokes:
        return None
    acknowledged = Counter(op.input.principal for op in invokes if op.outcome is Outcome.OK)
    principals = {op.input.principal for op in invokes}
    return sum(max(0, executions.get(name, 0) - acknowledged[name]) for name in principals)


def _revoked(history: Sequence[AnyOperation]) -> int | None:
    """The number of tokens that were refused as revoked although no client got an answer to a revoke of them."""
    acknowledged: dict[str, bool] = {}
    for op in history:
        if isinstance(op, Revoke):
            token = op.input.token_id
            acknowledged[token] = acknowledged.get(token, False) or op.outcome is Outcome.OK
    if not acknowledged:
        return None
    refused = {op.input.token_id for op in history if isinstance(op, Invoke) and proves(op) is Proves.REVOKED}
    return sum(token in refused for token, ok in acknowledged.items() if not ok)


def write_effects(folder: RunFolder, rows: Sequence[tuple[CellResult, Effect]]) -> None:
    """Write ``faults.csv``, one row for each cell."""
    write_rows(folder.table("faults"), COLUMNS, (_row(result, found) for result, found in rows))


def _row(result: CellResult, found: Effect) -> dict[str, Any]:
    return {**msgspec.to_builtins(result), **msgspec.to_builtins(found)}
