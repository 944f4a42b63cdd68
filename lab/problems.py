"""Refusals and failures as RFC 9457 problem documents with a stable ``reason_code``.

One table gives the HTTP status of each of upstream's errors. A refusal with a 4xx status certainly had no effect. An
error that may have had an effect gets a 5xx status, so that a recorder never takes a doubtful call for a refused call.
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

from lab.older import HandleTooLarge
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
    """The request cannot be read. The message is one line that says what was wrong."""


class TooLarge(Exception):  # noqa: N818
    """The body is larger than ``LAB_MAX_BODY_BYTES``."""


class TraceNotFound(Exception):  # noqa: N818
    """No trace of that action exists. Upstream raises its base error here, which a program cannot tell from others."""


class CapabilityExists(Exception):  # noqa: N818
    """An import would replace a capability. Upstream raises the error of a malformed manifest here."""


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
    # raised when the driver has already run, so its effect is there
    wk.FirewallError: (502, "driver_failed"),
    HandleTooLarge: (502, "driver_failed"),
    StateUnavailable: (503, "state_unavailable"),
    # upstream's own SQLite stores do not catch the database's errors
    sqlite3.Error: (503, "state_unavailable"),
}
"""Exception → (status, reason code), also for subclasses. If an error has a ``reason_code`` of its own, that one is
used."""

_STATUS_OF_REASON: Mapping[str, int] = {
    str(DenialReason.RATE_LIMITED): 429,
    str(DenialReason.INVALID_CONSTRAINT): 422,
}
"""Upstream's denials whose reason is not the caller's identity."""

_ROUTER: Mapping[int, str] = {404: "not_found", 405: "method_not_allowed"}


def problem_of(error: Exception) -> Problem:
    """Return the problem document of `error`; 500 ``internal_error`` for an error that the table does not know."""
    if isinstance(error, HTTPException):
        return _problem(error.status_code, _ROUTER.get(error.status_code, "refused"), error.detail)
    for kind in type(error).__mro__:
        if kind in REASONS:
            status, reason = REASONS[kind]
            reason = str(getattr(error, "reason_code", None) or reason)
            return _problem(_STATUS_OF_REASON.get(reason, status), reason, str(error))
    return _problem(500, "internal_error", type(error).__name__)


def problem_response(problem: Problem, headers: Mapping[str, str] | None = None) -> Response:
    """Return `problem` as a response, with `headers` and the headers that its status needs."""
    headers = dict(headers or {})
    if problem.status == HTTPStatus.UNAUTHORIZED:
        headers["WWW-Authenticate"] = "CapabilityToken"
    if problem.status == HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        # without this, the server would have to read the rest of the body and throw it away
        headers["Connection"] = "close"
    return Response(
        msgspec.json.encode(problem), status_code=problem.status, headers=headers, media_type=MEDIA_TYPE
    )


def refusals(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the part of a route's description that lists its refusals: each status has a problem document."""
    fields = {name: {"type": "integer" if name == "status" else "string"} for name in Problem.__slots__}
    schema = {"title": "Problem", "type": "object", "properties": fields, "required": list(fields)}
    return {
        status: {"description": HTTPStatus(status).phrase, "content": {MEDIA_TYPE: {"schema": schema}}}
        for status in statuses
    }


def _problem(status: int, reason: str, detail: str) -> Problem:
    return Problem(title=HTTPStatus(status).phrase, status=status, detail=detail, reason_code=reason)
