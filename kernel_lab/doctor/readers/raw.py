"""A server as one world shows it; `merge` makes one `Server` out of what all worlds show."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

from kernel_lab.doctor.facts import Environment, Place, Role, Server, Value
from kernel_lab.doctor.readers.worlds import UNKNOWN, Notes, Unknown, range_of

_SETTING: Final = re.compile(
    r"RECYCLE|MAX_REQUESTS|THREAD|PRELOAD|WORKER_CLASS|RELOAD|REUSE_PORT", re.IGNORECASE
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Raw:
    """A server with the number of workers that it has in one world."""

    program: str
    place: Place
    role: Role
    workers: int | Unknown
    workers_place: Place
    why: str
    settings: Mapping[str, Value]
    environment: Environment
    application: str | None


def number(word: object) -> int | Unknown:
    """The whole number that a word is; UNKNOWN if it is none."""
    if isinstance(word, bool) or word is None:
        return UNKNOWN
    if isinstance(word, (int, float)):
        return int(word)
    if isinstance(word, str):
        try:
            return int(word.strip())
        except ValueError:
            return UNKNOWN
    return UNKNOWN


def merge(results: Sequence[tuple[int, Sequence[Raw]]], notes: Notes) -> list[Server]:
    """One server for each place where one starts, with the range of its workers over the worlds."""
    by_place: dict[tuple[str, Place], list[tuple[int, Raw]]] = {}
    for cores, raws in results:
        counted: dict[tuple[str, Place], int] = {}
        for raw in raws:
            key = (raw.program, raw.place)
            counted[key] = counted.get(key, 0) + 1
            by_place.setdefault(key, []).append((cores, raw))
    return _alternatives([_merged(found, notes) for found in by_place.values()], results)


def _alternatives(servers: list[Server], results: Sequence[tuple[int, Sequence[Raw]]]) -> list[Server]:
    """Servers that never start in the same world are alternatives: the one with the range of both stays."""
    if len(servers) < 2:
        return servers
    together = {frozenset({(raw.program, raw.place) for raw in raws}) for _, raws in results if len(raws) > 1}
    kept: list[Server] = []
    for server in servers:
        rival = next(
            (
                other
                for other in kept
                if other.role == server.role
                and not any(
                    {(other.program, other.place), (server.program, server.place)} <= pair
                    for pair in together
                )
            ),
            None,
        )
        if rival is None:
            kept.append(server)
            continue
        index = kept.index(rival)
        if rival.workers is not None and server.workers is not None:
            kept[index] = replace(
                rival,
                workers=rival.workers.or_else(server.workers),
                workers_why=rival.workers_why
                if rival.workers == server.workers
                else f"{rival.workers_why}; or {server.workers_why} (line {server.workers_place.line}), by a "
                "condition",
                settings={**server.settings, **rival.settings},
            )
    return kept


def _merged(found: Sequence[tuple[int, Raw]], notes: Notes) -> Server:
    workers = range_of([(cores, raw.workers) for cores, raw in found])
    first = found[0][1]
    whys = list(dict.fromkeys(raw.why for _, raw in found))
    by_cores = notes.cores is not None and workers is not None and not workers.known
    why = f"by the number of cores: {workers} ({_examples(found)})" if by_cores else " or ".join(whys[:2])
    asked = tuple(name for name in notes.asked if name not in notes.used)
    return Server(
        program=first.program,
        place=first.place,
        role=first.role,
        workers=workers,
        workers_place=first.workers_place,
        workers_why=why,
        settings=first.settings,
        application=first.application,
        environment=first.environment,
        changed_by=tuple(name for name in asked if changes_workers(name)),
        also_changed_by=tuple(name for name in asked if _SETTING.search(name) and not changes_workers(name)),
        by_cores=by_cores,
    )


def _examples(found: Sequence[tuple[int, Raw]]) -> str:
    """``3 with 1 core, 9 with 4 cores, 17 with 8 cores``."""
    by_cores = {cores: raw.workers for cores, raw in found}
    shown = [
        f"{by_cores[cores]} with {cores} core{'' if cores == 1 else 's'}"
        for cores in (1, 4, 8)
        if cores in by_cores
    ]
    return ", ".join(shown)


def changes_workers(name: str) -> bool:
    """Whether a variable of this name usually sets a number of workers."""
    upper = name.upper()
    return any(
        part in upper for part in ("WORKER", "CONCURRENCY", "PROCESSES", "NUM_PROC", "CORES", "REPLICAS")
    ) and not any(part in upper for part in ("CLASS", "TIMEOUT", "CONNECTIONS", "TMP"))
