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
    """The part between ``://`` and ``?``, decoded."""
    parameters: Mapping[str, str]
    cached: bool

    def wrong(self, part: str) -> NoReturn:
        """Raise `BadStateURL` for `part`, with an example of a right URL."""
        raise BadStateURL(f"{redacted(self.text)}: {part}; like {EXAMPLES[self.scheme]}")

    def allow(self, *names: str) -> None:
        """Refuse every parameter that is not in `names`, so that a misspelt parameter is noticed."""
        known = (*names, *(("max_stale_ms",) if self.cached else ()))
        for name in self.parameters:
            if name not in known:
                self.wrong(f"no parameter {name!r} here ({', '.join(known) or 'none are known'})")

    def number(self, name: str, default: int, *, at_least: int) -> int:
        """Return the whole number that a parameter holds."""
        text = self.parameters.get(name, str(default))
        if not (text.isascii() and text.isdigit()) or int(text) < at_least:
            self.wrong(f"{name}={text!r} is no whole number of at least {at_least}")
        return int(text)

    def choice(self, name: str, known: Sequence[str]) -> str:
        """Return the word that a parameter holds; the first allowed word where the parameter is absent."""
        text = self.parameters.get(name, known[0])
        if text not in known:
            self.wrong(f"{name}={text!r} must be one of {', '.join(known)}")
        return text


_PRIVATE = re.compile(r"([?&][^=&]*(?:user|pass|pwd|secret|token|key|auth)[^=&]*=)[^&]*", re.IGNORECASE)
"""Parameters that may hold a credential. No state takes such a parameter, but a user may write one."""


def redacted(text: str) -> str:
    """Return the URL for display: without a password, and without parameters that may hold one."""
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
    """Split a URL into its parts.

    Raises:
        BadStateURL: It has no scheme, or a scheme that does not exist.
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
