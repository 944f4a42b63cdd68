"""A token that is presented as altered is altered, whatever the kernel's capabilities are."""

from types import SimpleNamespace

import pytest
from kernel_lab_scenarios.tokens import _another, _tamper

from kernel_lab.run.promises import Promises
from kernel_lab.run.scenario import Target

TOKEN = {
    "token_id": "a0", "signature": "f0", "principal_id": "p", "capability_id": "orders.read", "audit_id": "c0",
    "constraints": {"max_rows": 10_000}, "issued_at": "2026-01-01T00:00:00+00:00",
    "expires_at": "2026-01-01T01:00:00+00:00",
}  # fmt: skip


@pytest.mark.parametrize(
    "names", [["orders.read"], ["orders.read", "orders.cancel"], ["billing.list_invoices", "orders.read"]]
)
def test_each_change_changes_the_token(names):
    facts = {name: {"safety_class": "READ", "capability_id": name} for name in names}
    target = Target(live=SimpleNamespace(), facts={}, capabilities=facts, promises=Promises())
    other = _another(target, TOKEN["capability_id"])
    assert other != TOKEN["capability_id"]
    altered = [_tamper(TOKEN, step, principal="stranger", capability=other) for step in range(8)]
    assert all(one != TOKEN for one in altered)
    assert len({repr(one) for one in altered}) == 8
