"""``app.toml``: a service as data. ``docs/any-app.md`` describes every key."""

from __future__ import annotations

import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import msgspec

from kernel_lab.apps.adapter import NEEDS, App, load
from kernel_lab.apps.http import Http, Reply, Unclear
from kernel_lab.bad_input import BadInput
from kernel_lab.judge.checkers.limit_kinds import KINDS
from kernel_lab.judge.verdict import Validity
from kernel_lab.run.folder import NAME


class _Table(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A table of the file."""


class Match(_Table, frozen=True, kw_only=True):
    """A condition on a reply; everything that is stated must hold."""

    status: int | list[int] | None = None
    header: str | None = None
    """``Name``: the header is present. ``Name: regular expression``: its value matches."""
    body: str | None = None
    """A regular expression that the body contains."""
    json: str | None = None
    """A JSON pointer to a value that is present; ``/ok = true`` compares it with a JSON value."""

    def holds(self, reply: Reply) -> bool:
        """Whether a reply meets the condition."""
        statuses = [self.status] if isinstance(self.status, int) else self.status
        if statuses is not None and reply.status not in statuses:
            return False
        if self.header is not None:
            name, _, pattern = self.header.partition(":")
            value = reply.headers.get(name.strip().lower())
            if value is None or not re.search(pattern.strip(), value):
                return False
        if self.body is not None and not re.search(self.body, reply.text):
            return False
        if self.json is not None:
            pointer, compares, wanted = self.json.partition("=")
            found = _pointed(reply, pointer.strip())
            if found is None or (compares and found != _json(wanted)):
                return False
        return True


class Pick(_Table, frozen=True, kw_only=True):
    """A value out of a reply: by JSON pointer, header or regular expression (its first group)."""

    json: str | None = None
    header: str | None = None
    regex: str | None = None

    def of(self, reply: Reply) -> str:
        """The value as text.

        Raises:
            Unclear: The reply does not have it.
        """
        value: Any = None
        if self.json is not None:
            value = _pointed(reply, self.json)
        elif self.header is not None:
            value = reply.headers.get(self.header.lower())
        if self.regex is not None:
            found = re.search(self.regex, reply.text if value is None else str(value))
            value = found[1] if found and found.re.groups else found and found[0]
        if value is None or isinstance(value, dict | list):
            raise Unclear(f"http_{reply.status}_without_the_value")
        return str(value)


class Step(_Table, frozen=True, kw_only=True):
    """One request, and how its reply is read."""

    request: str
    """``METHOD /path``; ``{caller}``, ``{token}`` and ``{id}`` are filled in, here and in the values below."""
    headers: dict[str, str] = {}
    json: Any = None
    form: dict[str, str] | None = None
    ok: Match = Match(status=[200, 201, 202, 204])
    refused: Match | None = None
    token: Pick | None = None
    id: Pick | None = None
    value: Pick | None = None


class Caller(_Table, frozen=True, kw_only=True):
    """The way in which the service tells its callers apart."""

    header: str | None = None
    cookie: str | None = None
    bearer: bool = False
    address: bool = False
    """Whether the service knows a caller by the client's address. Each caller then has its own loopback address."""
    value: str = "{caller}"
    """The content of the header, the cookie or the bearer token."""

    def headers(self, caller: str) -> dict[str, str]:
        """The headers that name a caller; none where the client's address names it."""
        value = self.value.replace("{caller}", caller)
        if self.header is not None:
            return {self.header: value}
        if self.cookie is not None:
            return {"Cookie": f"{self.cookie}={value}"}
        return {"Authorization": f"Bearer {value}"} if self.bearer else {}


class Start(_Table, frozen=True, kw_only=True):
    """The way in which the service is started here."""

    command: str
    workers: list[int] | int = 4
    """One deployment is measured for each number."""
    cwd: str = "."
    env: dict[str, str] = {}
    ready: str = "/"
    """A path that answers once the service is up, with any status below 500."""
    ready_s: float = 60.0
    store: Literal["", "redis"] = ""
    """Start a Redis or Valkey too; ``{store}`` is its URL."""


class Attach(_Table, frozen=True, kw_only=True):
    """The address of a service that runs already."""

    url: str
    workers: int | None = None
    """The number of its workers. Without it, the lab asks until it is certain enough."""
    headers: dict[str, str] = {}
    """Sent with every request; ``${NAME}`` is taken from the environment and never written to a file."""
    insecure: bool = False
    """Do not verify the TLS certificate."""
    ready: str = "/"


class Limit(_Table, frozen=True, kw_only=True):
    """The promise of a rate limit."""

    limit: int
    window_s: float
    kind: str = KINDS[0]
    burst: int | None = None
    tolerance_ms: float | None = None
    alignment: Literal["clock", "unknown"] = "clock"
    """Whether windows that are aligned to the clock begin at its multiples, or at an unknown time."""


class RateLimit(_Table, frozen=True, kw_only=True):
    """``[rate_limit]``."""

    promise: Limit
    attempt: Step | None = None


class Revocation(_Table, frozen=True, kw_only=True):
    """``[revocation]``."""

    login: Step | None = None
    use: Step | None = None
    revoke: Step | None = None
    max_stale_ms: int | None = None
    """The promise: for how long a worker may accept a revoked token. None: a worker must not accept it at all."""


class Handles(_Table, frozen=True, kw_only=True):
    """``[handles]``."""

    put: Step | None = None
    get: Step | None = None
    ttl_s: float | None = None
    """The promise: how long a stored thing lives. None: for ever."""


class Stats(_Table, frozen=True, kw_only=True):
    """``[stats]``."""

    add: Step | None = None
    read: Step | None = None


class About(_Table, frozen=True, kw_only=True):
    """For ``docs/claims.md``: which library the service uses, and what the library's documentation promises."""

    library: str = ""
    version: str = ""
    strategy: str = ""
    store: str = ""
    promises: str = ""
    source: str = ""


class File(_Table, frozen=True, kw_only=True):
    """The whole file."""

    name: str
    start: Start | None = None
    attach: Attach | None = None
    adapter: str = ""
    expect: dict[str, Validity] = {}
    """Claim -> the worst verdict that is expected with the most workers; ``run`` exits with 0 if that verdict comes."""
    caller: Caller = Caller()
    rate_limit: RateLimit | None = None
    revocation: Revocation | None = None
    handles: Handles | None = None
    stats: Stats | None = None
    about: About = About()


@dataclass(frozen=True, slots=True, kw_only=True)
class Service:
    """A service that can be measured: the file, and the operations that it maps or adapts."""

    file: File
    folder: Path
    """The folder of the file. Paths in the file are relative to it."""
    app: App

    def claims(self) -> list[str]:
        """The claims that can be put to the test, in a fixed order."""
        return [claim for claim in NEEDS if not self.left_out(claim)]

    def left_out(self, claim: str) -> str:
        """Return why a claim cannot be tested; an empty text where it can."""
        if claim == "rate_limit" and self.file.rate_limit is None:
            return "rate_limit is left out: there is no [rate_limit] with its promise"
        missing = self.app.lacks(claim)
        words = " and ".join([", ".join(missing[:-1]), missing[-1]] if len(missing) > 1 else missing)
        return f"{claim} is left out: it needs {words}" if missing else ""


def read(path: Path) -> Service:
    """The service that a file describes.

    Raises:
        BadInput: With the table and the key that is wrong, and what would be right.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
        file = msgspec.convert(tables, File)
    except UnicodeDecodeError:
        raise BadInput(f"{path}: is not UTF-8 text") from None
    except (OSError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise BadInput(f"{path}: {getattr(error, 'strerror', None) or error}") from None
    except msgspec.ValidationError as error:
        raise BadInput(f"{path}: {error}; docs/any-app.md describes the keys") from None
    _check(file, path)
    folder = path.resolve().parent
    mapped = Mapped(file)
    if not file.adapter:
        return Service(file=file, folder=folder, app=mapped)
    return Service(file=file, folder=folder, app=Both(load(file.adapter, folder), mapped))


def _check(file: File, path: Path) -> None:
    if not NAME.fullmatch(file.name) or len(file.name) > 60:
        raise BadInput(f"{path}: name {file.name!r}: letters, digits, '.', '_', '+' and '-', 60 at most")
    if (file.start is None) == (file.attach is None):
        raise BadInput(f"{path}: needs [start] (a command) or [attach] (a URL), and not both")
    if file.start is not None:
        counts = file.start.workers if isinstance(file.start.workers, list) else [file.start.workers]
        if not counts or any(not 1 <= count <= 64 for count in counts) or len(set(counts)) < len(counts):
            raise BadInput(f"{path}: [start] workers is {file.start.workers}: different numbers from 1 to 64")
        if "{port}" not in file.start.command:
            raise BadInput(f"{path}: [start] command has no {{port}}: the lab chooses a free port each time")
        if "{store}" in f"{file.start.command}{file.start.env}" and not file.start.store:
            raise BadInput(f'{path}: [start] uses {{store}}, so it needs store = "redis"')
    for claim in file.expect:
        if claim not in NEEDS:
            raise BadInput(f"{path}: [expect] has {claim!r}; one of: {', '.join(NEEDS)}")
    if file.attach is not None and not file.attach.url.startswith(("http://", "https://")):
        raise BadInput(
            f"{path}: [attach] url is {file.attach.url!r}: an http:// or https:// address is needed"
        )
    if file.rate_limit is not None:
        promise = file.rate_limit.promise
        if promise.kind not in KINDS:
            raise BadInput(f"{path}: kind is {promise.kind!r}; one of: {', '.join(KINDS)}")
        if promise.limit < 1 or not 0 < promise.window_s <= 86_400:
            raise BadInput(f"{path}: a promise has a limit of 1 or more and a window_s above 0, up to 86400")
    for where, step in _steps(file):
        method, _, target = step.request.partition(" ")
        if not method.isupper() or not target.startswith("/"):
            raise BadInput(f"{path}: {where} request is {step.request!r}: METHOD /path is needed")
        for pattern in _patterns(step):
            try:
                re.compile(pattern)
            except re.error as error:
                raise BadInput(f"{path}: {where}: the expression {pattern!r} is wrong: {error}") from None


_PARTS: dict[str, tuple[str, ...]] = {
    "login": ("token",),
    "put": ("id",),
    "read": ("value",),
    "attempt": ("refused",),
    "use": ("refused",),
    "get": ("refused",),
}
"""The operations that a step needs."""


def _steps(file: File) -> list[tuple[str, Step]]:
    """Every step of the file, with the name of its table."""
    found = []
    for claim, operations in NEEDS.items():
        table = getattr(file, claim)
        for operation in operations:
            step = getattr(table, operation, None)
            if step is not None:
                found.append((f"[{claim}.{operation}]", step))
                for part in _PARTS.get(operation, ()):
                    if getattr(step, part) is None:
                        raise BadInput(f"[{claim}.{operation}] needs {part}: how its reply is read")
    return found


def _patterns(step: Step) -> list[str]:
    matches = [match for match in (step.ok, step.refused) if match is not None]
    picks = [pick for pick in (step.token, step.id, step.value) if pick is not None]
    found = [match.body for match in matches] + [pick.regex for pick in picks]
    found += [match.header.partition(":")[2].strip() for match in matches if match.header]
    return [pattern for pattern in found if pattern]


@dataclass(slots=True)
class Mapped(App):
    """The operations that a file maps."""

    file: File
    steps: dict[str, Step] = field(init=False)

    def __post_init__(self) -> None:
        """Find the steps."""
        self.steps = {where.strip("[]").split(".")[1]: step for where, step in _steps(self.file)}

    def offers(self, operation: str) -> bool:
        """Whether the file has a step for the operation."""
        return operation in self.steps

    async def attempt(self, http: Http, caller: str) -> bool:
        """See `App`."""
        return (await self._ask("attempt", http, caller))[0]

    async def login(self, http: Http, caller: str) -> str:
        """See `App`."""
        return self._picked("token", await self._ask("login", http, caller), "login")

    async def use(self, http: Http, caller: str, token: str) -> bool:
        """See `App`."""
        return (await self._ask("use", http, caller, token=token))[0]

    async def revoke(self, http: Http, caller: str, token: str) -> None:
        """See `App`."""
        self._done(await self._ask("revoke", http, caller, token=token))

    async def put(self, http: Http, caller: str) -> str:
        """See `App`."""
        return self._picked("id", await self._ask("put", http, caller), "put")

    async def get(self, http: Http, caller: str, id: str) -> bool:  # noqa: A002
        """See `App`."""
        return (await self._ask("get", http, caller, id=id))[0]

    async def add(self, http: Http, caller: str) -> None:
        """See `App`."""
        self._done(await self._ask("add", http, caller))

    async def read(self, http: Http, caller: str) -> int:
        """See `App`."""
        value = self._picked("value", await self._ask("read", http, caller), "read")
        try:
            return int(float(value))
        except ValueError:
            raise Unclear("no_number") from None

    async def _ask(self, operation: str, http: Http, caller: str, **known: str) -> tuple[bool, Reply]:
        """Send a step's request. Return whether it did what was asked, and the reply."""
        step = self.steps[operation]
        values = {"caller": caller, **known}
        method, _, path = step.request.partition(" ")
        headers = {**self.file.caller.headers(caller), **_filled(step.headers, values)}
        reply = await http.request(
            method,
            _filled(path, values),
            headers=headers,
            json=_filled(step.json, values),
            form=_filled(step.form, values),
        )
        if reply.cut:
            raise Unclear("reply_too_large")
        # a refusal first: a service may say 200 and refuse in its body
        if step.refused is not None and step.refused.holds(reply):
            return False, reply
        if step.ok.holds(reply):
            return True, reply
        raise Unclear(f"http_{reply.status}")

    def _picked(self, part: str, asked: tuple[bool, Reply], operation: str) -> str:
        pick: Pick = getattr(self.steps[operation], part)
        return pick.of(self._done(asked))

    def _done(self, asked: tuple[bool, Reply]) -> Reply:
        done, reply = asked
        if not done:
            raise Unclear(f"http_{reply.status}_refused")
        return reply


class Both(App):
    """An adapter in Python, and a mapping for what it does not have."""

    def __init__(self, adapter: App, mapped: App) -> None:
        for operations in NEEDS.values():
            for operation in operations:
                source = adapter if adapter.offers(operation) else mapped
                setattr(self, operation, getattr(source, operation))
        self._offers = adapter, mapped

    def offers(self, operation: str) -> bool:
        """Whether one of them has an operation."""
        return any(one.offers(operation) for one in self._offers)


def _filled(value: Any, known: Mapping[str, str]) -> Any:
    """A value with ``{caller}``, ``{token}`` and ``{id}`` filled in, in nested tables and lists too."""
    if isinstance(value, str):
        return re.sub(r"\{(caller|token|id)\}", lambda found: known.get(found[1], found[0]), value)
    if isinstance(value, dict):
        return {key: _filled(part, known) for key, part in value.items()}
    return [_filled(part, known) for part in value] if isinstance(value, list) else value


def _pointed(reply: Reply, pointer: str) -> Any:
    """Return the value that a JSON pointer (RFC 6901) finds in a reply; None where it finds none."""
    found = reply.json()
    for part in pointer.split("/")[1:]:
        key = part.replace("~1", "/").replace("~0", "~")
        try:
            found = found[int(key)] if isinstance(found, list) else found[key]
        except (KeyError, IndexError, ValueError, TypeError):
            return None
    return found


def _json(text: str) -> Any:
    try:
        return msgspec.json.decode(text.strip())
    except msgspec.DecodeError:
        return text.strip()


def from_environment(headers: Mapping[str, str]) -> dict[str, str]:
    """Headers with ``${NAME}`` taken from the environment.

    Raises:
        BadInput: The environment has no such variable.
    """

    def value(found: re.Match[str]) -> str:
        if found[1] not in os.environ:
            raise BadInput(f"[attach] headers name ${{{found[1]}}}, and the environment has no such variable")
        return os.environ[found[1]]

    return {name: re.sub(r"\$\{(\w+)\}", value, text) for name, text in headers.items()}
