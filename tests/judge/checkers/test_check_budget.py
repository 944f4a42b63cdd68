"""budget: nothing is served once it is spent, and what is read is what was spent."""

import random
from functools import partial
from itertools import chain, groupby, permutations, product
from operator import itemgetter

import pytest
from sketch import ORACLE, budget, cell, history, invoke, kinds

from kernel_lab.judge.checkers import budget as checker
from kernel_lab.judge.history import Budget, Invoke, Outcome
from kernel_lab.judge.verdict import Validity

exhausted = partial(invoke, error="budget_exhausted")


def judged(*operations, total=100, request=10):
    return checker.check(history(*operations), cell("budget", total=total, request=request))


LEGAL = {
    "within the budget": [invoke(0, 1, cost=60), invoke(2, 3, cost=39), budget(4, 5, used=99)],
    "the last one overshoots": [invoke(0, 1, cost=90), invoke(2, 3, cost=90), exhausted(4, 5)],
    "served while the last one was under way": [invoke(0, 9, cost=100), invoke(9, 10, cost=100)],
    "what is told stops at the total": [invoke(0, 1, cost=250), budget(2, 3, used=100)],
    "a read while it is charged": [invoke(0, 9, cost=50), budget(8, 9, used=0), budget(8, 9, used=50)],
    "two reads at once": [invoke(0, 9, cost=50), budget(1, 5, used=50), budget(5, 6, used=0)],
    "a refusal while others hold their reserve": [
        *(invoke(0, 5, cost=1) for _ in range(10)), exhausted(5, 6),
    ],
    "a refusal while one that will be refused holds its reserve": [
        *(invoke(0, 5, cost=1) for _ in range(9)), invoke(0, 5, error="too_large"), exhausted(1, 2),
    ],
    "a refusal after one without an answer": [invoke(0), exhausted(50, 60)],
    "a read after one without an answer": [invoke(0), budget(50, 60, used=77)],
    "handles cost nothing": [
        invoke(0, 1, cost=99), *(invoke(t, t + 1, mode="handle_only") for t in range(2, 9)),
    ],
    "a dry run is not charged": [invoke(0, 1, cost=100), invoke(2, 3, dry_run=True), exhausted(4, 5)],
    "a stream is not charged": [invoke(0, 1, cost=100), invoke(2, 3, stream=True, cost=70), exhausted(4, 5)],
    "charged between two reads, or before": [
        budget(0, 1, used=25), invoke(1, 3, cost=5), invoke(0, 0, cost=20), budget(4, 5, used=25),
    ],
    "no more is left to tell": [
        invoke(0, 1, cost=90), budget(2, 3, used=90), invoke(4, 5, cost=90), budget(6, 7, used=100),
    ],
    "no budget to read": [invoke(0, 1, cost=5), budget(2, 3, used=None, total=None)],
}  # fmt: skip
ILLEGAL = {
    "the last of three at once found nothing left": (
        [invoke(0, 1, cost=85), *(invoke(2, 5, cost=12) for _ in range(3))], "over_reserved", 4,
    ),
    "another total than is stated": ([budget(4, 5, used=0, total=99)], "wrong_total", 1),
    "more used than there is": ([invoke(0, 9, cost=160), budget(4, 5, used=160)], "over_total", 1),
    "served once it was spent": ([invoke(0, 1, cost=100), invoke(2, 3, cost=1)], "overspend", 2),
    "served for nothing once it was spent": ([invoke(0, 1, cost=100), invoke(2, 3, cost=0)], "overspend", 2),
    "told less than before": (
        [invoke(0, 9, cost=50), budget(1, 2, used=50), budget(3, 4, used=0)], "used_went_back", 2,
    ),
    "told less than was spent": (
        [invoke(0, 1, cost=9), invoke(0, 1, cost=50), budget(2, 3, used=9)], "lost_use", 2,
    ),
    "grew by less than was spent between": (
        [invoke(0, 9, cost=9), budget(1, 2, used=9), invoke(3, 4, cost=5), budget(5, 6, used=9)], "lost_use", 3,
    ),
    "grew by more than was spent between": (
        [invoke(0, 9, cost=9), invoke(0, 9, cost=9), invoke(0, 1, cost=9), budget(2, 3, used=9),
         invoke(4, 5, cost=5), budget(6, 7, used=33)], "inflated_use", 1,
    ),
    "served once a read had told that it was spent": (
        [invoke(0, 9, cost=100), budget(1, 2, used=100), invoke(3, 4, cost=1)], "overspend", 2,
    ),
    "told more than was spent": ([invoke(0, 1, cost=50), budget(2, 3, used=51)], "inflated_use", 1),
    "refused with nothing spent": ([exhausted(0, 1)], "false_denial", 1),
    "refused with something left": ([invoke(0, 1, cost=99), exhausted(2, 3)], "false_denial", 1),
    "refused before it was spent": ([exhausted(0, 1), invoke(2, 3, cost=100)], "false_denial", 1),
    "refused, the reserves given back": (
        [*(invoke(0, 5, cost=1) for _ in range(10)), exhausted(6, 7)], "false_denial", 1,
    ),
    "refused, though the others were refused before they reserved": (
        [*(invoke(0, 5, error="token_revoked") for _ in range(10)), exhausted(1, 2)], "false_denial", 1,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", LEGAL)
def test_it_is_legal(name):
    verdict = judged(*LEGAL[name])
    assert verdict.validity is Validity.VALID, verdict


@pytest.mark.parametrize("name", ILLEGAL)
def test_it_is_illegal(name):
    operations, kind, size = ILLEGAL[name]
    verdict = judged(*operations)
    assert (verdict.validity, kinds(verdict)) == (Validity.INVALID, {kind})
    assert len(verdict.counterexample) == size


def test_a_short_proof_is_told_where_there_is_one():
    spree = [invoke(2 * t, 2 * t + 1, cost=10) for t in range(20)]
    long = judged(*spree)
    assert (kinds(long), len(long.counterexample)) == ({"overspend"}, 11)
    short = judged(*spree, budget(50, 51, used=3))
    assert kinds(short) == {"overspend", "lost_use"}
    assert [line["f"] for line in short.counterexample] == ["invoke", "budget"]


def test_what_was_spent():
    verdict = judged(
        *(invoke(2 * t, 2 * t + 1, cost=60) for t in range(5)), exhausted(0, 1), budget(9, 9, used=60)
    )
    assert (verdict.measures["spent"], verdict.measures["factor"]) == (300, 3.0)
    assert (verdict.measures["overspends"], verdict.measures["refused"]) == (3, 1)
    assert verdict.measures["used_max"] == 60


@pytest.mark.parametrize(
    ("op", "lacking"),
    [
        (invoke(0, 1), "output.tokens"),
        (invoke(0, 1, mode="handle_only"), None),
        (invoke(0, 1, stream=True), None),
        (invoke(0, 1, dry_run=True), None),
        (invoke(0), None),
        (budget(0, 1), None),
    ],
)
def test_an_operation_that_lacks_what_is_needed_is_named(op, lacking):
    said = checker.lacks(op)
    assert (said is None) if lacking is None else (lacking in said)


def test_nothing_was_asked():
    assert "nothing to judge" in judged(invoke(0, 1, error="token_revoked", dry_run=True)).reason
    assert "parameters.total" in checker.check(history(invoke(0, 1, cost=1)), cell("budget")).reason


def right_budget(rng, total, request):
    """Upstream's BudgetManager at instants of its own, seen from outside."""
    used = reserved = now = 0
    under_way, operations = [], []
    for _ in range(rng.randint(3, 14)):
        now += rng.choice([0, 1, 3])
        early, late = rng.choice([0, 1, 4]), rng.choice([0, 1, 4])
        match rng.choice(["begin", "begin", "end", "end", "read"]):
            case "begin" if total - used - reserved <= 0:
                operations.append(exhausted(now - early, now + late))
            case "begin":
                held = min(request, total - used - reserved)
                reserved += held
                under_way.append((now - early, held))
            case "end" if under_way:
                call, held = under_way.pop(rng.randrange(len(under_way)))
                cost = rng.choice([0, 1, 5, 12, 30])
                reserved -= held
                used = min(total, used + cost)
                operations.append(invoke(call, None if rng.random() < 0.05 else now + late, cost=cost))
            case "read":
                operations.append(budget(now - early, now + late, used=used, total=total))
    # what is still under way when the history ends
    return operations + [invoke(call) for call, _ in under_way]


def test_a_right_budget_is_never_accused():
    rng = random.Random(13)
    for _ in range(ORACLE * 2):
        total, request = rng.choice([10, 40, 100]), rng.choice([1, 10, 30])
        operations = right_budget(rng, total, request)
        verdict = judged(*operations, total=total, request=request)
        assert verdict.validity is not Validity.INVALID, (total, request, operations, verdict)


def test_an_invoke_that_costs_less_than_it_reserved_makes_room_for_another():
    """The first holds 30 of 40 and the second 10. The first gives 18 back, so the third finds something left."""
    cheap, dear = invoke(1, 7, cost=12), invoke(1, 7, cost=30)
    others = [invoke(4, 15, cost=30), invoke(4, 13, cost=30)]
    assert kinds(judged(cheap, *others, total=40, request=30)) == set()
    assert kinds(judged(dear, *others, total=40, request=30)) == {"over_reserved"}
    assert kinds(judged(invoke(1, cost=30), *others, total=40, request=30)) == set()  # it may have failed
    for cheap_end, found in ((0, {"over_reserved"}), (2, set())):  # it had returned before, or had not
        cheap = invoke(-3, cheap_end, cost=1)
        assert kinds(judged(cheap, dear, *others, total=40, request=30)) == found


def legal(operations, total, request):
    """One by one: for each answer, some instants of every reservation and charge at which it is right."""
    charged = [op for op in operations if isinstance(op, Invoke)]
    spans = []
    for op in charged:
        last = 14 if op.outcome is Outcome.INFO else op.return_ns
        pairs = [(a, b) for a in range(op.call_ns, last + 1) for b in range(a, last + 1)]
        spans.append(pairs + ([(None, None)] if op.outcome is Outcome.INFO else []))
    alone = all(
        any(
            _answers(op, now, list(zip(charged, instants, strict=True)), total, request)
            for instants in product(*spans)
            for now in range(op.call_ns, op.return_ns + 1)
        )
        for op in operations
        if op.outcome is not Outcome.INFO
    )
    reads = [op for op in operations if isinstance(op, Budget)]
    served = [op for op in charged if op.outcome is Outcome.OK]
    return (
        alone
        and all(
            any(
                _grew(one, at, other, now, list(zip(charged, instants, strict=True)), total)
                for instants in product(*spans)
                for at in range(one.call_ns, one.return_ns + 1)
                for now in range(other.call_ns, other.return_ns + 1)
            )
            for one in reads
            for other in reads
            if one.return_ns < other.call_ns
        )
        and all(read.output.used < total or op.call_ns <= read.return_ns for read in reads for op in served)
    )


def _grew(one, at, other, now, charged, total):
    """Whether the use can have grown from one read, at an instant, to another, as much as they tell."""
    certain = possible = 0
    for op, (_, charge) in charged:
        if charge is None or op.error == "budget_exhausted":
            continue
        cost = total if op.outcome is Outcome.INFO else op.output.tokens
        certain += cost if at < charge < now and op.outcome is Outcome.OK else 0
        possible += cost if at <= charge <= now or op.outcome is Outcome.INFO else 0
    return min(total, one.output.used + certain) <= other.output.used <= one.output.used + possible


def _answers(op, now, charged, total, request):
    certain = possible = gone = 0
    for other, (reserve, charge) in charged:
        if other is op or reserve is None or other.error == "budget_exhausted":
            continue
        cost = total if other.outcome is Outcome.INFO else other.output.tokens
        # an info may cost nothing, or anything
        certain += cost if charge < now and other.outcome is Outcome.OK else 0
        possible += cost if charge <= now else 0
        gone += max(
            cost if charge <= now else 0,
            request if reserve <= now <= charge else 0,
        )
    if isinstance(op, Budget):
        return min(total, certain) <= op.output.used <= possible
    return gone >= total if op.error else certain < total


def test_it_agrees_with_trying_everything():
    rng = random.Random(14)
    seen, jointly = {True: 0, False: 0}, 0
    for _ in range(ORACLE):
        total, request, operations = 10, rng.choice([2, 5, 8]), []
        crowded = rng.random() < 0.1  # several at once, and dear: the last of them may find nothing left
        for _ in range(3 if crowded else rng.randint(1, 3)):
            call = rng.randint(0, 1 if crowded else 5)
            ret = None if rng.random() < 0.1 else call + rng.randint(crowded, 2)
            operations.append(invoke(call, ret, cost=rng.choice([3, 5, 10] if crowded else [0, 2, 5, 10])))
        if len(operations) < 3 and rng.random() < 0.5:  # an earlier read
            call = rng.randint(0, 3)
            operations.append(budget(call, call + 1, total=total, used=rng.choice([0, 0, 2, 5, 10])))
        call = rng.randint(0, 8)
        ret = call + rng.randint(0, 1)
        operations.append(
            rng.choice(
                [budget(call, ret, total=total, used=rng.choice([0, 2, 5, 7, 10])), exhausted(call, ret)]
            )
        )
        verdict = judged(*operations, total=total, request=request)
        wanted = legal(operations, total, request)
        alone = kinds(verdict) - {"over_reserved"}
        assert (not alone) == wanted, (request, operations, verdict)
        if "over_reserved" in kinds(verdict):
            jointly += 1
            assert not can_reserve(operations, total, request), (request, operations, verdict)
        seen[wanted] += 1
    assert min(seen.values()) > ORACLE // 10
    assert jointly


def can_reserve(operations, total, request):
    """Whether the served can all have reserved and been charged, in some order that their intervals allow."""
    served = [op for op in operations if isinstance(op, Invoke) and op.outcome is Outcome.OK]
    spans = [
        [(a, b) for a in range(op.call_ns, op.return_ns + 1) for b in range(a, op.return_ns + 1)]
        for op in served
    ]
    reads = [op for op in operations if isinstance(op, Budget)]
    for *instants, at in product(*spans, product(*(range(op.call_ns, op.return_ns + 1) for op in reads))):
        steps = [(a, "reserve", n) for n, (a, _) in enumerate(instants)]
        steps += [(b, "charge", n) for n, (_, b) in enumerate(instants)]
        steps += [(now, "read", op.output.used) for now, op in zip(at, reads, strict=True)]
        if _serves(steps, [op.output.tokens for op in served], total, request):
            return True
    return False


def _serves(steps, costs, total, request):
    """Whether a right budget serves them, in some order of those at the same instant."""
    groups = groupby(sorted(steps), key=itemgetter(0))
    for groups_in_order in product(*(permutations(group) for _, group in groups)):
        used, held = 0, {}
        for _, what, n in chain.from_iterable(groups_in_order):
            if what == "read":
                if n < used:
                    break
                used = n  # what it tells beyond the costs, an invoke without an answer has cost
            elif what == "reserve":
                left = total - used - sum(held.values())
                if left <= 0:
                    break
                held[n] = min(request, left)
            elif n not in held:
                break
            else:
                del held[n]
                used = min(total, used + costs[n])
        else:
            return True
    return False
