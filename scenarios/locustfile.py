r"""The load generator: agents' sessions on locust, each call recorded as one operation.

By itself, with locust's page or without, for as long as you like::

    locust -f scenarios/locustfile.py --host http://127.0.0.1:8000
    locust -f scenarios/locustfile.py --host http://127.0.0.1:8000 --headless -u 8 -r 8 -t 30s \
        --processes 2 --mix grant-heavy --rate 200 --record results/my-load

From several machines: see `kernel_lab.load.several`. ``kernel-lab load`` gives it a plan instead (``--plan``): short
slots on many deployments, interleaved.

Latency counts from the start that was meant (`kernel_lab.load.generator.pace`). A reply that a session knows to
be wrong is a failure with the anomaly's name. A call whose effect is unknown (a 5xx, a time-out) is a failure
called ``Info``. A rightful refusal is no failure. Locust patches gevent into everything on import, so this runs
in a process of its own, always; each of its processes writes histories of its own.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import gevent  # type: ignore[import-untyped]
import msgspec
from locust import FastHttpUser, events, task
from locust.argument_parser import LocustArgumentParser
from locust.env import Environment
from locust.exception import StopUser
from locust.runners import MasterRunner, WorkerRunner

from kernel_lab.judge.operation import Outcome
from kernel_lab.load.generator import coordination
from kernel_lab.load.generator.agent import MIXES, Session, Step
from kernel_lab.load.generator.pinned import LOST
from kernel_lab.load.generator.session import Course, Generator, Part
from kernel_lab.load.plan import Slot, read_plan
from kernel_lab.traffic.call import Call, Reply, read

LOST_PAUSE_S = 0.05
"""The pause of a caller that lost its connection, so that it does not ask a server that has gone in a tight loop."""


class Anomalous(Exception):  # noqa: N818 - it is a finding, and its name is what locust shows
    """A reply that one caller alone knows to be wrong."""


class Info(Exception):  # noqa: N818 - an outcome
    """Nobody knows whether the call had its effect."""


@events.init_command_line_parser.add_listener  # type: ignore[untyped-decorator]
def options(parser: LocustArgumentParser) -> None:
    """Our options beside locust's own; its page shows them too."""
    parser.add_argument("--mix", choices=list(MIXES), default="read-heavy", help="what the agents do")
    parser.add_argument(
        "--connections",
        choices=["round_robin", "fresh", "keep_alive"],
        default="round_robin",
        help="round_robin: kept, the calls going round the workers; fresh: one per call; keep_alive: kept",
    )
    parser.add_argument("--pin", type=int, default=0, help="round_robin: how many workers share the socket")
    parser.add_argument("--rate", type=float, default=0.0, help="calls per second in all; 0: a closed loop")
    parser.add_argument("--record", default="", help="folder for the histories; empty: none are written")
    parser.add_argument("--plan", default="", help="a plan.json of kernel-lab load, instead of the above")
    parser.add_argument(
        "--part", default="0/1", help="which part of the plan this process has: 1/2 is the second"
    )


class Caller(FastHttpUser):
    """Lives one agent's session after another, with one call in flight."""

    host = "http://127.0.0.1:8000"
    generator: Generator
    prepared: gevent.Greenlet

    @task
    def live(self) -> None:
        """Walk through every slot, and stop."""
        self.prepared.join()
        if self.prepared.exception is not None:
            print(f"locustfile: no lab can be asked at {self.host}: {self.prepared.exception}", flush=True)
            self.finish()
        self.number = self.turn = self.generator.new_caller()
        self.left: dict[tuple[str, str], tuple[Session, Step]] = {}
        for slot in self.generator.slots:
            course = self.generator.course(slot)
            course.users += 1
            _sleep_until(course.pace.begin_ns)
            try:
                self.serve(course)
            finally:
                course.leave()
        if self.generator.leave():
            self.finish()
        raise StopUser

    def finish(self) -> None:
        """Stop; and, with a plan, end this locust too, once its greenlets have had their turn."""
        if self.generator.planned and self.environment.runner is not None:
            gevent.spawn_later(0, self.environment.runner.quit)
        raise StopUser

    def serve(self, course: Course) -> None:
        """Run sessions until the slot is over. The last session continues in the next slot of the same kind.

        A slot is shorter than a session may be: begun anew each time, only beginnings would be measured.
        """
        kind = course.slot.subject, course.slot.mix
        while True:
            session, step = self.left.pop(kind) if kind in self.left else _begin(course)
            try:
                while True:
                    intended_ns = course.pace.next_start()
                    if intended_ns is None:
                        self.left[kind] = session, step
                        return
                    _sleep_until(intended_ns)
                    step = session.send(self.make(step, course, intended_ns))
            except StopIteration:
                continue

    def make(self, step: Step, course: Course, intended_ns: int) -> Reply:
        """Make one call, tell locust, and record it: one that is cut off too, as an ``info``."""
        call = step.call
        self.turn += 1
        connection, pool = course.lanes.take(self.turn)
        worker = anomaly = None
        body = b"" if call.body is None else msgspec.json.encode(call.body)
        call_ns = time.monotonic_ns()
        reply = Reply(outcome=Outcome.INFO, error="cancelled", call_ns=call_ns, return_ns=call_ns)
        try:
            try:
                answer = connection.send(call.method, call.path, body, _headers(call))
            except LOST as error:
                lost, return_ns = type(error).__name__, time.monotonic_ns()
                reply = Reply(outcome=Outcome.INFO, error=lost, call_ns=call_ns, return_ns=return_ns)
                size = 0
            else:
                return_ns, worker, size = time.monotonic_ns(), answer.worker, len(answer.content)
                reply = read(call, answer.status, answer.content, call_ns=call_ns, return_ns=return_ns)
            anomaly = step.wrong(reply)
            self.environment.events.request.fire(
                request_type=call.method,
                name=f"{course.slot.subject} {call.f}",
                response_time=(return_ns - intended_ns) / 1e6,
                response_length=size,
                exception=_failure(anomaly, reply),
                context={},
            )
        finally:
            pool.append(connection)
            if course.writer is not None:
                info, ahead_ns = reply.outcome is Outcome.INFO, self.generator.clock_ahead_ns
                line = {
                    "index": course.writer.next_index(),
                    "client": f"g{self.generator.part.number}.c{self.number}",
                    "f": call.f,
                    "input": call.asked,
                    "output": reply.output,
                    "outcome": reply.outcome,
                    "call_ns": call_ns + ahead_ns,
                    "return_ns": None if info else reply.return_ns + ahead_ns,
                    "worker": worker,
                    "connection": connection.met(worker),
                    "error": reply.error,
                    "intended_ns": intended_ns + ahead_ns,
                    "anomaly": anomaly,
                }
                course.writer.write(line)
        if reply.outcome is Outcome.INFO:
            self.number = self.generator.new_caller()
            if worker is None:
                gevent.sleep(LOST_PAUSE_S)
        return reply


machines: coordination.Coordinator | coordination.Generator | None = None
"""This process's part, where generators are on several machines."""


@events.init.add_listener  # type: ignore[untyped-decorator]
def join(environment: Environment, runner: Any, **_: Any) -> None:
    """With ``--master`` and ``--worker``, each on a machine of its own, what is recorded goes to the master."""
    global machines  # noqa: PLW0603 - locust calls functions
    said: Any = environment.parsed_options
    if said is None or said.processes:
        return
    if isinstance(runner, MasterRunner) and said.record:
        machines = coordination.Coordinator(runner, Path(said.record))
    elif isinstance(runner, WorkerRunner):
        machines = coordination.Generator(runner)


@events.test_start.add_listener  # type: ignore[untyped-decorator]
def begin(environment: Environment, **_: Any) -> None:
    """Each process that has users gets its generator; locust's master has none."""
    said: Any = environment.parsed_options
    if isinstance(environment.runner, MasterRunner):
        said.callers = said.num_users  # locust tells its workers of our options alone
    else:
        Caller.generator = _generator(environment)
        Caller.prepared = gevent.spawn(Caller.generator.prepare)
    if machines is not None:
        machines.begin()


@events.test_stop.add_listener  # type: ignore[untyped-decorator]
def stop(**_: Any) -> None:
    """Collect the recordings of several machines."""
    if isinstance(machines, coordination.Coordinator):
        machines.finish()
    elif machines is not None:
        machines.send()


def _generator(environment: Environment) -> Generator:
    """This process's part of the plan; without a plan, of one endless slot."""
    said: Any = environment.parsed_options
    users = int(said.num_users or 1)
    if said.plan:
        plan = read_plan(Path(said.plan))
        # a plan's processes are locusts of their own: a master that misses a heartbeat moves users about
        number, of = map(int, said.part.split("/"))
        part = Part(number=number, of=of, users=users)
        return Generator(plan.slots, part, folder=Path(said.plan).parent, planned=True, seed=plan.seed)
    users = int(getattr(said, "callers", 0) or users)
    of = max(1, said.processes or said.expect_workers or 1)
    part = Part(number=getattr(environment.runner, "worker_index", 0), of=of, users=-(-users // of))
    endless = Slot(
        name=f"load-{time.time():.0f}",
        subject=said.mix,
        base_url=str(environment.host),
        mix=said.mix,
        workers=said.pin,
        connections=said.connections,
        rate_per_s=said.rate,
    )
    folder = Path(said.record) if said.record else None
    several = isinstance(machines, coordination.Generator)
    if isinstance(machines, coordination.Generator) and folder is not None:
        folder = machines.folder
    generator = Generator([endless], part, folder=folder, planned=False, seed=1)
    generator.clock_ahead_ns = coordination.ahead_ns() if several else 0
    return generator


def _begin(course: Course) -> tuple[Session, Step]:
    """A new agent's session, and its first step."""
    session = MIXES[course.slot.mix](course.new_agent())
    return session, next(session)


def _sleep_until(instant_ns: int) -> None:
    # gevent's timers count from when its loop last looked at the clock, so they may be early
    while (early_ns := instant_ns - time.monotonic_ns()) > 0:
        gevent.sleep(early_ns / 1e9)


def _failure(anomaly: str | None, reply: Reply) -> Exception | None:
    """Return locust's name for a failure."""
    if anomaly is not None:
        return Anomalous(anomaly)
    return Info(reply.error) if reply.outcome is Outcome.INFO else None


def _headers(call: Call) -> dict[str, str]:
    """Return the headers that an authenticating proxy would set for a caller."""
    headers = {"X-Principal-Roles": "reader,writer", "X-Principal-Tenant": "acme"}
    headers["X-Principal-Id"] = call.asked.get("by") or call.asked.get("principal") or "auditor"
    if call.body is not None:
        headers["Content-Type"] = "application/json"
    return headers
