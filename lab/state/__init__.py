"""Open a kernel's state: five stores behind one URL.

``open_state("memory://")`` returns upstream's own stores. Every other URL returns stores that several processes share.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol, cast

from lab.state.seam import KINDS, BadStateURL, Kind, Limiter, State, StateOptions, StateUnavailable
from lab.state.url import StateURL, parse

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "KINDS",
    "BadStateURL",
    "Kind",
    "Limiter",
    "State",
    "StateOptions",
    "StateUnavailable",
    "open_state",
    "waits",
    "warnings",
]

_HOMES: Mapping[str, str] = {
    "memory": "lab.state.memory",
    "stock+sqlite": "lab.state.stock",
    "sqlite": "lab.state.sqlite",
    "redis": "lab.state.redis",
    "redis+unix": "lab.state.redis",
    "redis+cluster": "lab.state.redis",
    "naive+redis": "lab.state.controls",
    "fallback+redis": "lab.state.fallback",
    "client-clock+redis": "lab.state.client_clock",
    "stash": "lab.state.controls",
}
"""Scheme → the module that opens it. It is imported only when it is needed: ``memory://`` must not need a Redis
client."""


class _Home(Protocol):
    def open_url(self, url: StateURL, options: StateOptions) -> State: ...


def open_state(url: str, options: StateOptions = StateOptions()) -> State:  # noqa: B008 - it is frozen
    """Open the five stores of `url`. The kinds of state in `options.overrides` are opened from a URL of their own.

    No connection is made before a fork: a shared store connects at its first call, in the process that makes the call.

    Raises:
        BadStateURL: A URL cannot be used. If it is the URL of an override, the message names the kind of state.
    """
    for kind in options.overrides:
        if kind not in KINDS:
            raise BadStateURL(f"no state of kind {kind!r}; one of {' '.join(KINDS)}")
    opened = {url: _open(url, options)}
    changed: dict[str, Any] = {}
    for kind, elsewhere in options.overrides.items():
        if elsewhere not in opened:
            try:
                opened[elsewhere] = _open(elsewhere, options)
            except BadStateURL as error:
                raise BadStateURL(f"{kind}: {error}") from None
        changed[kind] = getattr(opened[elsewhere], kind)
    closers = [closer for state in opened.values() for closer in state.closers]
    warners = tuple(warner for state in opened.values() for warner in state.warners)
    waiting = any(state.waits for state in opened.values())
    number = next(_numbers)
    closers.append(partial(_forget, number))
    state = replace(opened[url], **changed, closers=tuple(closers), warners=warners, waits=waiting)
    _in_use[number] = state
    return state


def _forget(number: int) -> None:
    _in_use.pop(number, None)


_in_use: dict[int, State] = {}
"""The open states. Read a copy: when a kernel is garbage-collected, its state is closed, even during a loop."""
_numbers = itertools.count()


def waits() -> bool:
    """Return whether calls of any state that this process has open wait for a server or a file."""
    return any(state.waits for state in _in_use.copy().values())


def warnings() -> list[str]:
    """Return the facts that an operator should know about the states that this process has open."""
    return list(dict.fromkeys(text for state in _in_use.copy().values() for text in state.warnings()))


def _open(text: str, options: StateOptions) -> State:
    url = parse(text)
    home = "lab.state.cached" if url.cached else _HOMES[url.scheme]
    return cast("_Home", import_module(home)).open_url(url, options)
