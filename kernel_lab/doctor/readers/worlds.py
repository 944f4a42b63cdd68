"""Evaluate a configuration for every machine it may meet.

A file that says ``2 * cpu_count() + 1`` means another number on each machine. So a reader computes the
number for one **world**: a number of cores, an environment, and a choice at each condition that cannot be
known. `every_world` calls the reader once for each number of cores in `CORES` if it asked for the cores
at all, and once for each choice. The smallest and largest results are the range. Where the largest
machine still gives more than the second largest, the range has no end.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from typing import Final, TypeVar

from kernel_lab.doctor.facts import Count, Environment, Place, Value

CORES: Final = (*range(1, 17), 20, 24, 32, 48, 64, 96, 128, 192, 256, 1024, 4096)
CHOICES: Final = 24
"""The largest number of combinations of unknown conditions that is tried."""
STEPS: Final = 20_000
"""A file that needs more evaluation steps than this is not understood: a bound on hostile input."""

T = TypeVar("T")


class TooMuch(Exception):  # noqa: N818 - it names a thing
    """The evaluation took more steps than a configuration file needs."""


class Unknown:
    """A value that cannot be known before the service runs."""

    def __repr__(self) -> str:
        return "UNKNOWN"

    def __bool__(self) -> bool:
        raise TypeError("whether an unknown value is true is the world's choice: World.decide")


UNKNOWN: Final = Unknown()


@dataclass(slots=True)
class Notes:
    """The questions that the evaluations of all worlds asked."""

    choices: list[bool] = field(default_factory=list)
    taken: int = 0
    steps: int = 0
    cores: Place | None = None
    asked: dict[str, Place] = field(default_factory=dict)
    """Variables that were asked for and that nothing sets."""
    used: set[str] = field(default_factory=set)


@dataclass(frozen=True, slots=True)
class World:
    """One machine, one environment, one choice at each unknown condition."""

    cores: int
    environment: Environment
    notes: Notes

    def seeing(self, environment: Environment) -> World:
        """The same world with another environment."""
        return replace(self, environment=environment)

    def variable(self, name: str, place: Place) -> Value | None:
        """The variable, or None if nothing sets it; that it was asked for is noted."""
        if name in self.environment:
            self.notes.used.add(name)
            return self.environment[name]
        self.notes.asked.setdefault(name, place)
        return None

    def core_count(self, place: Place) -> int:
        """The number of cores of this world's machine; that it was asked for is noted."""
        self.notes.cores = self.notes.cores or place
        return self.cores

    def decide(self) -> bool:
        """Return which way an unknown condition goes in this world."""
        notes = self.notes
        if notes.taken == len(notes.choices):
            notes.choices.append(True)
        notes.taken += 1
        return notes.choices[notes.taken - 1]

    def step(self) -> None:
        """Count one step of evaluation; raise TooMuch past the bound."""
        self.notes.steps += 1
        if self.notes.steps > STEPS:
            raise TooMuch


def every_world(
    environment: Environment, evaluate: Callable[[World], T]
) -> tuple[list[tuple[int, T]], Notes]:
    """The results of `evaluate` in every world, each with its number of cores, and the questions that were asked."""
    seen = Notes()
    results: list[tuple[int, T]] = []
    for cores in CORES:
        for notes in _choices():
            results.append((cores, evaluate(World(cores, environment, notes))))
            seen.steps += notes.steps
            if seen.steps > 10 * STEPS:
                raise TooMuch
            seen.cores = seen.cores or notes.cores
            seen.asked.update(notes.asked)
            seen.used |= notes.used
        if seen.cores is None:
            break
    return results, seen


def _choices() -> Iterator[Notes]:
    choices: list[bool] = []
    for _ in range(CHOICES):
        notes = Notes(choices=list(choices))
        yield notes
        choices = notes.choices[: notes.taken]
        while choices and not choices[-1]:
            choices.pop()
        if not choices:
            return
        choices[-1] = False


def range_of(results: list[tuple[int, int | Unknown]]) -> Count | None:
    """The range of the numbers over all worlds; None if one of them is unknown."""
    numbers = [(cores, number) for cores, number in results if isinstance(number, int)]
    if not numbers or len(numbers) < len(results):
        return None
    low = min(number for _, number in numbers)
    most = max(number for _, number in numbers)
    if len({cores for cores, _ in numbers}) == 1:
        return Count(max(low, 0), max(most, 0))
    largest, second = (max(n for c, n in numbers if c == cores) for cores in (CORES[-1], CORES[-2]))
    return Count(max(low, 0), None if largest > second else max(most, 0))
