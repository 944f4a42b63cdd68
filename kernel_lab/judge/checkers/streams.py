"""A stream is authorised when it starts, on every worker. Once it has ended, every worker can explain it.

**The form.** A streamed invoke is an ``invoke`` whose input says ``"stream": true``. Its output has these fields:
``action_id``; ``frames``, the number of frames that came; ``final``, whether the last of them was marked as the last;
``closed``, whether the caller chose to end the connection before that; and ``last_frame_ns``. Its return is the end of
the body. A stream that broke off has the outcome ``info`` and the same fields: it is known which frames came, and not
known what the server did. A stream that was refused before its first frame is a ``fail`` like any other invoke.

**Legal.**

- No stream starts after its token was revoked. The rules are those of the claim `revocation`, for streamed invokes and
  others (leak, resurrection, phantom, unexplained). A stream that broke off after frames had come was served.
- A stream that is ok ends with its final frame, unless its caller closed it (**cut_short**).
- A stream that came to its final frame has as many frames as its capability is known to send, where the parameter
  ``stream_frames`` states that number (**lost_frames**).
- Every worker that is asked after the stream's return explains the trace of a stream that came to its final frame. The
  rules are those of the claim `traces` (**lost_trace**).

revoke [5, 6]; a stream [0, 20] whose last frame came at 19: legal, because it had started. A stream called at 7: a
leak.

**Measured, not judged.** Two things are measured only, since they happen in one process too. A stream that has started
outlives the revocation of its token (``outlived_streams``). ``outlived_ms_max`` is the longest time from the revoke's
return to the last frame. A stream that broke off, because its caller left or its worker was killed, may have no trace
(``untraced_breaks`` counts the explains of such streams that found none).

**Counted** by stream: of the ``streams_after`` that were called after a revoke of their token had returned,
``leaked_streams`` started.

**What it cannot see.** It does not see the contents of frames. It does not judge budgets, because upstream does not
charge streams.
"""

from __future__ import annotations

from collections.abc import Sequence

from kernel_lab.judge.checkers.coverage import cases
from kernel_lab.judge.checkers.finding import Findings, Judgement, conclude
from kernel_lab.judge.checkers.kept import Kept
from kernel_lab.judge.checkers.parameters import number
from kernel_lab.judge.checkers.revocation import Totals, judge_token, stated_bound
from kernel_lab.judge.checkers.story import named
from kernel_lab.judge.checkers.traces import LOST, Explains
from kernel_lab.judge.evidence import begun
from kernel_lab.judge.history import OK, AnyOperation, Explain, Invoke, of_kind
from kernel_lab.judge.verdict import Cell, Verdict

CLAIM = "streams"
JUDGES = frozenset({"invoke"})
KINDS = (
    "leak", "resurrection", "phantom", "unexplained", "lost_trace", "wrong_trace", "cut_short", "lost_frames",
    "cap_exceeded",
)  # fmt: skip


def lacks(op: AnyOperation) -> str | None:
    """Return the missing field of an ok operation: a stream states its frames and how it ended."""
    if type(op) is not Invoke or not op.input.stream or op.outcome is not OK:
        return None
    if op.output is None or None in (op.output.action_id, op.output.frames, op.output.final):
        return "a streamed invoke that is ok has output.action_id, frames and final"
    return None


def check(history: Sequence[AnyOperation], cell: Cell) -> Verdict:
    """Return the verdict on a history. The module's docstring says what is legal."""
    return conclude(CLAIM, KINDS, judge, history, cell)


def judge(history: Sequence[AnyOperation], cell: Cell) -> Judgement:
    """Judge each token by itself, and the end of each stream."""
    streams = [op for op in of_kind(history, Invoke) if op.input.stream]
    served = [op for op in streams if op.outcome is OK or begun(op)]
    whole = {
        op.output.action_id: op
        for op in served
        if op.outcome is OK and op.output and op.output.final and op.output.action_id
    }
    found, totals, stale_ns = Findings(), Totals(), stated_bound(cell)
    frames = number(cell, "stream_frames", least=1)
    outlived: list[int] = []
    for case in cases(history):
        judge_token(case, found, totals, stale_ns)
        revoke = case.certain()
        if revoke is not None:
            revoked_ns = revoke.end_ns
            for op in case.accepts:
                last_ns = op.output.last_frame_ns if op.input.stream and op.output else None
                if last_ns is not None and op.call_ns <= revoked_ns < last_ns:
                    outlived.append(last_ns - revoked_ns)
    for op in served:
        if op.outcome is OK and op.output and not op.output.final and not op.output.closed:
            found.add("cut_short", [op], _say_cut, op)
        elif frames is not None and _frames_of_whole(op, frames) < frames:
            found.add("lost_frames", [op], _say_lost_frames, op, frames)
    kept = Kept(history, cell)
    explains = Explains(whole, kept)
    broken = {op.output.action_id for op in served if op.output} - whole.keys()
    untraced = 0
    for question in of_kind(history, Explain):
        explains.judge(question, found)
        untraced += question.error == LOST and question.input.action_id in broken
    asked = totals.asked or explains.count or served
    return Judgement(
        measures={
            "streams": len(streams),
            "begun": len(served),
            "tokens": totals.tokens,
            "leaked_tokens": totals.leaked_tokens,
            "streams_after": totals.after,
            "leaked_streams": totals.leaked,
            "explains": explains.count,
            "lost": found.counts["lost_trace"],
            "outlived_streams": len(outlived),
            "outlived_ms_max": max(outlived, default=0) / 1e6 if outlived else None,
            "untraced_breaks": untraced,
        },
        found=found,
        unknown=kept.cut_off
        if streams and asked
        else "nothing to judge: no stream was asked for, or none had an answer",
    )


def _frames_of_whole(op: Invoke, unknown: float) -> float:
    """Return the number of frames of a stream that is ok and came to its final frame, and otherwise `unknown`."""
    whole = op.outcome is OK and op.output is not None and op.output.final
    return op.output.frames if whole and op.output and op.output.frames is not None else unknown


def _say_lost_frames(op: Invoke, frames: float) -> str:
    came = op.output.frames if op.output else None
    return f"broke StreamWhole: {came} of {frames:g} frames of {named(op)} came, the final one among them"


def _say_cut(op: Invoke) -> str:
    frames = op.output.frames if op.output else None
    return f"broke StreamWhole: the stream of {named(op)} ended after {frames} frames without its final one"
