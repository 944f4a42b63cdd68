"""The yardstick makes the calls it is compared by: what it grants and answers is what the app does."""

import json
from collections.abc import AsyncIterator

import pytest
from labs import Lab, started

from lab.bare import Bare

HEADERS = [(b"x-principal-id", b"ada"), (b"x-principal-roles", b"reader"), (b"x-principal-tenant", b"acme")]


@pytest.fixture
async def bare(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Bare]:
    monkeypatch.setenv("WEAVER_KERNEL_SECRET", "a secret")
    app = Bare()
    async with started(app) as answers:
        assert answers[0]["type"] == "lifespan.startup.complete"
        yield app


async def post(app: Bare, path: str, body: dict) -> dict:
    sent: list[dict] = []

    async def receive() -> dict:
        return {"type": "http.request", "body": json.dumps(body).encode()}

    async def send(message: dict) -> None:
        sent.append(message)

    await app({"type": "http", "path": path, "headers": HEADERS}, receive, send)
    start, rest = sent
    headers = dict(start["headers"])
    assert headers[b"content-length"] == str(len(rest["body"])).encode()
    assert headers[b"x-lab-worker"].startswith(b"r0/")
    answered: dict = json.loads(rest["body"])
    return answered


GRANT = {"capability_id": "billing.list_invoices", "goal": "", "justification": ""}


async def test_its_token_is_taken_by_the_app(bare, make_lab):
    token = (await post(bare, "/grants", GRANT))["token"]
    lab: Lab = make_lab()
    ours = await post(bare, "/invocations", {"token": token, "args": {"rows": 3}})
    theirs = (await lab.invoke(token, who="ada", args={"rows": 3})).json()
    assert ours["facts"] == theirs["facts"]
    assert ours["response_mode"] == theirs["response_mode"] == "summary"
    assert ours["handle_id"]
    assert ours["action_id"]


async def test_it_states_the_limits_a_load_generator_asks_for(bare):
    assert (await post(bare, "/worker", {}))["rate_limits"]["WRITE"] == {"limit": 10, "window_s": 60.0}
