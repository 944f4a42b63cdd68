"""Repeated headers through a real nginx that routes by the principal: nobody gets more than the limit."""

from collections import Counter
from pathlib import Path

import httpx
import pytest

from kernel_lab.deployments.deployment import Deployment
from kernel_lab.run.native import open_native

LIMIT, REPLICAS = 3, 3
pytestmark = [pytest.mark.live, pytest.mark.timeout(120)]

ID = "X-Principal-Id"
ALIKE = ([(ID, "ada")], [(ID.lower(), "ada")], [(ID.upper(), "ada")])
"""Ways to say the same principal once: nginx must route all of them to the same replica."""
REPEATED = (
    *([(ID, "ada"), (ID, other)] for other in ("ada", "bob", "", "ada2", "ADA")),
    *([(ID, other), (ID, "ada")] for other in ("bob", "", "x", "y", "z")),
    [(ID, "ada"), (ID.lower(), "ada")],
    [(ID, "ada"), (ID, "ada"), (ID, "ada")],
    [(ID, "ada"), ("X-Principal-Roles", "admin")],
)
ROLES = ("X-Principal-Roles", "reader,writer")


async def test_no_more_than_the_limit_is_admitted_however_the_principal_is_written(tmp_path: Path) -> None:
    sticky = Deployment(
        name="sticky", title="sticky", workers=1, replicas=REPLICAS, routing="hash_principal",
        env={"LAB_RATE_LIMITS": f"READ={LIMIT}/600,WRITE={LIMIT}/600,DESTRUCTIVE={LIMIT}/600"},
    )  # fmt: skip
    asked = {
        "capability_id": "billing.update_invoice",
        "goal": "g",
        "justification": "nightly reconciliation",
    }
    answers: dict[str, Counter[int]] = {"alike": Counter(), "repeated": Counter()}
    met = set()
    async with (
        open_native(sticky, {}, tmp_path) as live,
        httpx.AsyncClient(base_url=live.base_url, trust_env=False, timeout=30) as http,
    ):
        for _ in range(2):
            for ways, name in ((ALIKE, "alike"), (REPEATED, "repeated")):
                for way in ways:
                    reply = await http.post("/grants", json=asked, headers=[*way, ROLES])
                    answers[name][reply.status_code] += 1
                    met.add(reply.headers["X-Lab-Worker"].split("/")[0])
    assert answers["repeated"] == {422: 2 * len(REPEATED)}
    assert answers["alike"] == {201: LIMIT, 429: 2 * len(ALIKE) - LIMIT}
    assert len(met) > 1, "the repeated headers were routed to several replicas"
