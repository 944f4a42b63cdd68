"""A process that uses a state as a worker does; driven by lines of JSON over a socket."""

import asyncio
import datetime as dt
import json
import os
import socket
import sys
import time
import uuid
from typing import Any, BinaryIO, cast

from bridged import open_state
from weaver_kernel import ActionTrace, AgentKernelError, BudgetExhausted

import lab.state.redis  # noqa: F401 - before the fork, once for all
from lab.state import State, StateOptions, StateUnavailable

states: dict[str, State] = {}


def state_of(url: str) -> State:
    if url not in states:
        states[url] = open_state(url, StateOptions(budget_total=10_000, timeout_ms=20_000, handle_cap=50))
    return states[url]


def trace(principal: str, action_id: str = "") -> ActionTrace:
    return ActionTrace(
        action_id=action_id or str(uuid.uuid4()),
        capability_id="billing.get_invoice",
        principal_id=principal,
        token_id="t",
        invoked_at=dt.datetime.now(dt.UTC),
        args={"id": 7},
        response_mode="summary",
        driver_id="memory",
    )


def soon() -> dt.datetime:
    return dt.datetime.now(dt.UTC) + dt.timedelta(hours=1)


def acquire(state: State, *, key: str, limit: int, window_s: float, attempts: int) -> int:
    """How many of the attempts were admitted."""
    admitted = 0
    for _ in range(attempts):
        if state.limiter.check(key, limit, window_s):
            state.limiter.record(key)
            admitted += 1
    return admitted


def issue(state: State, *, principal: str, tokens: int) -> list[tuple[str, int]]:
    """Token ids, each with the time at which it had been tracked."""
    issued = []
    for _ in range(tokens):
        token_id = str(uuid.uuid4())
        state.revocations.track(principal, token_id, soon())
        issued.append((token_id, time.monotonic_ns()))
    return issued


def issue_or_revoke_all(state: State, *, principal: str, times: int, revoker: bool) -> list[Any]:
    """`issue`, or for the revoker: the calls of revoke_principal with their times and counts."""
    if not revoker:
        return issue(state, principal=principal, tokens=times)
    calls = []
    for _ in range(max(1, times // 10)):
        call_ns = time.monotonic_ns()
        calls.append((call_ns, state.revocations.revoke_principal(principal)))
    return calls


def revoke_each(state: State, *, tokens: list[str]) -> None:
    for token_id in tokens:
        state.revocations.revoke(token_id)


def good(state: State, *, tokens: list[str]) -> list[str]:
    """Those that are not revoked."""
    return [token_id for token_id in tokens if not state.revocations.is_revoked(token_id)]


def record(state: State, *, principal: str, traces: int) -> tuple[list[str], list[str]]:
    """Action ids that were recorded, and the errors of those that were not."""
    recorded, failed = [], []
    for _ in range(traces):
        one = trace(principal)
        try:
            state.traces.record(one)
            recorded.append(one.action_id)
        except (AgentKernelError, StateUnavailable) as error:
            failed.append(str(error))
    return recorded, failed


def keep(state: State, *, handles: int) -> list[str]:
    return [state.handles.store("c", [{"row": i}]).handle_id for i in range(handles)]


def spend(state: State, *, invocations: int, tokens: int) -> int:
    """How many invocations the budget let through; each uses what it reserved."""

    async def through() -> int:
        assert state.budget is not None
        count = 0
        for _ in range(invocations):
            try:
                reserved = await state.budget.allocate(tokens)
            except BudgetExhausted:
                break
            await state.budget.record_usage(reserved, reserved=reserved)
            count += 1
        return count

    return asyncio.run(through())


def write_until_killed(state: State, *, again: str, principal: str) -> int:
    """Fork a writer; its pid. It appends what was acknowledged to the file named like the principal."""
    pid = os.fork()
    if pid:
        return pid
    try:
        acknowledged = os.open(principal, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
        mine = open_state(again, StateOptions(timeout_ms=20_000))
        while True:
            token_id = str(uuid.uuid4())
            mine.revocations.track(principal, token_id, soon())
            mine.limiter.check(principal, 1_000_000, 60)
            mine.revocations.revoke(token_id)
            one = trace(principal)
            mine.traces.record(one)
            os.write(acknowledged, f"{token_id} {one.action_id}\n".encode())
    finally:
        os._exit(1)


def reap(state: State, *, pid: int) -> int:
    return os.waitpid(pid, 0)[1]


def inherited(state: State, *, token_id: str) -> int:
    """Fork a child that uses the state this process has open, as a preloaded worker would; its exit code."""
    state.revocations.is_revoked(token_id)
    parents = connections(state)
    pid = os.fork()
    if not pid:
        code = 1
        try:
            state.revocations.revoke(token_id)
            code = 0 if state.revocations.is_revoked(token_id) else 2
            if any(mine is theirs for mine in connections(state) for theirs in parents):
                code = 3
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def connections(state: State) -> list[Any]:
    """What the revocations are asked over."""
    revocations: Any = state.revocations
    revocations = getattr(revocations, "store", revocations)
    asked = getattr(revocations, "server", None) or revocations._file
    links = asked._links.values() if hasattr(asked, "_links") else [asked]
    plain = [getattr(link, "_plain", link) for link in links]
    return [link._connection for link in plain if link._connection is not None]


def serve(lines: BinaryIO) -> None:
    lines.write(b'"ready"\n')
    lines.flush()
    for line in lines:
        asked = json.loads(line)
        arguments = asked["arguments"]
        start_s = arguments.pop("start_s", 0)
        state = state_of(asked["url"])
        time.sleep(max(0, start_s - time.monotonic()))
        answer = globals()[asked["job"]](state, **arguments)
        lines.write(json.dumps(answer).encode() + b"\n")
        lines.flush()


if __name__ == "__main__":
    descriptors = [int(argument) for argument in sys.argv[1:]]
    for mine in descriptors:
        if not os.fork():
            for descriptor in descriptors:
                if descriptor != mine:
                    os.close(descriptor)
            # the buffered writer and reader are one: a job is answered before the next is read
            with socket.socket(fileno=mine) as ours:
                serve(cast("BinaryIO", ours.makefile("rwb")))
            os._exit(0)
    for descriptor in descriptors:
        os.close(descriptor)
    for _ in descriptors:
        os.wait()
