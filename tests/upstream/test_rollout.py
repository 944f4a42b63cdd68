"""Which tokens a key ring accepts, by itself and under real workers; and what the recorded rollout says."""

import csv
from pathlib import Path

import pytest
import weaver_kernel as wk
from weaver_kernel.stores import InMemoryRevocationStore

from kernel_lab.upstream.rollout import __main__ as rollout
from kernel_lab.upstream.rollout.ring import KeyRingTokens
from kernel_lab.upstream.rollout.servers import balanced

TARGET = {"expected_principal_id": "alice", "expected_capability_id": "tickets.list"}


def ring(keys: dict[str, str], active: str, legacy: str | None = "k1") -> KeyRingTokens:
    return KeyRingTokens(keys=keys, active=active, legacy=legacy, revocation_store=InMemoryRevocationStore())


def accepts(verifier: KeyRingTokens, token: dict[str, object]) -> bool:
    try:
        verifier.verify(verifier.parse(token), **TARGET)
    except wk.AgentKernelError:
        return False
    return True


def issued(issuer: KeyRingTokens) -> dict[str, object]:
    return issuer.issue("tickets.list", "alice").to_dict()


def test_a_key_that_a_worker_lacks_is_refused_and_one_it_has_is_not() -> None:
    old, both, new = ring({"k1": "a"}, "k1"), ring({"k1": "a", "k2": "b"}, "k2"), ring({"k2": "b"}, "k2")
    assert [accepts(worker, issued(old)) for worker in (old, both, new)] == [True, True, False]
    assert [accepts(worker, issued(both)) for worker in (old, both, new)] == [False, True, True]


def test_the_id_of_the_key_is_signed() -> None:
    both = ring({"k1": "a", "k2": "a"}, "k2")
    assert not accepts(both, {**issued(both), "key_id": "k1"})


def test_the_pinned_version_accepts_what_the_first_key_signs_if_it_is_left_unnamed() -> None:
    pinned = wk.HMACTokenProvider("a")
    for legacy, accepted in (("k1", True), (None, False)):
        token = wk.CapabilityToken.from_dict(issued(ring({"k1": "a"}, "k1", legacy)))
        if accepted:
            pinned.verify(token, **TARGET)
        else:
            with pytest.raises(wk.TokenInvalid):
                pinned.verify(token, **TARGET)


def test_a_revoked_token_is_refused_whatever_signed_it() -> None:
    both = ring({"k1": "a", "k2": "b"}, "k2")
    token = issued(both)
    both.revoke(str(token["token_id"]))
    assert not accepts(both, token)


@pytest.mark.live
def test_signing_with_a_key_that_others_cannot_verify_is_refused_under_real_workers(tmp_path: Path) -> None:
    sides = rollout.ring("before", rollout.KEY, "k1"), rollout.ring("after", rollout.BOTH, "k2")
    with balanced(tmp_path, *sides) as stack:
        token = stack.of("after", do="issue").value
        tally = stack.tally(12, do="verify", token=token)
    assert set(tally["before"]) == {"TokenInvalid"}
    assert set(tally["after"]) == {"ok"}


def test_the_recorded_rollout_is_what_the_page_says_of_it() -> None:
    with (rollout.FOLDER / "rollout.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    page = (rollout.FOLDER / "rollout.md").read_text(encoding="utf-8")
    assert rollout.filled(page, rows) == page

    def refused(experiment: str) -> int:
        found = [int(row["refused"]) for row in rows if row["experiment"].startswith(experiment)]
        assert found, experiment
        return sum(found)

    assert refused("rotation, step") == 0
    assert refused("rotation in the wrong order") > 0
    assert refused("key ring arrives, every token names its key") > 0
    assert refused("key ring arrives, the first key is left unnamed") == 0
    assert refused("token, one secret") == 0
    assert refused("grant, own store") > 0
