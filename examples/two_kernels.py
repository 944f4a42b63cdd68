"""The smallest reproduction: two kernels that share a secret and nothing else.

    python -m examples.two_kernels

Four questions are asked of two workers, A and B, first as two objects in one process, then as two processes:
does a token of A verify in B, does A's revocation reach B, how many grants does one limit allow in all, and
can B expand a handle of A. Only ``weaver-kernel`` and the standard library take part: no server, no store.

Exit code: 0 when all is observed as expected, 1 when something is not, 64 for bad input.
"""

from __future__ import annotations

import argparse
import asyncio
import csv
import logging
import multiprocessing
import sqlite3
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import astuple, dataclass, fields
from multiprocessing.managers import BaseManager
from pathlib import Path
from typing import Any, NoReturn, cast

from weaver_kernel import (
    AgentKernelError,
    Capability,
    CapabilityRegistry,
    CapabilityToken,
    DefaultPolicyEngine,
    Handle,
    HMACTokenProvider,
    InMemoryDriver,
    InMemoryRevocationStore,
    Kernel,
    Principal,
    SafetyClass,
)
from weaver_kernel.models import CapabilityRequest
from weaver_kernel.stores import SQLiteRevocationStore

CAPABILITY = "tickets.list"
LIMIT = 5
WINDOW_S = 60.0
ALICE = Principal(principal_id="alice")
SECRET = "two-kernels-one-secret"  # noqa: S105 - it guards nothing

BAD_INPUT = 64


class Worker:
    """One kernel with state of its own, as every worker process has it.

    A refused call answers with the name of upstream's error, any other with ``ok``.

    Args:
        secret: Signs and verifies the tokens.
        revocations: A SQLite file for the revoked tokens; empty: upstream's default, this object's memory.
    """

    def __init__(self, secret: str, revocations: str = "") -> None:
        self._revocations = SQLiteRevocationStore(revocations) if revocations else InMemoryRevocationStore()
        self._tokens = HMACTokenProvider(secret, revocation_store=self._revocations)
        registry = CapabilityRegistry()
        registry.register(
            Capability(
                capability_id=CAPABILITY,
                name="List tickets",
                description="List the open tickets",
                safety_class=SafetyClass.READ,
            )
        )
        driver = InMemoryDriver()
        driver.register_handler(CAPABILITY, lambda _: [{"id": n} for n in range(3)])
        self._kernel = Kernel(
            registry,
            # the clock stands still: every grant falls into one window
            policy=DefaultPolicyEngine(rate_limits={SafetyClass.READ: (LIMIT, WINDOW_S)}, clock=lambda: 0.0),
            token_provider=self._tokens,
        )
        self._kernel.register_driver(driver)

    def grant(self) -> tuple[str, dict[str, Any]]:
        """Mint a token for alice: the outcome, and the token as it travels (empty when refused)."""
        request = CapabilityRequest(capability_id=CAPABILITY, goal="list tickets")
        try:
            return "ok", self._kernel.get_token(request, ALICE, justification="").to_dict()
        except AgentKernelError as refusal:
            return type(refusal).__name__, {}

    def invoke(self, token: dict[str, Any]) -> tuple[str, Handle | None]:
        """Present a token: the outcome, and the handle of the stored result."""
        call = self._kernel.invoke(CapabilityToken.from_dict(token), principal=ALICE, args={})
        try:
            return "ok", asyncio.run(call).handle
        except AgentKernelError as refusal:
            return type(refusal).__name__, None

    def revoke(self, token: dict[str, Any]) -> None:
        """Revoke one token."""
        self._tokens.revoke(token["token_id"])

    def expand(self, handle: Handle | None) -> str:
        """Expand a handle as alice."""
        if handle is None:
            return "no handle"
        try:
            self._kernel.expand(handle, query={}, principal=ALICE)
        except AgentKernelError as refusal:
            return type(refusal).__name__
        return "ok"

    def close(self) -> None:
        """Close the file, if there is one."""
        if isinstance(self._revocations, SQLiteRevocationStore):
            self._revocations.close()


def token_verifies(a: Worker, b: Worker) -> tuple[str, str]:
    """A mints a token, and the token is presented to B."""
    _, token = a.grant()
    at_b, _ = b.invoke(token)
    return {"ok": "yes", "TokenInvalid": "no"}.get(at_b, at_b), f"B: {at_b}"


def revocation_propagates(a: Worker, b: Worker) -> tuple[str, str]:
    """A mints and revokes a token, and the token is presented to both workers."""
    _, token = a.grant()
    a.revoke(token)
    (at_a, _), (at_b, _) = a.invoke(token), b.invoke(token)
    answer = {"TokenRevoked": "yes", "ok": "no"}.get(at_b, at_b)
    return answer if at_a == "TokenRevoked" else "not even A does", f"A: {at_a}, B: {at_b}"


def grants_in_all(a: Worker, b: Worker) -> tuple[str, str]:
    """Each worker is asked for one grant more than the limit."""
    at_a, at_b = ([worker.grant()[0] for _ in range(LIMIT + 1)].count("ok") for worker in (a, b))
    return str(at_a + at_b), f"A: {at_a}, B: {at_b}"


def handle_expands(a: Worker, b: Worker) -> tuple[str, str]:
    """A stores a result; both are asked to expand its handle."""
    _, token = a.grant()
    _, handle = a.invoke(token)
    at_a, at_b = a.expand(handle), b.expand(handle)
    answer = {"ok": "yes", "HandleNotFound": "no"}.get(at_b, at_b)
    return answer if at_a == "ok" else "not even A can", f"A: {at_a}, B: {at_b}"


Ask = Callable[[Worker, Worker], tuple[str, str]]
"""Two workers that have seen nothing yet -> what was observed, and what A and B answered."""

STEPS: dict[str, tuple[str, str, Ask]] = {
    "a": ("does a token that A minted verify in B?", "yes", token_verifies),
    "b": ("does B refuse a token that A revoked?", "no", revocation_propagates),
    "c": (f"limit {LIMIT} in {WINDOW_S:.0f} s: how many grants in all?", str(2 * LIMIT), grants_in_all),
    "d": ("can B expand a handle that A stored?", "no", handle_expands),
}


class _Home(BaseManager):
    """A process of its own for one worker; the worker is called through a proxy."""


_Home.register("worker", Worker)

NewWorker = Callable[[str, str], Worker]
"""The arguments of `Worker` -> a worker that has seen nothing yet."""


@contextmanager
def one_process() -> Iterator[tuple[NewWorker, NewWorker]]:
    """A and B side by side in this process."""
    yield Worker, Worker


@contextmanager
def two_processes() -> Iterator[tuple[NewWorker, NewWorker]]:
    """A and B in a new process each (spawned: nothing is inherited)."""
    a, b = (_Home(ctx=multiprocessing.get_context("spawn")) for _ in "AB")
    with ExitStack() as running:
        for home in (a, b):
            home.start(initializer=_hush)
            running.callback(home.shutdown)
        yield cast("Any", a).worker, cast("Any", b).worker


SETTINGS = {"one process": one_process, "two processes": two_processes}


@dataclass(frozen=True, kw_only=True, slots=True)
class Answer:
    """One row of ``repro.csv``."""

    setting: str
    step: str
    question: str
    expected: str
    observed: str
    detail: str
    """What A and B answered, in upstream's names."""


def reproduce(setting: str, *, secret_b: str = SECRET, revocations: str = "") -> list[Answer]:
    """Every step in one setting.

    Args:
        setting: A key of `SETTINGS`.
        secret_b: B's secret; A's is `SECRET`.
        revocations: A SQLite file both workers keep revoked tokens in; empty: each its own memory.
    """
    answers = []
    with SETTINGS[setting]() as (new_a, new_b):
        for step, (question, expected, ask) in STEPS.items():
            with closing(new_a(SECRET, revocations)) as a, closing(new_b(secret_b, revocations)) as b:
                observed, detail = ask(a, b)
            answers.append(
                Answer(
                    setting=setting,
                    step=step,
                    question=question,
                    expected=expected,
                    observed=observed,
                    detail=detail,
                )
            )
    return answers


def write_csv(path: Path, answers: Sequence[Answer]) -> None:
    """Write `answers` as a CSV file, and make its folder where it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(column.name for column in fields(Answer))
        writer.writerows(astuple(answer) for answer in answers)


def show(answers: Sequence[Answer]) -> None:
    """Print one row for each question and one column for each setting, with rich if it is installed."""
    by_step = {(answer.setting, answer.step): answer for answer in answers}
    header = ["", "two kernels, one secret", "expected", *SETTINGS]
    rows = [
        [f"({step})", question, expected]
        + [f"{by_step[setting, step].observed} ({by_step[setting, step].detail})" for setting in SETTINGS]
        for step, (question, expected, _) in STEPS.items()
    ]
    try:
        from rich.console import Console  # noqa: PLC0415 - an extra: the reproduction runs without it
        from rich.table import Table  # noqa: PLC0415
    except ImportError:
        widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
        for row in (header, *rows):
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        return
    table = Table(*header, show_lines=True)
    for row in rows:
        table.add_row(*row)
    Console().print(table)


def _hush() -> None:
    """Upstream logs every refusal as a warning; here refusals are the answers."""
    logging.getLogger("weaver_kernel").addHandler(logging.NullHandler())


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        print(f"{self.prog}: {message}", file=sys.stderr)
        raise SystemExit(BAD_INPUT)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line and return the exit code."""
    parser = _Parser(
        prog="python -m examples.two_kernels",
        description="Two kernels that share a secret and nothing else: does one kernel learn what the other knows?",
    )
    parser.add_argument(
        "--out", type=Path, default=Path("results/repro.csv"), help="where the CSV goes (%(default)s)"
    )
    parser.add_argument(
        "--revocations",
        default="",
        metavar="FILE",
        help="a SQLite file for both workers' revocations: (b) then propagates, and the exit code is 1",
    )
    options = parser.parse_args(arguments)
    _hush()
    try:
        answers = [
            answer for setting in SETTINGS for answer in reproduce(setting, revocations=options.revocations)
        ]
    except sqlite3.Error as error:
        parser.error(f"--revocations {options.revocations}: {error}; name a new file in a folder that exists")
    show(answers)
    try:
        write_csv(options.out, answers)
    except OSError as error:
        parser.error(f"--out {options.out}: {error.strerror}; name a file that can be written")
    unexpected = [answer for answer in answers if answer.observed != answer.expected]
    for answer in unexpected:
        print(f"({answer.step}) in {answer.setting}: expected {answer.expected}, observed {answer.observed}")
    print(f"{len(answers) - len(unexpected)} of {len(answers)} as expected; written to {options.out}")
    return 1 if unexpected else 0


if __name__ == "__main__":
    sys.exit(main())
