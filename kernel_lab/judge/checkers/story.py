"""Operations in words: one short line each, for a person who reads a counter-example."""

from __future__ import annotations

from collections.abc import Sequence

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


def tell(operations: Sequence[AnyOperation]) -> tuple[str, ...]:
    """Return the operations as text, one on a line, timed from the first call."""
    start_ns = min((op.call_ns for op in operations), default=0)
    width = max((len(f"{_ms(op.call_ns - start_ns)}") for op in operations), default=0)
    return tuple(_line(op, start_ns, width) for op in operations)


def _line(op: AnyOperation, start_ns: int, width: int) -> str:
    """Return one line: ``+0.0 ms  c1 @r0/4711  revoke token 8f… → ok (returned +2.1 ms)``."""
    worker = "/".join(op.worker.split("/")[:2]) if op.worker else "?"
    returned = f"returned {_ms(op.return_ns - start_ns)}" if op.return_ns is not None else "no return"
    called = f"{_ms(op.call_ns - start_ns):>{width}}  {op.client} @{worker}"
    return f"{called}  {asked(op)} → {_answered(op)} ({returned})"


def _ms(time_ns: int) -> str:
    return f"+{time_ns / 1e6:.1f} ms"


def asked(op: AnyOperation) -> str:
    """Return the request of an operation in words."""
    match op:
        case Grant():
            return f"grant {op.input.capability} to {op.input.principal}"
        case Invoke():
            kind = "".join(
                word
                for word, said in (
                    ("tampered ", op.input.tampered),
                    ("dry-run ", op.input.dry_run),
                    ("streamed ", op.input.stream),
                )
                if said
            )
            return f"{kind}invoke token {short(op.input.token_id)}"
        case Expand():
            return f"expand handle {short(op.input.handle_id)} by {op.input.principal}"
        case Revoke():
            return f"revoke token {short(op.input.token_id)}"
        case RevokeAll():
            return f"revoke all of {op.input.principal}"
        case Explain():
            return f"explain action {short(op.input.action_id)}"
        case ListTraces():
            return "list traces"
        case ImportCapability():
            return f"import {op.input.capability}"
        case _:
            return op.f


def _answered(op: AnyOperation) -> str:
    if op.outcome is not Outcome.OK:
        return f"{op.outcome} {op.error}" if op.error else str(op.outcome)
    said = ""
    match op:
        case Grant():
            said = f"token {short(op.output.token_id)}" if op.output and op.output.token_id else ""
        case Invoke() if op.output:
            said = ", ".join(
                f"{name} {short(value)}"
                for name, value in (("action", op.output.action_id), ("handle", op.output.handle_id))
                if value
            )
            said += f", {op.output.tokens} tokens" if op.output.tokens is not None else ""
        case ListTraces() if op.output:
            said = f"{len(op.output.action_ids or ())} actions"
        case Audit() if op.output:
            records = op.output.records
            count = len(records) if isinstance(records, list) else records
            said = f"valid {str(op.output.valid).lower()}, {count} records"
        case Budget() if op.output:
            said = f"used {op.output.used} of {op.output.total}"
        case Stats() if op.output:
            said = (
                f"grants {op.output.grants}, invocations {op.output.invocations}, "
                f"expansions {op.output.expansions}"
            )
    return f"ok: {said.removeprefix(', ')}" if said else "ok"


def short(name: str) -> str:
    """Return the beginning of an identifier, long enough to tell it from its neighbours."""
    return name if len(name) <= 12 else f"{name[:8]}…"


def named(op: AnyOperation) -> str:
    """Return ``op 412 (worker r0/4711/ab12)``."""
    return f"op {op.index} (worker {op.worker or 'unknown'})"


def lasting(duration_ns: float) -> str:
    """Return a duration as a person says it: ``1.8 s``, ``12 ms``, ``40 µs``."""
    for unit_ns, unit in ((1e9, "s"), (1e6, "ms"), (1e3, "µs")):
        if duration_ns >= unit_ns:
            return f"{duration_ns / unit_ns:.3g} {unit}"
    return f"{duration_ns:.0f} ns"
