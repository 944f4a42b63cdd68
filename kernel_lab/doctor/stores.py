"""Find variables that name a shared store, and variables that switch a store to memory."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Final

from kernel_lab.doctor.adding_up import Way
from kernel_lab.doctor.facts import Environment, Fact, Reading, Service, Value
from kernel_lab.doctor.files import Files
from kernel_lab.doctor.readers.sources.checks import shares_state
from kernel_lab.doctor.readers.sources.limits import UNITS

_NAME: Final = re.compile(r"REDIS|VALKEY|MEMCACHE|KEYDB|DRAGONFLY", re.IGNORECASE)
_OTHER_USE: Final = re.compile(
    r"BROKER|CELERY|RESULT_BACKEND|QUEUE|PASSWORD|TIMEOUT|TTL|PORT$|POOL|EXPORTER|INSIGHT|PREFIX|SOCKETIO",
    re.IGNORECASE,
)
_URL: Final = re.compile(
    r"^(async\+|cached\+)?(rediss?(\+\w+)?|valkeys?|memcached|unix)://|^redis\+", re.IGNORECASE
)
_CACHE_TTL: Final = re.compile(
    r"(REVO|DENY_?LIST|BLACK_?LIST|BLOCK_?LIST|TOKEN|AUTH|SESSION|PERMISSION|POLICY|INTROSPECTION|API_?KEY|JWKS?|ACL|IDENTITY|CREDENTIAL)\w*"
    r"CACHE\w*(TTL|SECONDS|_S|AGE|STALE|EXPIR\w*|TIMEOUT|DURATION|LIFETIME|REFRESH\w*|INTERVAL)|CACHE_(TTL|SECONDS|MAX_AGE)\w*(REVO|TOKEN|AUTH|SESSION)|"
    r"(REVO\w*|DENY_?LIST|BLACK_?LIST|BLOCK_?LIST)\w*(TTL|REFRESH\w*|POLL\w*|INTERVAL\w*|STALE\w*)",
    re.IGNORECASE,
)
_LIMIT_NAME: Final = re.compile(
    r"(RATE_?LIMIT|THROTTLE|LOGIN_LIMIT|REQUESTS_PER|MAX_LOGIN_ATTEMPTS|RPM|QUOTA)", re.IGNORECASE
)
_LIMIT_OFF: Final = re.compile(
    r"^(\w+_)?(RATE_?LIMIT(ING|S|ER)?|THROTTL(E|ING))(_ENABLED|_ENABLE|_ON)?$", re.IGNORECASE
)
_LIMIT: Final = re.compile(
    r"^\s*(\d+)\s*(?:/|\s*per\s*)\s*(\d*)\s*(second|sec|s|minute|min|m|hour|hr|h|day|d)s?\s*$", re.IGNORECASE
)
_PER: Final = re.compile(r"PER_?(SECOND|MINUTE|HOUR|DAY)|(RPM|RPS)$", re.IGNORECASE)
_SECONDS: Final = re.compile(
    r"^\s*(\d+(?:\.\d+)?)\s*(ms|s|sec|seconds?|m|min|minutes?|h|hours?)?\s*$", re.IGNORECASE
)


def shared_store(environment: Environment) -> tuple[str, Value] | None:
    """The variable that names a store which processes share, the required ones first."""
    found = [
        (name, value)
        for name, value in environment.items()
        if (
            _NAME.search(name)
            or _URL.match(value.text or "")
            or (name.startswith("LAB_STATE") and "sqlite" in (value.text or ""))
        )
        and not _OTHER_USE.search(name)
        and value.text != ""
        and not value.false
        and not (value.text or "").startswith("memory://")
    ]
    found.sort(key=lambda pair: pair[1].optional)
    return found[0] if found else None


def sources_share(reading: Reading, files: Files) -> bool:
    """Whether the sources connect to a shared store and keep in memory nothing that a rule reports."""
    heavy = {
        "limiter-in-memory",
        "revocations-in-memory",
        "registry-in-memory",
        "weaver-default-stores",
        "locmem-cache",
        "limiter-falls-back",
    }
    return any(shares_state(files.texts[path]) for path in reading.sources) and not any(
        fact.rule in heavy for fact in reading.facts
    )


def limits_are_off(environment: Environment) -> bool:
    """Whether a variable switches rate limits off."""
    return any(_LIMIT_OFF.match(name) and value.false for name, value in environment.items())


def facts(services: Sequence[Service]) -> Iterator[Fact]:
    """Return the facts about the services' variables for which there is a rule."""
    seen: set[tuple[str, str]] = set()
    for service in services:
        for name, value in service.environment.items():
            for fact in _of(name, value, service):
                key = (fact.rule, str(fact.place))
                if key not in seen:
                    seen.add(key)
                    yield fact


def _of(name: str, value: Value, service: Service) -> Iterator[Fact]:
    text = value.text or ""
    if _CACHE_TTL.search(name) and (seconds := _in_seconds(text, name)) not in {None, 0.0}:
        yield Fact(
            rule="revocation-cached",
            place=value.place,
            values={"name": name, "seconds": f"{seconds:g}"},
            group=service.group,
        )
    if re.search(r"LEADER|LOCK_BACKEND|ELECTION", name, re.IGNORECASE) and re.search(
        r"file|flock", text, re.IGNORECASE
    ):
        yield Fact(
            rule="file-lock-leader",
            place=value.place,
            values={"name": f"{name}={text}", "replicas": str(service.replicas)},
            group=service.group,
        )
    if _LIMIT_NAME.search(name) and not limits_are_off(service.environment):
        limit = _limit(name, text)
        if limit is not None:
            yield Fact(
                rule="limit-multiplied",
                place=value.place,
                values={"limit": limit[0], "per": limit[1]},
                group=service.group,
            )
    if re.search(r"RATE_?LIMIT|THROTTLE|LIMITER", name, re.IGNORECASE) and re.match(
        r"^(async\+)?memory(://|$)|^(in-?)?memory$", text, re.IGNORECASE
    ):
        yield Fact(
            rule="limiter-in-memory",
            place=value.place,
            values={"what": f"{name}={text}"},
            group=service.group,
        )
    if re.search(r"CACHE", name, re.IGNORECASE) and re.search(
        r"^(SimpleCache|simple|locmem\w*|.*LocMemCache|memory)(://.*)?$", text, re.IGNORECASE
    ):
        yield Fact(
            rule="locmem-cache", place=value.place, values={"what": f"{name}={text}"}, group=service.group
        )
    if re.match(r"^sqlite(\+\w+)?:///(?!:memory:)\S", text) and not name.startswith("LAB_STATE"):
        yield Fact(rule="sqlite-several", place=value.place, values={"url": text[:80]}, group=service.group)
    elif re.match(r"^sqlite(\+\w+)?://(/?:memory:)?$", text):
        yield Fact(rule="sqlite-in-memory", place=value.place, values={"url": text}, group=service.group)
    if (
        value.optional
        and (_NAME.search(name) or re.search(r"STORE|DATABASE", name))
        and not _OTHER_USE.search(name)
    ):
        yield Fact(rule="optional-store", place=value.place, values={"name": name}, group=service.group)


def _in_seconds(text: str, name: str) -> float | None:
    found = _SECONDS.match(text)
    if not found:
        return None
    unit = (found[2] or ("ms" if name.upper().endswith(("_MS", "MILLIS")) else "s")).lower()
    factor = 0.001 if unit == "ms" else 3600 if unit.startswith("h") else 60 if unit.startswith("m") else 1
    return float(found[1]) * factor


def _limit(name: str, text: str) -> tuple[int, str] | None:
    if found := _LIMIT.match(text):
        unit = UNITS.get(found[3].lower(), found[3].lower())
        return int(found[1]), f"{found[2]} {unit}s" if found[2] not in {"", "1"} else unit
    if text.isdigit() and (per := _PER.search(name)):
        unit = (per[1] or {"rpm": "minute", "rps": "second"}[per[2].lower()]).lower()
        return int(text), unit
    return None


def way_store(way: Way, reading: Reading) -> tuple[str, Value] | None:
    """The shared store of a way to run things, or None."""
    for service in way.services:
        if (
            service.server.role == "web"
            and (found := shared_store({**reading.environment, **service.environment})) is not None
        ):
            return found
    return None
