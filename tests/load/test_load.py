"""kernel-lab load: bad input, the order of the slots, and one run for real."""

import csv
import json
import sys
from collections import Counter
from pathlib import Path

import pytest

from kernel_lab.bad_input import BadInput
from kernel_lab.cli import main as cli
from kernel_lab.deployments.attached import AttachedStack
from kernel_lab.load import command as load
from kernel_lab.load.bench import Effort
from kernel_lab.load.live import Lives, LiveSubject
from kernel_lab.run import registry

KNOWN = registry.deployments()


def ask(**more) -> int:
    options = {
        "parts": [], "deployments": [], "mixes": [], "rounds": None, "quick": True, "seed": 1, "out": None,
    }  # fmt: skip
    return load.main(**(options | more))


@pytest.mark.parametrize(
    ("options", "line"),
    [
        (
            {"parts": ["speed"]},
            "--part speed: not known; one of: deployments, distance, callers, workers, size, app",
        ),
        ({"deployments": ["nope"]}, "--deployment nope: not known; one of: single, memory-2"),
        ({"mixes": ["write"]}, "--mix write: not known; one of: read-heavy, grant-heavy"),
        ({"rounds": 1}, "--rounds 1: an interval takes 2 or more"),
    ],
)
def test_bad_input_says_what_would_be_right(options, line):
    with pytest.raises(BadInput) as refused:
        ask(**options)
    assert str(refused.value).startswith(line)


def test_a_run_is_never_overwritten(tmp_path):
    (tmp_path / "cost.csv").touch()
    with pytest.raises(BadInput, match="already holds a run"):
        ask(out=tmp_path)


def test_the_references_are_measured_whatever_is_asked_for():
    names = [subject.name for subject in load.subjects([KNOWN["redis"]], KNOWN)]
    assert names == ["memory-4", "single", "redis", "memory-4-again"]


def test_nothing_is_measured_twice_but_the_control():
    names = Counter(subject.name for subject in load.subjects(list(KNOWN.values()), KNOWN))
    assert set(names.values()) == {1}
    assert set(names) == {*KNOWN, "memory-4-again"}


def standing(subject):
    """The live deployment of a subject; nobody calls it here."""
    return AttachedStack(
        deployment=subject.deployment, base_url=f"http://{subject.name}",
        expected_workers=subject.deployment.processes,
    )  # fmt: skip


def test_each_round_asks_everybody_everything_in_an_order_of_its_own():
    subjects = load.subjects([KNOWN["sqlite"], KNOWN["replicas"]], KNOWN)
    lives = Lives(running={s.name: LiveSubject(subject=s, stack=standing(s), parts={}) for s in subjects})
    asked = dict.fromkeys(lives.running, ("read-heavy", "grant-heavy"))
    slots = load._slots(Effort(rounds=4, warm_s=0, measured_s=1), lives, asked, {"read-heavy": 20.0})
    for number in range(4):
        of_round = [(slot.subject, slot.mix) for slot in slots if slot.round == number]
        assert set(of_round) == {(s.name, mix) for s in subjects for mix in ("read-heavy", "grant-heavy")}
    orders = {tuple(s.subject for s in slots if s.round == n and s.mix == "read-heavy") for n in range(4)}
    assert len(orders) > 1
    assert len({slot.name for slot in slots}) == len(slots)
    assert {slot.rate_per_s for slot in slots if slot.mix == "read-heavy"} == {20.0}
    # a balancer decides by itself; on a shared socket connections are pinned
    assert {s.subject: s.workers for s in slots} == {
        "memory-4": 4, "memory-4-again": 4, "single": 1, "sqlite": 4, "replicas": 0,
    }  # fmt: skip


@pytest.mark.live
@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_run_for_real(tmp_path, monkeypatch, capsys):
    out = tmp_path / "run"
    arguments = ["load", "--part", "deployments", "--deployment", "memory-2", "--mix", "grant-heavy"]
    monkeypatch.setattr(sys, "argv", ["kernel-lab", *arguments, "--quick", "--out", str(out)])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code in (0, 2)
    rows = read(out / "cost.csv")
    assert {(row["deployment"], row["step"]) for row in rows} == {
        (name, step)
        for name in ("memory-4", "single", "memory-2", "memory-4-again")
        for step in ("closed", "rate")
    }
    by_name = {row["deployment"]: row for row in rows if row["step"] == "closed"}
    for row in by_name.values():
        assert float(row["cpu_ms_per_call"]) > 0
        assert float(row["error_rate"]) == 0
    assert "over_admission" in by_name["memory-4"]["anomalies"]
    assert by_name["single"]["anomalies"] == ""
    assert "rate_limit" in by_name["memory-4"]["broken"]
    assert "rate_limit" not in by_name["single"]["broken"]
    # a deployment whose generator had no room to spare is left out, and that is the machine's business
    compared = [row["deployment"] for row in read(out / "frontier.csv")]
    assert compared == [name for name in ("memory-4", "single", "memory-2") if name in compared]
    about = json.loads((out / "environment.json").read_text())
    assert about["effort"]["closed"]["rounds"] == 2
    assert "memory-2" in capsys.readouterr().out
    # what was judged can be judged again
    monkeypatch.setattr(
        sys, "argv", ["kernel-lab", "check", str(out / "cells" / "rate_limit" / "memory-4-load")]
    )
    with pytest.raises(SystemExit) as judged:
        cli.main()
    assert judged.value.code == 1


def read(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))
