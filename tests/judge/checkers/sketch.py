"""Sketches of histories: ``history(grant(0, 10), grant(5, 12))``.

Each call is ``kind(call, return, …)`` in nanoseconds; without a return it is info, with an error it failed.
"""

from typing import Any

import msgspec
from effort import effort

from kernel_lab.judge.history import (
    AnyOperation,
    Audit,
    Budget,
    Expand,
    Explain,
    Grant,
    ImportCapability,
    Invoke,
    ListTraces,
    Outcome,
    Revoke,
    RevokeAll,
    Stats,
)
from kernel_lab.judge.operation import InvokeOutput
from kernel_lab.judge.verdict import Assumptions, Cell, DeploymentFacts, Verdict

T = "t"

ORACLE = effort(400, 1000, "KERNEL_LAB_ORACLE")
"""How many random histories each checker is compared with its oracle on: `make oracles HISTORIES=100000`."""
RIGHT = effort(60, 300, "KERNEL_LAB_RIGHT")
"""How many right deployments of each claim are played through: `make oracles RIGHT=3000`."""


def history(*operations: AnyOperation) -> list[AnyOperation]:
    return [msgspec.structs.replace(op, index=index) for index, op in enumerate(operations)]


def cell(scenario: str, assumptions: Assumptions | None = None, **parameters: Any) -> Cell:
    return Cell(
        scenario=scenario,
        deployment=DeploymentFacts(name="tiny"),
        parameters=parameters,
        assumptions=assumptions or Assumptions(),
    )


def kinds(verdict: Verdict) -> set[str]:
    return {anomaly.kind for anomaly in verdict.anomalies}


def _op(
    kind: Any, call: int, ret: int | None, error: str | None, worker: str, asked: dict[str, Any], answer: Any
) -> Any:
    outcome = Outcome.INFO if ret is None else Outcome.OK if error is None else Outcome.FAIL
    plain = {
        "f": kind.f, "index": 0, "client": "c0", "outcome": outcome, "call_ns": call, "return_ns": ret,
        "worker": worker, "error": error, "input": asked, "output": answer if outcome is Outcome.OK else None,
    }  # fmt: skip
    return msgspec.convert(plain, kind)


def grant(
    call: int,
    ret: int | None = None,
    *,
    token: str = T,
    to: str = "p",
    of: str = "c",
    error: str | None = None,
    worker: str = "r0/1/a",
) -> Any:
    return _op(Grant, call, ret, error, worker, {"principal": to, "capability": of}, {"token_id": token})


def invoke(
    call: int,
    ret: int | None = None,
    *,
    token: str = T,
    by: str = "p",
    of: str = "c",
    error: str | None = None,
    worker: str = "r0/1/a",
    action: str | None = None,
    handle: str | None = None,
    cost: int | None = None,
    mode: str | None = None,
    frames: int | None = None,
    final: bool | None = None,
    closed: bool | None = None,
    last_frame: int | None = None,
    **asked: bool,
) -> Any:
    answer = {
        "action_id": action, "handle_id": handle, "tokens": cost, "response_mode": mode, "frames": frames,
        "final": final, "closed": closed, "last_frame_ns": last_frame,
    }  # fmt: skip
    op = _op(
        Invoke,
        call,
        ret,
        error,
        worker,
        {"token_id": token, "principal": by, "capability": of, **asked},
        answer,
    )
    if op.outcome is Outcome.INFO and asked.get(
        "stream"
    ):  # what came of a stream is known though it broke off
        return msgspec.structs.replace(op, output=msgspec.convert(answer, InvokeOutput))
    return op


def expand(
    call: int,
    ret: int | None = None,
    *,
    handle: str = "h",
    by: str = "p",
    error: str | None = None,
    worker: str = "r0/1/a",
) -> Any:
    return _op(Expand, call, ret, error, worker, {"handle_id": handle, "principal": by}, {"rows": 1})


def revoke(
    call: int,
    ret: int | None = None,
    *,
    token: str = T,
    error: str | None = None,
    worker: str = "r0/1/a",
) -> Any:
    return _op(Revoke, call, ret, error, worker, {"token_id": token}, {})


def revoke_all(
    call: int, ret: int | None = None, *, of: str = "p", error: str | None = None, worker: str = "r0/1/a"
) -> Any:
    return _op(RevokeAll, call, ret, error, worker, {"principal": of}, {"revoked": 1})


def explain(
    call: int, ret: int | None = None, *, action: str = "a", error: str | None = None, worker: str = "r0/1/a"
) -> Any:
    return _op(Explain, call, ret, error, worker, {"action_id": action}, {})


def listing(
    call: int,
    ret: int | None = None,
    *,
    actions: tuple[str, ...] = (),
    error: str | None = None,
    **asked: Any,
) -> Any:
    return _op(ListTraces, call, ret, error, "r0/1/a", asked, {"action_ids": list(actions)})


def audit(
    call: int,
    ret: int | None = None,
    *,
    valid: bool | None = True,
    records: int = 0,
    error: str | None = None,
) -> Any:
    return _op(Audit, call, ret, error, "r0/1/a", {}, {"valid": valid, "records": records})


def budget(
    call: int,
    ret: int | None = None,
    *,
    used: int | None = 0,
    total: int | None = 100,
    error: str | None = None,
) -> Any:
    return _op(Budget, call, ret, error, "r0/1/a", {}, {"total": total, "used": used})


def stats(
    call: int, ret: int | None = None, *, error: str | None = None, worker: str = "r0/1/a", **counts: int
) -> Any:
    return _op(Stats, call, ret, error, worker, {}, counts)


def imported(
    call: int, ret: int | None = None, *, of: str = "c", error: str | None = None, worker: str = "r0/1/a"
) -> Any:
    return _op(ImportCapability, call, ret, error, worker, {"capability": of}, {})
