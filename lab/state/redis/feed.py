"""The messages of a Redis server about revocations."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event

from redis.exceptions import RedisError

from lab.state.redis.link import Server
from lab.state.seam import StateUnavailable

_LOOK_S = 0.1
"""The most seconds until the thread notices that it should end."""


class RedisFeed:
    """A subscription to the channel of the revocations; see `lab.state.cached.Feed`.

    The channel is in the slot of the revocations (``SSUBSCRIBE``). So one server runs the script that revokes and
    sends the message about it, in one step. The question over the same connection also asks whether that server is
    still the right one: a node of a cluster that no longer has the slot says so.
    """

    def __init__(self, server: Server, channel: str, timeout_s: float) -> None:
        self._server = server
        self._channel = channel
        self._timeout_s = timeout_s

    def listen(
        self, every_s: float, heard: Callable[[str], None], alive: Callable[[float], None], end: Event
    ) -> None:
        """See `lab.state.cached.Feed.listen`."""
        wire = self._server.listener(self._channel)
        try:
            wire.send_command("SSUBSCRIBE", self._channel)
            asked_s, ask_next_s = 0.0, time.monotonic()
            while not end.is_set():
                now_s = time.monotonic()
                if not asked_s and now_s >= ask_next_s:
                    wire.send_command("GET", self._channel)
                    asked_s, ask_next_s = now_s, now_s + every_s
                if asked_s and now_s > asked_s + self._timeout_s:
                    raise StateUnavailable(f"{self._channel}: no answer for {self._timeout_s} s")
                due_s = asked_s + self._timeout_s if asked_s else ask_next_s
                if not wire.can_read(max(0.0, min(due_s - now_s, _LOOK_S))):
                    continue
                answer = wire.read_response(push_request=True)
                if not isinstance(answer, list):
                    alive(asked_s)
                    asked_s = 0.0
                elif answer[0] == b"smessage":
                    heard(answer[2].decode())
                elif answer[0] != b"ssubscribe":
                    raise StateUnavailable(f"{self._channel}: {answer[0].decode()}")
        except (RedisError, OSError) as error:
            raise StateUnavailable(f"{self._channel}: {error}") from error
        finally:
            wire.disconnect()
