"""From a routing probe to what should be measured."""

import pytest

from kernel_lab.deployments.deployment import Deployment
from kernel_lab.run import prediction as predict

S = 1_000_000_000


@pytest.mark.parametrize(
    ("routing", "admitted", "claim"),
    [
        ([(i, "a") for i in range(10)], 4, "one window admits its limit"),
        ([(i, "ab"[i % 2]) for i in range(10)], 8, "two windows admit twice as much"),
        ([(0, "a"), (1, "a"), (2, "b")], 3, "a window that is not full admits what reached it"),
        ([(0, "a")] * 4 + [(S, "a")] * 4, 8, "an admission exactly one window old no longer counts"),
        ([(0, "a")] * 4 + [(S - 1, "a")] * 4, 4, "one a nanosecond younger still does"),
        ([], 0, "nothing asked, nothing admitted"),
    ],
)
def test_a_window_per_home(routing, admitted, claim):
    assert predict.admitted(routing, limit=4, window_s=1.0) == admitted, claim


@pytest.mark.parametrize(
    ("deployment", "homes", "of_one"),
    [
        (Deployment(name="memory", workers=4), 4, 4),
        (Deployment(name="redis", workers=4, shares=("limiter",)), 1, 1),
        (Deployment(name="sidecar", workers=4, sidecar=True), 1, 1),
        (Deployment(name="sidecar-2", workers=2, replicas=2, sidecar=True, routing="round_robin"), 2, 2),
        (Deployment(name="sticky", workers=1, replicas=4, routing="hash_principal"), 4, 1),
        (Deployment(name="sticky-host", workers=2, replicas=2, routing="hash_principal"), 4, 2),
    ],
)
def test_how_many_homes_a_kind_of_state_has(deployment, homes, of_one):
    assert (deployment.homes("limiter"), deployment.homes_of_one("limiter")) == (homes, of_one)


def test_two_workers_share_what_is_in_their_replicas_sidecar():
    sidecar = Deployment(name="sidecar-2", workers=2, replicas=2, sidecar=True)
    assert sidecar.home("handles", "r0/1/a") == sidecar.home("handles", "r0/2/b")
    assert sidecar.home("handles", "r0/1/a") != sidecar.home("handles", "r1/3/c")
