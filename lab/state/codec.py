"""How values cross a process boundary: as JSON, and only values that JSON does not change.

A shared store keeps a copy. What is read must equal what was stored, on every worker, whoever wrote it: no
code in the data (never pickle), no guess about types. So a value may be None, a bool, a 64-bit int, a finite
float, a str, a list, or a dict with str keys, to any depth that JSON allows. A tuple, a datetime, a Decimal, bytes, a
set, NaN are refused, and the error names their type and path. They would come back as something else, and upstream's
expansions compare by equality. Upstream's in-memory store keeps a reference instead, so it takes anything, and sees
later changes.
"""

from __future__ import annotations

from typing import Any

import orjson
from weaver_kernel import DriverError

_DEEPEST = 254
"""orjson's own bound on nesting."""


class Unstorable(DriverError):  # noqa: N818 - it names a thing
    """A driver answered with a value a shared store cannot keep; the message names its type and its path."""


def encode(value: Any) -> bytes:
    """`value` as JSON.

    Raises:
        Unstorable: When reading it back would not give an equal value.
    """
    try:
        text = orjson.dumps(value)
        same = bool(orjson.loads(text) == value)
    except (TypeError, ValueError):
        same = False
    if not same:
        path, culprit = _culprit(value)
        raise Unstorable(
            f"{path}: {culprit} cannot be kept in a shared store; it keeps None, bool, 64-bit int, "
            "finite float, str, list, and dict with str keys"
        )
    return text


def decode(text: bytes | str) -> Any:
    """What `encode` was given."""
    return orjson.loads(text)


def _culprit(value: Any) -> tuple[str, str]:
    """Path and description of the first part of `value` that JSON would change, in reading order."""
    parts: list[tuple[str, Any, int]] = [("$", value, 0)]
    while parts:
        path, part, depth = parts.pop()
        if depth > _DEEPEST:
            return path, f"nesting deeper than {_DEEPEST}"
        if type(part) is list:
            parts += [(f"{path}[{i}]", child, depth + 1) for i, child in reversed(list(enumerate(part)))]
        elif isinstance(part, dict):
            for key in part:
                if not isinstance(key, str):
                    return path, f"the dict key {_shown(key)} of type {type(key).__name__}"
            parts += [(f"{path}.{key}", child, depth + 1) for key, child in reversed(part.items())]
        elif not _kept(part):
            return path, f"{_shown(part)} of type {type(part).__name__}"
    return "$", f"a value of type {type(value).__name__}"


def _kept(leaf: Any) -> bool:
    try:
        return bool(orjson.loads(orjson.dumps(leaf)) == leaf)
    except (TypeError, ValueError):
        return False


def _shown(leaf: Any) -> str:
    text = repr(leaf)
    return text if len(text) <= 60 else f"{text[:57]}..."
