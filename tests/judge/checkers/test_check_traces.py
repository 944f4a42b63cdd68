"""traces: explained everywhere, listed once, chained; up to the stated cap."""

import random
from functools import partial
from itertools import product

import pytest
from sketch import ORACLE, audit, cell, expand, explain, grant, history, invoke, kinds, listing

from kernel_lab.judge.checkers import traces
from kernel_lab.judge.history import Expand, Explain, Grant, Invoke, ListTraces, Outcome
from kernel_lab.judge.verdict import Validity

acted = partial(invoke, action="a")
hung_up = partial(acted, action="b", stream=True, final=False)
lost = partial(explain, error="trace_not_found")


def judged(*operations, cap=None):
    return traces.check(history(*operations), cell("traces", trace_cap=cap))


LEGAL = {
    "explained": (None, [acted(0, 2), explain(3, 4)]),
    "lost while it was being done": (None, [acted(0, 2), lost(2, 4), explain(5, 6)]),
    "an action nobody saw": (None, [acted(0, 2), explain(3, 4), lost(3, 4, action="z")]),
    "an invoke without an answer": (
        None, [invoke(0), acted(0, 2), explain(3, 4), listing(3, 4, actions=("a",))],
    ),
    "refused for another reason": (None, [acted(0, 2), explain(3, 4), explain(3, 4, error="http_403")]),
    "listed among others": (None, [acted(0, 2), listing(3, 4, actions=("x", "a", "x"))]),
    "not yet listed": (None, [acted(0, 2), listing(2, 4), explain(5, 6)]),
    "of another principal": (None, [acted(0, 2), listing(3, 4, principal="q"), explain(3, 4)]),
    "of another principal, in the route's words": (
        None, [acted(0, 2), listing(3, 4, principal_id="q"), explain(3, 4)],
    ),
    "of another capability": (None, [acted(0, 2), listing(3, 4, capability="d"), explain(3, 4)]),
    "of another event": (None, [acted(0, 2), listing(3, 4, event_type="deny"), explain(3, 4)]),
    "on another page": (None, [acted(0, 2), listing(3, 4, offset=1), explain(3, 4)]),
    "beyond the page": (None, [acted(0, 2), listing(3, 4, actions=("x",), limit=1), explain(3, 4)]),
    "pushed out": (1, [acted(0, 1), explain(2, 2), acted(3, 4, action="b"), lost(5, 6)]),
    "pushed out of the listing": (
        1, [acted(0, 1), explain(2, 2), acted(3, 4, action="b"), listing(5, 6, actions=("b",))],
    ),
    "pushed out by a denial": (
        1, [acted(0, 1), explain(2, 2), grant(3, 4, error="missing_role"), lost(5, 6)],
    ),
    "pushed out by an expansion": (1, [acted(0, 1), explain(2, 2), expand(3), lost(5, 6)]),
    "a stream that its caller closed": (
        None, [acted(0, 2), explain(3, 4), hung_up(0, 2), lost(3, 4, action="b")],
    ),
    "pushed out by the late trace of a stream that its caller had closed": (
        1, [invoke(0, 1, action="b", stream=True, closed=True, final=False), acted(2, 3), audit(4, 4),
            lost(5, 6)],
    ),
    "no chain": (None, [acted(0, 2), explain(3, 4), audit(3, 4, valid=None)]),
    "a chain with more records": (None, [acted(0, 2), audit(3, 4, records=7)]),
    "a chain that was cut to the cap": (
        1, [acted(0, 1), acted(2, 3, action="b"), audit(4, 5, records=1)],
    ),
    "a chain that does not know its length": (None, [acted(0, 2), audit(3, 4, records=None)]),
}  # fmt: skip
ILLEGAL = {
    "lost": (None, [acted(0, 2), lost(3, 4)], "lost_trace", 2),
    "lost within the cap": (2, [acted(0, 2), acted(3, 4, action="b"), lost(5, 6)], "lost_trace", 2),
    "lost though the other was recorded earlier": (
        1, [acted(0, 1, action="b"), acted(2, 3), lost(5, 6)], "lost_trace", 2,
    ),
    "a granted token pushes nothing out": (1, [acted(0, 1), grant(2, 3), lost(5, 6)], "lost_trace", 2),
    "lost after a stream that came to its end": (
        None, [acted(0, 2, stream=True, final=True), lost(3, 4)], "lost_trace", 2,
    ),
    "missing from a listing": (None, [acted(0, 2), listing(3, 4)], "missing_from_listing", 2),
    "missing from a listing that has room": (
        None, [acted(0, 2), listing(3, 4, limit=5)], "missing_from_listing", 2,
    ),
    "missing from its principal's listing": (
        None, [acted(0, 2), listing(3, 4, principal="p")], "missing_from_listing", 2,
    ),
    "listed twice": (None, [acted(0, 2), listing(1, 2, actions=("a", "a"))], "doubled_in_listing", 2),
    "a chain that does not verify": (None, [audit(0, 1, valid=False)], "broken_chain", 1),
    "a chain that lacks records": (
        None, [acted(0, 1), acted(0, 1, action="b"), acted(0, 1, action="c"), audit(2, 3, records=1)],
        "chain_short", 3,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LEGAL)
def test_it_is_legal(name):
    cap, operations = LEGAL[name]
    verdict = judged(*operations, cap=cap)
    assert verdict.validity is Validity.VALID, verdict


@pytest.mark.parametrize("name", ILLEGAL)
def test_it_is_illegal(name):
    cap, operations, kind, size = ILLEGAL[name]
    verdict = judged(*operations, cap=cap)
    assert (verdict.validity, kinds(verdict)) == (Validity.INVALID, {kind})
    assert len(verdict.counterexample) == size


def test_what_was_lost_and_what_was_missing():
    verdict = judged(
        acted(0, 1), acted(0, 1, action="b"), explain(2, 3), lost(2, 3, action="b"), lost(0, 3),
        listing(4, 5, actions=("a",)), listing(6, 7, actions=("a", "b", "b")),
    )  # fmt: skip
    measured = verdict.measures
    assert (measured["explains"], measured["lost"], measured["lost_rate"]) == (2, 1, 0.5)
    assert (measured["listings"], measured["missing_share"], measured["doubled"]) == (2, 0.25, 1)


def test_nothing_was_asked_afterwards():
    assert "nothing to judge" in judged(acted(0, 2), explain(1, 4), audit(5, 6, valid=None)).reason


@pytest.mark.parametrize(
    ("op", "lacking"),
    [
        (invoke(0, 1), "action_id"),
        (invoke(0, 1, dry_run=True), None),
        (invoke(0), None),
        (listing(0, 1), None),
        (audit(0, 1), None),
    ],
)
def test_an_operation_that_lacks_what_is_needed_is_named(op, lacking):
    said = traces.lacks(op)
    assert (said is None) if lacking is None else (lacking in said)


def legal(operations, cap):
    """For each question: instants of all records, and of the question, at which the right store says so."""
    recorders = [
        op
        for op in operations
        if isinstance(op, Invoke | Expand) or (isinstance(op, Grant) and op.outcome is not Outcome.OK)
    ]
    spans = [
        [*range(op.call_ns, 14 if op.outcome is Outcome.INFO or _closed(op) else op.return_ns + 1)]
        + ([] if isinstance(op, Invoke) and op.outcome is Outcome.OK and not _closed(op) else [None])
        for op in recorders
    ]
    # a listing is judged action by action: what is impossible only together passes
    return all(
        any(
            _answers(op, now, dict(zip(recorders, recorded, strict=True)), cap, about)
            for recorded in product(*spans)
            for now in range(op.call_ns, op.return_ns + 1)
        )
        for op in operations
        if isinstance(op, Explain | ListTraces)
        for about in (recorders if isinstance(op, ListTraces) else [None])
    )


def _closed(op):
    return isinstance(op, Invoke) and op.output is not None and op.output.closed


def _answers(op, now, recorded, cap, about):
    def may_be_gone(invoke):
        at = recorded[invoke]
        newer = sum(i is not invoke and t is not None and at <= t <= now for i, t in recorded.items())
        return now <= at or (cap is not None and newer >= cap)

    def certainly_gone(invoke):
        at = recorded[invoke]
        return cap is not None and sum(t is not None and at < t < now for t in recorded.values()) >= cap

    ours = [
        i for i in recorded if isinstance(i, Invoke) and i.output and i.output.action_id and not _closed(i)
    ]
    if isinstance(op, Explain):
        asked = [i for i in ours if i.output.action_id == op.input.action_id]
        if op.outcome is Outcome.OK:
            return not any(certainly_gone(i) for i in asked)
        return all(may_be_gone(i) for i in asked)
    listed = op.output.action_ids
    return (
        (cap is None or len(listed) <= cap)
        and (in_order([i for a in listed for i in ours if i.output.action_id == a]))
        and all(listed.count(i.output.action_id) < 2 for i in ours)
        and (about not in ours or about.output.action_id in listed or may_be_gone(about))
    )


def in_order(listed):
    pairs = [(one, other) for at, one in enumerate(listed) for other in listed[at + 1 :]]
    return all(other.return_ns >= one.call_ns for one, other in pairs) or all(
        one.return_ns >= other.call_ns for one, other in pairs
    )


def test_it_agrees_with_trying_everything():
    rng = random.Random(10)
    seen = {True: 0, False: 0}
    for _ in range(ORACLE):
        cap, operations = rng.choice([None, 1, 2, 3]), []
        for number in range(rng.randint(1, 3)):
            call = rng.randint(0, 6)
            operations.append(acted(call, call + rng.randint(0, 3), action=f"a{number}"))
        for _ in range(rng.randint(0, 1)):
            call = rng.randint(0, 6)
            operations.append(
                rng.choice(
                    [
                        invoke(call),
                        grant(call, call + 2, error="missing_role"),
                        expand(call, call + 2),
                        acted(call, call + 1, action="a2", stream=True, closed=True, final=False),
                    ]
                )
            )
        call = rng.randint(2, 12)
        if rng.random() < 0.6:
            error = rng.choice([None, "trace_not_found", "trace_not_found"])
            operations.append(
                explain(call, call + rng.randint(0, 2), action=f"a{rng.randint(0, 2)}", error=error)
            )
        else:
            actions = [f"a{n}" for n in range(3) if rng.random() < 0.8] + ["x"] * (rng.random() < 0.2)
            doubled = actions[:1] * (rng.random() < 0.2)
            operations.append(listing(call, call + rng.randint(0, 2), actions=(*actions, *doubled)))
        verdict = judged(*operations, cap=cap)
        wanted = legal(history(*operations), cap)
        assert (verdict.validity is not Validity.INVALID) == wanted, (cap, operations, verdict)
        seen[wanted] += 1
    assert min(seen.values()) > ORACLE // 10
