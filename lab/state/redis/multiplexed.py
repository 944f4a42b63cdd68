"""A connection per worker to a server, used without holding the worker's event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from lab.bridge import is_bridged, wait
from lab.state.redis.channel import Argument, Channel, ChannelClosed, Full, Place, ServerError
from lab.state.redis.link import Link, Moved, Script, Wire, parse_information
from lab.state.seam import StateUnavailable


@dataclass(frozen=True, slots=True)
class _Sent:
    """A command that was sent, and the confirmation that its answer waits for."""

    answer: asyncio.Future[Any]
    confirmed: asyncio.Future[Any] | None = None


class MultiplexedLink:
    """A `Link` whose calls, made inside `lab.bridge.bridged`, wait without holding the event loop.

    Everything else is done by the `Link`: calls made from a thread or before an event loop runs, the breaker and
    its probe, and the connection that listens. A channel belongs to one event loop, and a loop to one process, so
    nothing crosses a fork.
    """

    def __init__(self, name: str, place: Place, plain: Link, timeout_s: float) -> None:
        """Prepare a link. `plain` makes the calls where no event loop runs."""
        self._name = name
        self._place = place
        self._plain = plain
        self._timeout_s = timeout_s
        self._channels: dict[asyncio.AbstractEventLoop, Channel] = {}

    def call(self, key: str, *command: Argument, asking: bool = False) -> Any:
        """See `Link.call`."""
        if not is_bridged():
            return self._plain.call(key, *command, asking=asking)
        return self._answer(self._send(command, None, asking=asking))

    def run(self, script: Script, keys: tuple[str, ...], *arguments: Argument, asking: bool = False) -> Any:
        """See `Link.run`."""
        if not is_bridged():
            return self._plain.run(script, keys, *arguments, asking=asking)
        return self._answer(self._send_script(script, keys, arguments, asking=asking))

    def start(
        self, script: Script, keys: tuple[str, ...], *arguments: Argument, asking: bool = False
    ) -> Callable[[], Any]:
        """See `Server.start`. When this method returns, the script has been sent."""
        if not is_bridged():
            return self._plain.start(script, keys, *arguments, asking=asking)
        sent = self._send_script(script, keys, arguments, asking=asking)
        return lambda: self._answer(sent)

    def examine(self) -> None:
        """See `Server.examine`."""
        self._plain.examine()

    def listener(self, key: str) -> Wire:
        """See `Server.listener`."""
        return self._plain.listener(key)

    def warnings(self) -> list[str]:
        """See `Server.warnings`."""
        return self._plain.warnings()

    def close(self) -> None:
        """Close this process's connections."""
        self._plain.close()
        channels, self._channels = self._channels, {}
        for loop, channel in channels.items():
            if not loop.is_closed():
                loop.call_soon_threadsafe(channel.close)

    def _send_script(
        self, script: Script, keys: tuple[str, ...], arguments: tuple[Argument, ...], *, asking: bool
    ) -> _Sent:
        rest = (len(keys), *keys, *arguments)
        if self._plain.confirmation is not None:
            # a script that is sent a second time would come after its own confirmation
            return self._send(("EVAL", script.text, *rest), None, asking=asking)
        return self._send(("EVALSHA", script.sha, *rest), ("EVAL", script.text, *rest), asking=asking)

    def _send(
        self,
        command: tuple[Argument, ...],
        again: tuple[Argument, ...] | None,
        *,
        asking: bool,
    ) -> _Sent:
        self._plain.breaker.check()
        loop = asyncio.get_running_loop()
        channel = self._channels.get(loop)
        if channel is None or channel.closed:
            channel = self._open(loop)
        try:
            answer = channel.send(command, again=again, asking=asking)
            return _Sent(answer, self._confirm(channel, answer))
        except Full as error:
            raise StateUnavailable(f"{self._name}: {error}") from None

    def _confirm(self, channel: Channel, answer: asyncio.Future[Any]) -> asyncio.Future[Any] | None:
        """Return the number of replicas that have the commands sent over this channel, as a future.

        It is None if the state asks for no confirmation.
        """
        if self._plain.confirmation is None:
            return None
        write, wait_for = self._plain.confirmation.commands()
        # nobody waits for this future if a later command finds the channel full
        answer.add_done_callback(_ignored)
        channel.send(write).add_done_callback(_ignored)
        confirmed = channel.send(wait_for)
        confirmed.add_done_callback(_ignored)
        return confirmed

    def _open(self, loop: asyncio.AbstractEventLoop) -> Channel:
        for other in [one for one in self._channels if one.is_closed()]:
            del self._channels[other]
        channel = self._channels[loop] = Channel(
            self._place,
            timeout_s=self._timeout_s,
            examine=lambda info: self._plain.unfit(parse_information(info)),
            ended=self._ended,
        )
        return channel

    def _ended(self, reason: str) -> None:
        if reason != "closed":
            self._plain.breaker.trip(f"{self._name}: {reason}")

    def _confirmed(self, sent: _Sent, answer: Any) -> Any:
        """Return the answer, once the replicas that it waits for have confirmed it."""
        if sent.confirmed is not None and self._plain.confirmation is not None:
            self._plain.confirmation.check(self._name, wait(sent.confirmed))
        return answer

    def _answer(self, sent: _Sent) -> Any:
        try:
            return self._confirmed(sent, wait(sent.answer))
        except ServerError as error:
            if error.code in {"MOVED", "ASK"}:
                host, _, port = str(error).split()[2].rpartition(":")
                raise Moved(host or self._place.host, int(port), for_now=error.code == "ASK") from None
            raise StateUnavailable(f"{self._name}: {error}") from None
        except ChannelClosed as error:
            raise StateUnavailable(f"{self._name}: {error}") from None


def _ignored(future: asyncio.Future[Any]) -> None:
    """Read the result of a future, so that the event loop does not report its failure.

    A future that fails while nobody waits for it is no error here.
    """
    if not future.cancelled():
        future.exception()
