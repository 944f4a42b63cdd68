"""One connection for all requests of a worker: which reply is whose, late replies, and how many may wait."""

import asyncio
import os
import random
import resource
import signal
import socket
import threading
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvloop

from beside_upstream.servers import Valkey, server, trace
from lab.bridge import bridged
from lab.state import State, StateOptions, StateUnavailable, open_state
from lab.state.redis.channel import QUEUED_AT_MOST, Channel, ChannelClosed, Full, Place, ServerError

CANCELLED = int(os.environ.get("LAB_TEST_CANCELLED", "1000"))
"""10,000 are asked for where thoroughness is worth a minute."""
IMPATIENT = StateOptions(timeout_ms=250, secret="s", budget_total=1000)
PATIENT = StateOptions(timeout_ms=20_000, secret="s")


def url_to(valkey: Valkey, **parameters: str) -> str:
    query = "&".join(f"{name}={value}" for name, value in parameters.items())
    return f"redis://127.0.0.1:{valkey.port}/0" + (f"?{query}" if query else "")


async def channel_to(valkey: Valkey, timeout_s: float = 20, ended: Any = lambda _: None) -> Channel:
    place = Place(host="127.0.0.1", port=valkey.port)
    return Channel(place, timeout_s=timeout_s, examine=lambda _: None, ended=ended)


@pytest.fixture
async def state(hurt: Valkey) -> AsyncIterator[State]:
    state = open_state(url_to(hurt), IMPATIENT)
    assert not await bridged(state.revocations.is_revoked, "t1")  # connected
    yield state
    state.close()
    await asyncio.sleep(0.01)


def channel_of(state: State) -> Channel:
    link: Any = state.limiter.server  # type: ignore[attr-defined]
    channel: Channel = link._channels[asyncio.get_running_loop()]
    return channel


async def test_every_reply_is_its_callers(valkey: Valkey) -> None:
    channel = await channel_to(valkey)
    replies = await asyncio.gather(*[channel.send(("ECHO", str(i))) for i in range(500)])
    assert replies == [str(i).encode() for i in range(500)]
    channel.close()


async def test_a_reply_in_many_pieces_and_an_error_between_replies(valkey: Valkey) -> None:
    channel = await channel_to(valkey)
    large = "x" * 1_000_000
    asked = [channel.send(("ECHO", large)), channel.send(("NONSENSE",)), channel.send(("ECHO", "after"))]
    first, error, after = await asyncio.gather(*asked, return_exceptions=True)
    assert (first, after) == (large.encode(), b"after")
    assert isinstance(error, ServerError)
    channel.close()


async def test_commands_of_one_turn_leave_in_one_write(valkey: Valkey) -> None:
    channel = await channel_to(valkey)
    await channel.send(("PING",))
    writes: list[bytes] = []
    transport: Any = channel._transport

    class Counting:
        def __getattr__(self, name: str) -> Any:
            return getattr(transport, name)

        def write(self, data: bytes) -> None:
            writes.append(data)
            transport.write(data)

    channel._transport = Counting()  # type: ignore[assignment]
    await asyncio.gather(*[channel.send(("PING",)) for _ in range(64)])
    assert len(writes) == 1
    channel._transport = transport
    channel.close()


@pytest.mark.timeout(120 + CANCELLED / 50)
async def test_a_cancelled_call_never_leaves_its_reply_to_another(valkey: Valkey) -> None:
    state = open_state(url_to(valkey, namespace="cancelled"), PATIENT)
    await bridged(state.revocations.revoke, "bad")
    chance = random.Random(17)
    wrong: list[str] = []
    cancelled = 0

    async def client(number: int) -> None:
        def call() -> None:
            # answers of different kinds: a reply that is taken for another's shows
            if state.revocations.is_revoked("bad") is not True:
                wrong.append("a revoked token is good")
            if state.revocations.is_revoked(f"good{number}") is not False:
                wrong.append("a good token is revoked")
            handle = state.handles.store("c", [number])
            if state.handles.get(handle.handle_id) != [number]:
                wrong.append("another's handle")
            state.traces.record(trace(f"{number}-{handle.handle_id}"))
            state.limiter.check(f"k{number % 7}", 1_000_000, 60)

        await bridged(call)

    while cancelled < CANCELLED:
        tasks = [asyncio.ensure_future(client(i)) for i in range(100)]
        for task in chance.sample(tasks, 50):
            asyncio.get_running_loop().call_later(chance.uniform(0, 0.03), task.cancel)
        for outcome in await asyncio.gather(*tasks, return_exceptions=True):
            if isinstance(outcome, asyncio.CancelledError):
                cancelled += 1
            elif outcome is not None:
                raise outcome
        assert not wrong
    assert await bridged(lambda: state.traces.verify_chain().ok)  # type: ignore[attr-defined]
    state.close()
    await asyncio.sleep(0.01)


async def test_a_thousand_requests_in_flight_are_served_in_bounded_memory(valkey: Valkey) -> None:
    state = open_state(url_to(valkey, namespace="thousand"), PATIENT)
    await bridged(state.revocations.is_revoked, "t")
    before_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    async def one(i: int) -> list[int]:
        def call() -> Any:
            handle = state.handles.store("c", [i] * 100)
            return state.handles.get(handle.handle_id)[0]

        return list(await asyncio.gather(bridged(call), bridged(state.limiter.check, f"k{i}", 1, 60)))

    assert await asyncio.gather(*map(one, range(500))) == [[i, True] for i in range(500)]
    grown_mb = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before_kb) / 1024
    assert grown_mb < 200
    state.close()
    await asyncio.sleep(0.01)


async def test_beyond_its_bound_a_call_is_refused_at_once_and_the_others_are_served(valkey: Valkey) -> None:
    state = open_state(url_to(valkey, namespace="bound"), PATIENT)
    outcomes = await asyncio.gather(
        *[bridged(state.revocations.is_revoked, f"t{i}") for i in range(QUEUED_AT_MOST + 300)],
        return_exceptions=True,
    )
    refused = [one for one in outcomes if isinstance(one, StateUnavailable)]
    assert len(refused) == 300
    assert outcomes.count(False) == QUEUED_AT_MOST
    assert not await bridged(state.revocations.is_revoked, "after"), "the store was never away"
    state.close()
    await asyncio.sleep(0.01)


async def test_large_commands_are_bounded_in_bytes(hurt: Valkey) -> None:
    channel = await channel_to(hurt)
    await channel.send(("PING",))
    hurt.signal(signal.SIGSTOP)

    async def send_much() -> None:
        for _ in range(200):
            channel.send(("ECHO", "x" * 1_000_000)).cancel()
            await asyncio.sleep(0)

    with pytest.raises(Full, match="bytes"):
        await send_much()
    channel.close()
    hurt.signal(signal.SIGCONT)


async def test_a_silent_server_ends_the_connection_and_every_call_in_flight(
    state: State, hurt: Valkey
) -> None:
    channel = channel_of(state)
    hurt.signal(signal.SIGSTOP)
    calls = [bridged(state.revocations.is_revoked, f"t{i}") for i in range(50)]
    outcomes = await asyncio.gather(*calls, return_exceptions=True)
    assert [type(one) for one in outcomes] == [StateUnavailable] * 50
    assert channel.closed
    assert channel.in_flight == 0
    began_s = time.monotonic()
    for _ in range(100):
        with pytest.raises(StateUnavailable, match="not asked again yet"):
            await bridged(state.revocations.is_revoked, "t1")
    assert time.monotonic() - began_s < 5, "the breaker refuses without asking"
    hurt.signal(signal.SIGCONT)


async def test_the_loop_serves_others_while_the_server_is_silent(state: State, hurt: Valkey) -> None:
    hurt.signal(signal.SIGSTOP)
    turns = 0

    async def other() -> None:
        nonlocal turns
        while True:
            await asyncio.sleep(0)
            turns += 1

    counting = asyncio.ensure_future(other())
    with pytest.raises(StateUnavailable):
        await bridged(state.revocations.is_revoked, "t1")
    counting.cancel()
    hurt.signal(signal.SIGCONT)
    assert turns > 100


async def test_a_late_answer_is_never_taken_for_the_next(state: State, hurt: Valkey) -> None:
    await bridged(state.revocations.revoke, "revoked")
    for _ in range(3):
        hurt.signal(signal.SIGSTOP)
        with pytest.raises(StateUnavailable):
            await bridged(state.revocations.is_revoked, "revoked")
        hurt.signal(signal.SIGCONT)
        await resumed(state)
        assert not await bridged(state.revocations.is_revoked, "good")
        assert await bridged(state.revocations.is_revoked, "revoked")


async def resumed(state: State) -> None:
    deadline_s = time.monotonic() + 30
    while True:
        try:
            await bridged(state.revocations.is_revoked, "anything")
        except StateUnavailable:
            assert time.monotonic() < deadline_s
            await asyncio.sleep(0.02)
        else:
            return


async def test_a_long_turn_of_the_loop_is_no_silence_of_the_server(state: State) -> None:
    async def busy() -> None:
        await asyncio.sleep(0)
        time.sleep(0.4)  # noqa: ASYNC251 - longer than the time-out, as a long computation may be

    answered, _ = await asyncio.gather(bridged(state.revocations.is_revoked, "t1"), busy())
    assert answered is False


def test_a_reply_that_came_in_a_long_turn_is_read_before_the_server_is_called_silent(valkey: Valkey) -> None:
    """Under uvloop, as the workers run: what is called soon goes before what lies unread."""

    async def late_by_a_turn() -> int:
        channel = await channel_to(valkey, timeout_s=0.25)
        assert await channel.send(("PING",)) == b"PONG"
        loop = asyncio.get_running_loop()
        ours, theirs = socket.socketpair()
        with ours, theirs:
            loop.add_reader(ours, lambda: (ours.recv(1), time.sleep(0.5)))
            threading.Timer(0.05, theirs.send, [b"x"]).start()
            try:
                reply: int = await channel.send(("WAIT", "1", "150"))  # it answers in the middle of the turn
            finally:
                loop.remove_reader(ours)
        channel.close()
        return reply

    assert uvloop.run(late_by_a_turn()) == 0


async def test_service_resumes_by_itself_and_what_was_acknowledged_is_there(
    state: State, hurt: Valkey
) -> None:
    await bridged(state.revocations.revoke, "t1")
    hurt.kill()
    with pytest.raises(StateUnavailable):
        await bridged(state.revocations.is_revoked, "t1")
    assert hurt.start()
    await resumed(state)
    assert await bridged(state.revocations.is_revoked, "t1")


async def test_an_idle_connection_that_the_server_closed_is_made_anew(state: State, hurt: Valkey) -> None:
    channel = channel_of(state)
    with hurt.client() as client:
        client.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
    while not channel.closed:  # noqa: ASYNC110 - the end of a connection has no event here
        await asyncio.sleep(0.01)
    assert not await bridged(state.revocations.is_revoked, "t1")


async def test_a_server_that_is_not_fit_is_refused_by_the_channel_too(hurt: Valkey) -> None:
    state = open_state(url_to(hurt), IMPATIENT)
    with hurt.client() as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        with pytest.raises(StateUnavailable, match="allkeys-lru"):
            await bridged(state.revocations.is_revoked, "t1")
        client.config_set("maxmemory-policy", "noeviction")
    await resumed(state)
    state.close()
    await asyncio.sleep(0.01)


async def test_a_password_and_a_database_are_told(hurt: Valkey) -> None:
    with hurt.client() as client:
        client.config_set("requirepass", "right")
        right = open_state(f"redis://:right@127.0.0.1:{hurt.port}/3", IMPATIENT)
        await bridged(right.revocations.revoke, "t1")
        client.execute_command("AUTH", "right")
        assert client.info("keyspace")["db3"]["keys"] >= 1
    wrong = open_state(f"redis://default:wrong@127.0.0.1:{hurt.port}/0", IMPATIENT)
    with pytest.raises(StateUnavailable, match="WRONGPASS"):
        await bridged(wrong.revocations.is_revoked, "t1")
    for state in (right, wrong):
        state.close()
    await asyncio.sleep(0.01)


async def test_scripts_that_were_forgotten_are_told_again_in_their_order(state: State, hurt: Valkey) -> None:
    for i in range(20):
        await bridged(state.traces.record, trace(f"before{i}"))
    with hurt.client() as client:
        client.script_flush()
    await asyncio.gather(*[bridged(state.traces.record, trace(f"after{i}")) for i in range(50)])
    result = await bridged(state.traces.verify_chain)  # type: ignore[attr-defined]
    assert (result.ok, result.records_checked) == (True, 70)


async def test_a_call_in_a_forked_child_uses_no_connection_of_its_parents(state: State) -> None:
    await bridged(state.revocations.revoke, "t1")
    pid = os.fork()
    if not pid:
        code = 1
        try:
            code = _child(state)
        finally:
            os._exit(code)
    _, status = await asyncio.to_thread(os.waitpid, pid, 0)
    assert os.waitstatus_to_exitcode(status) == 0
    assert await bridged(state.revocations.is_revoked, "t1")
    assert await bridged(state.revocations.is_revoked, "t2")


def _child(state: State) -> int:
    link: Any = state.limiter.server  # type: ignore[attr-defined]
    parents = list(link._channels.values())

    async def use() -> int:
        await bridged(state.revocations.revoke, "t2")
        await bridged(state.traces.record, trace("child"))
        if not await bridged(state.revocations.is_revoked, "t1"):
            return 2
        return 3 if channel_of(state) in parents else 0

    asyncio.events._set_running_loop(None)
    return asyncio.new_event_loop().run_until_complete(use())


async def test_a_restart_without_an_append_only_file_needs_a_decision() -> None:
    with server() as forgetful:
        strict, told = (
            open_state(url_to(forgetful, **more), IMPATIENT) for more in ({}, {"restarted": "accept"})
        )
        assert ["append-only" in text for text in strict.warnings()] == [True]
        for state in (strict, told):
            await bridged(state.revocations.revoke, "t1")
        forgetful.kill()
        assert await asyncio.to_thread(forgetful.start)
        await resumed(told)
        assert not await bridged(told.revocations.is_revoked, "t1"), "it may forget"
        for _ in range(3):
            with pytest.raises(StateUnavailable, match="restarted"):
                await bridged(strict.revocations.is_revoked, "t1")
            with pytest.raises(StateUnavailable, match="restarted"):
                strict.revocations.is_revoked("t1")
            await asyncio.sleep(0.15)
        for state in (strict, told):
            state.close()
        await asyncio.sleep(0.01)


async def test_a_restart_with_an_append_only_file_can_be_refused_as_well(hurt: Valkey) -> None:
    state = open_state(url_to(hurt, restarted="refuse"), IMPATIENT)
    assert state.warnings() == []
    await bridged(state.revocations.revoke, "t1")
    hurt.kill()
    assert await asyncio.to_thread(hurt.start)
    with pytest.raises(StateUnavailable, match="restarted"):
        await bridged(state.revocations.is_revoked, "t1")
    state.close()
    await asyncio.sleep(0.01)


async def test_a_channel_that_has_ended_takes_no_command(valkey: Valkey) -> None:
    ended: list[str] = []
    channel = await channel_to(valkey, ended=ended.append)
    waiting = channel.send(("PING",))
    channel.close("on purpose")
    with pytest.raises(ChannelClosed, match="on purpose"):
        await waiting
    with pytest.raises(ChannelClosed):
        channel.send(("PING",))
    assert ended == ["on purpose"]


async def test_what_the_server_says_unasked_ends_the_channel(valkey: Valkey) -> None:
    channel = await channel_to(valkey)
    await channel.send(("PING",))
    channel.data_received(b"+PONG\r\n")
    assert channel.closed
    other = await channel_to(valkey)
    waiting = other.send(("PING",))
    await asyncio.sleep(0)
    other._greeting = 0
    other.data_received(b"?not the protocol\r\n")
    with pytest.raises(ChannelClosed):
        await waiting
