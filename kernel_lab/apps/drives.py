"""The traffic of each claim against a service that is not the lab's, and how it is recorded."""

from __future__ import annotations

import asyncio
import hashlib
import itertools
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from kernel_lab.apps.adapter import App
from kernel_lab.apps.connections import Links
from kernel_lab.apps.http import DEADLINE_S, Http, Unclear
from kernel_lab.judge.history import HistoryWriter, Outcome
from kernel_lab.traffic.connections import Policy

CLIENTS = 8
"""Clients that ask at once for one caller."""
MOST = 400
"""The most attempts of one burst."""
CROWD = 16
"""Attempts that are called at the same moment."""
LONG_S = 20.0
"""The lab does not wait for the end of a longer window: the cell ends within the first window."""


T = TypeVar("T")


@dataclass(slots=True, kw_only=True)
class Session:
    """One cell of one running service."""

    app: App
    links: Links
    writer: HistoryWriter
    workers: int
    quick: bool
    tag: str
    """A text that tells the callers of this cell from the callers of every other cell."""
    limit: int = 1
    window_s: float = 1.0
    _callers: Iterator[int] = field(default_factory=itertools.count)
    _clients: Iterator[int] = field(default_factory=itertools.count)
    first_caller: int = 0

    @property
    def lanes(self) -> int:
        """Workers that a call can be sent to by choice; at least 1."""
        return max(1, self.links.lanes)

    one_caller: bool = False
    """The service cannot tell our callers apart, so there is one caller with one limit."""

    def caller(self) -> int:
        """A caller whom no other cell of this run uses; or the only caller."""
        return self.first_caller + (0 if self.one_caller else next(self._callers))

    def client(self, caller: int) -> Client:
        """A client that calls for a caller, one call at a time."""
        return Client(self, caller)

    def client_name(self) -> str:
        """A name for a client."""
        return f"c{next(self._clients)}"

    async def together(self, jobs: Sequence[Awaitable[object]]) -> None:
        """Run jobs side by side."""
        await asyncio.gather(*jobs)

    def fault(self, name: str, asked: dict[str, Any], called_ns: int, *, landed: bool) -> None:
        """Write a fault down, in the same history."""
        self._write(
            index=self.writer.next_index(), client=self.client_name(), f=f"fault.{name}", asked=asked,
            output=None, outcome=Outcome.OK if landed else Outcome.INFO, call_ns=called_ns, worker=None,
            connection=None, error=None if landed else "did_not_land",
        )  # fmt: skip

    def _write(
        self, *, index: int, client: str, f: str, asked: dict[str, Any], output: Any, outcome: Outcome,
        call_ns: int, worker: str | None, connection: str | None, error: str | None,
    ) -> None:  # fmt: skip
        self.writer.write(
            {
                "index": index,
                "client": client,
                "f": f,
                "input": asked,
                "output": output,
                "outcome": outcome,
                "call_ns": call_ns,
                "return_ns": None if outcome is Outcome.INFO else time.monotonic_ns(),
                "worker": worker,
                "connection": connection,
                "error": error,
            }
        )


@dataclass(frozen=True, slots=True)
class Told(Generic[T]):
    """The result of an operation, and the part of it that the history keeps."""

    gave: T
    output: dict[str, Any]


class Client:
    """Makes calls for one caller. Every operation is a line of the history, whatever the reply is."""

    def __init__(self, session: Session, caller: int) -> None:
        self._session = session
        self._app = session.app
        self._number = caller
        self._name = session.client_name()
        self.caller = "everybody" if session.one_caller else f"p{caller}-{session.tag}"

    async def attempt(self, lane: int | None = None) -> bool | None:
        """Make the call that is limited."""
        asked = {"principal": self.caller, "capability": "limited"}
        return await self._record(
            "grant", asked, lane, "rate_limited", lambda http: self._app.attempt(http, self.caller)
        )

    async def login(self, lane: int | None = None) -> str | None:
        """Get a token."""
        asked = {"principal": self.caller, "capability": "session"}

        async def login(http: Http) -> str | Told[str]:
            token = await self._app.login(http, self.caller)
            return Told(token, {"token_id": digest(token)})

        return await self._record("grant", asked, lane, "", login)

    async def use(self, token: str, lane: int | None = None) -> bool | None:
        """Present a token."""
        asked = {"token_id": digest(token), "principal": self.caller, "capability": "session"}
        return await self._record(
            "invoke", asked, lane, "token_revoked", lambda http: self._app.use(http, self.caller, token)
        )

    async def revoke(self, token: str, lane: int | None = None) -> bool | None:
        """Revoke a token."""

        async def revoke(http: Http) -> bool:
            await self._app.revoke(http, self.caller, token)
            return True

        return await self._record("revoke", {"token_id": digest(token)}, lane, "", revoke)

    async def put(self, lane: int | None = None) -> str | None:
        """Store something."""
        asked = {"token_id": "", "principal": self.caller, "capability": "stored"}

        async def put(http: Http) -> str | Told[str]:
            made = await self._app.put(http, self.caller)
            return Told(made, {"handle_id": digest(made)})

        return await self._record("invoke", asked, lane, "", put)

    async def get(self, made: str, lane: int | None = None) -> bool | None:
        """Fetch what was stored."""
        asked = {"handle_id": digest(made), "principal": self.caller}
        return await self._record(
            "expand", asked, lane, "handle_not_found", lambda http: self._app.get(http, self.caller, made)
        )

    async def add(self, lane: int | None = None) -> bool | None:
        """Do the operation that the service counts."""

        async def add(http: Http) -> bool:
            await self._app.add(http, self.caller)
            return True

        asked = {"token_id": "", "principal": self.caller, "capability": "counted"}
        return await self._record("invoke", asked, lane, "", add)

    async def read(self, lane: int | None = None) -> int | None:
        """Read the counter."""

        async def read(http: Http) -> int | Told[int]:
            count = await self._app.read(http, self.caller)
            return Told(count, {"invocations": count})

        return await self._record("stats", {}, lane, "", read)

    async def _record(
        self, f: str, asked: dict[str, Any], lane: int | None, refusal: str,
        do: Callable[[Http], Awaitable[T | Told[T]]],
    ) -> T | None:  # fmt: skip
        """Do one operation, write it down, and return its result, or None where the result is unknown."""
        session = self._session
        async with session.links.borrow(self._number, lane) as link:
            index, called_ns = session.writer.next_index(), time.monotonic_ns()
            outcome, error = Outcome.INFO, "cancelled"
            output: dict[str, Any] | None = None
            gave: T | None = None
            try:
                async with asyncio.timeout(DEADLINE_S):
                    told = await do(link.http)
                outcome, error = Outcome.OK, ""
                if isinstance(told, Told):
                    gave, output = told.gave, told.output
                else:
                    gave = told
                if gave is False:
                    outcome, error = Outcome.FAIL, refusal
            except Unclear as why:
                error = str(why)
            except TimeoutError:
                error = "too_slow"
            except Exception as failure:  # noqa: BLE001 - other people's code and servers fail in their own way
                error = type(failure).__name__
            finally:
                workers = link.http.workers
                session._write(  # noqa: SLF001 - one noun in two classes
                    index=index, client=self._name, f=f, asked=asked, output=output, outcome=outcome,
                    call_ns=called_ns, worker=workers[0] if len(workers) == 1 else None,
                    connection=link.name(), error=error or None,
                )  # fmt: skip
                if outcome is Outcome.INFO:
                    self._name = session.client_name()
        return gave


def digest(secret: str) -> str:
    """A name for a token or an id: histories are files, and credentials never land in one."""
    return hashlib.sha256(secret.encode()).hexdigest()[:16]


async def rate_limit(session: Session) -> None:
    """Bursts in three windows, single calls between them, a second caller, and many calls at one moment."""
    caller = session.caller()
    count = 1 if session.links.policy is Policy.KEEP_ALIVE else CLIENTS
    clients = [session.client(caller) for _ in range(count)]
    started = time.monotonic()

    async def until(windows: float) -> None:
        await asyncio.sleep(max(0.0, started + windows * session.window_s - time.monotonic()))

    async def burst(size: int) -> None:
        turns = iter(range(size))

        async def ask(client: Client) -> None:
            for turn in turns:
                await client.attempt(turn)

        await session.together([ask(client) for client in clients])

    await burst(min(MOST, (session.workers + 1) * session.limit + 2))
    if not session.one_caller:
        await session.client(session.caller()).attempt(0)
    await until(0.4)
    await burst(min(MOST, session.workers * session.limit + 2))
    if session.window_s <= LONG_S:
        for number in range(16):
            await until(0.55 + 0.9 * number / 16)
            await clients[0].attempt(number)
        await until(1.6)
        await burst(min(MOST, session.limit + 4))
    for number in range(0 if count == 1 or session.one_caller else 1 if session.quick else 3):
        crowd = [session.client(caller_) for caller_ in [session.caller()] for _ in range(CROWD)]
        await session.together([client.attempt(lane + number) for lane, client in enumerate(crowd)])


async def revocation(session: Session) -> None:
    """Tokens that are used, revoked through one worker, and used again on all of them."""
    trials = max(6, session.lanes) if session.quick else max(16, 2 * session.lanes)

    async def trial(number: int) -> None:
        client = session.client(session.caller())
        token = await client.login(number)
        if token is None:
            return
        for step in range(2):
            await client.use(token, number + step)
        await client.revoke(token, number + 1)
        for step in range(max(session.lanes, 4)):
            await client.use(token, number + step)
        await asyncio.sleep(0.3)
        for step in range(max(session.lanes, 4)):
            await client.use(token, number + step)

    await _columns(session, trial, trials)


async def handles(session: Session) -> None:
    """Things that are stored through one worker and fetched on all of them."""
    trials = max(6, session.lanes) if session.quick else max(16, 2 * session.lanes)

    async def trial(number: int) -> None:
        client = session.client(session.caller())
        made = await client.put(number)
        if made is None:
            return
        for step in range(max(session.lanes, 4)):
            await client.get(made, number + step)

    await _columns(session, trial, trials)


async def stats(session: Session) -> None:
    """A counter that is read on every worker, before anything is counted and after each step."""
    client = session.client(session.caller())
    for lane in range(max(session.lanes, 4)):
        await client.read(lane)
    for number in range(max(12, 2 * session.lanes)):
        await client.add(number)
        await client.read(number + 1)
    for lane in range(max(session.lanes, 4)):
        await client.read(lane)


async def _columns(session: Session, trial: Callable[[int], Awaitable[None]], trials: int) -> None:
    """Trials, four at a time."""

    async def column(first: int) -> None:
        for number in range(first, trials, 4):
            await trial(number)

    await session.together([column(first) for first in range(4)])


DRIVES: dict[str, Callable[[Session], Awaitable[None]]] = {
    "rate_limit": rate_limit,
    "revocation": revocation,
    "handles": handles,
    "stats": stats,
}
