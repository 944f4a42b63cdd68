"""State URLs, taken apart: ``scheme://rest?name=value``."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn
from urllib.parse import parse_qsl, unquote

from lab.state.seam import BadStateURL

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

EXAMPLES: Mapping[str, str] = {
    "memory": "memory://",
    "sqlite": "sqlite:///relative.db or sqlite:////absolute.db",
    "redis": "redis://127.0.0.1:6379/0",
    "redis+unix": "redis+unix:///run/redis.sock?db=0",
    "redis+cluster": "redis+cluster://127.0.0.1:7000,127.0.0.1:7001",
    "cached": "cached+redis://127.0.0.1:6379/0?max_stale_ms=500",
    "stock+sqlite": "stock+sqlite:////absolute.db",
    "naive+redis": "naive+redis://127.0.0.1:6379/0",
    "fallback+redis": "fallback+redis://127.0.0.1:6379/0",
    "client-clock+redis": "client-clock+redis://127.0.0.1:6379/0",
    "stash": "stash://",
}
"""Every scheme, with an example of a right URL. ``cached+`` stands before another scheme."""


@dataclass(frozen=True, slots=True)
class StateURL:
    """One URL: ``cached+redis://h:1/0?max_stale_ms=5`` has scheme ``redis`` and is cached."""

    text: str
    scheme: str
    rest: str
    """Between ``://`` and ``?``, decoded."""
    parameters: Mapping[str, str]
    cached: bool

    def wrong(self, part: str) -> NoReturn:
        """Raise `BadStateURL` for `part`, with what would be right."""
        raise BadStateURL(f"{redacted(self.text)}: {part}; like {EXAMPLES[self.scheme]}")

    def allow(self, *names: str) -> None:
        """Refuse parameters other than `names`: a misspelt one must not be passed over."""
        known = (*names, *(("max_stale_ms",) if self.cached else ()))
        for name in self.parameters:
            if name not in known:
                self.wrong(f"no parameter {name!r} here ({', '.join(known) or 'none are known'})")

    def number(self, name: str, default: int, *, at_least: int) -> int:
        """The whole number a parameter holds."""
        text = self.parameters.get(name, str(default))
        if not (text.isascii() and text.isdigit()) or int(text) < at_least:
            self.wrong(f"{name}={text!r} is no whole number of at least {at_least}")
        return int(text)

    def choice(self, name: str, known: Sequence[str]) -> str:
        """The word a parameter holds; the first one where it is absent."""
        text = self.parameters.get(name, known[0])
        if text not in known:
            self.wrong(f"{name}={text!r} must be one of {', '.join(known)}")
        return text


_PRIVATE = re.compile(r"([?&][^=&]*(?:user|pass|pwd|secret|token|key|auth)[^=&]*=)[^&]*", re.IGNORECASE)
"""A parameter that may hold a credential. No state takes one, but somebody may write one."""


def redacted(text: str) -> str:
    """The URL as it may be shown: without a password, and without parameters that may hold one."""
    text = _PRIVATE.sub(r"\1***", text)
    head, at, tail = text.rpartition("@")
    if not at:
        return text
    scheme, separator, login = head.partition("://")
    if not separator:
        return f"***@{tail}"
    user, colon, _ = login.partition(":")
    return f"{scheme}://{user}:***@{tail}" if colon else f"{scheme}://***@{tail}"


def parse(text: str) -> StateURL:
    """Take a URL apart.

    Raises:
        BadStateURL: When it has no scheme, or one there is not.
    """
    scheme, separator, rest = text.partition("://")
    if not separator:
        raise BadStateURL(f"{redacted(text)!r}: no '://' in it; one of {_schemes()}")
    name = scheme.removeprefix("cached+")
    if name not in EXAMPLES or name == "cached":
        raise BadStateURL(f"{redacted(text)}: no scheme {scheme!r}; one of {_schemes()}")
    rest, _, query = rest.partition("?")
    return StateURL(
        text=text,
        scheme=name,
        rest=unquote(rest),
        parameters=dict(parse_qsl(query, keep_blank_values=True)),
        cached=name != scheme,
    )


def _schemes() -> str:
    return " ".join("cached+…://" if name == "cached" else f"{name}://" for name in EXAMPLES)
