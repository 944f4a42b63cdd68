"""A fault: something that breaks in a deployment while it serves, recorded in the history that it disturbs.

A fault is a value. It says to which live deployments it applies. It is injected for as long as an ``async
with`` lasts. It proves that it landed, for example by a process that is gone: a fault that did not land tells
nothing about a guarantee, so its cell is unknown.

There is one path into the history: `disturb`.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, replace

from kernel_lab.deployments.deployment import Deployment
from kernel_lab.deployments.live import Live
from kernel_lab.judge.operation import Outcome
from kernel_lab.traffic.client import Recorder


@dataclass(frozen=True, slots=True, kw_only=True)
class Landing:
    """Whether a fault took effect, and the evidence for it."""

    landed: bool
    evidence: str
    """One sentence: what was seen, or what was missing."""


Inject = Callable[[Live, str | None], AbstractAsyncContextManager[Landing]]


def unprepared(lacks: str) -> Inject:
    """The injection of a fault that must be prepared and was not. It does not land, and says what was missing."""

    @asynccontextmanager
    async def inject(_live: Live, _aim: str | None) -> AsyncIterator[Landing]:
        yield Landing(landed=False, evidence=lacks)

    return inject


def nothing(deployment: Deployment) -> str:
    """No deployment is excluded by its declaration."""
    del deployment
    return ""


def as_it_is(deployment: Deployment) -> Deployment:
    """The deployment itself."""
    return deployment


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Something that breaks."""

    name: str
    """The name of the fault. It stands in the history as ``fault.<name>``; see ``kernel-lab list faults``."""
    title: str
    """What happens, in a few words."""
    inapplicable: Callable[[Live], str]
    """Why a live deployment cannot have this fault; an empty string where it can."""
    excluded: Callable[[Deployment], str] = nothing
    """The same, as far as a deployment's declaration tells it, so that no deployment has to be started to find
    out."""
    shape: Callable[[Deployment], Deployment] = as_it_is
    """The deployment that is started for the fault, derived from the deployment that is named. It must promise
    the same."""
    inject: Inject
    """``inject(live, aim)``: once entered, the fault is in force, and its landing is known; once left, it has
    ended. `aim` is what it hits, such as the name of a worker, where the fault leaves a choice."""
    prepare: Callable[[Live], AbstractAsyncContextManager[Inject]] | None = None
    """Used where a fault needs something before the traffic begins, such as a proxy. Once entered on the fresh
    deployment, it yields the injection to use instead of `inject`. When it is left, it has removed everything
    again."""
    hits: int = 0
    """Which replica it hits, if it hits one: 0 is the first, -1 the last."""
    lasts: bool = False
    """Whether it goes on until it is ended, so that its end stands in the history too."""
    lasts_s: float | None = None
    """How many seconds the fault goes on, where the usual time is too short."""


@asynccontextmanager
async def prepared(fault: Fault, live: Live) -> AsyncIterator[Fault]:
    """The fault, ready to be injected into this deployment."""
    if fault.prepare is None:
        yield fault
        return
    async with fault.prepare(live) as inject:
        yield replace(fault, inject=inject)


@asynccontextmanager
async def disturb(
    fault: Fault, live: Live, *recorders: Recorder, aim: str | None = None
) -> AsyncIterator[Landing]:
    """Inject a fault, write it into the history of every recorder, and end it.

    The operation ``fault.<name>`` begins when the injection begins and returns once its landing is known. Its
    outcome is ``ok`` where the fault landed and ``fail`` where it did not. The end of a fault that lasts is a
    second operation of the same name, with ``{"ended": true}`` as input.
    """
    indexes, called_ns = [one.writer.next_index() for one in recorders], time.monotonic_ns()
    async with fault.inject(live, aim) as landing:
        for recorder, index in zip(recorders, indexes, strict=True):
            _write(recorder, fault, index, called_ns, {"worker": aim} if aim else {}, landing)
        yield landing
        indexes, ended_ns = [one.writer.next_index() for one in recorders], time.monotonic_ns()
    if fault.lasts:
        ended = Landing(landed=True, evidence="the fault was ended")
        for recorder, index in zip(recorders, indexes, strict=True):
            _write(recorder, fault, index, ended_ns, {"ended": True}, ended)


def _write(
    recorder: Recorder, fault: Fault, index: int, called_ns: int, asked: dict[str, object], landing: Landing
) -> None:
    recorder.writer.write(
        {
            "index": index,
            "client": recorder.client_name(),
            "f": f"fault.{fault.name}",
            "input": asked,
            "output": {"landed": landing.landed, "evidence": landing.evidence},
            "outcome": Outcome.OK if landing.landed else Outcome.FAIL,
            "call_ns": called_ns,
            "return_ns": time.monotonic_ns(),
            "worker": None,
            "connection": None,
            "error": None if landing.landed else "did_not_land",
        }
    )
