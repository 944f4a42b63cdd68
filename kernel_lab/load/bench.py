"""Bench: the effort of a load run, and one pass of the load generator over live stacks."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from kernel_lab.load.live import Lives, LiveSubject
from kernel_lab.load.plan import Plan, Slot, schedule
from kernel_lab.load.walk import Sample, walk


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """The length of each slot, the number of repetitions, and the number of callers."""

    rounds: int
    warm_s: float
    """The time at the start of each slot that is not counted."""
    measured_s: float
    gap_s: float = 0.12
    """The pause between two slots, in which the last calls of the first slot return."""
    users: int = 8
    processes: int = 2
    seed: int = 1


async def _nothing(_slot: Slot) -> None:
    """The warm-up is at most as long as the slot itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bench:
    """The parts that every step of a load run uses."""

    root: Path
    """The folder of the locustfile."""
    folder: Path
    """The run's."""
    effort: Effort
    tell: Callable[[str], None]
    locustfile: str = "scenarios/locustfile.py"

    def tell_skipped(self, lives: Lives) -> None:
        """Say what could not be started, and why."""
        for name, reason in lives.skipped.items():
            self.tell(f"  {name} is skipped: {reason}")

    async def go(
        self,
        name: str,
        slots: Sequence[Slot],
        lives: Lives,
        before: Callable[[Slot], Awaitable[None]] = _nothing,
    ) -> list[Sample]:
        """Drive slots whose times are still open, one after another; `name` is the walk's folder."""
        if not slots:
            return []
        effort = self.effort
        timed = schedule(slots, warm_s=effort.warm_s, measured_s=effort.measured_s, gap_s=effort.gap_s)
        self.tell(f"{name}: {len(timed)} slots, {timed[-1].end_s:.0f} s")
        left = [slot.round for slot in timed]

        def done(slot: Slot) -> None:
            left.remove(slot.round)
            if slot.round not in left:
                self.tell(f"  {name}: round {slot.round + 1} of {effort.rounds}")

        return await walk(
            Plan(slots=timed, seed=effort.seed),
            self.folder / "load" / name,
            root=self.root,
            locustfile=self.locustfile,
            users=effort.users,
            processes=effort.processes,
            parts={name: live.parts for name, live in lives.running.items()},
            before=before,
            done=done,
        )


def slot_of(
    live: LiveSubject,
    mix: str,
    number: int,
    *,
    rate_per_s: float = 0.0,
    rtt_ms: float = 0.0,
    stretch: float = 1.0,
) -> Slot:
    """A slot of round `number`, not yet timed."""
    deployment = live.subject.deployment
    slot = Slot(
        name="",
        subject=live.subject.name,
        base_url=live.base_url,
        mix=mix,
        workers=deployment.workers if deployment.routing == "direct" else 0,
        rate_per_s=rate_per_s,
        rtt_ms=rtt_ms,
        round=number,
        stretch=stretch,
    )
    parts = [live.subject.name, mix, slot.step, f"{rtt_ms:g}ms" if rtt_ms else "", str(number)]
    return msgspec.structs.replace(slot, name="-".join(part for part in parts if part))


def by_name(lives: Lives, names: Mapping[str, tuple[str, ...]], mix: str) -> list[LiveSubject]:
    """The stacks that are asked a mix."""
    return [lives.running[name] for name, mixes in names.items() if mix in mixes]
