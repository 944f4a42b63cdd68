"""Refusals and failures as RFC 9457 problem documents with a stable ``reason_code``.

One table says what each of upstream's errors is over HTTP. A 4xx refusal certainly had no effect; whatever
may have had one is a 5xx, so that a recorder never takes a doubtful call for a refused one.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import msgspec
import weaver_kernel as wk
from starlette.exceptions import HTTPException
from starlette.responses import Response
from weaver_kernel import DenialReason

from lab.state import StateUnavailable

MEDIA_TYPE = "application/problem+json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Problem:
    """An RFC 9457 problem document."""

    type: str = "about:blank"
    title: str
    status: int
    detail: str
    reason_code: str


class Malformed(Exception):  # noqa: N818 - it names what the caller is told
    """The request cannot be read: one line saying what was wrong."""


class TooLarge(Exception):  # noqa: N818
    """The body is larger than ``LAB_MAX_BODY_BYTES``."""


class TraceNotFound(Exception):  # noqa: N818
    """No trace of that action. Upstream raises its base error, which says nothing to a program."""


class CapabilityExists(Exception):  # noqa: N818
    """An import would replace a capability. Upstream raises the error of a malformed manifest."""


REASONS: Mapping[type[Exception], tuple[int, str]] = {
    Malformed: (422, "malformed"),
    TooLarge: (413, "too_large"),
    TraceNotFound: (404, "trace_not_found"),
    CapabilityExists: (409, "capability_exists"),
    wk.TokenInvalid: (401, "token_invalid"),
    wk.TokenExpired: (401, "token_expired"),
    wk.TokenRevoked: (403, "token_revoked"),
    wk.TokenScopeError: (403, "token_scope"),
    wk.PolicyDenied: (403, "policy_denied"),
    wk.HandleConstraintViolation: (403, str(DenialReason.HANDLE_CONSTRAINT_VIOLATION)),
    wk.CapabilityNotFound: (404, "capability_not_found"),
    wk.HandleNotFound: (404, "handle_not_found"),
    wk.HandleExpired: (410, "handle_expired"),
    wk.CapabilityAlreadyRegistered: (409, "capability_exists"),
    wk.FederationError: (422, "malformed"),
    wk.BudgetExhausted: (429, "budget_exhausted"),
    wk.DriverError: (502, "driver_failed"),
    # raised when the driver has already run: its effect stands
    wk.FirewallError: (502, "driver_failed"),
    wk.HandleTooLarge: (502, "driver_failed"),
    StateUnavailable: (503, "state_unavailable"),
    # upstream's own SQLite stores let the database's errors through
    sqlite3.Error: (503, "state_unavailable"),
}
"""Exception → (status, reason code), subclasses included; an error's own ``reason_code`` goes before."""

_STATUS_OF_REASON: Mapping[str, int] = {
    str(DenialReason.RATE_LIMITED): 429,
    str(DenialReason.INVALID_CONSTRAINT): 422,
}
"""Upstream's denials that are not a matter of who asks."""

_ROUTER: Mapping[int, str] = {404: "not_found", 405: "method_not_allowed"}


def problem_of(error: Exception) -> Problem:
    """The problem document of `error`; 500 ``internal_error`` for one the table does not know."""
    if isinstance(error, HTTPException):
        return _problem(error.status_code, _ROUTER.get(error.status_code, "refused"), error.detail)
    for kind in type(error).__mro__:
        if kind in REASONS:
            status, reason = REASONS[kind]
            reason = str(getattr(error, "reason_code", None) or reason)
            return _problem(_STATUS_OF_REASON.get(reason, status), reason, str(error))
    return _problem(500, "internal_error", type(error).__name__)


def problem_response(problem: Problem, headers: Mapping[str, str] | None = None) -> Response:
    """`problem` as a response, with `headers` and those that its status asks for."""
    headers = dict(headers or {})
    if problem.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "CapabilityToken"
    if problem.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        headers["Connection"] = "close"  # or the rest of the body would have to be read, to be thrown away
    return Response(
        msgspec.json.encode(problem), status_code=problem.status, headers=headers, media_type=MEDIA_TYPE
    )


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """The part of a route's description that lists its refusals: each status has a problem document."""
    fields = {name: {"type": "integer" if name == "status" else "string"} for name in Problem.__slots__}
    schema = {"title": "Problem", "type": "object", "properties": fields, "required": list(fields)}
    return {
        status: {"description": HTTPStatus(status).phrase, "content": {MEDIA_TYPE: {"schema": schema}}}
        for status in statuses
    }


def _problem(status: int, reason: str, detail: str) -> Problem:
    return Problem(title=HTTPStatus(status).phrase, status=status, detail=detail, reason_code=reason)
