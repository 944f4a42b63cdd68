"""Traces on a Redis or Valkey server: one log, which holds one audit chain per writer."""

from __future__ import annotations

import json
import os
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from weaver_kernel.stores import GENESIS_HASH, ChainVerificationResult, TraceRecord, verify_chain

from lab.state.redis.link import Script, Server
from lab.state.seam import StateUnavailable
from lab.state.traces import Head, Line, SharedTraces

KEPT_MS = 30 * 86_400 * 1000
"""Milliseconds for which the log is kept after its last change."""

_HASH = len(GENESIS_HASH)
_CHAIN = 16
_SIGNED_AT_MOST = 100


@dataclass(slots=True)
class _Chain:
    """A chain that this process writes. Its head is the hash of the last line that was sent."""

    name: str
    head: Head
    begun: bool = False

    def expected(self) -> str:
        """The head that the server should have; empty for a chain that the server does not know."""
        return f"{self.head.seq} {self.head.hash}" if self.begun else ""


@dataclass(frozen=True, slots=True)
class _Entry:
    """One line of the log."""

    chain: str
    line: Line


class RedisTraces(SharedTraces):
    """One log, in the order in which the server took the lines, and one chain per writing process.

    A link is signed in this process, because the server must not have the secret. With a single chain every writer
    would have to know the newest line of all others, and only one append of the whole deployment could be in flight
    at a time. With a chain of its own a writer knows its head without asking. Lines leave when they are made, many at
    a time, and no request waits for another's line.

    **What a chain proves.** Within a chain, a line that was changed, inserted, removed or reordered is noticed. A new
    chain begins with the hash of the newest line of the whole log. So removing that line, or its whole chain, is
    noticed too, for as long as the log has not reached its cap. As with upstream's single chain, lines that are cut
    off the end of a chain are not noticed.

    **Why there are no gaps.** The server takes a line only if its chain ends where the writer expects. When a line
    was refused, or its answer was lost, the writer begins another chain. The lines in flight behind it are refused as
    well, and are signed again in the new chain. A line whose answer was lost may be in the log, so it is not sent
    again.
    """

    def __init__(self, server: Server, namespace: str, *, cap: int, secret: Callable[[], str]) -> None:
        super().__init__(cap=cap, secret=secret)
        self._server = server
        tag = f"{{{namespace}:traces}}"
        self._log, self._actions, self._places = f"{tag}:log", f"{tag}:log-actions", f"{tag}:log-places"
        self._heads, self._checkpoints = f"{tag}:heads", f"{tag}:checkpoints"
        self._add = Script("traces.append")
        self._end = Script("traces.end")
        self._search = Script("traces.find")
        self._list = Script("traces.read")
        self._begin()

    def _begin(self) -> None:
        self._pid = os.getpid()
        self._mutex = threading.Lock()
        self._current: _Chain | None = None

    def verify_chain(self) -> ChainVerificationResult:
        """Run upstream's verification on every chain. Return the first failure, or the number of verified records."""
        first, checkpoints, entries = self._read_log()
        chains: dict[str, list[TraceRecord]] = {}
        known = {GENESIS_HASH}
        for entry in entries:
            record = _record(entry.line)
            if entry.chain not in chains:
                origin = checkpoints.get(entry.chain)
                begins = origin is None
                # a chain begins with the hash of the line that was the newest then, and the cap may have dropped that
                # line
                if begins and not first and record.prev_hash not in known:
                    return ChainVerificationResult(
                        ok=False,
                        records_checked=sum(map(len, chains.values())) + 1,
                        first_bad_seq=record.seq,
                        detail=f"Chain {entry.chain} begins after a record that is missing (deletion).",
                    )
            chains.setdefault(entry.chain, []).append(record)
            known.add(record.record_hash)
        checked = 0
        for name, records in chains.items():
            origin = checkpoints.get(name, records[0].prev_hash)
            result = verify_chain(records, secret=self._secret(), genesis_prev_hash=origin)
            if not result.ok:
                result.detail = f"Chain {name}: {result.detail}"
                return result
            checked += result.records_checked
        return ChainVerificationResult(
            ok=True,
            records_checked=checked,
            first_bad_seq=None,
            detail=f"Verified {checked} record(s) in {len(chains)} chain(s).",
        )

    @property
    def evicted_count(self) -> int:
        """The number of records that the cap has removed so far."""
        return self._read_log()[0]

    def _append(self, action_id: str, link: Callable[[Head], Line]) -> bool:
        if self._pid != os.getpid():
            self._begin()  # a chain has one writer
        for _ in range(_SIGNED_AT_MOST):
            origin = None if self._current else self._newest()
            with self._mutex:
                chain = self._current
                if chain is None:
                    chain = self._current = _Chain(
                        secrets.token_hex(_CHAIN // 2), Head(0, origin or GENESIS_HASH)
                    )
                try:
                    waiting = self._send(chain, action_id, link)
                except BaseException:
                    self._leave(chain)
                    raise
            try:
                answer = waiting()
            except StateUnavailable:
                self._leave(chain)
                raise
            if answer == b"OK":
                return True
            self._leave(chain)
            if answer == b"TWICE":
                return False
        raise StateUnavailable(f"the audit chain was refused {_SIGNED_AT_MOST} times while it was signed")

    def _send(self, chain: _Chain, action_id: str, link: Callable[[Head], Line]) -> Callable[[], Any]:
        """Send a line. The next line of its chain will follow it."""
        line = link(chain.head)
        after = Head(line.seq + 1, line.record_hash)
        text = f"{line.record_hash}{line.prev_hash}{chain.name}{line.seq} {line.payload}"
        waiting = self._server.start(
            self._add,
            (self._log, self._actions, self._places, self._heads, self._checkpoints),
            chain.name,
            chain.expected(),
            f"{after.seq} {after.hash}",
            action_id,
            text,
            self._cap,
            KEPT_MS,
        )
        chain.head, chain.begun = after, True
        return waiting

    def _leave(self, chain: _Chain) -> None:
        """Write no more on a chain if it is not certain which head the server has."""
        if self._current is chain:
            self._current = None

    def _newest(self) -> str:
        """Return the hash of the newest line of the log."""
        found = self._server.run(self._end, (self._log,), _HASH)
        return found.decode() if found else GENESIS_HASH

    def _find(self, action_id: str) -> str | None:
        text = self._server.run(self._search, (self._log, self._places, self._heads), action_id)
        return None if text is None else _entry(text.decode()).line.payload

    def _read(self) -> tuple[str, list[Line]]:
        _, checkpoints, entries = self._read_log()
        if not entries:
            return GENESIS_HASH, []
        first = entries[0]
        return checkpoints.get(first.chain, first.line.prev_hash), [entry.line for entry in entries]

    def _read_log(self) -> tuple[int, dict[str, str], list[_Entry]]:
        """Return how many lines the cap has dropped, the hash from which each capped chain goes on, and the lines."""
        end, checkpoints, texts = self._server.run(self._list, (self._log, self._heads, self._checkpoints))
        pairs = [part.decode() for part in checkpoints]
        return (
            int(end or 0) - len(texts),
            dict(zip(pairs[::2], pairs[1::2], strict=True)),
            [_entry(text.decode()) for text in texts],
        )


def _entry(text: str) -> _Entry:
    record_hash, prev_hash, rest = text[:_HASH], text[_HASH : 2 * _HASH], text[2 * _HASH :]
    seq, _, payload = rest[_CHAIN:].partition(" ")
    return _Entry(rest[:_CHAIN], Line(int(seq), prev_hash, record_hash, payload))


def _record(line: Line) -> TraceRecord:
    return TraceRecord(line.seq, line.prev_hash, line.record_hash, json.loads(line.payload))
