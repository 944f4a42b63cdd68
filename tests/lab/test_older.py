"""The app serves on the version before the one under test, so that a rollout can be measured."""

import os
import subprocess
import sys
from types import SimpleNamespace

import pytest
from weaver_kernel.stores import InMemoryRevocationStore

from kernel_lab.faults import rollouts
from lab import older

SERVED = """
import asyncio
import sys

import httpx
import weaver_kernel

from lab.app import build_api
from lab.in_force import describe
from lab.kernel import build_kernel
from lab.settings import Settings
from lab.worker import WorkerName


async def main(state):
    assert weaver_kernel.__version__ == "0.11.0", weaver_kernel.__file__
    settings = Settings(secret="a secret", state=state, budget_total=100_000)
    api = build_api(build_kernel(settings), describe(settings, WorkerName("r0", 1, "boot"), chained_audit=None))
    agent = httpx.AsyncClient(
        transport=httpx.ASGITransport(api), base_url="http://lab", headers={"X-Principal-Id": "ada"}
    )

    async def call(method, path, body=None, status=200):
        reply = await agent.request(method, path, json=body)
        assert reply.status_code == status, (method, path, reply.status_code, reply.text)
        return reply.json()

    async def grant():
        return (await call("POST", "/grants", {"capability_id": "billing.list_invoices"}, 201))["token"]

    assert (await call("GET", "/worker"))["kernel_version"] == "0.11.0"
    first, second = await grant(), await grant()
    done = await call("POST", "/invocations", {"token": first, "args": {"rows": 3}})
    assert (await call("POST", f"/handles/{done['handle_id']}/expansions", {"limit": 2}))["rows"] == 2
    assert (await call("GET", f"/traces/{done['action_id']}"))["event_type"] == "invoke"
    assert (await call("GET", "/traces?principal_id=ada&fields=ids"))["action_ids"] == [done["action_id"]]
    assert (await call("GET", "/traces?principal_id=bob&fields=ids"))["action_ids"] == []
    assert (await call("GET", "/audit"))["valid"] in (True, None)
    await call("POST", f"/tokens/{first['token_id']}/revocation")
    assert (await call("POST", "/invocations", {"token": first}, 403))["reason_code"] == "token_revoked"
    assert (await call("POST", "/principals/ada/revocation"))["revoked"] == 1
    assert (await call("POST", "/invocations", {"token": second}, 403))["reason_code"] == "token_revoked"
    assert (await call("GET", "/budget"))["used"] > 0
    await call("GET", "/stats", status=501)


for state in sys.argv[1:]:
    asyncio.run(main(state))
"""


def test_the_app_serves_on_the_version_before(tmp_path):
    if why := rollouts.no_other_version():
        pytest.skip(why)
    packages = rollouts.other_version(rollouts.OLD)
    states = ["memory://", f"sqlite:///{tmp_path}/state.db", f"stock+sqlite:///{tmp_path}/stock.db"]
    done = subprocess.run(
        [sys.executable, "-c", SERVED, *states],
        env={**os.environ, "PYTHONPATH": str(packages)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


class Timed:
    """A store of ours: it must know when a token expires."""

    def __init__(self):
        self.tracked = []

    def track(self, principal_id, token_id, expires_at):
        self.tracked.append((principal_id, token_id, expires_at))

    def is_revoked(self, token_id):
        return token_id == "gone"


def test_a_store_is_tracked_for_the_longest_life_by_a_version_that_does_not_tell_it(monkeypatch):
    store = Timed()
    assert older.tracking(store, 60) is store
    monkeypatch.setattr(
        older, "InMemoryRevocationStore", SimpleNamespace(track=lambda principal_id, token_id: None)
    )
    told = older.tracking(store, 60)
    told.track("ada", "t1")
    [(principal, token, expires)] = store.tracked
    assert (principal, token) == ("ada", "t1")
    assert 50 < (expires - older.datetime.now(tz=older.UTC)).total_seconds() <= 60
    assert told.is_revoked("gone")


def test_a_store_of_the_older_versions_own_is_left_alone(monkeypatch):
    untimed = SimpleNamespace(track=lambda principal_id, token_id: None)
    monkeypatch.setattr(older, "InMemoryRevocationStore", untimed)
    assert older.tracking(untimed, 60) is untimed
    monkeypatch.undo()
    fresh = InMemoryRevocationStore()
    assert older.tracking(fresh, 60) is fresh
