"""Trace stores that lose records, tell them twice, or break their chain."""

from __future__ import annotations

import secrets
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from types import MappingProxyType
from typing import Any

from weaver_kernel.stores import JsonlTraceStore, verify_chain

from mutants.mutant import Wrap, elsewhere, later, mutant

loses = partial(mutant, breaks="traces", finds="lost_trace")
unlists = partial(mutant, breaks="traces", finds="missing_from_listing")
doubles = partial(mutant, breaks="traces", finds="doubled_in_listing")
breaks_the_chain = partial(mutant, breaks="traces", finds="broken_chain")


@loses("settings")
def traces_per_worker(settings):
    """Every worker keeps its own traces."""
    return elsewhere(settings, "traces")


@loses("settings", home="single", workers=1, restarts_s=(0.03,))
def restart_forgets_traces(settings):
    """Keeps its traces in memory, and is restarted."""
    return settings


@loses("traces")
class RecordsNineOfTen(Wrap):
    """Loses one trace in ten."""

    def record(self, trace):
        if not self.every(10):
            self.right.record(trace)


@loses("traces")
class OneWorkerRecordsNothing(Wrap):
    """One worker of four records nothing."""

    def record(self, trace):
        if self.settings.replica != "r0":
            self.right.record(trace)


@loses("traces")
class RecordsLater(Wrap):
    """Records a trace 10 ms after the invoke has returned, from a queue."""

    def record(self, trace):
        later(0.010, self.right.record, trace)


@loses("traces")
def keeps_fifty_traces(traces, _settings):
    """Keeps fifty traces, where a cap of ten thousand was stated."""
    traces._cap = 50
    return traces


@unlists("traces")
class SlowListing(Wrap):
    """Lists from an index that is 20 ms behind."""

    def record(self, trace):
        self.right.record(trace)
        self.__dict__.setdefault("recorded_s", {})[trace.action_id] = time.monotonic()

    def query(self, query):
        recorded_s = self.__dict__.get("recorded_s", {})
        return [
            trace for trace in self.right.query(query)
            if time.monotonic() - recorded_s.get(trace.action_id, -1) > 0.020
        ]  # fmt: skip


@unlists("traces")
class PagesOfTwenty(Wrap):
    """Lists twenty traces at most, and does not say so."""

    def query(self, query):
        return self.right.query(query)[:20]


@doubles("traces")
class ListsTheNewestTwice(Wrap):
    """Lists from two pages that overlap by one."""

    def query(self, query):
        found = self.right.query(query)
        return found + found[-1:]


@doubles("traces", home="one")
class RecordsOnceMore(Wrap):
    """Repeats a write that had succeeded, as after a time-out: one trace in ten is there twice."""

    def record(self, trace):
        self.right.record(trace)
        if self.every(10):
            self.right._traces[f"{trace.action_id} again"] = trace


@breaks_the_chain("traces")
def forked_chain(traces, settings):
    """Has every worker append to one file of upstream's, each to the head it knows."""
    return JsonlTraceStore(traces._file.path.with_name("traces.jsonl"), secret=settings.secret)


@breaks_the_chain("traces")
class RewritesRecords(Wrap):
    """Alters one record in twenty after it was chained."""

    def record(self, trace):
        self.right.record(trace)
        if self.every(20):
            change = "UPDATE traces SET payload = replace(payload, 'billing', 'gambling')"
            self.right._file.change(lambda connection: connection.execute(change).rowcount)


@breaks_the_chain("traces")
def chain_secret_per_worker(traces, _settings):
    """Every worker chains with a secret of its own."""
    secret = secrets.token_hex(16)
    traces._secret = lambda: secret
    return traces


@breaks_the_chain("traces")
class DeletesRecords(Wrap):
    """Deletes a record from the middle of the chain, one in twenty."""

    def record(self, trace):
        self.right.record(trace)
        if self.every(20):
            change = "DELETE FROM traces WHERE seq = (SELECT max(seq) / 2 FROM traces)"
            self.right._file.change(lambda connection: connection.execute(change).rowcount)


@mutant("traces", breaks="traces", finds="chain_short")
class TruncatedChain(Wrap):
    """Verifies the last four records, and calls them the chain."""

    def verify_chain(self):
        last = self.right.list_records()[-4:]
        return verify_chain(last, secret=self.right._secret(), genesis_prev_hash=last[0].prev_hash)


tells = partial(mutant, breaks="traces", finds="wrong_trace")


class Tells(Wrap):
    """Records a trace that says something else than what was done."""

    WRONG: Mapping[str, Any] = {}

    def record(self, trace):
        self.right.record(replace(trace, **self.WRONG) if trace.event_type == "invoke" else trace)


@tells("traces")
class TellsAnotherPrincipal(Tells):
    """Records somebody else as the one who acted."""

    WRONG = MappingProxyType({"principal_id": "nobody"})


@tells("traces")
class TellsAnotherCapability(Tells):
    """Records another capability than the one that was invoked."""

    WRONG = MappingProxyType({"capability_id": "billing.delete_invoice"})


@tells("traces")
class TellsAnotherToken(Tells):
    """Records another token than the one that was presented."""

    WRONG = MappingProxyType({"token_id": "another"})


@tells("traces")
class TellsAnotherHandle(Tells):
    """Records another handle than the one that was made."""

    WRONG = MappingProxyType({"handle_id": "another"})


@tells("traces")
class TellsOtherArguments(Tells):
    """Records other arguments than those that were given."""

    WRONG = MappingProxyType({"args": {"id": "INV-0000"}})


@tells("traces")
class TellsThatItFailed(Tells):
    """Records a successful action as failed."""

    WRONG = MappingProxyType({"error": "it failed"})


@tells("traces")
class TellsAnotherEvent(Tells):
    """Records an invoke as an expansion."""

    WRONG = MappingProxyType({"event_type": "expand"})


@tells("traces", home="one")
class ExplainsTheNewest(Wrap):
    """Explains the newest action instead of the action that was asked for, one time in eight."""

    def get(self, action_id):
        found = self.right.get(action_id)
        return list(self.right._traces.values())[-1] if self.every(8) else found


@tells("traces", home="one")
class MixesUpNeighbours(Wrap):
    """Records with each action the token of the one before it."""

    def record(self, trace):
        before = self.__dict__.get("before", trace.token_id)
        self.before = trace.token_id
        self.right.record(replace(trace, token_id=before))


@mutant("traces", breaks="traces", finds="out_of_order")
class ListsInNoOrder(Wrap):
    """Lists traces in the order of their actions' names."""

    def query(self, query):
        return sorted(self.right.query(query), key=lambda trace: trace.action_id)


@mutant("traces", breaks="traces", finds="missing_denials")
class DenialsUnrecorded(Wrap):
    """Records no denials."""

    def record(self, trace):
        if trace.event_type != "deny":
            self.right.record(trace)


@mutant("traces", breaks="traces", finds="missing_denials", home="one")
class RecordsTheFirstDenial(Wrap):
    """Records only the first denial of a principal, and takes the others for repetitions."""

    def record(self, trace):
        seen = self.__dict__.setdefault("seen", set())
        if trace.event_type != "deny" or trace.principal_id not in seen:
            self.right.record(trace)
        if trace.event_type == "deny":
            seen.add(trace.principal_id)


@loses("traces")
class ExpansionsUnrecorded(Wrap):
    """Records no expansions."""

    def record(self, trace):
        if trace.event_type != "expand":
            self.right.record(trace)


@loses("traces", home="one")
class ForgetsTracesAfterASecond(Wrap):
    """Keeps a trace for a second."""

    def record(self, trace):
        self.right.record(trace)
        later(1.0, self.right._traces.pop, trace.action_id, None)


@loses("traces")
class RecordsTwentyNineOfThirty(Wrap):
    """Loses one trace in thirty."""

    def record(self, trace):
        if not self.every(30):
            self.right.record(trace)


@mutant("traces", breaks="traces", finds="cap_exceeded", home="one", env={"LAB_TRACE_CAP": "4"})
def keeps_traces_beyond_the_cap(traces, _settings):
    """Keeps ten times as many traces as it says."""
    traces._max_entries *= 10
    return traces


@unlists("traces")
class UnlistsOneInThirty(Wrap):
    """Leaves one trace in thirty out of a listing."""

    def query(self, query):
        return [trace for trace in self.right.query(query) if not self.every(30)]
