"""The security contract of the package under test, as properties that a machine can try.

Each property is a sentence of the contract and a search for a counter-example. The search is generic: every
interleaving of two operations of two instances, a busy store, every field of a value changed, sizes doubled. A
property that holds is not proven by this; one that fails comes with the smallest counter-example that was met.
`kernel_lab.upstream.advisories` runs the properties against the installed version and keeps the result private.

The module is also a script. It needs the standard library and the package under test.
"""

# ruff: noqa: BLE001, SLF001 - what the subject raises is the finding; its connections are what is scheduled

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import logging
import sqlite3
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

try:
    from kernel_lab.upstream.searches import at_every_line, at_every_statement, grows_faster_than_its_size
except ImportError:  # in a bundle, the searches lie beside this file
    from searches import (  # type: ignore[import-not-found, no-redef]
        at_every_line,
        at_every_statement,
        grows_faster_than_its_size,
    )

SECRET = "of-the-contract"  # noqa: S105 - of this script alone
LATER = datetime.now(tz=timezone.utc) + timedelta(hours=1)  # noqa: UP017 - runs where upstream runs


@dataclass(frozen=True)
class Property:
    """One sentence of the contract."""

    name: str
    statement: str
    boundary: str
    """What a violation crosses: principal, capability, constraint, output, audit or deployment consistency."""
    mode: str
    """The deployment in which it is tried."""
    search: Callable[[], str | None]
    """The smallest counter-example that was met, or None."""


# -- The subject -------------------------------------------------------------------------------------------------


def _package() -> Any:
    import weaver_kernel  # noqa: PLC0415 - the instrument loads without it

    return weaver_kernel


@contextlib.contextmanager
def _two(store: Any, **options: Any) -> Iterator[list[Any]]:
    with tempfile.TemporaryDirectory() as folder:
        opened = [store(Path(folder, "state.db"), **options) for _ in range(2)]
        for one in opened:
            one._conn.execute("PRAGMA busy_timeout = 50")
        try:
            yield opened
        finally:
            for one in opened:
                with contextlib.suppress(sqlite3.Error):
                    one.close()


def principal_revocation_is_complete(store: Any = None) -> str | None:
    """Tokens of one principal, revoked while another process works for the same principal."""
    from weaver_kernel.stores import SQLiteRevocationStore  # noqa: PLC0415

    kind = store or SQLiteRevocationStore
    with _two(kind) as (one, other):
        names = itertools.count()
        issued: list[str] = []

        def work() -> None:
            token = f"t{next(names)}"
            other.track("alice", token, LATER)
            issued.append(token)

        def start() -> None:
            one.track("alice", f"own{next(names)}", LATER)
            one.revoke_principal("alice")

        for where in at_every_statement(one._conn, start, work):
            one.revoke_principal("alice")
            alive = [token for token in issued if not other.is_revoked(token)]
            if alive:
                return f"issued {where} of revoke_principal: not revoked by it, nor by a second call"
            issued.clear()
    return None


def a_failed_change_has_no_effect(store: Any = None) -> str | None:
    """A change that raises because the store is busy has no effect, in either process and after the first ends."""
    from weaver_kernel.stores import SQLiteRevocationStore  # noqa: PLC0415

    kind = store or SQLiteRevocationStore
    with _two(kind) as (one, other):
        one.track("alice", "t1", LATER)
        path = one._conn.execute("PRAGMA database_list").fetchone()[2]
        reader = sqlite3.connect(path, isolation_level=None)
        reader.execute("BEGIN")
        reader.execute("SELECT name FROM sqlite_master").fetchall()
        try:
            one.revoke("t1")
        except Exception as error:
            raised = type(error).__name__
        else:
            reader.close()
            return None
        reader.execute("COMMIT")
        reader.close()
        told = [_asked(one, "t1"), _asked(other, "t1")]
        one.close()
        told.append(_asked(other, "t1"))
        if set(told) != {"accepted"}:
            return (
                f"revoke raised {raised} while another connection read; afterwards the process that failed says"
                f" {told[0]}, the other says {told[1]}, and once the first has ended the other says {told[2]}"
            )
    return None


def _asked(store: Any, token: str) -> str:
    try:
        return "revoked" if store.is_revoked(token) else "accepted"
    except Exception as error:
        return type(error).__name__


def an_executed_action_is_recorded(store: Any = None) -> str | None:
    """Every action whose driver executed, while another process records into the same store."""
    from weaver_kernel.stores import SQLiteTraceStore  # noqa: PLC0415

    with _two(store or SQLiteTraceStore, secret=SECRET) as (one, other):
        executed: tuple[list[str], list[str]] = ([], [])
        kernels = [_kernel(executed[n], trace_store=each) for n, each in enumerate((one, other))]
        tokens = [_grant(kernel) for kernel in kernels]
        raised: list[str] = []

        def invoke(index: int) -> None:
            try:
                asyncio.run(kernels[index].invoke(tokens[index], principal=_alice(), args={}))
            except sqlite3.OperationalError:
                executed[index].clear()  # kept out by a lock that our schedule holds
                if index == 0:
                    raise
            except Exception as error:
                raised.append(type(error).__name__)

        def other_process() -> None:
            thread = threading.Thread(target=invoke, args=(1,))  # a loop of its own
            thread.start()
            thread.join()

        for where in at_every_statement(one._conn, lambda: invoke(0), other_process):
            kept = {trace.action_id for trace in other.list_all()}
            carried_out = [*executed[0], *executed[1]]
            lost = [action for action in carried_out if action not in kept]
            if lost:
                chain = other.verify_chain().ok
                return (
                    f"{len(lost)} of {len(carried_out)} executed actions has no record when the other process records"
                    f" {where}; the caller got {raised[-1:] or 'no error'}; the chain verifies: {chain}"
                )
    return None


def concurrent_attempts_keep_the_limit(limiter: Any = None) -> str | None:
    """Attempts of several threads on one limiter, as its two calls are made."""
    from weaver_kernel.rate_limit import RateLimiter  # noqa: PLC0415

    kind = limiter or RateLimiter
    limit = 2
    for method in (kind.check, kind.record):
        made: list[Any] = []
        admitted = [0]

        def attempt(made: list[Any] = made, admitted: list[int] = admitted) -> None:
            if made[0].check("one window", limit, 60.0):
                admitted[0] += 1
                made[0].record("one window")

        def first(made: list[Any] = made, admitted: list[int] = admitted, attempt: Any = attempt) -> None:
            made[:] = [kind(clock=lambda: 0.0)]
            admitted[0] = 0
            attempt()

        for where in at_every_line(method, first, attempt):
            for _ in range(2 * limit):
                with contextlib.suppress(Exception):
                    attempt()
            if admitted[0] > limit + 1 or "raised" in where:
                return f"another thread's attempt {where}: {admitted[0]} admitted of a limit of {limit}"
            if admitted[0] > limit and _sequential_excess(kind, limit):
                return f"another thread's attempt {where}: {admitted[0]} admitted of a limit of {limit}"
    return None


def _sequential_excess(kind: Any, limit: int) -> bool:
    """Whether attempts that end before the next one starts keep the limit. An excess is measured against this."""
    made = kind(clock=lambda: 0.0)
    admitted = 0
    for _ in range(3 * limit):
        if made.check("one window", limit, 60.0):
            admitted += 1
            made.record("one window")
    return admitted == limit


def pairs_do_not_share_a_window(engine: Any = None) -> str | None:
    """Two different pairs of principal and capability, under a limit of one grant."""
    wk = _package()
    from weaver_kernel.models import CapabilityRequest  # noqa: PLC0415

    names = ["a", "b", *("".join(parts) for parts in itertools.product("ab", "-_/|.:", "ab"))]

    def capability(name: str) -> Any:
        return wk.Capability(
            capability_id=name, name=name, description=name, safety_class=wk.SafetyClass.READ
        )

    pairs = list(itertools.product(names, names))
    joined: dict[str, list[tuple[str, str]]] = {}
    for separator in ":|/.-_":
        for pair in pairs:
            joined.setdefault(separator + separator.join(pair), []).append(pair)
    for first, second in (group[:2] for group in joined.values() if len(group) > 1):
        made = (engine or wk.DefaultPolicyEngine)(
            rate_limits={wk.SafetyClass.READ: (1, 60.0)}, clock=lambda: 0.0
        )
        for principal, name in (first, second):
            request = CapabilityRequest(capability_id=name, goal="g")
            try:
                made.evaluate(
                    request, capability(name), wk.Principal(principal_id=principal), justification=""
                )
            except wk.PolicyDenied:
                return f"after a grant to {first}, the first grant to {second} is denied"
    return None


def an_expansion_answers_what_was_stored() -> str | None:
    """A handle with one field or all fields changed, presented by another principal or by its own."""
    wk = _package()
    rows = [{"id": n, "secret": n} for n in range(80)]
    kernel = _kernel([], rows=rows, allowed=["id"])
    handle = asyncio.run(kernel.invoke(_grant(kernel), principal=_alice(), args={})).handle
    assert handle is not None  # noqa: S101 - a summary has one
    mallory = wk.Principal(principal_id="mallory")
    other = {"principal_id": "mallory", "constraints": {}, "capability_id": "another", "total_rows": 1}
    names = [field.name for field in fields(handle) if field.name in other]
    for size in range(1, len(names) + 1):
        for chosen in itertools.combinations(names, size):
            changed = replace(handle, **{name: other[name] for name in chosen})
            for who in (_alice(), mallory):
                try:
                    frame = kernel.expand(changed, query={"limit": 80}, principal=who)
                except wk.AgentKernelError:
                    continue
                got = frame.table_preview
                if who is mallory or len(got) > 50 or any("secret" in row for row in got):
                    return (
                        f"with {', '.join(chosen)} changed in the presented handle, {who.principal_id} is served"
                        f" {len(got)} rows with {', '.join(sorted(got[0]))}"
                    )
    return None


def an_invocation_takes_time_in_proportion() -> str | None:
    """The time of one invocation against the size of one argument."""
    kernel = _kernel([])
    token = _grant(kernel)

    def invoke(text: str) -> None:
        asyncio.run(kernel.invoke(token, principal=_alice(), args={"note": text}))

    return grows_faster_than_its_size(invoke, ("x", "1", " ", "a.", "://", "eyJ", "1-"), 2_000)


def a_changed_token_never_verifies() -> str | None:
    """A token with any one field changed."""
    wk = _package()
    tokens = wk.HMACTokenProvider(SECRET)
    token = tokens.issue("tickets.list", "alice", constraints={"max_rows": 5})
    other = {
        "token_id": "t", "capability_id": "another", "principal_id": "mallory", "constraints": {},
        "issued_at": LATER, "expires_at": LATER + timedelta(days=1), "audit_id": "a", "signature": "0" * 64,
    }  # fmt: skip
    for name, value in other.items():
        changed = replace(token, **{name: value})
        try:
            tokens.verify(
                changed,
                expected_principal_id=changed.principal_id,
                expected_capability_id=changed.capability_id,
            )
        except wk.AgentKernelError:
            continue
        return f"with {name} changed it verifies"
    return None


def a_revoked_token_is_refused_by_its_own_store() -> str | None:
    """Revoked by its id and with its principal, in memory and in a file that is opened again."""
    from weaver_kernel.stores import InMemoryRevocationStore, SQLiteRevocationStore  # noqa: PLC0415

    memory = InMemoryRevocationStore()
    with _two(SQLiteRevocationStore) as (one, other):
        for store, asked in ((memory, memory), (one, other)):
            store.track("alice", "t1", LATER)
            store.track("alice", "t2", LATER)
            store.revoke("t1")
            store.revoke_principal("alice")
            if not (asked.is_revoked("t1") and asked.is_revoked("t2")):
                return f"{type(store).__name__} accepts a token it revoked"
    return None


def a_changed_record_breaks_the_chain() -> str | None:
    """A stored audit record with a changed payload."""
    from weaver_kernel.stores import SQLiteTraceStore  # noqa: PLC0415

    with _two(SQLiteTraceStore, secret=SECRET) as (one, other):
        kernel = _kernel([], trace_store=one)
        for _ in range(3):
            asyncio.run(kernel.invoke(_grant(kernel), principal=_alice(), args={}))
        other._conn.execute("UPDATE traces SET payload = replace(payload, 'alice', 'bob') WHERE seq = 1")
        other._conn.commit()
        return "a changed principal is not noticed" if one.verify_chain().ok else None


def a_budget_refuses_once_it_is_spent() -> str | None:
    """An invoke with nothing left."""
    wk = _package()
    budget = wk.BudgetManager(100)
    executed: list[str] = []
    kernel = _kernel(executed, budget_manager=budget)
    token = _grant(kernel)
    asyncio.run(budget.record_usage(100))
    with contextlib.suppress(wk.BudgetExhausted):
        asyncio.run(kernel.invoke(token, principal=_alice(), args={}))
    return "the driver executed" if executed else None


def _alice() -> Any:
    return _package().Principal(principal_id="alice", attributes={"tenant": "acme"})


def _kernel(
    executed: list[str], *, rows: Any = ({"id": 1},), allowed: Sequence[str] = (), **stores: Any
) -> Any:
    wk = _package()
    registry = wk.CapabilityRegistry()
    registry.register(
        wk.Capability(
            capability_id="tickets.list",
            name="List",
            description="List tickets",
            safety_class=wk.SafetyClass.READ,
            sensitivity=wk.SensitivityTag.PII if allowed else wk.SensitivityTag.NONE,
            allowed_fields=list(allowed),
        )
    )

    def answer(context: Any) -> Any:
        executed.append(context.action_id)
        return list(rows)

    driver = wk.InMemoryDriver()
    driver.register_handler("tickets.list", answer)
    policy = wk.DefaultPolicyEngine(rate_limits={wk.SafetyClass.READ: (10_000, 60.0)})
    kernel = wk.Kernel(registry, policy=policy, token_provider=wk.HMACTokenProvider(SECRET), **stores)
    kernel.register_driver(driver)
    return kernel


def _grant(kernel: Any) -> Any:
    from weaver_kernel.models import CapabilityRequest  # noqa: PLC0415

    request = CapabilityRequest(capability_id="tickets.list", goal="list tickets")
    return kernel.get_token(request, _alice(), justification="")


EMBEDDED, FILE, THREADS = (
    "embedded, one process",
    "several processes, one SQLite file",
    "embedded, several threads",
)
CONTRACT = (
    Property("token", "A token of which any field is changed does not verify.", "principal, capability, constraint",
             EMBEDDED, a_changed_token_never_verifies),
    Property("revocation", "A revoked token is refused by every instance over the store that revoked it.",
             "deployment consistency", FILE, a_revoked_token_is_refused_by_its_own_store),
    Property("principal", "revoke_principal covers every token tracked before it; a later call covers the rest.",
             "deployment consistency", FILE, principal_revocation_is_complete),
    Property("failure", "A change that raises has no effect in any process.", "deployment consistency", FILE,
             a_failed_change_has_no_effect),
    Property("audit", "Every action whose driver executed has a record.", "audit", FILE,
             an_executed_action_is_recorded),
    Property("chain", "A changed record breaks the chain.", "audit", FILE, a_changed_record_breaks_the_chain),
    Property("limit", "Of any number of concurrent attempts at most the limit is admitted.", "capability", THREADS,
             concurrent_attempts_keep_the_limit),
    Property("window", "Different pairs of principal and capability have different windows.", "principal", EMBEDDED,
             pairs_do_not_share_a_window),
    Property("expansion", "An expansion serves what was stored to whom it was stored for.",
             "principal, constraint, output", EMBEDDED, an_expansion_answers_what_was_stored),
    Property("time", "An invocation takes time in proportion to the size of its arguments.", "deployment consistency",
             EMBEDDED, an_invocation_takes_time_in_proportion),
    Property("budget", "An exhausted budget refuses an invoke before its driver executes.", "output", EMBEDDED,
             a_budget_refuses_once_it_is_spent),
)  # fmt: skip


def main() -> int:
    """Try every property, or those that are named; print the counter-examples as JSON."""
    logging.disable(logging.CRITICAL)
    named = sys.argv[1:]
    found = {one.name: one.search() for one in CONTRACT if not named or one.name in named}
    json.dump(found, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
