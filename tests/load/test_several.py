"""Load from several machines: clocks that differ are measured, and no right limiter is accused because of them."""

import asyncio
import json
import os
import random
import subprocess
import sys
from collections import deque

import msgspec
import pytest

from kernel_lab.deployments import AppSpec, NativeStack
from kernel_lab.deployments.ports import free_port
from kernel_lab.judge.history import read_history
from kernel_lab.judge.verdict import Cell, DeploymentFacts, Validity
from kernel_lab.load import several
from kernel_lab.load.generator.clocks import Clock, Exchange, measured, tolerance_ms
from kernel_lab.load.judged import judge_load
from kernel_lab.run import registry
from kernel_lab.run.folder import RunFolder

MS = 1_000_000
LIMIT, WINDOW_MS = 4, 405
"""An odd number of turns of 5 ms, so that the place that one generator's grant leaves goes to the other."""
AHEAD_MS = 50


def exchange(sent_ms, there_ms, back_ms, ahead_ms):
    """A question that took so long there and so long back, to a generator that is ahead."""
    told_ms = sent_ms - ahead_ms + there_ms
    return Exchange(
        sent_ns=round(sent_ms * MS),
        told_ns=round(told_ms * MS),
        back_ns=round((sent_ms + there_ms + back_ms) * MS),
    )


def test_the_clock_is_off_by_no_more_than_it_says_however_lopsided_the_network():
    rng = random.Random(1)
    for _ in range(300):
        ahead_ms = rng.uniform(-1e6, 1e6)
        bursts = [
            [
                exchange(rng.uniform(0, 1e5), rng.expovariate(0.2), rng.expovariate(1), ahead_ms)
                for _ in range(4)
            ]
            for _ in range(3)
        ]
        clock = measured(bursts)
        assert abs(clock.ahead_ns - ahead_ms * MS) <= clock.error_ns + 2


def test_a_clock_that_drifts_is_as_wrong_as_it_drifted():
    clock = measured([[exchange(0, 1, 1, 50)], [exchange(5000, 1, 1, 53)], [exchange(9000, 1, 1, 56)]])
    assert clock.ahead_ns == 53 * MS
    assert clock.error_ns == 4 * MS


def test_the_fastest_exchange_of_a_burst_counts():
    clock = measured([[exchange(0, 40, 0, 7), exchange(50, 0.5, 0.5, 7)], []])
    assert clock == Clock(ahead_ns=7 * MS, error_ns=MS // 2)


def test_a_clock_that_nobody_compared_is_not_taken_for_right():
    with pytest.raises(ValueError, match="never compared"):
        measured([[]])


def test_two_generators_can_be_wrong_in_opposite_directions_and_one_alone_cannot():
    clocks = [Clock(error_ns=2 * MS), Clock(error_ns=MS), Clock(error_ns=3 * MS)]
    assert tolerance_ms(clocks) == 5
    assert tolerance_ms(clocks[:1]) == 0


def right_limiter(generators, seconds):
    """What a right window log admits of generators that ask in turn, 5 ms apart: (generator, ms, admitted)."""
    admitted = deque()
    for turn in range(round(seconds * 200)):
        now_ms = turn * 5.0
        while admitted and admitted[0] <= now_ms - WINDOW_MS:
            admitted.popleft()
        if fits := len(admitted) < LIMIT:
            admitted.append(now_ms)
        yield turn % generators, now_ms, fits


def recorded(folder, ahead_ms):
    """The histories of two generators, each by its own clock; calls take 1 ms."""
    files = {number: (folder / f"load-1.g{number}.jsonl").open("w") for number in ahead_ms}
    for index, (number, at_ms, fits) in enumerate(right_limiter(len(ahead_ms), 4)):
        call_ns = round((at_ms - 0.5 + ahead_ms[number]) * MS)
        line = {
            "index": index, "client": f"g{number}.c0", "f": "grant", "outcome": "ok" if fits else "fail",
            "input": {"principal": "everybody", "capability": "c"}, "worker": "r0/1/a", "connection": f"g{number}.k0",
            "output": {"token_id": f"t{index}"} if fits else None, "call_ns": call_ns, "return_ns": call_ns + MS,
            "error": None if fits else "rate_limited",
        }  # fmt: skip
        files[number].write(json.dumps(line) + "\n")
    for file in files.values():
        file.close()


def judged(folder, clocks, tolerance):
    """The verdict on the limit, with these clocks taken into account."""
    out = folder / f"judged-{len(list(folder.iterdir()))}"
    assert several.one_history(folder, clocks, out / "merged.jsonl")
    parameters = {"limit": LIMIT, "window_s": WINDOW_MS / 1000, "tolerance_ms": tolerance}
    cell = Cell(scenario="rate_limit", deployment=DeploymentFacts(name="single"), parameters=parameters)
    return judge_load(RunFolder(out), "single", out / "merged.jsonl", [cell])["rate_limit"].validity


AS_RECORDED = {"0": Clock(), "1": Clock()}


def test_a_right_limiter_is_not_accused_when_two_generators_clocks_differ(tmp_path):
    recorded(tmp_path, {0: 0, 1: AHEAD_MS})
    # the network is lopsided, so the measured clock is wrong by 3 of the 4 ms that it may be
    asked = {"0": [exchange(10, 0.2, 0.2, 0)], "1": [exchange(10, 7, 1, AHEAD_MS)]}
    clocks = {number: measured([burst]) for number, burst in asked.items()}
    assert clocks["1"].ahead_ns == (AHEAD_MS - 3) * MS
    assert judged(tmp_path, clocks, tolerance_ms(clocks.values())) is Validity.VALID
    # both halves are needed: what is known of the clocks, and how wrong that may be
    assert judged(tmp_path, clocks, 0) is Validity.INVALID
    assert judged(tmp_path, AS_RECORDED, tolerance_ms(clocks.values())) is Validity.INVALID
    assert judged(tmp_path, AS_RECORDED, 0) is Validity.INVALID


def test_a_limiter_in_each_of_two_hosts_is_still_accused(tmp_path):
    recorded(tmp_path, {0: 0})
    (tmp_path / "load-1.g1.jsonl").write_text(
        (tmp_path / "load-1.g0.jsonl").read_text().replace("g0.", "g1.")
    )
    clocks = {"0": Clock(error_ns=2 * MS), "1": Clock(error_ns=2 * MS)}
    assert judged(tmp_path, clocks, tolerance_ms(clocks.values())) is Validity.INVALID


def test_a_generator_whose_clock_is_not_known_is_not_judged(tmp_path):
    recorded(tmp_path, {0: 0, 1: 0})
    with pytest.raises(ValueError, match=r"load-1.g1.jsonl: clocks.json has no clock of generator 1"):
        several.one_history(tmp_path, {"0": Clock()}, tmp_path / "merged.jsonl")


@pytest.mark.live
@pytest.mark.timeout(240)
async def test_two_generators_and_a_coordinator_for_real(tmp_path):
    """Locust's own distributed mode; the clock of the second generator is 50 ms ahead."""
    folder, port = tmp_path / "recorded", free_port()
    app = AppSpec(root=registry.root())
    env = registry.settings(quick=True)
    async with NativeStack(
        registry.deployments()["single"], app=app, folder=tmp_path / "stack", env=env
    ) as live:
        common = (sys.executable, "-m", "locust", "-f", "scenarios/locustfile.py", "--loglevel", "WARNING")
        master = (
            *common, "--master", "--master-bind-host", "127.0.0.1", "--master-bind-port", str(port), "--headless",
            "--expect-workers", "2", "-u", "4", "-r", "4", "-t", "3s", "--host", live.base_url, "--mix", "limit-one",
            "--rate", "60", "--record", str(folder), "--only-summary",
        )  # fmt: skip
        worker = (*common, "--worker", "--master-host", "127.0.0.1", "--master-port", str(port))
        started = []
        try:
            for command, ahead in ((master, "0"), (worker, "0"), (worker, str(AHEAD_MS))):
                setting = {**os.environ, "KERNEL_LAB_CLOCK_AHEAD_MS": ahead}
                process = await asyncio.create_subprocess_exec(
                    *command,
                    cwd=registry.root(),
                    env=setting,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                )
                started.append(process)
            said = await asyncio.gather(*(one.communicate() for one in started))
        finally:
            for one in started:
                if one.returncode is None:
                    one.kill()
                    await one.wait()
        assert (folder / "clocks.json").exists(), said
        clocks = several.read_clocks(folder)
        assert len(clocks) == 2, said
        behind, ahead = sorted(clocks.values(), key=lambda clock: clock.ahead_ns)
        # one machine: the clocks differ by what was put ahead, and by nothing else
        assert abs(behind.ahead_ns) <= behind.error_ns
        assert abs(ahead.ahead_ns - AHEAD_MS * MS) <= ahead.error_ns
        verdicts = await several.judge(folder, live.deployment, live.base_url, clocks)
    assert verdicts["rate_limit"].validity in {Validity.VALID, Validity.UNKNOWN}, verdicts["rate_limit"]
    merged = read_history(folder / "merged.jsonl")
    assert {operation.client.partition(".")[0] for operation in merged} == {"g0", "g1"}
    cell = msgspec.json.decode((folder / "cells" / "rate_limit" / "single-load" / "cell.json").read_bytes())
    assert cell["parameters"]["tolerance_ms"] == tolerance_ms(clocks.values())
