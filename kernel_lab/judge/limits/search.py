"""The search: can a right limiter of one kind have given all of the answers in a history?

This decides admissions and denials together. It tries orders as a linearizability checker does (Wing and Gong
1993), and keeps for each order a `Zone` in place of instants.

**Why it is exact.** A history is right if its admissions and denials, and some of the calls whose outcome is
unknown, can be put into an order with instants in ``[call, end]`` that do not decrease, such that the limiter
admits and denies as recorded. The search goes through all orders but for those that four rules leave out.
None of the rules loses a legal order.

- *Order within a kind of call.* Of two admissions that are both still to come, let the first have been called
  no later than
  the second and have ended no later. Swapping their instants in a legal order leaves both inside their
  intervals, so the first may go first. The same holds for two denials. Of the calls with an unknown outcome,
  which have no end, the one that was called earliest goes first.
- *A denial that changes nothing goes at once.* If taking one now leaves the counts and a zone that
  covers the
  zone before it, whatever could follow can still follow.
- *Dead ends.* If the earliest possible instant lies after the end of a call that is still to come, nothing
  follows.
- *Seen before.* If the same calls are done with the same counts, and an earlier zone covers this zone, the
  search fails here too, because it failed there.

A call of unknown outcome may be left out. It ends with the last known end: what comes later explains nothing.

    A fixed window from the first hit, L = 1, W = 10. Admissions [0, 20] and [1, 2]: the second opens a window
    at 1, and the first opens one at 11. Right. With a denial [15, 16]: it lies in the window that opened at
    11. Right. With a denial [30, 31] in its place: no window can be open then. Wrong.

**Bounded.** Every transition that is tried is one step; a search that has taken more steps than `Work` allows
is given up, and what it was asked stays unknown.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple, Protocol

from kernel_lab.judge.limits.zone import Zone
from kernel_lab.judge.operation import FOREVER

Span = tuple[int, int]
"""The time of a call, and the latest instant at which it can have taken effect."""


class GivenUp(Exception):  # noqa: N818 - it names what happened
    """The search took too many steps: the answer is unknown."""


class State(NamedTuple):
    """The possible knowledge of a limiter after some calls: its counts, and the instants they can have been made at."""

    counts: tuple[Any, ...]
    zone: Zone


class Limiter(Protocol):
    """A kind of limit, with its numbers."""

    @property
    def fewer_is_easier(self) -> bool:
        """Whether leaving out an admission never makes another admission wrong."""
        ...

    @property
    def denials_count(self) -> bool:
        """Whether a denial can change what later calls meet: it keeps windows going, for instance."""
        ...

    def start(self) -> State:
        """Before the first call."""
        ...

    def admit(self, state: State, call: int, end: int) -> Iterable[State]:
        """Every state after an admission at an instant of ``[call, end]``."""
        ...

    def deny(self, state: State, call: int, end: int) -> Iterable[State]:
        """Every state after a denial at an instant of ``[call, end]``."""
        ...

    def within_any(self) -> int:
        """The most admissions that may lie within less than one window's length."""
        ...

    def promise(self, lasting: str) -> str:
        """Return the promise in words that follow "where". `lasting` is the window's length in words."""
        ...


class Work:
    """The number of steps that may still be taken."""

    def __init__(self, steps: int) -> None:
        self.allowed = self.left = steps

    def take(self, steps: int) -> None:
        """Take `steps` steps.

        Raises:
            GivenUp: There are no more steps.
        """
        self.left -= steps
        if self.left < 0:
            raise GivenUp(f"the search was given up after {self.allowed:,} steps")


class _Done(NamedTuple):
    """The calls of one kind that are done: all before `before`, and those of the bits of `beyond` after it."""

    before: int = 0
    beyond: int = 0

    def plus(self, index: int) -> _Done:
        before, beyond = self.before, self.beyond | 1 << (index - self.before)
        while beyond & 1:
            before, beyond = before + 1, beyond >> 1
        return _Done(before, beyond)


class _Calls:
    """Calls of one kind, in the order in which they were made."""

    def __init__(self, spans: Sequence[Span]) -> None:
        self.spans = sorted(spans)
        self.next_end = [FOREVER] * (len(self.spans) + 1)
        for at in range(len(self.spans) - 1, -1, -1):
            self.next_end[at] = min(self.next_end[at + 1], self.spans[at][1])

    def all_done(self, done: _Done) -> bool:
        return done.before == len(self.spans)

    def deadline(self, done: _Done) -> int:
        """The earliest end of those still to come."""
        at, beyond = done
        end = FOREVER
        while beyond:
            if not beyond & 1:
                end = min(end, self.spans[at][1])
            at, beyond = at + 1, beyond >> 1
        return min(end, self.next_end[at])

    def coming(self, done: _Done, deadline: int) -> list[int]:
        """The calls that may be next, the earliest end first.

        A call is left out if another call was made earlier and ended no later.
        """
        at, beyond = done
        end = FOREVER
        found = []
        while at < len(self.spans) and self.spans[at][0] <= deadline:
            if not beyond & 1 and self.spans[at][1] < end:
                end = self.spans[at][1]
                found.append(at)
            at, beyond = at + 1, beyond >> 1
        return found[::-1]


class _Node(NamedTuple):
    admitted: _Done
    denied: _Done
    maybe: int
    """The number of calls of unknown outcome that were admitted."""
    state: State


def explains(
    limiter: Limiter,
    work: Work,
    *,
    admitted: Sequence[Span],
    denied: Sequence[Span] = (),
    maybe: Sequence[int] = (),
) -> bool:
    """Whether a right limiter can have admitted and denied exactly these.

    Args:
        limiter: The kind of limit.
        work: The steps that the search may take.
        admitted: Calls that were admitted.
        denied: Calls that were denied.
        maybe: The times of calls that may have been admitted or not.

    Raises:
        GivenUp: It was not decided within `work`.
    """
    grants, refusals = _Calls(admitted), _Calls(denied)
    latest = max((end for _, end in (*admitted, *denied)), default=0)
    unknown = sorted(call for call in maybe if call <= latest)
    seen: dict[tuple[Any, ...], list[Zone]] = {}
    stack = [_Node(_Done(), _Done(), 0, limiter.start())]
    while stack:
        node = stack.pop()
        if grants.all_done(node.admitted) and refusals.all_done(node.denied):
            return True
        deadline = min(grants.deadline(node.admitted), refusals.deadline(node.denied))
        if node.state.zone.earliest > deadline or not _new(node, seen):
            work.take(1)
            continue
        following: list[_Node] = []
        forced = None
        for index in refusals.coming(node.denied, deadline):
            done = node.denied.plus(index)
            for state in _stepped(work, limiter.deny(node.state, *refusals.spans[index])):
                following.append(_Node(node.admitted, done, node.maybe, state))
                if (
                    not limiter.denials_count
                    and state.counts == node.state.counts
                    and state.zone.covers(node.state.zone)
                ):
                    forced = following[-1]
        if forced is not None:
            stack.append(forced)
            continue
        for index in grants.coming(node.admitted, deadline):
            done = node.admitted.plus(index)
            following += [
                _Node(done, node.denied, node.maybe, state)
                for state in _stepped(work, limiter.admit(node.state, *grants.spans[index]))
            ]
        if node.maybe < len(unknown) and unknown[node.maybe] <= deadline:
            asked = [limiter.admit(node.state, unknown[node.maybe], latest)]
            if limiter.denials_count:
                asked.append(limiter.deny(node.state, unknown[node.maybe], latest))
            following += [
                _Node(node.admitted, node.denied, node.maybe + 1, state)
                for states in asked
                for state in _stepped(work, states)
            ]
        stack += reversed(following)
    return False


def _stepped(work: Work, states: Iterable[State]) -> Iterator[State]:
    """Yield the same states, and take one step for each, also for a state that leads nowhere."""
    work.take(1)
    for state in states:
        work.take(1)
        yield state


def _new(node: _Node, seen: dict[tuple[Any, ...], list[Zone]]) -> bool:
    """Whether no state that was seen before covers this state."""
    zones = seen.setdefault((node.admitted, node.denied, node.maybe, node.state.counts), [])
    zone = node.state.zone
    if any(earlier.covers(zone) for earlier in zones):
        return False
    zones[:] = [earlier for earlier in zones if not zone.covers(earlier)]
    zones.append(zone)
    return True
