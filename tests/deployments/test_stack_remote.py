"""One remote kernel for the workers of two hosts: what they share, and what happens when it is away."""

# ruff: noqa: ASYNC110 - servers and workers are asked until they are so far
import asyncio
import signal
import time
from pathlib import Path

import httpx
import pytest

from kernel_lab.deployments import AppSpec, NativeStack
from kernel_lab.deployments.deployment import Deployment
from kernel_lab.deployments.ports import is_free

pytestmark = pytest.mark.live

ROOT = Path(__file__).resolve().parents[2]
ROW = Deployment(name="remote", workers=1, replicas=2, routing="round_robin", remote=True)
BACK_S = 30.0


async def call(client, url, **body):
    return await client.post(
        url, json=body, headers={"X-Principal-Id": "alice", "X-Principal-Roles": "reader"}
    )


async def until_back(client, url):
    """Ask until a worker has found its kernel again: it probes ten times a second."""
    deadline = time.monotonic() + BACK_S
    while (reply := await client.get(url)).status_code == 503 and time.monotonic() < deadline:
        await asyncio.sleep(0.02)
    return reply


async def test_two_hosts_have_one_kernel_and_outlive_its_death(tmp_path, leftovers):
    stack = NativeStack(ROW, app=AppSpec(root=ROOT), folder=tmp_path / "logs")
    async with stack:
        here, there = stack.replica_urls
        async with httpx.AsyncClient(trust_env=False, timeout=30) as client:
            granted = await call(client, f"{here}/grants", capability_id="billing.get_invoice")
            token = granted.json()["token"]
            assert (await call(client, f"{there}/invocations", token=token)).status_code == 200
            assert (await call(client, f"{here}/tokens/{token['token_id']}/revocation")).status_code == 200
            refused = await call(client, f"{there}/invocations", token=token)
            assert refused.json()["reason_code"] == "token_revoked"
            names = [(await client.get(f"{url}/stats")).headers for url in (here, there)]
            assert names[0]["x-lab-sidecar"] == names[1]["x-lab-sidecar"]
            assert [name["x-lab-worker"].split("/")[0] for name in names] == ["r0", "r1"]

            before = stack.processes["remote"]
            stack.signal("remote", signal.SIGKILL)
            while "remote" not in stack.ended():
                await asyncio.sleep(0.01)
            for url in (here, there):
                away = await call(client, f"{url}/invocations", token=token)
                assert (away.status_code, away.json()["reason_code"]) == (503, "state_unavailable")
                assert (await client.get(f"{url}/healthz")).status_code == 200

            await stack.restart("remote")
            now = stack.processes["remote"]
            assert (now.port, now.pid != before.pid) == (before.port, True)
            for url in (here, there):
                assert (await until_back(client, f"{url}/stats")).status_code == 200
            # the new one knows the secret, and nothing of what was revoked
            assert (await call(client, f"{there}/invocations", token=token)).status_code == 200
    assert leftovers.processes() == []
    assert leftovers.files() == []
    assert is_free(now.port)
