"""Reading requests: bodies and queries into typed values, headers into upstream's `Principal`."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar
from urllib.parse import parse_qsl

import msgspec
from weaver_kernel import Principal

from lab.problems import Malformed

if TYPE_CHECKING:
    from starlette.requests import Request

T = TypeVar("T")


async def body(request: Request, decoder: msgspec.json.Decoder[T], *, empty: T | None = None) -> T:
    """The JSON body, validated as it is decoded; `empty` stands for a body of no bytes.

    Raises:
        Malformed: It is no JSON, or not the JSON that is wanted; the message has the place.
    """
    raw = await request.body()
    if not raw and empty is not None:
        return empty
    try:
        return decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise Malformed(f"body: {error}") from None


def query(request: Request, kind: type[T]) -> T:
    """The query string as a `kind`.

    Raises:
        Malformed: A parameter is unknown, or its value is not what is wanted.
    """
    pairs = parse_qsl(request.scope["query_string"].decode("latin-1"), keep_blank_values=True)
    try:
        return msgspec.convert(dict(pairs), kind, strict=False)
    except msgspec.ValidationError as error:
        raise Malformed(f"query: {error}") from None


def principal(request: Request) -> Principal:
    """Who asks, from the headers an authenticating proxy would set.

    Raises:
        Malformed: There is no ``X-Principal-Id``, or a header is no UTF-8.
    """
    principal_id = roles = tenant = ""
    try:
        for key, value in request.scope["headers"]:
            if key == b"x-principal-id":
                principal_id = value.decode()
            elif key == b"x-principal-roles":
                roles = value.decode()
            elif key == b"x-principal-tenant":
                tenant = value.decode()
    except UnicodeDecodeError as error:
        raise Malformed(f"{key.decode()}: must be UTF-8 ({error.reason})") from None
    if not principal_id:
        raise Malformed("X-Principal-Id is missing: who asks?")
    return Principal(
        principal_id,
        [role.strip() for role in roles.split(",") if role.strip()],
        {"tenant": tenant} if tenant else {},
    )
