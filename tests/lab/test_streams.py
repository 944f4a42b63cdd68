"""Streams: frames as lines, refusals before the first, errors after it, clients that leave."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

from labs import Lab, MakeLab, problem
from weaver_kernel import ActionTrace, DriverError, RawResult
from weaver_kernel.drivers.base import ExecutionContext

EXPORT = "billing.export_invoices"


async def stream(lab: Lab, token: Any, *, who: str = "alice") -> list[dict[str, Any]]:
    reply = await lab.ask("POST", "/invocations/stream", {"token": token}, who=who)
    assert reply.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in reply.text.splitlines()]


class Breaking:
    """A streaming driver that fails after two chunks."""

    driver_id = "stream"

    async def execute(self, ctx: ExecutionContext) -> RawResult:
        raise NotImplementedError

    async def execute_stream(self, ctx: ExecutionContext) -> AsyncIterator[dict[str, Any]]:
        yield {"chunk": 0}
        yield {"chunk": 1}
        raise DriverError("the source went away")


async def test_twenty_chunks_come_as_twenty_lines_the_last_one_final(make_lab: MakeLab) -> None:
    lab = make_lab(stream_chunk_ms=0)
    frames = await stream(lab, await lab.grant(EXPORT))
    assert [frame["is_final"] for frame in frames] == [False] * 19 + [True]
    assert len({frame["action_id"] for frame in frames}) == 1
    assert len(lab.kernel.list_traces()) == 1


async def test_a_capability_that_does_not_stream_answers_one_final_line_with_its_handle(lab: Lab) -> None:
    (frame,) = await stream(lab, await lab.grant("billing.list_invoices"))
    assert frame["is_final"] is True
    assert frame["handle_id"]


async def test_a_refusal_before_the_first_frame_has_its_status(lab: Lab) -> None:
    token = await lab.grant(EXPORT)
    reply = await lab.ask("POST", "/invocations/stream", {"token": token}, who="bob")
    assert problem(reply) == (403, "token_scope")


async def test_an_error_after_the_first_frame_is_the_last_line(make_lab: MakeLab) -> None:
    lab = make_lab()
    lab.kernel.register_driver(Breaking())
    *frames, last = await stream(lab, await lab.grant(EXPORT))
    assert len(frames) == 2
    assert (last["error"]["status"], last["error"]["reason_code"]) == (502, "driver_failed")
    assert last["error"]["detail"] == "the source went away"


async def test_a_stream_whose_client_leaves_is_closed_and_leaves_its_trace(make_lab: MakeLab) -> None:
    lab = make_lab(stream_chunk_ms=1)
    body = json.dumps({"token": await lab.grant(EXPORT)}).encode()
    left = asyncio.Event()
    lines = 0

    async def receive() -> dict[str, Any]:
        if not asked:
            asked.append(True)
            return {"type": "http.request", "body": body}
        await left.wait()
        return {"type": "http.disconnect"}

    async def send(message: dict[str, Any]) -> None:
        nonlocal lines
        lines += bool(message.get("body"))
        if lines == 3:
            left.set()

    asked: list[bool] = []
    scope = {
        "type": "http", "asgi": {"spec_version": "2.3"}, "http_version": "1.1", "method": "POST",
        "path": "/invocations/stream", "query_string": b"", "headers": [(b"x-principal-id", b"alice")],
    }  # fmt: skip
    recorded = asyncio.Event()
    record = lab.kernel._trace_store.record

    def record_and_tell(trace: ActionTrace) -> None:
        record(trace)
        recorded.set()

    lab.kernel._trace_store.record = record_and_tell  # type: ignore[method-assign]
    await lab.api(scope, receive, send)
    await asyncio.wait_for(recorded.wait(), 5)  # upstream's inner generators are closed by the event loop
    assert 3 <= lines < 20
    (trace,) = lab.kernel.list_traces()
    assert trace.event_type == "invoke"
