"""Read Python sources by their syntax tree: what each process keeps or makes for itself.

Nothing is imported or executed. Each check is a small function over the module's tree that yields facts;
`rules_for_facts` says what a fact means for the number of processes.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from kernel_lab.doctor.facts import Fact, Place, Reading
from kernel_lab.doctor.readers.gunicorn_file import parse

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
_REVOKED: Final = re.compile(
    r"revo|deny_?list|denied|black_?list|block_?list|blocked|banned|logged_out|invalidated|disabled_tokens",
    re.IGNORECASE,
)
_REGISTRY: Final = re.compile(
    r"session|token|registr|approv|pending|connection|client|job|room|online|attempt|fail|counter|count|hits|bucket|window|limit|quota|budget|"
    r"handle|nonce|otp|code|state|store|subscri|queue|lock|task|cart|users?$|history|memory|conversation|transport|in_flight|requests?$|idempot|seen",
    re.IGNORECASE,
)
_CACHE: Final = re.compile(r"cache|memo", re.IGNORECASE)
_SECRET: Final = re.compile(
    r"secret|signing|sign_key|jwt_?key|private_?key|hmac|fernet|encryption_?key|cookie_?key|csrf|salt|pepper|session_?key|(^|_)key$",
    re.IGNORECASE,
)
_RANDOM: Final = frozenset(
    {
        "secrets.token_hex",
        "secrets.token_bytes",
        "secrets.token_urlsafe",
        "secrets.randbits",
        "secrets.choice",
        "os.urandom",
        "uuid.uuid4",
        "uuid4",
        "token_hex",
        "token_bytes",
        "token_urlsafe",
        "Fernet.generate_key",
        "urandom",
        "random.choice",
        "random.choices",
        "random.randbytes",
        "random.getrandbits",
        "get_random_secret_key",
        "rsa.generate_private_key",
        "ec.generate_private_key",
        "Ed25519PrivateKey.generate",
        "jwk.JWK.generate",
        "JsonWebKey.generate_key",
        "get_random_bytes",
        "binascii.hexlify",
        "cryptography.fernet.Fernet.generate_key",
    }
)
_SCHEDULERS: Final = re.compile(
    r"(Background|AsyncIO|Gevent|Tornado|Twisted)Scheduler$|^(Rocketry|Scheduler)$"
)
_LIMIT: Final = re.compile(
    r"^\s*(\d[\d_]*)\s*(?:/|\s+per\s+|\s+times?\s+per\s+)\s*(\d*)\s*(second|sec|s|minute|min|m|hour|hr|h|day|d|month|year)s?\b",
    re.IGNORECASE,
)
_UNITS: Final = {
    "s": "second",
    "sec": "second",
    "m": "minute",
    "min": "minute",
    "h": "hour",
    "hr": "hour",
    "d": "day",
}


@dataclass(slots=True)
class Module:
    """One source file and what the checks need of it."""

    path: str
    tree: ast.Module
    text: str
    imports: dict[str, str] = field(default_factory=dict)
    """Local name to dotted origin."""

    def place(self, node: ast.AST) -> Place:
        """Where a node stands."""
        return Place(self.path, getattr(node, "lineno", 1))

    def called(self, node: ast.AST) -> str:
        """The dotted origin of what a call calls, or an empty text."""
        return self.origin(node.func) if isinstance(node, ast.Call) else ""

    def origin(self, node: ast.AST) -> str:
        """A dotted name with its import resolved."""
        parts: list[str] = []
        while isinstance(node, ast.Attribute):
            parts.append(node.attr)
            node = node.value
        if isinstance(node, ast.Call):
            parts.append(f"{self.called(node)}()")
        elif isinstance(node, ast.Name):
            parts.append(self.imports.get(node.id, node.id))
        else:
            return ""
        return ".".join(reversed(parts))

    def calls(self) -> Iterator[tuple[str, ast.Call]]:
        """Every call of the module with the origin of what it calls."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call):
                yield self.called(node), node


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


def _keyword(node: ast.Call, *names: str) -> ast.expr | None:
    return next((each.value for each in node.keywords if each.arg in names), None)


def _true(node: ast.expr | None) -> bool:
    return isinstance(node, ast.Constant) and node.value is True


def _string(node: ast.AST | None) -> str | None:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else None


def _fact(rule: str, module: Module, node: ast.AST, **values: str | int) -> Fact:
    return Fact(rule=rule, place=module.place(node), values=values)


def _is_limiter(origin: str) -> bool:
    last = origin.rpartition(".")[2]
    return last == "Limiter" and not origin.startswith(("aiolimiter", "pyrate_limiter"))


def _storage_given(module: Module, node: ast.Call) -> str | None:
    """The store of a limiter: its URL, ``?`` where it is computed, None where there is none."""
    given = _keyword(node, "storage_uri", "storage_url", "storage")
    if given is None:
        return "?" if re.search(r"RATELIMIT_STORAGE_UR[IL]", module.text) else None
    text = _string(given)
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
                yield _fact("limiter-in-memory", module, node, what=origin.split(".")[0])
            if _true(_keyword(node, "in_memory_fallback_enabled")) or isinstance(
                _keyword(node, "in_memory_fallback"), (ast.List, ast.Tuple)
            ):
                yield _fact("limiter-falls-back", module, node, what=origin.split(".")[0])
            if _true(_keyword(node, "swallow_errors")):
                yield _fact("limiter-fails-open", module, node, what=origin.split(".")[0])
            if store is not None and re.match(r"^(async\+)?rediss?://[^/?#]+/?$", store):
                yield _fact(
                    "store-database-shared",
                    module,
                    _keyword(node, "storage_uri", "storage_url") or node,
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
            yield _fact("limiter-in-memory", module, node, what=last)
        elif origin in {
            "ratelimit.limits",
            "ratelimiter.RateLimiter",
            "aiolimiter.AsyncLimiter",
            "pyrate_limiter.Limiter",
        }:
            yield _fact("limiter-in-memory", module, node, what=origin)


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
        text = _string(node)
        if text is None or len(text) > 200:
            continue
        for part in re.split(r"[;,|]", text):
            if found := _LIMIT.match(part):
                unit = _UNITS.get(found[3].lower(), found[3].lower())
                number = int(found[1].replace("_", ""))
                per = f"{found[2]} {unit}s" if found[2] not in {"", "1"} else unit
                if 0 < number < 10**9:
                    yield _fact(
                        "limit-multiplied",
                        module,
                        node,
                        limit=number,
                        per=per,
                        when="" if in_memory else "While the store is away, ",
                    )


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
    for statement, target, value in _bindings(module.tree.body):
        name = (
            target.id
            if isinstance(target, ast.Name)
            else target.attr
            if isinstance(target, ast.Attribute)
            else ""
        )
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
            for statement, target, value in _bindings(body):
                name = (
                    target.attr
                    if isinstance(target, ast.Attribute)
                    else target.id
                    if isinstance(target, ast.Name)
                    else ""
                )
                if (
                    f"self.{name}" in changed
                    and _empty_collection(module, value)
                    and (
                        _REVOKED.search(name)
                        or re.search(r"session|connection|approv|pending", name, re.IGNORECASE)
                    )
                ):
                    yield _registry(module, statement, name, value)


def _registry(module: Module, statement: ast.stmt, name: str, value: ast.expr | None) -> Fact:
    ttl = _keyword(value, "ttl") if isinstance(value, ast.Call) else None
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
    if _REVOKED.search(name) and seconds is not None and _CACHE.search(name):
        return _fact("revocation-cached", module, statement, name=name, seconds=f"{seconds:g}")
    if _REVOKED.search(name):
        return _fact("revocations-in-memory", module, statement, name=name)
    if _CACHE.search(name):
        return _fact("cache-in-memory", module, statement, name=name)
    if _REGISTRY.search(name):
        return _fact("registry-in-memory", module, statement, name=name)
    return _fact("collection-in-memory", module, statement, name=name)


def _bindings(body: list[ast.stmt]) -> Iterator[tuple[ast.stmt, ast.expr, ast.expr | None]]:
    for statement in body:
        if isinstance(statement, ast.Assign):
            for target in statement.targets:
                yield statement, target, statement.value
        elif isinstance(statement, ast.AnnAssign):
            yield statement, statement.target, statement.value
        elif isinstance(statement, (ast.If, ast.Try, ast.With)):
            yield from _bindings(statement.body)
            yield from _bindings(getattr(statement, "orelse", []))
            for handler in getattr(statement, "handlers", []):
                yield from _bindings(handler.body)


def _random_call(module: Module, node: ast.AST | None) -> ast.Call | None:
    for each in ast.walk(node) if node is not None else ():
        if isinstance(each, (ast.Lambda, ast.FunctionDef, ast.AsyncFunctionDef)):
            return None
        origin = module.called(each)
        if isinstance(each, ast.Call) and (
            origin in _RANDOM or any(origin.endswith(f".{name}") for name in _RANDOM)
        ):
            return each
    return None


def secrets(module: Module) -> Iterator[Fact]:
    """Keys and secrets that are made anew at every import."""
    statements = [*_bindings(module.tree.body)]
    for node in module.tree.body:
        if isinstance(node, ast.ClassDef):
            statements.extend(_bindings(node.body))
    for statement, target, value in statements:
        name = (
            target.id
            if isinstance(target, ast.Name)
            else target.attr
            if isinstance(target, ast.Attribute)
            else ""
        )
        if isinstance(target, ast.Subscript):
            name = _string(target.slice) or ""
        made = _random_call(module, value)
        if name and _SECRET.search(name) and made is not None:
            yield _fact("random-secret", module, statement, name=name, how=module.called(made))
    for top in module.tree.body:
        if isinstance(top, (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)):
            continue
        for call in ast.walk(top):
            if not isinstance(call, ast.Call):
                continue
            for keyword in call.keywords:
                if (
                    keyword.arg
                    and _SECRET.search(keyword.arg)
                    and (made := _random_call(module, keyword.value)) is not None
                ):
                    yield _fact(
                        "random-secret", module, keyword.value, name=keyword.arg, how=module.called(made)
                    )
            if (
                module.called(call).endswith("setdefault")
                and call.args
                and _SECRET.search(_string(call.args[0]) or "")
                and _random_call(module, call)
            ):
                yield _fact(
                    "random-secret", module, call, name=_string(call.args[0]) or "", how="a random default"
                )


def schedulers(module: Module) -> Iterator[Fact]:
    """Schedulers that start in every process: at import, or when the application starts."""
    made: set[str] = set()
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Assign) and _SCHEDULERS.search(module.called(node.value).rpartition(".")[2]):
            made.update(
                target.id if isinstance(target, ast.Name) else target.attr
                for target in node.targets
                if isinstance(target, (ast.Name, ast.Attribute))
            )
    guarded = {id(inner) for node in module.tree.body if _main_guard(node) for inner in ast.walk(node)}
    for node in ast.walk(module.tree):
        if (
            not (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr == "start"
            )
            or id(node) in guarded
        ):
            continue
        holder = node.func.value
        name = (
            holder.id
            if isinstance(holder, ast.Name)
            else holder.attr
            if isinstance(holder, ast.Attribute)
            else ""
        )
        if name in made or _SCHEDULERS.search(module.called(holder).rpartition(".")[2]):
            yield _fact("scheduler-in-process", module, node, name=name or "scheduler")
    for statement in module.tree.body:
        for node in ast.walk(statement) if isinstance(statement, ast.Expr) else ():
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr == "start"
                and module.called(node.func.value).endswith(("Thread", "Timer"))
            ):
                yield _fact("scheduler-in-process", module, node, name="thread")
    for node in ast.walk(module.tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            for decorator in node.decorator_list:
                if module.called(decorator).endswith("repeat_every"):
                    yield _fact("scheduler-in-process", module, decorator, name=node.name)


def _main_guard(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and "__name__" in ast.dump(node.test)


def caches(module: Module) -> Iterator[Fact]:
    """Caches that frameworks keep in the memory of one process."""
    for node in ast.walk(module.tree):
        text = _string(node)
        if text == "django.core.cache.backends.locmem.LocMemCache":
            yield _fact("locmem-cache", module, node, what="LocMemCache")
        elif text in {"SimpleCache", "flask_caching.backends.SimpleCache"} and "CACHE_TYPE" in module.text:
            yield _fact("locmem-cache", module, node, what="SimpleCache")
    for origin, node in module.calls():
        last = origin.rpartition(".")[2]
        if last in {"SimpleMemoryCache", "InMemoryBackend", "InMemoryCacheBackend"} or (
            origin == "aiocache.Cache" and not node.args
        ):
            yield _fact("locmem-cache", module, node, what=last)
    for node in ast.walk(module.tree):
        if not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) or not _REVOKED.search(node.name):
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
                yield _fact("revocation-cached", module, decorator, name=node.name, seconds=seconds)


def databases(module: Module) -> Iterator[Fact]:
    """SQLite: a file that several processes write, or a database in the memory of each."""
    for node in ast.walk(module.tree):
        text = _string(node) or ""
        if re.match(r"^sqlite(\+\w+)?://(/?:memory:)?($|\?)", text):
            yield _fact("sqlite-in-memory", module, node, url=text)
        elif re.match(r"^sqlite(\+\w+)?:///", text):
            yield _fact("sqlite-several", module, node, url=text[:80])
        elif text == "django.db.backends.sqlite3":
            yield _fact("sqlite-several", module, node, url=text)
    for origin, node in module.calls():
        if origin in {"sqlite3.connect", "aiosqlite.connect"} and node.args:
            if _string(node.args[0]) == ":memory:":
                yield _fact("sqlite-in-memory", module, node, url=":memory:")
            else:
                yield _fact("sqlite-several", module, node, url=_string(node.args[0]) or "a file")


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
                yield _fact("weaver-default-stores", module, node, what="Kernel", keeps=" and ".join(missing))
        elif last in _WEAVER:
            keyword, keeps = _WEAVER[last]
            if not keyword or _keyword(node, keyword) is None:
                yield _fact("weaver-default-stores", module, node, what=last, keeps=keeps)
        elif last == "JsonlTraceStore":
            yield _fact("audit-chain-forks", module, node, what=last)


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
            yield _fact("lock-per-process", module, node, name=ast.unparse(node.items[0].context_expr)[:60])


def clocks(module: Module) -> Iterator[Fact]:
    """A limiter whose window is measured by the clock of each client."""
    if not re.search(r"time\.time\(|datetime\.|monotonic", module.text):
        return
    for origin, node in module.calls():
        if origin.rpartition(".")[2] in {"zadd", "zremrangebyscore", "zcount"} and re.search(
            r"\b(now|time|current|timestamp|ts)\w*", ast.unparse(node)
        ):
            yield _fact("client-clock", module, node, what=origin.rpartition(".")[2])
            return


def metrics(module: Module) -> Iterator[Fact]:
    """Metrics that each process counts for itself."""
    if re.search(r"MultiProcessCollector|PROMETHEUS_MULTIPROC_DIR|multiprocess", module.text):
        return
    for origin, node in module.calls():
        if origin in {
            "prometheus_client.make_asgi_app",
            "prometheus_client.generate_latest",
            "prometheus_client.make_wsgi_app",
            "prometheus_client.start_http_server",
        } or origin.endswith("Instrumentator"):
            yield _fact("metrics-per-process", module, node, what=origin)
            return


def leaders(module: Module) -> Iterator[Fact]:
    """A file lock that elects a leader: one for each host."""
    for origin, node in module.calls():
        if origin in {
            "filelock.FileLock",
            "filelock.UnixFileLock",
            "portalocker.Lock",
            "fcntl.flock",
            "fcntl.lockf",
        }:
            yield _fact("file-lock-leader", module, node, name=origin)
            return


def protocols(module: Module) -> Iterator[Fact]:
    """Sessions that live in one process: MCP over HTTP, Socket.IO, the memory of agents."""
    for origin, node in module.calls():
        last = origin.rpartition(".")[2]
        if (last == "StreamableHTTPSessionManager" and not _true(_keyword(node, "stateless"))) or (
            (
                last in {"streamable_http_app", "http_app", "sse_app"}
                or (
                    last == "run"
                    and _string(_keyword(node, "transport")) in {"streamable-http", "http", "sse"}
                )
            )
            and not (re.search(r"stateless_http\s*=\s*True", module.text))
        ):
            yield _fact("mcp-sessions", module, node, what=last)
        elif (
            origin in {"socketio.AsyncServer", "socketio.Server"} and _keyword(node, "client_manager") is None
        ) or (origin == "flask_socketio.SocketIO" and _keyword(node, "message_queue") is None):
            yield _fact("socketio-alone", module, node, what=origin)
        elif last in {
            "MemorySaver",
            "InMemorySaver",
            "InMemoryStore",
            "InMemoryChatMessageHistory",
            "ConversationBufferMemory",
            "InMemorySessionService",
        }:
            yield _fact("agent-memory-in-process", module, node, what=last)


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


def shares_state(text: str) -> bool:
    """Whether a source connects to a store that processes share."""
    return (
        re.search(
            r"storage_uri\s*=\s*[\"'](async\+)?(redis|valkey|memcached)|\b(redis|valkey|aioredis|glide)\b.*(from_url|Redis\(|Valkey\(|ConnectionPool)|SQLiteRevocationStore|RedisManager|django_redis|RedisCache|[\"']rediss?://",
            text,
        )
        is not None
    )
