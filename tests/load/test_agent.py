"""Agents' sessions, carried out by a kernel made of plain answers."""

import random
from collections import Counter
from collections.abc import Callable

import pytest

from kernel_lab.judge.operation import Outcome
from kernel_lab.load.generator.agent import MIXES, Agent, Window
from kernel_lab.traffic.call import Call, Reply

S = 1_000_000_000


def agent(number: int = 1, *, limit: int = 3) -> Agent:
    return Agent(principal="ada", number=number, rng=random.Random(1), limit=limit, window_s=60)


def ok(body: dict, at: int) -> Reply:
    return Reply(outcome=Outcome.OK, body=body, call_ns=at, return_ns=at + 1)


def refusal(error: str, at: int) -> Reply:
    return Reply(outcome=Outcome.FAIL, error=error, call_ns=at, return_ns=at + 1)


class Kernel:
    """Answers as one right kernel would, but for what `lies` says of a call."""

    def __init__(self, lies: Callable[[Call, int], Reply | None] = lambda _call, _at: None, limit: int = 3):
        self.lies = lies
        self.limit = limit
        self.clock = 0
        self.made: list[Call] = []
        self.revoked: set[str] = set()
        self.limited = 0
        self.anomalies: Counter[str | None] = Counter()

    def answer(self, call: Call) -> Reply:
        self.clock += 10
        self.made.append(call)
        if lie := self.lies(call, self.clock):
            return lie
        if call.f == "grant":
            capability = call.asked["capability"]
            self.limited += capability == "billing.update_invoice"
            if self.limited > self.limit:
                return refusal("rate_limited", self.clock)
            token = {"token_id": f"t{len(self.made)}", "capability_id": capability}
            return ok({"token": token}, self.clock)
        if call.f == "invoke":
            if call.asked["token_id"] in self.revoked:
                return refusal("token_revoked", self.clock)
            number = len(self.made)
            return ok({"action_id": f"a{number}", "handle_id": f"h{number}"}, self.clock)
        if call.f == "revoke":
            self.revoked.add(call.asked["token_id"])
            return ok({"revoked": True}, self.clock)
        return ok({"rows": 5}, self.clock)

    def serve(self, mix: str, who: Agent) -> Counter[str]:
        session = MIXES[mix](who)
        try:
            step = next(session)
            while True:
                reply = self.answer(step.call)
                self.anomalies[step.wrong(reply)] += 1
                step = session.send(reply)
        except StopIteration:
            del self.anomalies[None]
            return Counter(call.f for call in self.made)


@pytest.mark.parametrize("mix", MIXES)
@pytest.mark.parametrize("number", range(8))
def test_a_right_kernel_is_never_accused(mix, number):
    kernel = Kernel()
    assert kernel.serve(mix, agent(number)).total() > 0
    assert kernel.anomalies == {}


@pytest.mark.parametrize("mix", MIXES)
def test_an_agent_that_is_granted_nothing_gives_up(mix):
    kernel = Kernel(lambda call, at: refusal("missing_role", at))
    assert kernel.serve(mix, agent(0)) == {"grant": 1}


def test_a_read_heavy_session_mostly_invokes():
    made = Kernel().serve("read-heavy", agent(1))
    assert made == {"grant": 1, "invoke": 8, "expand": 2, "explain": 1}


@pytest.mark.parametrize("mix", ["read-heavy", "grant-heavy"])
def test_some_sessions_revoke_and_try_again(mix):
    kernel = Kernel()
    assert kernel.serve(mix, agent(8))["revoke"] == 1
    revoked = next(iter(kernel.revoked))
    assert sum(call.asked.get("token_id") == revoked for call in kernel.made if call.f == "invoke") >= 5


def test_some_sessions_run_into_their_limit_and_two_beyond():
    made = Kernel()
    made.serve("grant-heavy", agent(2))
    assert sum(call.asked.get("capability") == "billing.update_invoice" for call in made.made) == 5


def test_the_grant_mix_spreads_over_ten_thousand_principals():
    principals = set()
    for number in (0, 9_999, 10_000, 10_001):
        kernel = Kernel()
        kernel.serve("grant", agent(number))
        principals |= {call.asked["principal"] for call in kernel.made}
    assert principals == {"pool-0", "pool-9999", "pool-1"}


def refusing(f: str, error: str) -> Callable[[Call, int], Reply | None]:
    return lambda call, at: refusal(error, at) if call.f == f else None


@pytest.mark.parametrize(
    ("mix", "number", "lies", "anomaly"),
    [
        ("read-heavy", 1, refusing("expand", "handle_not_found"), "handle_miss"),
        ("read-heavy", 1, refusing("explain", "trace_not_found"), "trace_miss"),
        ("read-heavy", 1, refusing("invoke", "token_invalid"), "token_rejected"),
        (
            "grant-heavy",
            0,
            lambda call, at: ok({"action_id": "a", "handle_id": "h"}, at) if call.f == "invoke" else None,
            "leak",
        ),
        (
            "grant-heavy",
            2,
            lambda call, at: (
                ok({"token": {"token_id": f"t{at}", "capability_id": "c"}}, at) if call.f == "grant" else None
            ),
            "over_admission",
        ),
    ],
)
def test_what_one_caller_knows_to_be_wrong_has_a_name(mix, number, lies, anomaly):
    kernel = Kernel(lies)
    kernel.serve(mix, agent(number))
    assert set(kernel.anomalies) == {anomaly}


def test_a_revoke_that_may_not_have_happened_accuses_nobody():
    def lies(call: Call, at: int) -> Reply | None:
        if call.f == "revoke":
            return Reply(outcome=Outcome.INFO, error="http_503", call_ns=at, return_ns=at)
        return ok({"action_id": "a", "handle_id": "h"}, at) if call.f == "invoke" else None

    kernel = Kernel(lies)
    kernel.serve("grant-heavy", agent(0))
    assert kernel.anomalies == {}


def at(call_s: float, return_s: float, outcome: Outcome = Outcome.OK) -> Reply:
    return Reply(
        outcome=outcome,
        error="rate_limited" if outcome is Outcome.FAIL else None,
        call_ns=int(call_s * S),
        return_ns=int(return_s * S),
    )


@pytest.mark.parametrize(
    ("replies", "said"),
    [
        ([at(0, 1), at(2, 3), at(4, 5)], "over_admission"),
        ([at(0, 1), at(2, 3), at(4, 10)], None),  # it may have been admitted at 10, when the first had left
        ([at(0, 1), at(2, 3), at(4, 5, Outcome.FAIL)], None),
        ([at(0, 1), at(2, 3, Outcome.FAIL)], "wrongful_denial"),
        ([at(0, 1), at(2, 3), at(10.5, 12, Outcome.FAIL)], None),  # the first may have counted until 11
        ([at(0, 1), at(2, 3), at(11, 12, Outcome.FAIL)], "wrongful_denial"),
        ([at(0, 1), at(2, 3, Outcome.INFO), at(40, 41, Outcome.FAIL)], "wrongful_denial"),
        ([at(0, 1, Outcome.INFO), at(2, 3, Outcome.INFO), at(40, 41, Outcome.FAIL)], None),
    ],
)
def test_a_limit_of_two_in_ten_seconds(replies, said):
    window = Window(limit=2, window_ns=10 * S)
    answers = [window.wrong(reply) for reply in replies]
    assert answers[:-1] == [None] * (len(answers) - 1)
    assert answers[-1] == said
