"""Watch a proxy between the instrument and a lab that somebody else runs, and its effect on the calls.

A proxy may replace the principal, so that every caller is the same. An ingress may limit the rate, so that a
refusal is not the kernel's. And behind either there may be more workers than were met at first. This module
records all of that.
"""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any

from kernel_lab.judge.overlap import most_at_once

REFUSALS = 6
"""Times in a row that something in between may refuse calls for their rate, before no further call is made."""
FIRST_WAIT_S, LONGEST_WAIT_S = 0.2, 5.0
TOO_MANY = 429
MOST_WORKERS = 1024
"""Names of workers that one deployment may have; no further call is made after more."""


class InTheWay(RuntimeError):  # noqa: N818 - it names a thing
    """Something between the instrument and the lab changes or refuses calls; the message says what it did."""


@dataclass(slots=True)
class Between:
    """The observations of it, over all calls to one deployment."""

    seen: dict[str, list[int]] = field(default_factory=dict)
    """Worker → the first and the last instant at which it answered."""
    refusals: int = 0
    """Refusals for the rate since a call was last answered otherwise, pauses in between."""
    stopped: str = ""
    """The reason why no further call is made."""
    _pause_until_s: float = 0.0

    async def may_call(self) -> None:
        """Wait while calls are paused.

        Raises:
            InTheWay: The calls were refused too often.
        """
        while not self.stopped and (left := self._pause_until_s - time.monotonic()) > 0:  # noqa: ASYNC110
            await asyncio.sleep(left)
        if self.stopped:
            raise InTheWay(self.stopped)

    def met(self, worker: str | None, call_ns: int, return_ns: int) -> None:
        """A worker answered a call.

        Raises:
            InTheWay: More than `MOST_WORKERS` were named.
        """
        if worker is not None:
            span = self.seen.setdefault(worker, [call_ns, return_ns])
            span[0], span[1] = min(span[0], call_ns), max(span[1], return_ns)
            if len(self.seen) > MOST_WORKERS:
                self.stopped = (
                    f"more than {MOST_WORKERS:,} workers were named; the header that names the worker may "
                    "name the request"
                )
                raise InTheWay(self.stopped)

    def workers(self) -> int:
        """Return the least number of workers: the most that lived at one instant.

        A worker that was recycled has a new name. It is not counted twice, because the new worker first answered
        after the old one had last answered.
        """
        return most_at_once((first, last) for first, last in self.seen.values())

    def compare(self, sent: str, body: Any) -> None:
        """Compare the principal that a grant names with the principal that was sent.

        Raises:
            InTheWay: The grant names another principal.
        """
        named = body.get("principal_id") if isinstance(body, dict) else None
        if named is not None and named != sent:
            raise InTheWay(
                f"the principal {sent!r} was sent and the grant is for {str(named)[:100]!r}: a proxy in front replaces "
                "X-Principal-Id, so all callers are one; attach behind that proxy"
            )

    def answered(self, status: int, *, by_kernel: bool, retry_after: str | None) -> bool:
        """Note an answer, and return whether it was a refusal for the rate that is not the kernel's.

        After a refusal all calls pause. Refusals of calls that were under way by then are not counted again.

        Raises:
            InTheWay: There were more refusals than are allowed.
        """
        now = time.monotonic()
        if status != TOO_MANY or by_kernel:
            if now >= self._pause_until_s:
                self.refusals = 0
            return False
        if now < self._pause_until_s:
            return True
        self.refusals += 1
        if self.refusals >= REFUSALS:
            self.stopped = (
                f"something in front of the lab refused calls {REFUSALS} times in a row for their rate (HTTP "
                f"{TOO_MANY} without a reason code of the kernel): no further call was made; raise that limit or "
                "attach behind it"
            )
            raise InTheWay(self.stopped)
        self._pause_until_s = now + wait_s(self.refusals, retry_after)
        return True


def wait_s(refusals: int, retry_after: str | None) -> float:
    """Return the pause after some refusals in a row: doubled each time, or the time that the server asks for."""
    asked = (
        float(retry_after)
        if retry_after is not None and retry_after.isascii() and retry_after.isdigit()
        else 0.0
    )
    return float(min(LONGEST_WAIT_S, max(asked, FIRST_WAIT_S * 2.0 ** (refusals - 1))))
