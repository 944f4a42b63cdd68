"""The smallest app over a token provider that every version since 0.11.0 can run: one POST, one call.

gunicorn serves it; the environment says which stores it opens and how it signs:

- ``ROLLOUT_STORE``: a file for upstream's `SQLiteRevocationStore`, ``0.11`` or ``0.12`` for a revocation store of
  one's own that has the `track` of that version, empty for the default.
- ``ROLLOUT_TRACES``: a file for upstream's `SQLiteTraceStore`.
- ``ROLLOUT_KEYS``: a key ring as JSON, ``{"keys": {id: secret}, "active": id, "legacy": id}``; see `ring`.
"""

from __future__ import annotations

import json
import os
from datetime import datetime, timedelta, timezone
from importlib.metadata import version
from typing import Any

import weaver_kernel as wk
from weaver_kernel.models import ActionTrace
from weaver_kernel.stores import InMemoryRevocationStore, SQLiteRevocationStore, SQLiteTraceStore

from kernel_lab.upstream.rollout.ring import KeyRingTokens

TARGET = {"expected_principal_id": "alice", "expected_capability_id": "tickets.list"}


class OwnStore11(InMemoryRevocationStore):
    """A store of one's own, written for 0.11.0: `track` takes two arguments."""

    def track(self, principal_id: str, token_id: str) -> None:  # type: ignore[override]
        """Remember a token."""


class OwnStore12(InMemoryRevocationStore):
    """A store of one's own, written for 0.12.0: `track` takes three arguments."""

    def track(self, principal_id: str, token_id: str, expires_at: datetime) -> None:
        """Remember a token."""


class Worker:
    """The state of one worker."""

    def __init__(self) -> None:
        store = os.environ.get("ROLLOUT_STORE", "")
        revocations: Any = {"": InMemoryRevocationStore, "0.11": OwnStore11, "0.12": OwnStore12}.get(store)
        revocations = revocations() if revocations else SQLiteRevocationStore(store)
        traces = os.environ.get("ROLLOUT_TRACES")
        keys = os.environ.get("ROLLOUT_KEYS")
        self.traces = SQLiteTraceStore(traces, secret="of-the-chain") if traces else None  # noqa: S106
        self.tokens: Any = (
            KeyRingTokens(**json.loads(keys), revocation_store=revocations)
            if keys
            else wk.HMACTokenProvider(revocation_store=revocations)
        )

    def call(self, asked: dict[str, Any]) -> Any:
        """Do what a request asks for."""
        match asked["do"]:
            case "issue":
                return self.tokens.issue("tickets.list", "alice").to_dict()
            case "verify":
                self.tokens.verify(
                    self.tokens.parse(asked["token"]) if self.ring else _parse(asked), **TARGET
                )
                return "ok"
            case "revoke":
                return self.tokens.revoke(asked["token"]["token_id"])
            case "revoke_all":
                return self.tokens.revoke_all("alice")
            case "sweep":
                later = datetime.now(tz=timezone.utc) + timedelta(days=1)  # noqa: UP017 - where upstream runs
                return self.tokens.sweep_revocations(now=later)
            case "record":
                return self._record(asked["action_id"])
            case "explain":
                return self.traces.get(asked["action_id"]).action_id if self.traces else None
            case "chain":
                return self.traces.verify_chain().ok if self.traces else None
        raise ValueError(asked["do"])

    @property
    def ring(self) -> bool:
        """Whether tokens carry the id of their key."""
        return isinstance(self.tokens, KeyRingTokens)

    def _record(self, action_id: str) -> None:
        if self.traces:
            self.traces.record(
                ActionTrace(
                    action_id=action_id, capability_id="tickets.list", principal_id="alice", token_id="t",  # noqa: S106
                    invoked_at=datetime.now(tz=timezone.utc), args={}, response_mode="summary", driver_id="d",  # noqa: UP017
                )
            )  # fmt: skip


def _parse(asked: dict[str, Any]) -> wk.CapabilityToken:
    return wk.CapabilityToken.from_dict(asked["token"])


_worker: Worker | None = None


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """ASGI: the worker opens its stores at its start, after the fork."""
    global _worker  # noqa: PLW0603 - one for each process, as a server has it
    if scope["type"] == "lifespan":
        await receive()
        _worker = Worker()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await send({"type": "lifespan.shutdown.complete"})
        return
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    told: dict[str, Any] = {"worker": os.getpid(), "version": version("weaver-kernel")}
    try:
        told["value"] = _worker.call(json.loads(body)) if body and _worker else None
        told["outcome"] = "ok"
    except Exception as error:  # noqa: BLE001 - what the package raises is the answer
        told["outcome"] = type(error).__name__
    await send({"type": "http.response.start", "status": 200, "headers": [(b"connection", b"close")]})
    await send({"type": "http.response.body", "body": json.dumps(told).encode()})
