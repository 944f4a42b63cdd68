"""The OpenAPI document: it says what the app does, and a generator of requests finds nothing else."""

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest
import schemathesis
from effort import effort
from fastapi.routing import APIRoute
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from labs import Lab
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    allow_header_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
)

from lab.capabilities import CAPABILITIES
from lab.kernel import build_kernel
from lab.problems import REASONS
from lab.routes import ROUTES
from lab.settings import Settings

CONFORMS = [
    not_a_server_error,
    allow_header_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
    unsupported_method,
]
WIDE = {"READ": (10**9, 60.0), "WRITE": (10**9, 60.0), "DESTRUCTIVE": (10**9, 60.0)}


pytestmark = pytest.mark.counted

BRIEFLY = settings(
    max_examples=effort(8, 30),
    deadline=None,
    suppress_health_check=list(HealthCheck),
    derandomize=True,
    database=None,
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
READ_BY_UPSTREAM = ("max_rows", "allowed_fields", "scope", "invoke_timeout_s")


@pytest.fixture(scope="module")
def fuzzed() -> Lab:
    """One lab for every generated request, its limits out of the way."""
    values = Settings(secret="a secret", rate_limits=WIDE, stream_chunk_ms=0)
    return Lab(build_kernel(values), values)


@pytest.fixture(scope="module")
def document(fuzzed: Lab) -> Any:
    return schemathesis.openapi.from_asgi("/openapi.json", fuzzed.api)


OPERATIONS = [route for route in ROUTES if isinstance(route, APIRoute)]


def named(routes: Iterable[APIRoute]) -> list[Any]:
    return [pytest.param(route, id=route.name) for route in routes]


def takes_something(route: APIRoute) -> bool:
    return route.body_field is not None or bool(route.dependant.query_params)


@pytest.mark.parametrize("route", named(OPERATIONS))
def test_no_valid_request_gets_a_server_error_or_an_answer_that_is_not_documented(
    document: Any, route: APIRoute
) -> None:
    (method,) = route.methods
    conforms(document[route.path][method].as_strategy(generation_mode=GenerationMode.POSITIVE))


@pytest.mark.parametrize("route", named(route for route in OPERATIONS if takes_something(route)))
def test_no_invalid_request_does_either(document: Any, route: APIRoute) -> None:
    (method,) = route.methods
    conforms(document[route.path][method].as_strategy(generation_mode=GenerationMode.NEGATIVE))


def conforms(requests: st.SearchStrategy[Any]) -> None:
    @BRIEFLY
    @given(case=requests)
    def every_one(case: Any) -> None:
        case.call_and_validate(checks=CONFORMS)

    every_one()


@pytest.mark.parametrize("path", ["/invocations", "/invocations/stream"])
def test_whatever_is_granted_can_be_invoked_with_any_arguments_without_an_unforeseen_error(
    fuzzed: Lab, path: str
) -> None:
    @BRIEFLY
    @given(
        capability=st.sampled_from([capability.capability_id for capability in CAPABILITIES]),
        constraints=st.dictionaries(st.sampled_from(READ_BY_UPSTREAM) | st.text(), JSON, max_size=3),
        args=st.dictionaries(
            st.sampled_from(["rows", "id", "status", "operation"]) | st.text(), JSON, max_size=3
        ),
        mode=st.sampled_from(["summary", "table", "handle_only", "raw"]),
    )
    def every_one(capability: str, constraints: Any, args: Any, mode: str) -> None:
        async def granted_and_invoked() -> None:
            asked = {"capability_id": capability, "constraints": constraints, "justification": "x" * 15}
            roles = {"x_principal_roles": "admin", "x_principal_tenant": "acme"}
            granted = await fuzzed.ask("POST", "/grants", asked, **roles)
            assert granted.status_code in {201, 422}, granted.text
            if granted.status_code == 201:
                body = {"token": granted.json()["token"], "args": args, "response_mode": mode}
                reply = await fuzzed.ask("POST", path, body, **roles)
                assert reply.status_code in {200, 502}, reply.text
                if reply.status_code == 502:
                    assert reply.json()["reason_code"] == "driver_failed"

        asyncio.run(granted_and_invoked())

    every_one()


@BRIEFLY
@given(query=st.fixed_dictionaries({}, optional={
    "offset": st.integers(0, 2**53), "limit": st.integers(0, 2**53), "fields": st.lists(st.text()),
    "filter": st.dictionaries(st.text() | st.just("currency"), JSON, max_size=2),
}))  # fmt: skip
def test_any_expansion_is_answered_or_refused(query: Any) -> None:
    async def expanded() -> None:
        frame = await lab.invoke(await lab.grant("billing.list_invoices"))
        reply = await lab.ask("POST", f"/handles/{frame.json()['handle_id']}/expansions", query)
        assert reply.status_code in {200, 403}, reply.text

    values = Settings(secret="a secret")
    lab = Lab(build_kernel(values), values)
    asyncio.run(expanded())


def test_every_reason_the_lab_can_give_has_a_documented_status() -> None:
    documented = {status for route in OPERATIONS for status in route.responses}
    assert {status for status, _ in REASONS.values()} <= documented
