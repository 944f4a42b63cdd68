"""A key ring over the pinned version's token provider: our own small form of the unreleased change (#185).

A token carries the id of the key that signed it, and the id is signed. A worker verifies with every key it has
and signs with the active one. ``legacy`` names the key whose tokens carry no id and sign what the pinned version
signs, so that both verify each other's tokens; without it every token carries an id, as on the unreleased branches.
"""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

import weaver_kernel as wk


class KeyRingTokens:
    """Issues and verifies tokens with several keys.

    Args:
        keys: Key id → secret.
        active: The id of the key that signs.
        legacy: The id of the key whose tokens carry no id, if there is one.
        revocation_store: Where revocations are kept.
    """

    def __init__(
        self, *, keys: dict[str, str], active: str, legacy: str | None = None, revocation_store: Any
    ) -> None:
        self._keys, self._active, self._legacy = keys, active, legacy
        self._inner = wk.HMACTokenProvider(keys[active], revocation_store=revocation_store)
        self.revoke, self.revoke_all = self._inner.revoke, self._inner.revoke_all
        self._revocations = revocation_store

    def issue(self, capability_id: str, principal_id: str) -> SignedToken:
        """A token signed with the active key."""
        token = self._inner.issue(capability_id, principal_id)
        named = "" if self._active == self._legacy else self._active
        signed = SignedToken(token, named)
        token.signature = _signature(self._keys[self._active], signed.payload())
        return signed

    def parse(self, data: dict[str, Any]) -> SignedToken:
        """A token as it came in; one of the pinned version names no key."""
        return SignedToken(wk.CapabilityToken.from_dict(data), data.get("key_id", ""))

    def verify(self, signed: SignedToken, **expected: str) -> None:
        """Raise what the pinned version raises; an unknown key is an invalid token."""
        key = self._keys.get(signed.key_id or self._legacy or "")
        if key is None:
            raise wk.TokenInvalid(f"Token {signed.token.token_id!r} names an unknown key.")
        if not hmac.compare_digest(_signature(key, signed.payload()), signed.token.signature):
            raise wk.TokenInvalid(f"Token {signed.token.token_id!r} has an invalid signature.")
        if self._revocations.is_revoked(signed.token.token_id):
            raise wk.TokenRevoked(f"Token {signed.token.token_id!r} has been revoked.")
        if signed.token.principal_id != expected["expected_principal_id"]:
            raise wk.TokenScopeError(f"Token {signed.token.token_id!r} is another principal's.")


class SignedToken:
    """A token and the id of the key that signed it; empty for the legacy key."""

    def __init__(self, token: wk.CapabilityToken, key_id: str) -> None:
        self.token, self.key_id = token, key_id

    def payload(self) -> str:
        """Return the signed text: the pinned version's payload, and the key's id if there is one."""
        payload = self.token._signable_payload()  # noqa: SLF001 - the change is made over the pinned version
        if self.key_id:
            payload = json.dumps({**json.loads(payload), "key_id": self.key_id}, sort_keys=True)
        return payload

    def to_dict(self) -> dict[str, Any]:
        """The token as a dictionary that can be sent."""
        return {**self.token.to_dict(), **({"key_id": self.key_id} if self.key_id else {})}


def _signature(secret: str, payload: str) -> str:
    return hmac.new(secret.encode(), payload.encode(), hashlib.sha256).hexdigest()
