"""The route class: what a handler may ask for, and what it refuses to read."""

import json
from collections.abc import Callable, Coroutine
from typing import Annotated, Any

import httpx
import pytest
from fastapi import Body, Cookie, Depends, FastAPI, Header
from labs import Lab, problem
from pydantic import BaseModel

from lab.problems import Malformed, problem_of, problem_response
from lab.routes.route import KernelRoute


class Asked(BaseModel):
    number: int = 0
    more: dict[str, Any] = {}


async def ask(
    handler: Callable[..., Coroutine[Any, Any, Any]], *headers: tuple[bytes, bytes]
) -> httpx.Response:
    """One request to `handler`, which answers ``/``."""

    async def malformed(_request: Any, error: Exception) -> Any:
        return problem_response(problem_of(error))

    router = KernelRoute.router()
    router.get("/")(handler)
    app = FastAPI(routes=router.routes, exception_handlers={Malformed: malformed})
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://lab") as client:
        return await client.get("/", headers=list(headers))


def named(x_name: Annotated[str, Header()], x_other: Annotated[str, Header()] = "-") -> str:
    return f"{x_name} {x_other}"


async def test_a_dependency_takes_headers_and_their_defaults() -> None:
    async def handler(who: Annotated[str, Depends(named)]) -> dict[str, str]:
        return {"who": who}

    assert (await ask(handler, (b"X-Name", "Žofie".encode()))).json() == {"who": "Žofie -"}
    assert (await ask(handler, (b"X-Name", b"a"), (b"x-other", b"b"))).json() == {"who": "a b"}


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [(b"X-Name", b"\xff")],
        [(b"X-Name", b"a"), (b"X-Name", b"a")],
        [(b"X-Name", b""), (b"x-name", b"b")],
        [(b"X-Name", b"a"), (b"x-other", b"b"), (b"X-Other", b"c")],
    ],
)
async def test_a_header_that_is_missing_repeated_or_not_utf8_is_malformed(
    headers: list[tuple[bytes, bytes]],
) -> None:
    async def handler(who: Annotated[str, Depends(named)]) -> dict[str, str]:
        return {"who": who}

    assert problem(await ask(handler, *headers)) == (422, "malformed")


@pytest.mark.parametrize(
    "body",
    [b'{"more":{"a":NaN}}', b'{"more":{"a":Infinity}}', b'{"more":{"a":1e999}}', b'{"more":{"a":"\\ud800"}}',
     b'{"more":{"a":"\xff"}}', b'{"more":' + b'{"a":' * 5000, b"{} {}", b'{"number":1.5}', b""],
)  # fmt: skip
async def test_a_body_is_strict_json(lab: Lab, body: bytes) -> None:
    async def handler(asked: Annotated[Asked, Body()]) -> dict[str, int]:
        return {"number": asked.number}

    router = KernelRoute.router()
    router.post("/")(handler)
    lab.api.router.routes.extend(router.routes)
    assert problem(await lab.ask("POST", "/", body)) == (422, "malformed")
    assert (await lab.ask("POST", "/", b'{"number":2}')).json() == {"number": 2}


async def waiting() -> int:
    return 1


async def cookie(biscuit: Annotated[str, Cookie()]) -> None: ...
async def unmarked(number: int = 0) -> None: ...
async def asynchronous(number: Annotated[int, Depends(waiting)]) -> None: ...


@pytest.mark.parametrize("handler", [cookie, unmarked, asynchronous])
def test_a_handler_that_asks_for_what_the_route_cannot_read_fails_when_it_is_defined(handler: Any) -> None:
    with pytest.raises(TypeError, match="KernelRoute"):
        KernelRoute.router().get("/")(handler)


async def test_the_document_names_each_operation_after_its_handler(lab: Lab) -> None:
    document = (await lab.ask("GET", "/openapi.json")).json()
    grant = document["paths"]["/grants"]["post"]
    assert grant["operationId"] == "grant"
    assert grant["requestBody"]["content"]["application/json"]["schema"] == {
        "$ref": "#/components/schemas/GrantRequest"
    }
    required = {parameter["name"]: parameter["required"] for parameter in grant["parameters"]}
    assert required == {"x-principal-id": True, "x-principal-roles": False, "x-principal-tenant": False}
    assert set(grant["responses"]) == {"201", "403", "404", "413", "422", "429", "503"}
    assert set(grant["responses"]["422"]["content"]) == {"application/problem+json"}
    assert "HTTPValidationError" not in json.dumps(document)
