"""One blocking connection to one Redis or Valkey server: short waits, no retries, and no use after a fork."""

from __future__ import annotations

import hashlib
import os
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol

from redis.exceptions import AskError, MovedError, NoScriptError, RedisError, ResponseError

from lab.state.breaker import Breaker
from lab.state.redis.channel import Argument
from lab.state.seam import StateUnavailable

OLDEST = 7
"""The lowest version of a server that has sharded channels. Valkey reports version 7 for compatibility."""

Restarted = Literal["persistent", "accept", "refuse"]
"""The servers that are trusted after a restart: those with an append-only file, all servers, or none."""

_CONFIRM_KEPT_MS = 60_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Confirmation:
    """Give every answer only once `replicas` replicas have everything that the answer is based on.

    After each command the same connection writes `key` and sends ``WAIT``. A replica that has this write has everything
    that the server had carried out before it, also for other callers. So the answer that a caller got survives the
    promotion of any replica, if `replicas` is the number of replicas that may be promoted.

    All of it must go over one connection. ``WAIT`` covers the writes of its own connection only. Over a new
    connection it would confirm nothing and still report success.
    """

    replicas: int
    within_ms: int
    key: str

    def commands(self) -> tuple[tuple[Argument, ...], tuple[Argument, ...]]:
        """Return the write, and the command whose answer is the number of replicas that have it."""
        return ("SET", self.key, "1", "PX", _CONFIRM_KEPT_MS), ("WAIT", self.replicas, self.within_ms)

    def check(self, name: str, confirmed: int) -> None:
        """Refuse an answer that too few replicas have confirmed.

        Raises:
            StateUnavailable: Too few replicas have confirmed. The command may have had its effect, and a promotion
        may undo it.
        """
        if confirmed < self.replicas:
            raise StateUnavailable(
                f"{name}: {confirmed} of {self.replicas} replicas confirmed it within {self.within_ms} ms"
            )


class Script:
    """A Lua script beside this file, called by its hash."""

    def __init__(self, name: str) -> None:
        self.text = Path(__file__).with_name(f"{name}.lua").read_bytes()
        self.sha = hashlib.sha1(self.text, usedforsecurity=False).hexdigest()


class Wire(Protocol):
    """The methods of the client library's connection that this module uses."""

    def connect(self) -> None: ...  # noqa: D102
    def disconnect(self) -> None: ...  # noqa: D102
    def can_read(self, timeout: float) -> bool: ...  # noqa: D102
    def send_command(self, *command: Argument) -> None: ...  # noqa: D102
    def read_response(self, *, push_request: bool = False) -> Any: ...  # noqa: D102


class Server(Protocol):
    """The calls that the stores make, to one server or to a cluster."""

    def call(self, key: str, *command: Argument) -> Any:
        """Return the answer to one command about `key`."""

    def run(self, script: Script, keys: tuple[str, ...], *arguments: Argument) -> Any:
        """Return the answer of a script. Its keys are in one slot."""

    def start(self, script: Script, keys: tuple[str, ...], *arguments: Argument) -> Callable[[], Any]:
        """Send a script, and return a function that waits for its answer and raises errors as `run` does.

        Scripts that are started one after another on the same server run in that order. Inside
        `lab.bridge.bridged` this method does not wait for the answer. Elsewhere it does.
        """

    def listener(self, key: str) -> Wire:
        """Open a further connection, which speaks RESP3, to the server that has `key`."""

    def warnings(self) -> list[str]:
        """Return facts that an operator should know about the server, as of the last time that it was connected to."""

    def examine(self) -> None:
        """Check, over a connection that is closed again, whether the server is there and fit. Raise an error if not."""

    def close(self) -> None:
        """Close every connection."""


class Moved(Exception):  # noqa: N818 - it names what the server says
    """The slot belongs to another node: from now on, or for this one question."""

    def __init__(self, host: str, port: int, *, for_now: bool) -> None:
        super().__init__(f"{host}:{port}")
        self.host, self.port, self.for_now = host, port, for_now


class Unfit(StateUnavailable):
    """A server that answers and must not be trusted with this state."""


class Link:
    """A connection per process, made at its first call.

    It does not use the client library's pools and retries: a command is sent once. Any failure on the way, such as a
    time-out, ends the connection and raises `StateUnavailable`. So a late answer is never taken for the answer to the
    next question. Every error that the server itself replies with raises `StateUnavailable` too (``OOM``, ``READONLY``,
    ``LOADING``, ``MISCONF``, …). The command may have had its effect.

    Only a script that the server does not know is sent twice, because that reply says that it did not run.

    A server that was restarted may have lost revocations, and a token whose revocation is lost is good again. So
    `restarted` decides whether a server whose ``run_id`` has changed is trusted. If it is not, the state is unavailable
    until the workers are restarted or the URL is changed.
    """

    def __init__(
        self,
        name: str,
        connect: Callable[..., Wire],
        probe_key: str,
        *,
        restarted: Restarted = "persistent",
        confirmation: Confirmation | None = None,
    ) -> None:
        """Prepare a link. Messages call the server `name`; `probe_key` is written to see whether the server is back."""
        self._name = name
        self.confirmation = confirmation
        self._make = connect
        self._probe_key = probe_key
        self._restarted = restarted
        self._run_id = ""
        self._persistent: bool | None = None
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._mutex = threading.Lock()
        self._connection: Wire | None = None
        self._breaker = Breaker(self._probe)

    @property
    def breaker(self) -> Breaker:
        """This process's breaker."""
        if self._pid != os.getpid():
            self._begin()
        return self._breaker

    def call(self, key: str, *command: Argument, asking: bool = False) -> Any:  # noqa: ARG002 - one server has every key
        """Return the answer to one command.

        Raises:
            StateUnavailable: No answer came in time, or the answer was an error.
            Moved: The server belongs to a cluster, and another node has the key.
        """
        if self._pid != os.getpid():
            self._begin()
        with self._mutex:
            # inside of the lock: a caller that waited behind a time-out must not wait for a second one
            self._breaker.check()
            try:
                connection = self._ready()
                if asking:
                    connection.send_command("ASKING")
                    connection.read_response()
                connection.send_command(*command)
                return self._confirmed(connection, connection.read_response())
            except (NoScriptError, StateUnavailable):
                raise
            except (MovedError, AskError) as error:
                raise Moved(error.host, error.port, for_now=not isinstance(error, MovedError)) from None
            except ResponseError as error:
                raise self._away(error) from error
            except (RedisError, OSError) as error:
                self._drop()
                away = self._away(error)
                self._breaker.trip(str(away))
                raise away from error
            except BaseException:
                self._drop()
                raise

    def run(self, script: Script, keys: tuple[str, ...], *arguments: Argument, asking: bool = False) -> Any:
        """Return the answer of a script. Errors are raised as in `call`."""
        rest = (len(keys), *keys, *arguments)
        try:
            return self.call(keys[0], "EVALSHA", script.sha, *rest, asking=asking)
        except NoScriptError:
            return self.call(keys[0], "EVAL", script.text, *rest, asking=asking)

    def start(
        self, script: Script, keys: tuple[str, ...], *arguments: Argument, asking: bool = False
    ) -> Callable[[], Any]:
        """See `Server.start`. When this method returns, it has waited for the answer."""
        answer = self.run(script, keys, *arguments, asking=asking)
        return lambda: answer

    def close(self) -> None:
        """Close this process's connection."""
        if self._pid == os.getpid():
            self._breaker.close()
            with self._mutex:
                self._drop()

    def examine(self) -> None:
        """See `Server.examine`. No connection is left open that could cross a fork."""
        self.connect().disconnect()

    def listener(self, key: str) -> Wire:  # noqa: ARG002 - one server has every key
        """See `Server.listener`."""
        return self.connect(protocol=3)

    def connect(self, *, protocol: int = 2) -> Wire:
        """Return a new connection to a server that is fit to be trusted.

        Raises:
            StateUnavailable: No server answers; `Unfit` if it must not be trusted.
        """
        try:
            connection = self._make(protocol=protocol)
            connection.connect()
            reason = self.unfit(information(connection))
        except (RedisError, OSError) as error:
            raise self._away(error) from error
        if reason:
            connection.disconnect()
            raise Unfit(f"{self._name}: {reason}")
        return connection

    def unfit(self, info: Mapping[str, str]) -> str | None:
        """Return why a server with this ``INFO`` reply must not be trusted now, or None."""
        reason = unfit(info)
        if reason:
            return reason
        run_id, persistent = info.get("run_id", ""), info.get("aof_enabled") == "1"
        believed = self._restarted == "accept" or (self._restarted == "persistent" and persistent)
        if self._run_id and run_id != self._run_id and not believed:
            how = "" if persistent else " and keeps no append-only file"
            return (
                f"it was restarted{how}, so it may have lost revocations; restart the workers once you know "
                "what it has kept, or let the state URL say ?restarted=accept"
            )
        self._run_id, self._persistent = run_id, persistent
        return None

    def warnings(self) -> list[str]:
        """See `Server.warnings`."""
        if self._persistent is not False:
            return []
        text = "the server keeps no append-only file; a restart would bring every revoked token back"
        return [f"{self._name}: {text}"]

    def _ready(self) -> Wire:
        """Return the connection if it has been silent since the last answer, and otherwise a new one."""
        connection = self._connection
        if connection is not None:
            try:
                # The server closed an idle connection if there is something to read on it. It is better to know this
                # before a command is sent. Afterwards, nobody could say whether it was carried out.
                if not connection.can_read(0):
                    return connection
            except RedisError:
                pass
            self._drop()
        try:
            self._connection = self.connect()
        except StateUnavailable as error:
            self._breaker.trip(str(error))
            raise
        return self._connection

    def _confirmed(self, connection: Wire, answer: Any) -> Any:
        """Return the answer, once the replicas that it waits for have confirmed it."""
        if self.confirmation is not None:
            replies = []
            for command in self.confirmation.commands():
                connection.send_command(*command)
                replies.append(connection.read_response())
            self.confirmation.check(self._name, replies[-1])
        return answer

    def _drop(self) -> None:
        if self._connection is not None:
            self._connection.disconnect()
            self._connection = None

    def _probe(self) -> None:
        """Write a key, over a connection made for it. A server that can be read may still refuse writes."""
        connection = self.connect()
        try:
            connection.send_command("SET", self._probe_key, "1", "PX", 60_000)
            connection.read_response()
        except ResponseError:
            pass  # the server answers, so calls will get its errors at once
        except (RedisError, OSError) as error:
            raise self._away(error) from error
        finally:
            connection.disconnect()

    def _away(self, error: Exception) -> StateUnavailable:
        return StateUnavailable(f"{self._name}: {error}")


def information(connection: Wire) -> dict[str, str]:
    """Return the contents of a server's ``INFO``."""
    connection.send_command("INFO")
    return parse_information(connection.read_response())


def parse_information(text: bytes) -> dict[str, str]:
    """Return the fields of an ``INFO`` reply."""
    return dict(line.split(":", 1) for line in text.decode().splitlines() if ":" in line)


def unfit(info: Mapping[str, str]) -> str | None:
    """Return why a server must not keep this state, or None.

    If the server drops a revocation, the token is good again and no error says so. ``INFO`` needs fewer rights than
    ``CONFIG GET``.
    """
    policy = info.get("maxmemory_policy", "unknown")
    if policy != "noeviction":
        return f"its maxmemory-policy is {policy}, which may drop a revocation; it must be noeviction"
    if info.get("role") != "master":
        return f"its role is {info.get('role')}; a replica may not know the latest revocation"
    if int(info.get("redis_version", "0").split(".")[0]) < OLDEST:
        return f"its version is {info.get('redis_version')}; at least {OLDEST} is needed, or any Valkey"
    return None
