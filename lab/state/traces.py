"""The chained trace store of several processes: the part that is the same for every store."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import orjson
from weaver_kernel import ActionTrace, AgentKernelError
from weaver_kernel.stores import (
    GENESIS_HASH,
    ChainVerificationResult,
    TraceRecord,
    build_record,
    decode_trace,
    encode_trace,
    verify_chain,
)

from lab.older import TraceQuery, query_traces


@dataclass(frozen=True, slots=True)
class Head:
    """The end of the chain: the place of the next record, and the hash of the record before it."""

    seq: int = 0
    hash: str = GENESIS_HASH


@dataclass(frozen=True, slots=True)
class Line:
    """One record in the store. `payload` is upstream's exported trace as JSON."""

    seq: int
    prev_hash: str
    record_hash: str
    payload: str


class SharedTraces(ABC):
    """One log with one chain and many writers.

    Each record is linked to the record before it, whichever process wrote that record.

    `record` returns once the record is in the log; otherwise it raises an error. The log keeps the newest `cap`
    records. It keeps the hash of the last dropped record as the checkpoint from which the rest still verifies, as
    upstream's `prune` does. An `action_id` is recorded once. A second record is refused with upstream's error, as in
    upstream's SQLite store, because an audit log is not rewritten. Upstream's in-memory store overwrites the first.
    """

    def __init__(self, *, cap: int, secret: Callable[[], str]) -> None:
        if cap <= 0:
            raise AgentKernelError(f"TraceStore max_entries must be positive, got {cap}.")
        self._cap = cap
        self._secret = secret

    def record(self, trace: ActionTrace) -> None:
        """Append `trace` to the chain.

        Raises:
            AgentKernelError: Its action is in the log already, or it holds a value that JSON cannot express.
            StateUnavailable: The store could not keep it, or could not confirm that it did.
        """
        payload, plain = _as_kept(trace)

        def link(head: Head) -> Line:
            record = build_record(head.seq, head.hash, plain, secret=self._secret())
            return Line(record.seq, record.prev_hash, record.record_hash, payload)

        if not self._append(trace.action_id, link):
            raise AgentKernelError(
                f"Cannot record trace: action_id '{trace.action_id}' is already present in the store."
            )

    def get(self, action_id: str) -> ActionTrace:
        """Return the trace of one action. Upstream's error is raised when there is none."""
        payload = self._find(action_id)
        if payload is None:
            raise AgentKernelError(f"No action trace found for action_id='{action_id}'.")
        return decode_trace(json.loads(payload))

    def list_all(self) -> list[ActionTrace]:
        """Return every trace, in the order of the chain."""
        return [decode_trace(record.trace) for record in self.list_records()]

    def query(self, query: TraceQuery) -> list[ActionTrace]:
        """Run upstream's query over `list_all`."""
        return query_traces(self.list_all(), query)

    def list_records(self) -> list[TraceRecord]:
        """Return the records of the chain, in order."""
        return self._chain()[1]

    def verify_chain(self) -> ChainVerificationResult:
        """Run upstream's verification, from the checkpoint on.

        As in upstream, it does not notice records that were cut off the end.
        """
        checkpoint, records = self._chain()
        return verify_chain(records, secret=self._secret(), genesis_prev_hash=checkpoint)

    @property
    def evicted_count(self) -> int:
        """The number of records that the cap has removed so far."""
        lines = self._read()[1]
        return lines[0].seq if lines else 0

    def _chain(self) -> tuple[str, list[TraceRecord]]:
        checkpoint, lines = self._read()
        return checkpoint, [
            TraceRecord(line.seq, line.prev_hash, line.record_hash, json.loads(line.payload))
            for line in lines
        ]

    @abstractmethod
    def _append(self, action_id: str, link: Callable[[Head], Line]) -> bool:
        """Append the record that `link` makes from the head, atomically. Return False when the action is there already.

        `link` is pure: a store may call it again with another head.
        """

    @abstractmethod
    def _find(self, action_id: str) -> str | None:
        """Return the payload recorded for an action."""

    @abstractmethod
    def _read(self) -> tuple[str, list[Line]]:
        """Return the checkpoint and every line after it, as of one instant."""


def _as_kept(trace: ActionTrace) -> tuple[str, dict[str, Any]]:
    """Return a trace as JSON, and as it will be read.

    JSON turns the key 1 into "1", and the two sort differently.
    """
    exported = encode_trace(trace)
    try:
        text = orjson.dumps(exported)
        plain: dict[str, Any] = orjson.loads(text)
        # orjson is four times as fast, but does not take every value that the standard library takes
        if plain == exported:
            return text.decode(), plain
    except (TypeError, ValueError):
        pass
    try:
        payload = json.dumps(exported)
    except (TypeError, ValueError) as error:
        raise AgentKernelError(f"Cannot record trace '{trace.action_id}': {error}.") from error
    return payload, json.loads(payload)
