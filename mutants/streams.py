"""Streams that begin without authority, end too early, or leave no trace. They run under gunicorn only."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from weaver_kernel.kernel._stream import invoke_stream_impl

from mutants.mutant import Wrap, elsewhere, mutant

spoils = partial(mutant, breaks="streams")


@spoils("kernel", finds="leak")
def streams_unverified(kernel, _settings):
    """Does not verify a token when a stream begins."""

    def unverified(token, **asked):
        capability = kernel._registry.get(token.capability_id)
        plan = kernel._router.route(token.capability_id)
        return invoke_stream_impl(kernel=kernel, token=token, capability=capability, plan=plan, **asked)

    kernel.invoke_stream = unverified


@spoils("settings", finds="leak")
def streams_after_a_revoke_elsewhere(settings):
    """Every worker has a list of revocations of its own."""
    return elsewhere(settings, "revocations")


@spoils("kernel", finds="cut_short")
def streams_end_early(kernel, _settings):
    """Ends a stream after half of its frames."""
    whole = kernel.invoke_stream

    async def half(token, **asked):
        frames = whole(token, **asked)
        for _ in range(10):
            yield await anext(frames)
        await frames.aclose()

    kernel.invoke_stream = half


@spoils("traces", finds="lost_trace")
class StreamsUntraced(Wrap):
    """Records what was invoked, but not what was streamed."""

    def record(self, trace):
        if trace.capability_id != "billing.export_invoices":
            self.right.record(trace)


@spoils("kernel", finds="lost_frames")
def streams_lose_a_middle_frame(kernel, _settings):
    """Leaves out the frame in the middle of a stream."""
    whole = kernel.invoke_stream

    async def most(token, **asked):
        number = 0
        async for frame in whole(token, **asked):
            number += 1
            if number != 10:
                yield frame

    kernel.invoke_stream = most


@spoils("traces", finds="wrong_trace")
class StreamsTellAnotherPrincipal(Wrap):
    """Records another principal than the caller of the stream."""

    def record(self, trace):
        streamed = trace.capability_id == "billing.export_invoices"
        self.right.record(replace(trace, principal_id="nobody") if streamed else trace)
