"""The route class of every handler: it reads the arguments of a handler and encodes its reply.

A handler is written as FastAPI wants it, and FastAPI derives the OpenAPI document from it. FastAPI's own
request handling costs nearly as much as a grant, so this class replaces it, through the hook that FastAPI has
for that purpose (`APIRoute.get_route_handler`).

A handler may take these kinds of parameters, and nothing else. A handler that asks for more fails at import.

- one body: ``Annotated[T, Body()]``, read as strict JSON,
- the query: ``Annotated[Model, Query()]``, where ``Model`` is a pydantic model,
- a part of the path: its name stands in the path in braces, and it is text,
- ``Annotated[T, Depends(function)]``: the function may take the request, headers and other dependencies. It
  is a plain function that runs on the event loop, so it must not wait.
- a header, in a dependency: ``Annotated[str, Header()]``. A header that is sent twice is refused.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Coroutine, Mapping
from typing import Annotated, Any, TypeVar, get_args, get_origin, get_type_hints
from urllib.parse import parse_qsl

import msgspec
from fastapi import APIRouter, params
from fastapi.routing import APIRoute
from pydantic import TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import request_response

from lab.bridge import bridged_await
from lab.problems import Malformed

T = TypeVar("T")
Read = Callable[[Request], Any]

encode = msgspec.json.Encoder(enc_hook=str).encode
"""Encodes a reply as JSON. A driver may answer with any value; a value that JSON cannot express becomes text."""


class KernelRoute(APIRoute):
    """FastAPI's route, with request handling of our own."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        # FastAPI's wrapper opens two exit stacks for each request, which only its own handling needs
        self.app = request_response(self.get_route_handler())

    @classmethod
    def router(cls) -> APIRouter:
        """Return a router of such routes. An operation in the OpenAPI document has the name of its handler."""
        return APIRouter(route_class=cls, generate_unique_id_function=lambda route: route.name)

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """Return the function that answers a request: read the arguments, await the handler, encode the reply."""
        endpoint = self.endpoint
        readers = _readers(endpoint, self.path)
        body = _body(endpoint)
        status = self.status_code or 200

        async def handle(request: Request) -> Response:
            arguments: dict[str, Any] = {}
            # read the body first: a body that is too large is refused, whatever else is wrong
            if body is not None:
                arguments[body.name] = body.read(await request.body())
            for name, read in readers.items():
                arguments[name] = read(request)
            if getattr(request.app.state, "waits", False):  # stores must not hold the event loop
                reply = await bridged_await(endpoint, **arguments)
            else:
                reply = await endpoint(**arguments)
            if isinstance(reply, Response):
                return reply
            return Response(encode(reply), status_code=status, media_type="application/json")

        return handle


class _Body:
    """The body of a request: JSON of one type."""

    def __init__(self, name: str, kind: Any, default: Any) -> None:
        self.name = name
        self._type: TypeAdapter[Any] = TypeAdapter(kind)
        self._default = default

    def read(self, raw: bytes) -> Any:
        """Return the body as the handler's type. If the body has no bytes, it is the parameter's default.

        Raises:
            Malformed: The body is not JSON, or not the JSON that the handler's type describes.
        """
        if not raw and self._default is not inspect.Parameter.empty:
            return self._default
        try:
            # msgspec is stricter than pydantic's parser: it refuses NaN, infinities and half surrogate pairs
            return self._type.validate_python(msgspec.json.decode(raw))
        except ValidationError as error:
            raise Malformed(f"body: {first_fault(error)}") from None
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise Malformed(f"body: {error}") from None


def first_fault(error: ValidationError) -> str:
    """Return the first fault that pydantic found, in one line: where it is, and what is wrong."""
    fault = error.errors(include_url=False, include_context=False, include_input=False)[0]
    place = ".".join(str(part) for part in fault["loc"])
    return f"{place}: {fault['msg']}" if place else fault["msg"]


def header(request: Request, name: bytes) -> str | None:
    """Return the one value of a header, or None where the request has no such header.

    A header that is sent twice is refused. Proxies and applications choose differently among repeated
    headers, so two of them could see two different principals.

    Raises:
        Malformed: The header is sent more than once, or it is not UTF-8.
    """
    found: bytes | None = None
    for key, value in request.scope["headers"]:
        if key == name:
            if found is not None:
                raise Malformed(f"{name.decode()}: the header is sent more than once; send it once")
            found = value
    if found is None:
        return None
    try:
        return str(found, "utf-8")
    except UnicodeDecodeError as error:
        raise Malformed(f"{name.decode()}: the header must be UTF-8 ({error.reason})") from None


def _readers(function: Callable[..., Any], path: str) -> Mapping[str, Read]:
    """Return, for each parameter of `function` but the body, a function that reads it from a request.

    Raises:
        TypeError: A parameter is of a kind that this route cannot read.
    """
    readers: dict[str, Read] = {}
    for name, (kind, mark, default) in _parameters(function).items():
        if kind is Request:
            readers[name] = _same
        elif isinstance(mark, params.Depends) and mark.dependency is not None:
            readers[name] = _dependency(mark.dependency, path)
        elif isinstance(mark, params.Header):
            readers[name] = _header(mark.alias or name.replace("_", "-"), default)
        elif isinstance(mark, params.Query):
            readers[name] = _query(kind)
        elif f"{{{name}}}" in path:
            readers[name] = _path_part(name)
        elif not isinstance(mark, params.Body):
            raise TypeError(f"{function.__qualname__}: KernelRoute cannot read the parameter {name!r}")
    return readers


def _body(function: Callable[..., Any]) -> _Body | None:
    """Return the parameter of `function` that takes the body, if there is one."""
    for name, (kind, mark, default) in _parameters(function).items():
        if isinstance(mark, params.Body):
            return _Body(name, kind, default)
    return None


def _parameters(function: Callable[..., Any]) -> Mapping[str, tuple[Any, Any, Any]]:
    """Return (type, FastAPI's marker or None, default) for each parameter of `function`, by its name."""
    hints = get_type_hints(function, include_extras=True)
    found: dict[str, tuple[Any, Any, Any]] = {}
    for name, parameter in inspect.signature(function).parameters.items():
        hint = hints[name]
        kind, *marks = get_args(hint) if get_origin(hint) is Annotated else (hint,)
        markers = [mark for mark in marks if isinstance(mark, params.Param | params.Body | params.Depends)]
        found[name] = (kind, markers[0] if markers else None, parameter.default)
    return found


def _same(request: Request) -> Request:
    return request


def _dependency(function: Callable[..., Any], path: str) -> Read:
    if inspect.iscoroutinefunction(function) or inspect.isgeneratorfunction(function):
        raise TypeError(f"{function.__qualname__}: a dependency of a KernelRoute must be a plain function")
    readers = _readers(function, path)

    def resolved(request: Request) -> Any:
        return function(**{name: read(request) for name, read in readers.items()})

    return resolved


def _header(name: str, default: Any) -> Read:
    key = name.lower().encode()

    def read(request: Request) -> str:
        value = header(request, key)
        if value is not None:
            return value
        if default is inspect.Parameter.empty:
            raise Malformed(f"{name}: the header is missing")
        return str(default)

    return read


def _query(model: Any) -> Read:
    def read(request: Request) -> Any:
        pairs = parse_qsl(request.scope["query_string"].decode("latin-1"), keep_blank_values=True)
        try:
            return model.model_validate_strings(dict(pairs))
        except ValidationError as error:
            raise Malformed(f"query: {first_fault(error)}") from None

    return read


def _path_part(name: str) -> Read:
    def read(request: Request) -> str:
        return str(request.path_params[name])

    return read
