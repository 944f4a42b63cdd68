"""``stock+sqlite:///path``: upstream's own SQLite stores on one file, unchanged; the other kinds are in memory.

Upstream has durable stores for revocations and traces only. They use different tables, so one file serves both. They
connect when they are made. So a state that is opened before a fork gives the same connection to every child, which
SQLite forbids. Upstream's stores behave like this, and the lab does not change it.
"""

from __future__ import annotations

from dataclasses import replace
from sqlite3 import Error
from typing import TYPE_CHECKING

from weaver_kernel import AgentKernelError
from weaver_kernel.stores import SQLiteRevocationStore, SQLiteTraceStore

from lab.state import memory
from lab.state.url import parse

if TYPE_CHECKING:
    from lab.state.seam import State, StateOptions
    from lab.state.url import StateURL


def open_url(url: StateURL, options: StateOptions) -> State:
    """Open upstream's two stores on the URL's file."""
    url.allow()
    if not url.rest.removeprefix("/"):
        url.wrong("no path to a file in it")
    path = url.rest.removeprefix("/")
    try:
        revocations = SQLiteRevocationStore(path)
        traces = SQLiteTraceStore(path, secret=options.secret)
    except (Error, AgentKernelError) as error:
        url.wrong(f"{path} cannot be opened ({error})")
    return replace(
        memory.open_url(parse("memory://"), options),
        revocations=revocations,
        traces=traces,
        closers=(revocations.close, traces.close),
    )
