"""Trace stores that lose records, tell them twice, or break their chain."""

from __future__ import annotations

import secrets
import time
from functools import partial

from weaver_kernel.stores import JsonlTraceStore, verify_chain

from mutants.mutant import Wrap, elsewhere, later, mutant

loses = partial(mutant, breaks="traces", finds="lost_trace")
unlists = partial(mutant, breaks="traces", finds="missing_from_listing")
doubles = partial(mutant, breaks="traces", finds="doubled_in_listing")
breaks_the_chain = partial(mutant, breaks="traces", finds="broken_chain")


@loses("settings")
def traces_per_worker(settings):
    """Every worker keeps its own."""
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
    """Tries again after a time-out that was none: one trace in ten is there twice."""

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
