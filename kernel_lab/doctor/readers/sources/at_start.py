"""Facts about things that each process makes for itself: secrets, schedulers, metrics and elected leaders."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from typing import Final

from kernel_lab.doctor.facts import Fact
from kernel_lab.doctor.readers.sources.module import Module, bindings, fact_of, name_of, string_of

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
    statements = [*bindings(module.tree.body)]
    for node in module.tree.body:
        if isinstance(node, ast.ClassDef):
            statements.extend(bindings(node.body))
    for statement, target, value in statements:
        name = name_of(target)
        if isinstance(target, ast.Subscript):
            name = string_of(target.slice) or ""
        made = _random_call(module, value)
        if name and _SECRET.search(name) and made is not None:
            yield fact_of("random-secret", module, statement, name=name, how=module.called(made))
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
                    yield fact_of(
                        "random-secret", module, keyword.value, name=keyword.arg, how=module.called(made)
                    )
            if (
                module.called(call).endswith("setdefault")
                and call.args
                and _SECRET.search(string_of(call.args[0]) or "")
                and _random_call(module, call)
            ):
                yield fact_of(
                    "random-secret", module, call, name=string_of(call.args[0]) or "", how="a random default"
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
        name = name_of(holder)
        if name in made or _SCHEDULERS.search(module.called(holder).rpartition(".")[2]):
            yield fact_of("scheduler-in-process", module, node, name=name or "scheduler")
    for statement in module.tree.body:
        for node in ast.walk(statement) if isinstance(statement, ast.Expr) else ():
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and node.func.attr == "start"
                and module.called(node.func.value).endswith(("Thread", "Timer"))
            ):
                yield fact_of("scheduler-in-process", module, node, name="thread")
    for node in ast.walk(module.tree):
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            for decorator in node.decorator_list:
                if module.called(decorator).endswith("repeat_every"):
                    yield fact_of("scheduler-in-process", module, decorator, name=node.name)


def _main_guard(node: ast.stmt) -> bool:
    return isinstance(node, ast.If) and "__name__" in ast.dump(node.test)


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
            yield fact_of("metrics-per-process", module, node, what=origin)
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
            yield fact_of("file-lock-leader", module, node, name=origin)
            return
