"""Calls: the requests to the lab over HTTP, and how a reply is read. No connection, no clock.

A `Call` says the request (method, path, body) and what the history keeps of it (``f``, ``input``,
``output``). `read` is the one table from a reply to an outcome.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, get_args, get_type_hints

import msgspec

from kernel_lab.judge.operation import Called, Outcome

LONGEST_REASON = 100
LARGEST_KEPT = 16_384
"""Bytes of the largest reply whose body is kept whole. A scenario may keep hundreds of replies."""
_UNREADABLE = (KeyError, TypeError, ValueError, AttributeError, RecursionError)
_OUTPUTS: dict[str, Any] = {kind.f: get_type_hints(kind)["output"] for kind in get_args(Called)}
"""The possible outputs of each kind of operation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """One request, and its place in the history."""

    f: str
    method: str
    path: str
    asked: dict[str, Any]
    """The operation's ``input``."""
    keep: Callable[[Any], dict[str, Any]]
    """From the JSON of a 2xx reply to the operation's ``output``."""
    body: dict[str, Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A reply, and its times. `return_ns` is the time when it was read, whatever the outcome."""

    outcome: Outcome
    error: str | None = None
    body: Any = None
    """The JSON of the reply; of more than `LARGEST_KEPT` bytes, only the names and ids in it."""
    output: dict[str, Any] | None = None
    call_ns: int = 0
    return_ns: int = 0
    worker: str | None = None

    @property
    def ok(self) -> bool:
        """The call did what was asked."""
        return self.outcome is Outcome.OK


def read(
    call: Call, status: int, content: bytes, *, call_ns: int, return_ns: int, worker: str | None = None
) -> Reply:
    """A 2xx is ok, a 4xx with a reason code is a refusal; whatever else came may have had its effect."""
    try:
        body = msgspec.json.decode(content) if content else None
    except (ValueError, RecursionError):  # no JSON, no UTF-8, or nested too deeply
        body = None
    outcome, output = Outcome.INFO, None
    error = _reason(body)
    if 200 <= status < 300:
        try:
            outcome, output, error = Outcome.OK, _recordable(call.f, call.keep(body)), None
        except _UNREADABLE:
            outcome, error = Outcome.INFO, "unreadable_reply"
        else:
            if call.f == "grant" and len(content) > LARGEST_KEPT:  # its token would be sent with each invoke
                outcome, output, error = Outcome.INFO, None, "token_too_large"
    # a 4xx without a reason code did not come from the kernel: what happened behind it is unknown
    elif 400 <= status < 500 and error is not None:
        outcome = Outcome.FAIL
    else:
        error = error or f"http_{status}"
    return Reply(
        outcome=outcome,
        error=error,
        body=body if len(content) <= LARGEST_KEPT else _names(body),
        output=output,
        call_ns=call_ns,
        return_ns=return_ns,
        worker=worker,
    )


def _names(body: Any) -> dict[str, str | None]:
    """The part of a large reply that a later call may need: its short texts that have a name."""
    members = body.items() if isinstance(body, dict) else ()
    short = {
        name: value
        for name, value in members
        if value is None or (isinstance(value, str) and len(value) <= 200)
    }
    return dict(itertools.islice(short.items(), 100))


def _reason(body: Any) -> str | None:
    """The reason code of a reply; None for anything but a short text."""
    said = body.get("reason_code") if isinstance(body, dict) else None
    return said if isinstance(said, str) and len(said) <= LONGEST_REASON and said.isprintable() else None


def _recordable(f: str, output: dict[str, Any]) -> dict[str, Any]:
    """The output itself, if a history can hold it and be read again.

    Raises:
        ValueError: A value has another type than the kind of operation has.
    """
    msgspec.convert(output, _OUTPUTS[f])
    return output


def grant(principal: str, capability: str) -> Call:
    """Ask for a token."""
    return Call(
        f="grant",
        method="POST",
        path="/grants",
        asked={"principal": principal, "capability": capability},
        keep=lambda body: {"token_id": body["token"]["token_id"]},
        body={
            "capability_id": capability,
            "goal": "lab traffic",
            "justification": "nightly reconciliation run",
        },
    )


def invoke(
    principal: str,
    token: dict[str, Any],
    args: dict[str, Any] | None = None,
    *,
    mode: str = "summary",
    tampered: bool = False,
    dry_run: bool = False,
) -> Call:
    """Present a token; `tampered` says that the caller has altered it.

    With `dry_run`, the token is verified and nothing is carried out.
    """
    return Call(
        f="invoke",
        method="POST",
        path="/invocations",
        asked={
            "token_id": token["token_id"],
            "principal": principal,
            "capability": token["capability_id"],
            "tampered": tampered,
        }
        | ({"args": args} if args else {})
        | ({"dry_run": True} if dry_run else {}),
        keep=lambda body: (
            {key: body[key] for key in ("action_id", "handle_id", "tokens", "response_mode")}
            | (_shown(body) if body["response_mode"] == "table" else {})
        ),
        body={"token": token, "args": args or {}, "response_mode": mode}
        | ({"dry_run": True} if dry_run else {}),
    )


def stream(principal: str, token: dict[str, Any], args: dict[str, Any] | None = None) -> Call:
    """Present a token and be answered frame by frame. What is kept is counted while they come."""
    plain = invoke(principal, token, args)
    return replace(plain, path="/invocations/stream", asked={**plain.asked, "stream": True})


ROWS = 5
"""Rows that an expansion asks for, and that a digest is made of."""


def digest(rows: list[Any]) -> str:
    """Return a short name of the first rows: equal rows have equal names."""
    return hashlib.blake2b(msgspec.json.encode(rows[:ROWS], order="sorted"), digest_size=8).hexdigest()


def _shown(body: dict[str, Any]) -> dict[str, Any]:
    """The digest of the rows that a reply shows, where it shows any."""
    rows = body.get("table_preview")
    return {"digest": digest(rows)} if isinstance(rows, list) else {}


def _known(body: Any, **names: str) -> dict[str, Any]:
    """Return the fields of a reply that have the given names, under our names.

    A field that is missing is not judged.
    """
    return {ours: body[name] for ours, name in names.items() if name in body}


def expand(principal: str, handle_id: str, *, rows: int = ROWS) -> Call:
    """Ask for rows behind a handle."""
    return Call(
        f="expand",
        method="POST",
        path=f"/handles/{handle_id}/expansions",
        asked={"handle_id": handle_id, "principal": principal, "limit": rows},
        keep=lambda body: {"rows": body["rows"]} | _shown(body) | _known(body, action_id="action_id"),
        body={"limit": rows},
    )


def explain(action_id: str, by: str | None = None) -> Call:
    """Ask for the trace of one action; `by` names who asks where the connection's client does not."""
    return Call(
        f="explain",
        method="GET",
        path=f"/traces/{action_id}",
        asked={"action_id": action_id} | ({"by": by} if by else {}),
        keep=lambda body: _known(
            body,
            principal="principal_id",
            capability="capability_id",
            token_id="token_id",  # noqa: S106
            handle_id="handle_id",
            status="status",
            event_type="event_type",
            args="args",
        ),
    )


def revoke(principal: str, token_id: str) -> Call:
    """Revoke one token."""
    return Call(
        f="revoke",
        method="POST",
        path=f"/tokens/{token_id}/revocation",
        asked={"token_id": token_id, "by": principal},
        keep=lambda body: {"revoked": body["revoked"]},
    )


def revoke_all(principal: str, whose: str | None = None) -> Call:
    """Revoke every token of a principal: the caller's own, or `whose`."""
    whose = whose or principal
    return Call(
        f="revoke_all",
        method="POST",
        path=f"/principals/{whose}/revocation",
        asked={"principal": whose, "by": principal},
        keep=lambda body: {"revoked": body["revoked"]},
    )


def list_traces(principal: str, event_type: str | None = None) -> Call:
    """List the traces of one principal; `event_type` narrows them to invokes, expansions or denials."""
    narrowed = f"&event_type={event_type}" if event_type else ""
    return Call(
        f="list_traces",
        method="GET",
        path=f"/traces?principal_id={principal}&fields=ids{narrowed}",
        asked={"principal": principal} | ({"event_type": event_type} if event_type else {}),
        keep=lambda body: {"action_ids": body["action_ids"]},
    )


def audit() -> Call:
    """Ask the audit chain to verify itself."""
    return Call(
        f="audit",
        method="GET",
        path="/audit",
        asked={},
        keep=lambda body: {"valid": body["valid"], "records": body["records"]},
    )


def budget() -> Call:
    """Read the budget."""
    return Call(
        f="budget",
        method="GET",
        path="/budget",
        asked={},
        keep=lambda body: {"total": body["total"], "used": body["used"]},
    )


def stats() -> Call:
    """Read a worker's counters."""
    return Call(f="stats", method="GET", path="/stats", asked={}, keep=dict)


def import_capability(capability: str, manifest: dict[str, Any]) -> Call:
    """Import a remote capability through one worker."""
    return Call(
        f="import_capability",
        method="POST",
        path="/capabilities",
        asked={"capability": capability},
        keep=lambda body: {"capability_ids": body["capability_ids"]},
        body=manifest,
    )
