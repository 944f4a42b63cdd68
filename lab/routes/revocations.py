"""``POST /tokens/{token_id}/revocation`` and ``/principals/{principal_id}/revocation``."""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import Path
from typing_extensions import TypedDict

from lab.problems import refusals
from lab.routes.parts import ServedHere
from lab.routes.route import KernelRoute

router = KernelRoute.router()


class TokenRevoked(TypedDict):
    """The token is refused from now on."""

    token_id: str
    revoked: Literal[True]


class PrincipalRevoked(TypedDict):
    """The number of the principal's tokens that this request revoked."""

    principal_id: str
    revoked: int


@router.post(
    "/tokens/{token_id}/revocation",
    summary="Revoke one token",
    responses=refusals(404, 413, 422, 503),
)
async def revoke(token_id: Annotated[str, Path(min_length=1)], served: ServedHere) -> TokenRevoked:
    """Revoke a token. The token provider does this, because upstream's kernel has no method for it."""
    served.view.tokens.revoke(token_id)
    return TokenRevoked(token_id=token_id, revoked=True)


@router.post(
    "/principals/{principal_id}/revocation",
    summary="Revoke every token of a principal",
    responses=refusals(404, 413, 422, 503),
)
async def revoke_all(
    principal_id: Annotated[str, Path(min_length=1)], served: ServedHere
) -> PrincipalRevoked:
    """Revoke every token of the principal that the revocation store knows."""
    return PrincipalRevoked(principal_id=principal_id, revoked=served.view.tokens.revoke_all(principal_id))
