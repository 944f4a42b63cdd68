"""The frontier: whom nobody would choose."""

import pytest

from kernel_lab.load.costs.frontier import Interval, Option, beside, dominates, frontier


def exactly(value: float) -> Interval:
    return Interval(value=value, low=value - 0.01, high=value + 0.01)


def option(broken: str = "", throughput: float = 0.8, added_ms: float = 1.0) -> Option:
    return Option(
        deployment="x",
        broken=frozenset(broken.split()),
        throughput=exactly(throughput),
        added_p99_ms=exactly(added_ms),
    )


@pytest.mark.parametrize(
    ("better", "worse", "said"),
    [
        (option(), option(), False),
        (option(throughput=0.9), option(throughput=0.8), True),
        (option(throughput=0.801), option(throughput=0.8), False),  # their intervals touch
        (option(added_ms=1.0), option(added_ms=2.0), True),
        (option(throughput=0.9, added_ms=3.0), option(throughput=0.8, added_ms=1.0), False),
        (option(""), option("handles"), True),
        (option("handles", throughput=0.9), option("", throughput=0.1), False),
        (option("", throughput=0.5), option("handles", throughput=0.9), False),
        (option("traces"), option("handles"), False),
        (option("handles"), option("handles traces"), True),
    ],
)
def test_dominated_is_no_better_in_anything_and_worse_in_something(better, worse, said):
    assert dominates(better, worse) is said


def row(deployment: str, mix: str, step: str, broken: str = "", **figures: float) -> dict:
    measured = {}
    for name, value in figures.items():
        measured |= {name: value, f"{name}_low": value - 0.01, f"{name}_high": value + 0.01}
    return {
        "deployment": deployment,
        "mix": mix,
        "step": step,
        "validity": "invalid" if broken else "valid",
        "broken": broken,
        "lag_at_least_ms": 0.0,
        "lag_at_most_ms": None if broken else 5.0,
        **measured,
    }


def rows(deployment: str, broken: str, throughput: float, added_ms: float) -> list[dict]:
    return [
        row(deployment, "read-heavy", "closed", broken, throughput_vs_memory=throughput + 0.1),
        row(deployment, "grant-heavy", "closed", broken, throughput_vs_memory=throughput),
        row(deployment, "grant-heavy", "rate", broken, added_p99_ms=added_ms),
    ]


def test_the_frontier_weighs_each_option_by_its_worst_mix():
    measured = [
        row("memory-4", "read-heavy", "closed", "handles revocation"),
        row("memory-4-again", "read-heavy", "closed", "handles", throughput_vs_memory=1.0, added_p99_ms=0.0),
        *rows("redis", "", 0.8, 1.0),
        *rows("sidecar", "", 0.4, 2.0),
        *rows("half", "handles", 0.7, 1.0),
        {"deployment": "stash", "mix": "", "step": "", "reading": "skipped"},
    ]
    found = {
        row["deployment"]: row for row in frontier(measured, memory="memory-4", control="memory-4-again")
    }
    assert list(found) == ["memory-4", "redis", "sidecar", "half"]
    assert found["redis"]["throughput_vs_memory"] == 0.8
    assert {name: row["dominated_by"] for name, row in found.items()} == {
        "memory-4": "",
        "redis": "",
        "sidecar": "redis",
        "half": "redis",
    }
    assert (found["redis"]["lag_at_most_ms"], found["half"]["lag_at_most_ms"]) == (5.0, None)


PLACES = {"tested": ("revocation",), "memory": "memory-4", "control": "again"}


def test_beside_a_matrix_what_that_found_broken_counts_too():
    sticky, redis = rows("sticky", "", 0.9, 1.0), rows("redis", "", 0.8, 2.0)
    measured = [
        {name: "" if value is None else str(value) for name, value in one.items()}
        for one in [*sticky, *redis]
    ]
    alone = {one["deployment"]: one for one in beside(measured, {}, **PLACES)}
    assert alone["redis"]["dominated_by"] == "sticky"
    matrix = {"sticky": {"revocation", "stats"}, "redis": {"stats"}}
    found = {one["deployment"]: one for one in beside(measured, matrix, **PLACES)}
    assert (found["sticky"]["broken"], found["sticky"]["validity"]) == ("revocation", "invalid")
    assert found["redis"]["broken"] == found["redis"]["dominated_by"] == ""
