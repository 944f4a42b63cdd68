"""The app, route by route and refusal by refusal, over a real kernel in this process."""

import datetime as dt
import json
from collections.abc import Callable
from typing import Any

import pytest
from labs import Lab, MakeLab, problem

from lab.capabilities import CAPABILITIES
from lab.settings import Settings
from lab.state import StateUnavailable

WHY = "the auditors have asked for it"


def manifest(*ids: str, **changes: Any) -> dict[str, Any]:
    described = [{"capability_id": i, "name": i, "description": "", "safety_class": "READ"} for i in ids]
    return {
        "kernel_id": "far",
        "version": "1",
        "endpoint": "http://far",
        "capabilities": described,
        **changes,
    }


class TestGrants:
    async def test_a_grant_answers_a_token_to_be_presented_whole(self, lab: Lab) -> None:
        reply = await lab.ask(
            "POST", "/grants", {"capability_id": "billing.list_invoices", "constraints": {"max_rows": 7}}
        )
        granted = reply.json()
        assert reply.status_code == 201
        assert granted["token_id"] == granted["token"]["token_id"]
        assert granted["principal_id"] == "alice"
        assert granted["constraints"] == {"max_rows": 7}
        assert granted["reason_code"] == "default_policy_allow"
        assert (await lab.invoke(granted["token"])).status_code == 200

    @pytest.mark.parametrize(
        ("capability", "headers", "justification", "status", "reason"),
        [
            ("billing.fly", {}, WHY, 404, "capability_not_found"),
            ("billing.update_invoice", {}, WHY, 403, "missing_role"),
            ("billing.delete_invoice", {"x_principal_roles": "writer"}, WHY, 403, "missing_role"),
            (
                "billing.update_invoice",
                {"x_principal_roles": "writer"},
                "so",
                403,
                "insufficient_justification",
            ),
            ("crm.list_customers", {}, WHY, 403, "missing_tenant_attribute"),
        ],
    )
    async def test_a_policys_refusal_keeps_its_reason(
        self, lab: Lab, capability: str, headers: dict[str, str], justification: str, status: int, reason: str
    ) -> None:
        body = {"capability_id": capability, "justification": justification}
        assert problem(await lab.ask("POST", "/grants", body, **headers)) == (status, reason)

    async def test_roles_and_tenant_come_from_the_headers(self, lab: Lab) -> None:
        await lab.grant("billing.update_invoice", x_principal_roles="reader, writer")
        await lab.grant("billing.delete_invoice", x_principal_roles="admin")
        await lab.grant("crm.list_customers", x_principal_tenant="acme")

    async def test_the_limit_is_per_principal_and_capability(self, make_lab: MakeLab) -> None:
        lab = make_lab(rate_limits={"READ": (2, 60.0)})
        for _ in range(2):
            await lab.grant()
        body = {"capability_id": "billing.get_invoice"}
        assert problem(await lab.ask("POST", "/grants", body)) == (429, "rate_limited")
        await lab.grant(who="bob")
        await lab.grant("billing.peek_invoice")

    @pytest.mark.parametrize(
        "constraints",
        [{"max_rows": "many"}, {"allowed_fields": 5}, {"scope": []}, {"invoke_timeout_s": "soon"}],
    )
    async def test_a_constraint_that_would_fail_at_the_invoke_is_refused_at_the_grant(
        self, lab: Lab, constraints: dict[str, Any]
    ) -> None:
        body = {"capability_id": "billing.get_invoice", "constraints": constraints}
        reply = await lab.ask("POST", "/grants", body)
        assert problem(reply)[0] == 422

    async def test_a_capability_can_have_a_life_of_its_own(self, make_lab: MakeLab) -> None:
        lab = make_lab(token_ttl_s=100, token_ttls={"billing.peek_invoice": 5})
        lives = []
        for capability in ("billing.get_invoice", "billing.peek_invoice"):
            token = await lab.grant(capability)
            issued, expires = (dt.datetime.fromisoformat(token[when]) for when in ("issued_at", "expires_at"))
            lives.append((expires - issued).total_seconds())
        assert lives == [100, 5]


class TestInvocations:
    async def test_an_invoke_answers_the_frame_with_its_handle(self, lab: Lab) -> None:
        frame = (await lab.invoke(await lab.grant("billing.list_invoices"))).json()
        assert frame["response_mode"] == "summary"
        assert frame["facts"]
        assert frame["handle_id"] == frame["handle"]["handle_id"]
        assert frame["handle"]["total_rows"] == 200
        assert frame["tokens"] is None
        assert frame["action_id"]

    @pytest.mark.parametrize("capability", [c.capability_id for c in CAPABILITIES])
    async def test_every_capability_can_be_carried_out(self, lab: Lab, capability: str) -> None:
        token = await lab.grant(capability, x_principal_roles="writer,admin", x_principal_tenant="acme")
        assert (await lab.invoke(token)).status_code == 200

    async def test_the_payloads_size_can_be_chosen(self, lab: Lab) -> None:
        token = await lab.grant("billing.list_invoices")
        frame = (await lab.invoke(token, args={"rows": 10}, response_mode="table")).json()
        assert len(frame["table_preview"]) == frame["handle"]["total_rows"] == 10

    async def test_sensitive_fields_do_not_leave_the_firewall(self, lab: Lab) -> None:
        token = await lab.grant("billing.list_invoices")
        reply = await lab.invoke(token, response_mode="table")
        assert "@example.com" not in reply.text
        assert reply.json()["table_preview"][0]["email"] == "[REDACTED]"

    async def test_raw_data_is_for_administrators(self, lab: Lab) -> None:
        token = await lab.grant()
        body = {"token": token, "response_mode": "raw"}
        raw = await lab.ask("POST", "/invocations", body, x_principal_roles="admin")
        assert raw.json()["raw_data"]["id"] == "INV-0001"
        assert raw.json()["handle_id"] is None
        assert "raw_data" not in (await lab.ask("POST", "/invocations", body)).json()

    async def test_a_dry_run_carries_nothing_out(self, lab: Lab) -> None:
        frame = (await lab.invoke(await lab.grant(), dry_run=True)).json()
        assert frame["dry_run"] is True
        assert frame["action_id"] is frame["handle_id"] is None
        assert frame["driver_id"] == "memory"
        assert lab.kernel.list_traces() == []

    async def test_a_client_cannot_choose_another_operation_than_its_capabilitys(self, lab: Lab) -> None:
        token = await lab.grant("billing.peek_invoice")
        frame = await lab.invoke(token, args={"operation": "crm.list_customers"}, response_mode="table")
        assert [row["id"] for row in frame.json()["table_preview"]] == ["INV-0001"]

    @pytest.mark.parametrize(
        ("change", "expected"),
        [
            ({"capability_id": "billing.list_invoices"}, (401, "token_invalid")),
            ({"principal_id": "bob"}, (401, "token_invalid")),
            ({"signature": "0" * 64}, (401, "token_invalid")),
            ({"signature": ""}, (401, "token_invalid")),
            ({"signature": "é"}, (422, "malformed")),
            ({"expires_at": "2026-01-01T00:00:00"}, (422, "malformed")),
            ({"expires_at": "2020-01-01T00:00:00Z"}, (401, "token_expired")),
            ({"token_id": 5}, (422, "malformed")),
            ({"constraints": {"max_rows": 10**9}}, (401, "token_invalid")),
        ],
    )
    async def test_a_token_that_was_changed_is_refused(
        self, lab: Lab, change: dict[str, Any], expected: tuple[int, str]
    ) -> None:
        assert problem(await lab.invoke({**await lab.grant(), **change})) == expected

    async def test_a_token_is_its_principals_alone(self, lab: Lab) -> None:
        assert problem(await lab.invoke(await lab.grant(), who="bob")) == (403, "token_scope")

    async def test_a_revoked_token_is_refused(self, lab: Lab) -> None:
        token = await lab.grant()
        revoked = await lab.ask("POST", f"/tokens/{token['token_id']}/revocation", who="admin")
        assert revoked.json() == {"token_id": token["token_id"], "revoked": True}
        assert problem(await lab.invoke(token)) == (403, "token_revoked")

    async def test_an_expired_token_is_refused_and_the_refusal_names_a_scheme(self, lab: Lab) -> None:
        token = lab.kernel._token_provider.issue("billing.get_invoice", "alice", ttl_seconds=-1)
        reply = await lab.invoke(token.to_dict())
        assert problem(reply) == (401, "token_expired")
        assert reply.headers["www-authenticate"] == "CapabilityToken"

    @pytest.mark.parametrize("args", [{"id": "INV-9999"}, {"id": ["INV-0001"]}])
    async def test_a_driver_that_fails_is_a_bad_gateway(self, lab: Lab, args: dict[str, Any]) -> None:
        assert problem(await lab.invoke(await lab.grant(), args=args)) == (502, "driver_failed")

    async def test_a_capability_only_another_worker_imported_is_not_found(
        self, lab: Lab, make_lab: MakeLab
    ) -> None:
        other = make_lab()
        await other.ask("POST", "/capabilities", manifest("far.one"))
        token = await other.grant("far.one")
        assert (await other.invoke(token)).status_code == 200
        assert problem(await lab.invoke(token)) == (404, "capability_not_found")

    async def test_what_the_budget_was_charged_is_told(self, make_lab: MakeLab) -> None:
        lab = make_lab(budget_total=10_000)
        token = await lab.grant("billing.list_invoices")
        charged = 0
        for mode in ("summary", "table", "handle_only"):
            charged += (await lab.invoke(token, response_mode=mode, args={"rows": 5})).json()["tokens"]
            budget = (await lab.ask("GET", "/budget")).json()
            assert budget == {"total": 10_000, "used": charged, "remaining": 10_000 - charged}
        assert charged > 0

    async def test_an_exhausted_budget_is_a_refusal(self, make_lab: MakeLab) -> None:
        lab = make_lab(budget_total=1)
        token = await lab.grant()
        await lab.invoke(token, response_mode="table")
        assert problem(await lab.invoke(token)) == (429, "budget_exhausted")


class TestHandles:
    async def handle(self, lab: Lab) -> str:
        frame = await lab.invoke(await lab.grant("billing.list_invoices"))
        handle_id: str = frame.json()["handle_id"]
        return handle_id

    async def test_its_principal_expands_it(self, lab: Lab) -> None:
        path = f"/handles/{await self.handle(lab)}/expansions"
        query = {"offset": 1, "limit": 2, "fields": ["id"], "filter": {"currency": "EUR"}}
        frame = (await lab.ask("POST", path, query)).json()
        assert frame["table_preview"] == [{"id": "INV-0006"}, {"id": "INV-0009"}]
        assert frame["rows"] == 2

    async def test_no_body_asks_for_what_the_grant_allows(self, lab: Lab) -> None:
        reply = await lab.ask("POST", f"/handles/{await self.handle(lab)}/expansions")
        assert reply.json()["rows"] == 50

    async def test_another_principal_is_refused(self, lab: Lab) -> None:
        path = f"/handles/{await self.handle(lab)}/expansions"
        assert problem(await lab.ask("POST", path, {}, who="bob")) == (403, "handle_principal_mismatch")

    async def test_more_than_the_grant_allows_is_refused(self, lab: Lab) -> None:
        path = f"/handles/{await self.handle(lab)}/expansions"
        expected = (403, "handle_constraint_violation")
        assert problem(await lab.ask("POST", path, {"limit": 51})) == expected

    async def test_an_unknown_handle_is_not_found(self, lab: Lab) -> None:
        reply = await lab.ask("POST", "/handles/nothing/expansions", {})
        assert problem(reply) == (404, "handle_not_found")

    async def test_an_expired_handle_is_gone(self, lab: Lab) -> None:
        handle = lab.kernel._handle_store.store(
            "billing.list_invoices", [], ttl_seconds=-1, principal_id="alice"
        )
        reply = await lab.ask("POST", f"/handles/{handle.handle_id}/expansions", {})
        assert problem(reply) == (410, "handle_expired")

    async def test_a_handle_itself_is_never_accepted(self, lab: Lab) -> None:
        frame = (await lab.invoke(await lab.grant("billing.list_invoices"))).json()
        path = f"/handles/{frame['handle_id']}/expansions"
        forged = {**frame["handle"], "principal_id": "bob", "constraints": {}}
        assert problem(await lab.ask("POST", path, {"handle": forged}, who="bob")) == (422, "malformed")


class TestTraces:
    async def test_an_action_can_be_explained(self, lab: Lab) -> None:
        action_id = (await lab.invoke(await lab.grant())).json()["action_id"]
        trace = (await lab.ask("GET", f"/traces/{action_id}")).json()
        assert (trace["action_id"], trace["principal_id"], trace["status"]) == (
            action_id,
            "alice",
            "succeeded",
        )

    async def test_an_unknown_action_is_not_found(self, lab: Lab) -> None:
        assert problem(await lab.ask("GET", "/traces/nothing")) == (404, "trace_not_found")

    async def test_traces_are_listed_filtered_and_paged(self, lab: Lab) -> None:
        actions = {
            who: [(await lab.invoke(await lab.grant(who=who), who=who)).json()["action_id"] for _ in range(2)]
            for who in ("alice", "bob")
        }

        async def ids(query: str) -> list[str]:
            reply = (await lab.ask("GET", f"/traces{query}")).json()
            listed: list[str] = reply["action_ids"]
            return listed

        assert set(await ids("")) == {*actions["alice"], *actions["bob"]}
        assert set(await ids("?principal_id=bob&event_type=invoke")) == set(actions["bob"])
        assert await ids("?event_type=deny") == []
        first, second = await ids("?limit=2"), await ids("?limit=2&offset=2")
        assert not set(first) & set(second)

    async def test_ids_alone_are_shorter(self, lab: Lab) -> None:
        await lab.invoke(await lab.grant())
        assert "traces" not in (await lab.ask("GET", "/traces?fields=ids")).json()
        assert len((await lab.ask("GET", "/traces")).json()["traces"]) == 1

    @pytest.mark.parametrize("query", ["limit=-1", "limit=x", "limit=", "event_type=party", "colour=red"])
    async def test_a_bad_query_is_malformed(self, lab: Lab, query: str) -> None:
        assert problem(await lab.ask("GET", f"/traces?{query}")) == (422, "malformed")

    async def test_a_store_without_a_chain_verifies_to_nothing(self, lab: Lab) -> None:
        await lab.invoke(await lab.grant())
        audit = (await lab.ask("GET", "/audit")).json()
        assert (audit["valid"], audit["records"]) == (None, 1)

    async def test_a_chained_store_verifies_its_chain(self, make_lab: MakeLab, tmp_path: Any) -> None:
        lab = make_lab(state_traces=f"stock+sqlite:///{tmp_path}/traces.db")
        await lab.invoke(await lab.grant())
        audit = (await lab.ask("GET", "/audit")).json()
        assert (audit["valid"], audit["records"]) == (True, 1)
        lab.kernel._trace_store._conn.execute("UPDATE traces SET payload = replace(payload, 'alice', 'bob')")  # type: ignore[attr-defined]
        assert (await lab.ask("GET", "/audit")).json()["valid"] is False


class TestRevocation:
    async def test_every_token_of_a_principal_is_revoked_and_counted(self, lab: Lab) -> None:
        tokens = [await lab.grant() for _ in range(3)]
        others = await lab.grant(who="bob")
        reply = await lab.ask("POST", "/principals/alice/revocation", who="admin")
        assert reply.json() == {"principal_id": "alice", "revoked": 3}
        for token in tokens:
            assert problem(await lab.invoke(token)) == (403, "token_revoked")
        assert (await lab.invoke(others, who="bob")).status_code == 200


class TestCapabilities:
    async def test_they_are_listed_as_documented(self, lab: Lab) -> None:
        listed = (await lab.ask("GET", "/capabilities")).json()["capabilities"]
        assert {c["capability_id"]: (c["safety_class"], c["sensitivity"]) for c in listed} == {
            "billing.list_invoices": ("READ", "NONE"),
            "billing.peek_invoice": ("READ", "NONE"),
            "billing.get_invoice": ("READ", "NONE"),
            "billing.update_invoice": ("WRITE", "NONE"),
            "billing.delete_invoice": ("DESTRUCTIVE", "NONE"),
            "crm.list_customers": ("READ", "PII"),
            "billing.export_invoices": ("READ", "NONE"),
        }

    async def test_an_imported_one_can_be_invoked(self, lab: Lab) -> None:
        reply = await lab.ask("POST", "/capabilities", manifest("far.one", "far.two"))
        assert (reply.status_code, reply.json()) == (201, {"capability_ids": ["far.one", "far.two"]})
        frame = await lab.invoke(await lab.grant("far.two"), response_mode="table")
        assert frame.json()["table_preview"] == [{"capability": "far.two", "answered": True}]

    async def test_a_known_one_is_not_replaced(self, lab: Lab) -> None:
        body = manifest("far.one", "billing.get_invoice")
        assert problem(await lab.ask("POST", "/capabilities", body)) == (409, "capability_exists")
        assert problem(await lab.ask("POST", "/grants", {"capability_id": "far.one"}))[0] == 404

    @pytest.mark.parametrize(
        "body",
        [
            {},
            manifest("far.one", version="2"),
            manifest("far.one", endpoint=""),
            manifest("far.one", "far.one"),
            manifest(capabilities=[{"capability_id": "far.one"}]),
            manifest(capabilities=["far.one"]),
        ],
    )
    async def test_a_bad_manifest_is_malformed(self, lab: Lab, body: dict[str, Any]) -> None:
        assert problem(await lab.ask("POST", "/capabilities", body)) == (422, "malformed")


class TestOneWorker:
    async def test_it_says_who_it_is_and_what_is_promised(self, make_lab: MakeLab) -> None:
        lab = make_lab(split_limit=4, rate_limits={"WRITE": (8, 2.0)}, token_ttls={"a": 1}, handle_cap=7)
        told = (await lab.ask("GET", "/worker")).json()
        assert (told["replica"], told["pid"], told["boot"]) == ("r0", 1, "b")
        assert told["worker"] == "r0/1/b"
        assert told["kernel_version"] == "0.12.0"
        assert told["rate_limits"]["WRITE"] == {"limit": 8, "window_s": 2.0}
        assert told["rate_limits"]["READ"] == {"limit": 60, "window_s": 60.0}
        assert told["split_limit"] == 4
        assert (told["token_ttls"], told["handle_cap"], told["state"]) == ({"a": 1}, 7, "memory://")

    async def test_it_counts(self, lab: Lab) -> None:
        await lab.invoke(await lab.grant())
        await lab.ask("POST", "/grants", {"capability_id": "billing.update_invoice"})
        stats = (await lab.ask("GET", "/stats")).json()
        assert (stats["grants"], stats["invocations"]) == (1, 1)
        assert stats["denials_by_reason"] == {"missing_role": 1}

    async def test_it_is_healthy(self, lab: Lab) -> None:
        assert (await lab.ask("GET", "/healthz")).json() == {"status": "ok"}

    async def test_without_a_budget_there_are_no_figures(self, lab: Lab) -> None:
        assert (await lab.ask("GET", "/budget")).json() == {"total": None, "used": None, "remaining": None}


class TestRequests:
    @pytest.mark.parametrize(
        "body", [b"", b"{", b"[]", b"\xff", b'{"capability_id":"\xff"}', b'{"capability_id":1}', b"[" * 5000,
                 b'{"capability_id":"a","colour":"red"}', b'{"capability_id":"\\ud800"}'],
    )  # fmt: skip
    async def test_a_body_that_cannot_be_read_is_malformed(self, lab: Lab, body: bytes) -> None:
        assert problem(await lab.ask("POST", "/grants", body)) == (422, "malformed")

    @pytest.mark.parametrize(
        "path", ["/grants", "/invocations", "/invocations/stream", "/handles/x/expansions"]
    )
    async def test_a_call_without_a_principal_is_malformed(self, lab: Lab, path: str) -> None:
        token = await lab.grant()
        handle = (await lab.invoke(token)).json()["handle_id"]
        body = {"capability_id": "billing.get_invoice"} if path == "/grants" else {"token": token}
        if "handles" in path:
            path, body = f"/handles/{handle}/expansions", {}
        assert problem(await lab.ask("POST", path, body, who="")) == (422, "malformed")

    async def test_a_principal_may_have_any_name_in_utf8(self, lab: Lab) -> None:
        client = lab._client
        body = json.dumps({"capability_id": "billing.get_invoice"})
        good = await client.post("/grants", content=body, headers={"x-principal-id": "Žofie".encode()})
        assert good.json()["principal_id"] == "Žofie"
        bad = await client.post("/grants", content=body, headers={"x-principal-id": b"\xff"})
        assert problem(bad) == (422, "malformed")

    async def test_an_unknown_route_and_a_wrong_method_are_problems_too(self, lab: Lab) -> None:
        assert problem(await lab.ask("GET", "/nothing")) == (404, "not_found")
        wrong = await lab.ask("GET", "/grants")
        assert problem(wrong) == (405, "method_not_allowed")
        assert wrong.headers["allow"] == "POST"


class Away:
    """A store that cannot be reached, whatever it is asked."""

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def asked(*_: Any, **__: Any) -> Any:
            raise StateUnavailable("the store does not answer")

        return asked


class TestAnAbsentStore:
    async def test_every_call_that_needs_it_is_refused(self, lab: Lab) -> None:
        token = await lab.grant()
        handle = (await lab.invoke(token)).json()["handle_id"]
        lab.kernel._token_provider._revocation = Away()  # type: ignore[attr-defined]
        calls = [
            ("/grants", {"capability_id": "billing.get_invoice"}),
            ("/invocations", {"token": token}),
            ("/invocations/stream", {"token": token}),
            ("/tokens/x/revocation", None),
            ("/principals/alice/revocation", None),
        ]
        for path, body in calls:
            assert problem(await lab.ask("POST", path, body)) == (503, "state_unavailable"), path
        assert (await lab.ask("POST", f"/handles/{handle}/expansions")).status_code == 200
        assert (await lab.ask("GET", "/healthz")).status_code == 200

    async def test_handles_and_traces_that_cannot_be_read_are_refused(self, make_lab: MakeLab) -> None:
        kernel = make_lab().kernel
        kernel._trace_store = Away()
        lab = Lab(kernel, Settings(secret="a secret"))
        for path in ("/traces", "/traces/x", "/audit"):
            assert problem(await lab.ask("GET", path)) == (503, "state_unavailable"), path

    async def test_what_nobody_foresaw_is_an_error_and_not_a_refusal(self, lab: Lab) -> None:
        def broken(*_: Any, **__: Any) -> None:
            raise ZeroDivisionError

        lab.kernel._trace_store.query = broken  # type: ignore[method-assign]
        assert problem(await lab.ask("GET", "/traces")) == (500, "internal_error")
