"""Read a Python source: every check looks at its syntax tree and yields facts.

Nothing is imported or executed. Each check is a small function over the module's tree.
`rules_for_facts` says what a fact means for the number of processes.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from typing import Final

from kernel_lab.doctor.facts import Fact, Place, Reading
from kernel_lab.doctor.readers.gunicorn_file import parse
from kernel_lab.doctor.readers.sources.at_start import leaders, metrics, schedulers, secrets
from kernel_lab.doctor.readers.sources.limits import clocks, limiters, limits, locks
from kernel_lab.doctor.readers.sources.memory import caches, databases, protocols, registries, weaver
from kernel_lab.doctor.readers.sources.module import Module

CHECKS: Final[tuple[Callable[[Module], Iterator[Fact]], ...]] = (
    limiters,
    limits,
    registries,
    secrets,
    schedulers,
    caches,
    databases,
    weaver,
    locks,
    clocks,
    metrics,
    leaders,
    protocols,
)


def read(path: str, text: str, reading: Reading) -> None:
    """The facts of one source file."""
    try:
        tree = parse(path, text)
    except SyntaxError as error:
        reading.trouble(
            Place(path, error.lineno or 1), f"This is not Python ({error.msg}), so the file was not read."
        )
        return
    module = Module(path, tree, text)
    try:
        for node in ast.walk(tree):
            if isinstance(node, ast.Import):
                module.imports.update(
                    {
                        alias.asname or alias.name.split(".")[0]: alias.name
                        if alias.asname
                        else alias.name.split(".")[0]
                        for alias in node.names
                    }
                )
            elif isinstance(node, ast.ImportFrom):
                module.imports.update(
                    {alias.asname or alias.name: f"{node.module or ''}.{alias.name}" for alias in node.names}
                )
        for check in CHECKS:
            reading.facts.extend(check(module))
    except RecursionError:
        reading.trouble(Place(path), "The file is nested too deeply, so it was not read.")
        return
    reading.sources.append(path)


def shares_state(text: str) -> bool:
    """Return whether a source connects to a store that processes share."""
    return (
        re.search(
            r"storage_uri\s*=\s*[\"'](async\+)?(redis|valkey|memcached)|\b(redis|valkey|aioredis|glide)\b.*(from_url|Redis\(|Valkey\(|ConnectionPool)|SQLiteRevocationStore|RedisManager|django_redis|RedisCache|[\"']rediss?://",
            text,
        )
        is not None
    )
