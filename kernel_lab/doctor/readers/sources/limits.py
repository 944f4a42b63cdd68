"""Facts about rate limits: limiters that count in memory, and counting in a shared store that is not atomic."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Final

from kernel_lab.doctor.facts import Fact
from kernel_lab.doctor.readers.sources.module import Module, fact_of, is_true, keyword_of, string_of

_LIMIT: Final = re.compile(
    r"^\s*(\d[\d_]*)\s*(?:/|\s+per\s+|\s+times?\s+per\s+)\s*(\d*)\s*(second|sec|s|minute|min|m|hour|hr|h|day|d|month|year)s?\b",
    re.IGNORECASE,
)


UNITS: Final = {
    "s": "second",
    "sec": "second",
    "m": "minute",
    "min": "minute",
    "h": "hour",
    "hr": "hour",
    "d": "day",
}
"""The unit of time that an abbreviation stands for."""


def _is_limiter(origin: str) -> bool:
    last = origin.rpartition(".")[2]
    return last == "Limiter" and not origin.startswith(("aiolimiter", "pyrate_limiter"))


def _storage_given(module: Module, node: ast.Call) -> str | None:
    """The store of a limiter: its URL, ``?`` where it is computed, None where there is none."""
    given = keyword_of(node, "storage_uri", "storage_url", "storage")
    if given is None:
        return "?" if re.search(r"RATELIMIT_STORAGE_UR[IL]", module.text) else None
    text = string_of(given)
    if text is not None:
        return None if text.startswith(("memory://", "async+memory://")) or text == "" else text
    if isinstance(given, ast.Constant) and given.value is None:
        return None
    return "?"


def limiters(module: Module) -> Iterator[Fact]:
    """Limiters that count in memory, fall back to memory, or fail open."""
    for origin, node in module.calls():
        last = origin.rpartition(".")[2]
        if _is_limiter(origin) or (last == "LimiterMiddleware" and "slowapi" in module.text):
            store = _storage_given(module, node)
            if store is None:
                yield fact_of("limiter-in-memory", module, node, what=origin.split(".")[0])
            if is_true(keyword_of(node, "in_memory_fallback_enabled")) or isinstance(
                keyword_of(node, "in_memory_fallback"), (ast.List, ast.Tuple)
            ):
                yield fact_of("limiter-falls-back", module, node, what=origin.split(".")[0])
            if is_true(keyword_of(node, "swallow_errors")):
                yield fact_of("limiter-fails-open", module, node, what=origin.split(".")[0])
            if store is not None and re.match(r"^(async\+)?rediss?://[^/?#]+/?$", store):
                yield fact_of(
                    "store-database-shared",
                    module,
                    keyword_of(node, "storage_uri", "storage_url") or node,
                    url=store,
                )
        elif origin in {
            "limits.storage.MemoryStorage",
            "limits.aio.storage.MemoryStorage",
            "ratelimit.backends.simple.MemoryBackend",
        } or last in {
            "InMemoryBucket",
            "InMemoryRateLimiter",
            "MemoryRateLimiter",
            "InMemoryLimiter",
            "MemoryThrottle",
            "MemoryStore",
        }:
            yield fact_of("limiter-in-memory", module, node, what=last)
        elif origin in {
            "ratelimit.limits",
            "ratelimiter.RateLimiter",
            "aiolimiter.AsyncLimiter",
            "pyrate_limiter.Limiter",
        }:
            yield fact_of("limiter-in-memory", module, node, what=origin)


def limits(module: Module) -> Iterator[Fact]:
    """The limits that a source states: ``5/minute``."""
    if not re.search(r"limit|throttl", module.text, re.IGNORECASE):
        return
    kinds = {fact.rule for fact in limiters(module)}
    in_memory = "limiter-in-memory" in kinds or (
        "DEFAULT_THROTTLE_RATES" in module.text and "LocMemCache" in module.text
    )
    if not in_memory and "limiter-falls-back" not in kinds:
        return
    for node in ast.walk(module.tree):
        text = string_of(node)
        if text is None or len(text) > 200:
            continue
        for part in re.split(r"[;,|]", text):
            if found := _LIMIT.match(part):
                unit = UNITS.get(found[3].lower(), found[3].lower())
                number = int(found[1].replace("_", ""))
                per = f"{found[2]} {unit}s" if found[2] not in {"", "1"} else unit
                if 0 < number < 10**9:
                    yield fact_of(
                        "limit-multiplied",
                        module,
                        node,
                        limit=number,
                        per=per,
                        when="" if in_memory else "While the store is away, ",
                    )


def locks(module: Module) -> Iterator[Fact]:
    """A lock of one process around a check and a write in a shared store."""
    for node in ast.walk(module.tree):
        if not isinstance(node, (ast.With, ast.AsyncWith)):
            continue
        if not any(re.search(r"lock", ast.unparse(item.context_expr), re.IGNORECASE) for item in node.items):
            continue
        if any(
            re.search(
                r"redis|cache\.|\.lock\(|filelock|advisory", ast.unparse(item.context_expr), re.IGNORECASE
            )
            for item in node.items
        ):
            continue
        body = " ".join(ast.unparse(statement) for statement in node.body)
        if re.search(
            r"\b(redis|cache|valkey|r|store)\w*\.(get|hget|incr|llen|zcard|exists)\(", body
        ) and re.search(
            r"\b(redis|cache|valkey|r|store)\w*\.(set|setex|incr|hset|zadd|rpush|lpush|decr)\w*\(", body
        ):
            yield fact_of("lock-per-process", module, node, name=ast.unparse(node.items[0].context_expr)[:60])


def clocks(module: Module) -> Iterator[Fact]:
    """A limiter whose window is measured by the clock of each client."""
    if not re.search(r"time\.time\(|datetime\.|monotonic", module.text):
        return
    for origin, node in module.calls():
        if origin.rpartition(".")[2] in {"zadd", "zremrangebyscore", "zcount"} and re.search(
            r"\b(now|time|current|timestamp|ts)\w*", ast.unparse(node)
        ):
            yield fact_of("client-clock", module, node, what=origin.rpartition(".")[2])
            return
