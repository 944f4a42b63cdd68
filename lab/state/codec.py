"""Encode values that cross a process boundary: as JSON, and only values that JSON does not change.

A shared store keeps a copy. Every worker must read a value that equals the stored one, whichever worker stored it. The
data contain no code (never pickle), and no type has to be guessed. So a value may be None, a bool, a 64-bit int, a
finite float, a str, a list, or a dict with str keys, to any depth that JSON allows. A tuple, a datetime, a Decimal,
bytes, a set and NaN are refused, and the error names their type and path. They would come back as other values, and
upstream's expansions compare by equality. Upstream's in-memory store keeps a reference instead, so it takes any value,
and sees later changes of it.
"""

from __future__ import annotations

from typing import Any

import orjson
from weaver_kernel import DriverError

_DEEPEST = 254
"""orjson's own bound on nesting."""


class Unstorable(DriverError):  # noqa: N818 - it names a thing
    """A driver answered with a value that a shared store cannot keep. The message names its type and its path."""


def encode(value: Any) -> bytes:
    """Return `value` as JSON.

    Raises:
        Unstorable: Reading it back would not give an equal value.
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
    """Return the value that `encode` was given."""
    return orjson.loads(text)


def _culprit(value: Any) -> tuple[str, str]:
    """Return the path and the description of the first part of `value` that JSON would change, in reading order."""
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
