"""Facts about state that is kept in the memory of one process: registries, caches, databases, sessions."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Final

from kernel_lab.doctor.facts import Fact
from kernel_lab.doctor.readers.sources.module import (
    REVOKED,
    Module,
    bindings,
    fact_of,
    is_true,
    keyword_of,
    name_of,
    string_of,
)

_EMPTY: Final = frozenset(
    {
        "dict",
        "set",
        "list",
        "defaultdict",
        "OrderedDict",
        "deque",
        "Counter",
        "WeakValueDictionary",
        "TTLCache",
        "LRUCache",
        "Queue",
    }
)


_CHANGES: Final = frozenset(
    {
        "add",
        "append",
        "appendleft",
        "pop",
        "popitem",
        "update",
        "setdefault",
        "discard",
        "remove",
        "extend",
        "insert",
        "clear",
        "put",
        "put_nowait",
    }
)


_REGISTRY: Final = re.compile(
    r"session|token|registr|approv|pending|connection|client|job|room|online|attempt|fail|counter|count|hits|bucket|window|limit|quota|budget|"
    r"handle|nonce|otp|code|state|store|subscri|queue|lock|task|cart|users?$|history|memory|conversation|transport|in_flight|requests?$|idempot|seen",
    re.IGNORECASE,
)


_CACHE: Final = re.compile(r"cache|memo", re.IGNORECASE)


def _empty_collection(module: Module, node: ast.expr | None) -> bool:
    if isinstance(node, (ast.Dict, ast.List)):
        return not (node.keys if isinstance(node, ast.Dict) else node.elts)
    if isinstance(node, ast.Call):
        last = module.called(node).rpartition(".")[2]
        return last in _EMPTY and (last in {"defaultdict", "TTLCache", "LRUCache", "deque"} or not node.args)
    return False


def _changed_names(tree: ast.AST) -> set[str]:
    """The names whose contents some function changes."""
    changed: set[str] = set()
    for function in ast.walk(tree):
        if not isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        for node in ast.walk(function):
            target: ast.expr | None = None
            if isinstance(node, ast.Subscript) and isinstance(node.ctx, (ast.Store, ast.Del)):
                target = node.value
            elif (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr in _CHANGES
            ):
                target = node.func.value
            while isinstance(target, ast.Subscript) or (
                isinstance(target, ast.Call)
                and isinstance(target.func, ast.Attribute)
                and target.func.attr in {"setdefault", "get"}
            ):
                target = target.value if isinstance(target, ast.Subscript) else target.func.value  # type: ignore[attr-defined]
            if isinstance(target, ast.Name):
                changed.add(target.id)
            elif (
                isinstance(target, ast.Attribute)
                and isinstance(target.value, ast.Name)
                and target.value.id in {"self", "cls"}
            ):
                changed.add(f"self.{target.attr}")
            elif isinstance(target, ast.Attribute):
                changed.add(target.attr)
    for node in ast.walk(tree):
        if isinstance(node, ast.Global):
            changed.update(node.names)
    return changed


def registries(module: Module) -> Iterator[Fact]:
    """Collections of a module or a class that functions change: deny lists, sessions, registries."""
    changed = _changed_names(module.tree)
    for statement, target, value in bindings(module.tree.body):
        name = name_of(target)
        if name and name in changed and _empty_collection(module, value):
            yield _registry(module, statement, name, value)
    for owner in ast.walk(module.tree):
        if not isinstance(owner, ast.ClassDef):
            continue
        bodies = [
            owner.body,
            *(
                each.body
                for each in owner.body
                if isinstance(each, ast.FunctionDef) and each.name == "__init__"
            ),
        ]
        for body in bodies:
            for statement, target, value in bindings(body):
                name = name_of(target)
                if (
                    f"self.{name}" in changed
                    and _empty_collection(module, value)
                    and (
                        REVOKED.search(name)
                        or re.search(r"session|connection|approv|pending", name, re.IGNORECASE)
                    )
                ):
                    yield _registry(module, statement, name, value)


def _registry(module: Module, statement: ast.stmt, name: str, value: ast.expr | None) -> Fact:
    ttl = keyword_of(value, "ttl") if isinstance(value, ast.Call) else None
    seconds = ttl.value if isinstance(ttl, ast.Constant) and isinstance(ttl.value, (int, float)) else None
    if (
        seconds is None
        and isinstance(value, ast.Call)
        and module.called(value).endswith("TTLCache")
        and len(value.args) > 1
    ):
        second = value.args[1]
        seconds = (
            second.value
            if isinstance(second, ast.Constant) and isinstance(second.value, (int, float))
            else None
        )
    if REVOKED.search(name) and seconds is not None and _CACHE.search(name):
        return fact_of("revocation-cached", module, statement, name=name, seconds=f"{seconds:g}")
    if REVOKED.search(name):
        return fact_of("revocations-in-memory", module, statement, name=name)
    if _CACHE.search(name):
        return fact_of("cache-in-memory", module, statement, name=name)
    if _REGISTRY.search(name):
        return fact_of("registry-in-memory", module, statement, name=name)
    return fact_of("collection-in-memory", module, statement, name=name)


def caches(module: Module) -> Iterator[Fact]:
    """Caches that frameworks keep in the memory of one process."""
    for node in ast.walk(module.tree):
        text = string_of(node)
        if text == "django.core.cache.backends.locmem.LocMemCache":
            yield fact_of("locmem-cache", module, node, what="LocMemCache")
        elif text in {"SimpleCache", "flask_caching.backends.SimpleCache"} and "CACHE_TYPE" in module.text:
            yield fact_of("locmem-cache", module, node, what="SimpleCache")
    for origin, node in module.calls():
        last = origin.rpartition(".")[2]
        if last in {"SimpleMemoryCache", "InMemoryBackend", "InMemoryCacheBackend"} or (
            origin == "aiocache.Cache" and not node.args
        ):
            yield fact_of("locmem-cache", module, node, what=last)
    for node in ast.walk(module.tree):
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) or not REVOKED.search(node.name):
            continue
        for decorator in node.decorator_list:
            origin = module.called(decorator) or module.origin(decorator)
            if origin.rpartition(".")[2] in {"lru_cache", "cache", "cached", "alru_cache", "ttl_cache"}:
                seconds = next(
                    (
                        str(each.value)
                        for inner in ast.walk(decorator)
                        if isinstance(inner, ast.keyword)
                        and inner.arg == "ttl"
                        and isinstance(each := inner.value, ast.Constant)
                    ),
                    "",
                )
                yield fact_of("revocation-cached", module, decorator, name=node.name, seconds=seconds)


def databases(module: Module) -> Iterator[Fact]:
    """SQLite: a file that several processes write, or a database in the memory of each."""
    for node in ast.walk(module.tree):
        text = string_of(node) or ""
        if re.match(r"^sqlite(\+\w+)?://(/?:memory:)?($|\?)", text):
            yield fact_of("sqlite-in-memory", module, node, url=text)
        elif re.match(r"^sqlite(\+\w+)?:///", text):
            yield fact_of("sqlite-several", module, node, url=text[:80])
        elif text == "django.db.backends.sqlite3":
            yield fact_of("sqlite-several", module, node, url=text)
    for origin, node in module.calls():
        if origin in {"sqlite3.connect", "aiosqlite.connect"} and node.args:
            if string_of(node.args[0]) == ":memory:":
                yield fact_of("sqlite-in-memory", module, node, url=":memory:")
            else:
                yield fact_of("sqlite-several", module, node, url=string_of(node.args[0]) or "a file")


_WEAVER: Final[dict[str, tuple[str, str]]] = {
    "InMemoryRevocationStore": ("", "revocations"),
    "HandleStore": ("", "handles"),
    "TraceStore": ("", "traces"),
    "BudgetManager": ("", "the budget"),
    "RateLimiter": ("", "rate windows"),
    "HMACTokenProvider": ("revocation_store", "revocations"),
    "DefaultPolicyEngine": ("", "rate windows"),
}


def weaver(module: Module) -> Iterator[Fact]:
    """`weaver_kernel` objects that keep their state in the process."""
    for origin, node in module.calls():
        if not origin.startswith("weaver_kernel"):
            continue
        last = origin.rpartition(".")[2]
        if last == "Kernel":
            given = {keyword.arg for keyword in node.keywords}
            if None in given:
                continue
            missing = [
                what
                for key, what in (("handle_store", "handles"), ("trace_store", "traces"))
                if key not in given
            ]
            if missing:
                yield fact_of(
                    "weaver-default-stores", module, node, what="Kernel", keeps=" and ".join(missing)
                )
        elif last in _WEAVER:
            keyword, keeps = _WEAVER[last]
            if not keyword or keyword_of(node, keyword) is None:
                yield fact_of("weaver-default-stores", module, node, what=last, keeps=keeps)
        elif last == "JsonlTraceStore":
            yield fact_of("audit-chain-forks", module, node, what=last)


def protocols(module: Module) -> Iterator[Fact]:
    """Sessions that live in one process: MCP over HTTP, Socket.IO, the memory of agents."""
    for origin, node in module.calls():
        last = origin.rpartition(".")[2]
        if (last == "StreamableHTTPSessionManager" and not is_true(keyword_of(node, "stateless"))) or (
            (
                last in {"streamable_http_app", "http_app", "sse_app"}
                or (
                    last == "run"
                    and string_of(keyword_of(node, "transport")) in {"streamable-http", "http", "sse"}
                )
            )
            and not (re.search(r"stateless_http\s*=\s*True", module.text))
        ):
            yield fact_of("mcp-sessions", module, node, what=last)
        elif (
            origin in {"socketio.AsyncServer", "socketio.Server"}
            and keyword_of(node, "client_manager") is None
        ) or (origin == "flask_socketio.SocketIO" and keyword_of(node, "message_queue") is None):
            yield fact_of("socketio-alone", module, node, what=origin)
        elif last in {
            "MemorySaver",
            "InMemorySaver",
            "InMemoryStore",
            "InMemoryChatMessageHistory",
            "ConversationBufferMemory",
            "InMemorySessionService",
        }:
            yield fact_of("agent-memory-in-process", module, node, what=last)
