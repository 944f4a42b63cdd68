"""Cells with a fault, on real stacks: what broke, what refused, and what did not land."""

from __future__ import annotations

import csv
import os
import re
from contextlib import asynccontextmanager
from types import SimpleNamespace

import pytest

from kernel_lab.deployments.live import StackUnavailable
from kernel_lab.deployments.native import binaries
from kernel_lab.deployments.native.binaries import find_store
from kernel_lab.faults import operations
from kernel_lab.faults.fault import Fault, Landing
from kernel_lab.judge.verdict import Validity
from kernel_lab.run import registry, under_fault
from kernel_lab.run.effect import COLUMNS
from kernel_lab.run.native import open_native
from kernel_lab.run.plan import plan_of
from kernel_lab.run.promises import Promises
from kernel_lab.run.scenario import Session
from kernel_lab.run.under_fault import FaultRun, plan_under_faults

pytestmark = pytest.mark.live


class Silent:
    """Progress that nobody watches."""

    def planned(self, cells):
        self.cells = cells

    def doing(self, what):
        pass

    def done(self, cell):
        pass


async def suffer(tmp_path, deployment, faults, scenarios):
    plan = plan_of([deployment], scenarios, [], quick=True, seed=1, out=tmp_path / "run", kernel=None)
    plan.folder.create()
    trial = FaultRun(plan=plan_under_faults(plan), faults=faults, open_stack=open_native, progress=Silent())
    rows = await trial.run()
    return plan, {(row.result.scenario, row.result.fault): row for row in rows}


async def test_a_reload_forgets_revocations_on_one_worker_and_no_token(tmp_path):
    claims = ["tokens", "revocation", "handles", "traces", "budget"]
    plan, rows = await suffer(tmp_path, "single", [registry.faults()["reload"]], claims)
    revocation, tokens = rows["revocation", "reload"], rows["tokens", "reload"]
    # the invokes of the claims beside the budget cost nothing, or a read of it would tell more than it was charged
    assert "inflated_use" not in rows["budget", "reload"].effect.broke
    assert rows["budget", "reload"].effect.mode == "open"
    assert (revocation.result.validity, revocation.effect.mode) == (Validity.INVALID, "open")
    assert revocation.effect.lost_acknowledged > 0
    assert "1 of 1 workers were replaced" in revocation.effect.landed
    assert tokens.result.validity is Validity.VALID
    with plan.folder.table("faults").open(encoding="utf-8") as file:
        written = list(csv.DictReader(file))
    assert tuple(written[0]) == COLUMNS
    assert {row["claim"]: row["mode"] for row in written}["revocation"] == "open"


async def test_a_store_that_died_is_refused_until_somebody_decides(tmp_path):
    try:
        find_store()
    except StackUnavailable as error:
        pytest.skip(str(error))
    _, rows = await suffer(tmp_path, "redis", [registry.faults()["kill_store"]], ["revocation"])
    [row] = rows.values()
    assert (row.result.validity, row.effect.mode) == (Validity.VALID, "closed"), row
    assert row.effect.failed_requests > 0
    assert row.effect.recovered_ms is None
    assert row.effect.liveness_restarts == 0
    assert row.effect.liveness_asked > 1


@pytest.mark.slow
async def test_a_fallback_to_memory_fails_open_while_the_store_is_away(tmp_path):
    try:
        find_store()
    except StackUnavailable as error:
        pytest.skip(str(error))
    killed = registry.faults()["kill_store"]
    plan, rows = await suffer(tmp_path, "redis-fallback", [killed], ["rate_limit", "revocation"])
    assert "leak" in rows["revocation", "kill_store"].effect.broke
    with plan.folder.table("fault_timeline").open(encoding="utf-8") as file:
        assert {row["in_force"] for row in csv.DictReader(file)} == {"0", "1"}
    assert {scenario: row.effect.mode for (scenario, _), row in rows.items()} == {
        "rate_limit": "open", "revocation": "open",
    }  # fmt: skip


@pytest.mark.slow
async def test_a_file_that_is_locked_is_refused_and_comes_back(tmp_path):
    _, rows = await suffer(tmp_path, "sqlite", [registry.faults()["lock_store"]], ["revocation"])
    [row] = rows.values()
    assert row.result.validity is Validity.VALID, row
    assert "locked" in row.effect.landed


@pytest.fixture
def hurried(monkeypatch):
    """Little traffic around a fault, in a test that is not about the traffic."""
    for name in ("BEFORE_S", "DURING_S", "AFTER_S"):
        monkeypatch.setattr(under_fault, name, 0.2)


async def test_a_fault_that_does_not_land_tells_nothing(tmp_path, hurried):
    @asynccontextmanager
    async def miss(live, aim):
        yield Landing(landed=False, evidence="nothing happened")

    fault = Fault(name="a_miss", title="nothing at all", inapplicable=lambda live: "", inject=miss)
    _, rows = await suffer(tmp_path, "single", [fault], ["tokens"])
    [row] = rows.values()
    assert row.result.validity is Validity.UNKNOWN
    assert "the fault a_miss did not land" in row.result.reason
    assert row.effect.mode == ""


async def test_a_fault_that_cannot_be_ended_leaves_its_cells_unknown(tmp_path, hurried):
    @asynccontextmanager
    async def stuck(live, aim):
        yield Landing(landed=True, evidence="it is broken")
        raise OSError("it stays broken")

    fault = Fault(name="stuck", title="cannot be ended", inapplicable=lambda live: "", inject=stuck)
    _, rows = await suffer(tmp_path, "single", [fault], ["tokens"])
    [row] = rows.values()
    assert row.result.validity is Validity.UNKNOWN
    assert "could not be injected or ended" in row.result.reason


async def test_a_deployment_that_cannot_have_a_fault_is_not_started(tmp_path):
    _, rows = await suffer(tmp_path, "single", [registry.faults()["kill_store"]], ["tokens"])
    [row] = rows.values()
    assert (row.result.validity, row.result.reason) == (Validity.SKIPPED, "it has no store server")
    assert not list((tmp_path / "run" / "stacks").glob("*"))


@pytest.mark.parametrize("on_hosts", [False, True])
async def test_only_servers_of_this_machine_are_told_to_write_into_the_run_folder(tmp_path, on_hosts):
    given = []

    @asynccontextmanager
    async def opener(deployment, env, logs):
        given.append({name for name, value in env.items() if str(tmp_path) in value})
        raise StackUnavailable("nothing is started")
        yield

    plan = plan_of(["single"], ["tokens"], [], quick=True, seed=1, out=tmp_path / "run", kernel=None)
    plan.folder.create()
    await FaultRun(
        plan=plan_under_faults(plan), faults=[registry.faults()["reload"]], open_stack=opener, progress=Silent(),
        on_hosts=on_hosts,
    ).run()  # fmt: skip
    # a container has no such folder, and its workers would not start
    assert given == [set() if on_hosts else {"LAB_EXECUTION_LOG"}]


def test_every_claim_shares_the_one_stack_of_a_deployment_and_a_fault(tmp_path):
    plan = plan_of(["single", "redis"], [], [], quick=True, seed=1, out=tmp_path / "run", kernel=None)
    faults = [registry.faults()[name] for name in ("reload", "blue_green")]
    run = FaultRun(plan=plan_under_faults(plan), faults=faults, open_stack=open_native, progress=Silent())
    claims = {one.name for one in registry.scenarios().values() if one.under_fault is not None}
    assert "budget" in claims
    assert [{cell.scenario.name for cell in stack.cells} for stack in run.stacks()] == [claims] * 4


async def test_a_skewed_clock_is_skipped_where_no_library_can_skew_it(tmp_path, monkeypatch):
    monkeypatch.setattr(binaries, "FAKETIME", ())
    _, rows = await suffer(tmp_path, "redis", [registry.faults()["clock_skew"]], ["tokens"])
    [row] = rows.values()
    assert row.result.validity is Validity.SKIPPED
    assert "libfaketime" in row.result.reason


@pytest.mark.slow
@pytest.mark.parametrize(("deployment", "mode"), [("redis", "closed"), ("redis-client-clock", "open")])
async def test_a_limiter_that_believes_the_workers_clock_forgets_its_window_when_the_clock_is_set(
    tmp_path, monkeypatch, deployment, mode
):
    # a window that a busy machine does not outlast, and a clock that is further ahead than the window is long
    monkeypatch.setitem(under_fault.ENV, "LAB_RATE_LIMITS", "READ=1000000/60,WRITE=4/600,DESTRUCTIVE=4/600")
    monkeypatch.setattr(operations, "SKEW_S", 3600)
    skew = registry.faults()["clock_skew"]
    if why := skew.excluded(registry.deployments()[deployment]):
        pytest.skip(why)
    try:
        find_store()
    except StackUnavailable as error:
        pytest.skip(str(error))
    _, rows = await suffer(tmp_path, deployment, [skew], ["rate_limit"])
    [row] = rows.values()
    assert re.search(r"\b3[56]\d\d s ahead", row.effect.landed), row
    assert row.effect.mode == mode, row
    assert ("over_admission" in row.effect.broke) == (mode == "open"), row


async def test_a_deployment_that_is_made_for_one_fault_suffers_no_other(tmp_path):
    plan = plan_of(
        ["single", "redis-wait"], ["tokens"], [], quick=True, seed=1, out=tmp_path / "run", kernel=None
    )
    faults = [registry.faults()[name] for name in ("kill_store", "failover_store")]
    run = FaultRun(
        plan=plan_under_faults(plan), faults=faults, open_stack=open_native, progress=Silent(),
        made_for=registry.MADE_FOR,
    )  # fmt: skip
    assert [(one.deployment.name, one.fault.name) for one in run.stacks()] == [
        ("single", "kill_store"), ("single", "failover_store"), ("redis-wait", "failover_store"),
    ]  # fmt: skip


def test_each_fault_has_a_name_of_its_own_and_a_title():
    assert len(registry.faults()) == 27
    assert set(registry.MADE_FOR) <= set(registry.deployments())
    assert set(registry.MADE_FOR.values()) <= set(registry.faults())
    assert all(fault.title for fault in registry.faults().values())


@pytest.mark.skipif(not os.environ.get("LAB_ALL_FAULTS"), reason="takes 15 s; LAB_ALL_FAULTS=1 runs it")
async def test_a_remote_kernel_that_dies_takes_every_revocation_with_it(tmp_path):
    _, rows = await suffer(tmp_path, "remote", [registry.faults()["kill_remote"]], ["revocation"])
    [row] = rows.values()
    assert (row.result.validity, row.effect.mode) == (Validity.INVALID, "open"), row
    assert "remote has ended" in row.effect.landed


@pytest.mark.slow
async def test_where_the_principal_chooses_the_host_every_claim_is_on_the_one_that_is_hit(tmp_path):
    for fault, claims in (
        ("recycle", ["rate_limit", "handles", "traces", "capabilities"]),
        ("rotate_secret", ["tokens"]),
    ):
        _, rows = await suffer(tmp_path / fault, "sticky", [registry.faults()[fault]], claims)
        assert {row.result.validity for row in rows.values()} == {Validity.INVALID}, rows


def test_a_principal_takes_the_names_that_were_chosen_first():
    target = SimpleNamespace(promises=Promises())
    session = Session(
        deployment=None, target=target, connections=None, main=None, shadow=None, parameters={}, seed=1, quick=True,
        names=iter(["a", "b"]),
    )  # fmt: skip
    assert [session.principal().name, session.principal("stranger").name] == ["a", "b"]
    assert session.principal("stranger").name.startswith("stranger0-1-")
