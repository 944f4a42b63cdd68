"""The OpenAPI document, from the table that registers the routes and the types that are read and written.

FastAPI would derive it from signatures; the endpoints take raw requests, so that a body is validated once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import msgspec

from lab.problems import MEDIA_TYPE, Problem

_PRINCIPAL: tuple[dict[str, Any], ...] = tuple(
    {"name": name, "in": "header", "required": required, "description": what, "schema": {"type": "string"}}
    for name, required, what in (
        ("X-Principal-Id", True, "who asks, as an authenticating proxy would say"),
        ("X-Principal-Roles", False, "roles, separated by commas"),
        ("X-Principal-Tenant", False, "the tenant, where there is one"),
    )
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """One route: what it takes, what it answers, and every status it may refuse with."""

    method: str
    path: str
    handler: str
    """The method of `lab.app.Api` that answers."""
    summary: str
    reply: type
    status: int = 200
    body: Any = None
    optional_body: bool = False
    query: type[msgspec.Struct] | None = None
    principal: bool = False
    media_type: str = "application/json"
    refusals: tuple[int, ...] = ()


def document(title: str, version: str, endpoints: Sequence[Endpoint]) -> dict[str, Any]:
    """The OpenAPI 3.1 document of `endpoints`."""
    types = [
        Problem,
        *(kind for point in endpoints for kind in (point.body, point.query, point.reply) if kind),
    ]
    refs, schemas = msgspec.json.schema_components(types, ref_template="#/components/schemas/{name}")
    ref_of = dict(zip((id(kind) for kind in types), refs, strict=True))
    paths: dict[str, dict[str, Any]] = {}
    for point in endpoints:
        parameters = [*_path_parameters(point.path), *(_PRINCIPAL if point.principal else ())]
        if point.query is not None:
            parameters += _query_parameters(schemas[point.query.__name__])
        operation: dict[str, Any] = {
            "operationId": point.handler,
            "summary": point.summary,
            "parameters": parameters,
            "responses": {
                str(point.status): _content(point.media_type, ref_of[id(point.reply)], point.status),
                **{str(status): _content(MEDIA_TYPE, refs[0], status) for status in point.refusals},
            },
        }
        if point.body is not None:
            operation["requestBody"] = {
                "required": not point.optional_body,
                "content": {"application/json": {"schema": ref_of[id(point.body)]}},
            }
        paths.setdefault(point.path, {})[point.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {"title": title, "version": version},
        "paths": paths,
        "components": {"schemas": schemas},
    }


def _content(media_type: str, schema: dict[str, Any], status: int) -> dict[str, Any]:
    return {"description": HTTPStatus(status).phrase, "content": {media_type: {"schema": schema}}}


def _path_parameters(path: str) -> list[dict[str, Any]]:
    names = [part.strip("{}") for part in path.split("/") if part.startswith("{")]
    schema = {"type": "string", "minLength": 1}
    return [{"name": name, "in": "path", "required": True, "schema": schema} for name in names]


def _query_parameters(schema: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"name": name, "in": "query", "schema": kind} for name, kind in schema["properties"].items()]
