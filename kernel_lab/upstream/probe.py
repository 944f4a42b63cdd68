"""Report the behaviour of one installed version of the package under test.

Two Kernels that share a secret stand for two workers. The script needs the standard library and the package,
under whichever of its two names that version has. It prints one JSON object: claim → what was seen.
"""

# ruff: noqa: D102, D103, UP017 - a claim's words stand in CLAIMS; it runs where upstream runs

from __future__ import annotations

import asyncio
import contextlib
import importlib
import importlib.util
import json
import logging
import sys
import tempfile
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

SECRET = "shared-by-every-worker"  # noqa: S105 - of this script alone
LIMIT = 3
ABSENT = "absent"


class Absent(Exception):  # noqa: N818 - it names a thing
    """This version does not have what a claim is about; the message says what is missing."""


def package(name: str = "") -> Any:
    """A module of the package, under the name that this version has."""
    for root in ("weaver_kernel", "agent_kernel"):
        if importlib.util.find_spec(root) is not None:
            try:
                return importlib.import_module(f"{root}.{name}" if name else root)
            except ModuleNotFoundError as error:
                raise Absent(f"no module {name}") from error
    raise SystemExit("neither weaver_kernel nor agent_kernel is installed")


def get(module: Any, name: str) -> Any:
    """An attribute, which an older version may lack."""
    if not hasattr(module, name):
        raise Absent(f"no {name}")
    return getattr(module, name)


wk = package()
ALICE = wk.Principal(principal_id="alice", roles=["reader"])
MALLORY = wk.Principal(principal_id="mallory", roles=["reader"])


class Worker:
    """One Kernel with its default stores, but for those that are given."""

    def __init__(self, *, provider: dict[str, Any] | None = None, **stores: Any) -> None:
        self.tokens = wk.HMACTokenProvider(SECRET, **(provider or {}))
        registry = wk.CapabilityRegistry()
        registry.register(
            wk.Capability(
                capability_id="tickets.list",
                name="List",
                description="List tickets",
                safety_class=wk.SafetyClass.READ,
            )
        )
        driver = wk.InMemoryDriver()
        driver.register_handler("tickets.list", lambda _: [{"id": n} for n in range(3)])
        policy = wk.DefaultPolicyEngine(rate_limits={wk.SafetyClass.READ: (LIMIT, 60.0)}, clock=lambda: 100.0)
        self.kernel = wk.Kernel(registry, policy=policy, token_provider=self.tokens, **stores)
        self.kernel.register_driver(driver)

    def grant(self, principal: Any = ALICE) -> Any:
        request = package("models").CapabilityRequest(capability_id="tickets.list", goal="list tickets")
        return self.kernel.get_token(request, principal, justification="")

    def invoke(self, token: Any, **how: Any) -> Any:
        return asyncio.run(self.kernel.invoke(token, principal=ALICE, args={}, **how))

    def accepts(self, token: Any) -> bool:
        try:
            self.tokens.verify(token, expected_principal_id="alice", expected_capability_id="tickets.list")
        except wk.AgentKernelError:
            return False
        return True


def token_verifies_elsewhere() -> str:
    return yes(Worker().accepts(Worker().grant()))


def revocation_elsewhere() -> str:
    a, b = Worker(), Worker()
    token = a.grant()
    a.tokens.revoke(token.token_id)
    return "refused" if not b.accepts(token) else "accepted"


def revocation_after_restart() -> str:
    a = Worker()
    token = a.grant()
    a.tokens.revoke(token.token_id)
    return "refused" if not Worker().accepts(token) else "accepted"


def revocation_shipped_store() -> str:
    store = get(package("stores"), "SQLiteRevocationStore")
    with tempfile.TemporaryDirectory() as folder:
        opened = [store(Path(folder, "r.db")) for _ in range(3)]
        a, b, later = (Worker(provider={"revocation_store": one}) for one in opened)
        token, other = a.grant(), b.grant()
        a.tokens.revoke(token.token_id)
        a.tokens.revoke_all("alice")
        refused = not any(worker.accepts(one) for worker in (a, b, later) for one in (token, other))
        for one in opened:
            one.close()
    return "refused" if refused else "accepted"


def revocation_state_is_swept() -> str:
    worker = Worker()
    sweep = get(worker.tokens, "sweep_revocations")
    worker.tokens.revoke(worker.grant().token_id)
    return yes(sweep(datetime.now(tz=timezone.utc) + timedelta(days=1)) == 1)


def revoke_all_elsewhere() -> str:
    a, b = Worker(), Worker()
    mine, theirs = a.grant(), b.grant()
    a.tokens.revoke_all("alice")
    return f"{(not a.accepts(mine)) + (not a.accepts(theirs))} of 2 tokens"


def grants_admitted_by_two() -> str:
    admitted = 0
    for worker in (Worker(), Worker()):
        for _ in range(LIMIT + 1):
            with contextlib.suppress(wk.PolicyDenied):
                worker.grant()
                admitted += 1
    return f"{admitted} of a limit of {LIMIT}"


def invokes_of_one_grant() -> str:
    worker = Worker()
    token = worker.grant()
    done = 0
    for _ in range(2 * LIMIT):
        worker.invoke(token)
        done += 1
    return f"{done}, limit {LIMIT}"


def handle_elsewhere() -> str:
    a, b = Worker(), Worker()
    handle = a.invoke(a.grant()).handle
    try:
        b.kernel.expand(handle, query={}, principal=ALICE)
    except wk.HandleNotFound:
        return "not found"
    except TypeError:
        with contextlib.suppress(wk.HandleNotFound):
            b.kernel.expand(handle, query={})
            return "expanded"
        return "not found"
    return "expanded"


def handle_of_somebody_else() -> str:
    worker = Worker()
    handle = worker.invoke(worker.grant()).handle
    try:
        worker.kernel.expand(handle, query={}, principal=MALLORY)
    except TypeError as error:
        raise Absent("expand takes no principal") from error
    except wk.AgentKernelError as refusal:
        return f"refused ({type(refusal).__name__})"
    return "expanded"


def trace_elsewhere() -> str:
    a, b = Worker(), Worker()
    action = a.invoke(a.grant()).action_id
    try:
        b.kernel.explain(action)
    except wk.AgentKernelError:
        return "not explained"
    return "explained"


def trace_shipped_store() -> str:
    store = get(package("stores"), "SQLiteTraceStore")
    with tempfile.TemporaryDirectory() as folder:
        opened = [store(Path(folder, "t.db"), secret=SECRET) for _ in range(2)]
        a, b = (Worker(trace_store=one) for one in opened)
        action = a.invoke(a.grant()).action_id
        seen = b.kernel.explain(action).action_id == action and opened[1].verify_chain().ok
        for one in opened:
            one.close()
    return "explained, chain verified" if seen else "not explained"


def denial_is_traced() -> str:
    worker = Worker()
    for _ in range(LIMIT):
        worker.grant()
    with contextlib.suppress(wk.PolicyDenied):
        worker.grant()
    traces = get(worker.kernel, "list_traces")()
    return yes(any(getattr(one, "event_type", "") == "deny" for one in traces))


def refused_invoke_is_traced() -> str:
    worker = Worker()
    token = worker.grant()
    worker.tokens.revoke(token.token_id)
    with contextlib.suppress(wk.AgentKernelError):
        worker.invoke(token)
    return yes(bool(get(worker.kernel, "list_traces")()))


def budget_spent_by_two() -> str:
    manager = get(wk, "BudgetManager")

    async def spend(budget: Any) -> int:
        spent = 0
        with contextlib.suppress(wk.BudgetExhausted):
            while True:
                reserved = await budget.allocate(100)
                await budget.record_usage(reserved, reserved=reserved)
                spent += reserved
        return spent

    return f"{sum(asyncio.run(spend(manager(1_000))) for _ in 'AB'):,} of 1,000"


def invokes_with_an_exhausted_mode() -> str:
    manager = get(wk, "BudgetManager")
    budget = manager(1_000)
    worker = Worker(budget_manager=budget)
    token = worker.grant()
    asyncio.run(budget.record_usage(960))
    before = budget.used
    for _ in range(20):
        worker.invoke(token)
    return f"20 invokes cost {budget.used - before}"


def stream_is_charged() -> str:
    budget = get(wk, "BudgetManager")(1_000)
    worker = Worker(budget_manager=budget)
    token = worker.grant()
    stream = get(worker.kernel, "invoke_stream")

    async def read() -> None:
        async for _ in stream(token, principal=ALICE, args={}):
            pass

    asyncio.run(read())
    return yes(budget.used > 0)


def stats_exist() -> str:
    return f"{get(Worker().kernel, 'stats').grants} grants told by another worker"


def import_reaches() -> str:
    a, b = Worker(), Worker()
    peer = Worker()
    advertise = get(peer.kernel, "advertise")
    manifest = advertise(endpoint="https://peer.example/kernel")
    c = wk.Kernel(wk.CapabilityRegistry(), token_provider=a.tokens)
    c.import_remote(manifest, driver=wk.InMemoryDriver(driver_id="peer"))
    del b
    other = wk.Kernel(wk.CapabilityRegistry(), token_provider=a.tokens)
    return f"{len(c.list_capabilities())} here, {len(other.list_capabilities())} elsewhere"


def yes(held: bool) -> str:
    return "yes" if held else "no"


CLAIMS: dict[str, Callable[[], str]] = {
    "a token verifies in another worker": token_verifies_elsewhere,
    "a revoked token in another worker": revocation_elsewhere,
    "a revoked token after a restart": revocation_after_restart,
    "with SQLiteRevocationStore, in every worker": revocation_shipped_store,
    "revoke_all covers, of one token here and one there": revoke_all_elsewhere,
    "revocation state can be swept": revocation_state_is_swept,
    "grants that two workers admit": grants_admitted_by_two,
    "invokes of one grant": invokes_of_one_grant,
    "a handle in another worker": handle_elsewhere,
    "a handle presented by another principal": handle_of_somebody_else,
    "an action of another worker": trace_elsewhere,
    "with SQLiteTraceStore, an action of another worker": trace_shipped_store,
    "a denied grant is traced": denial_is_traced,
    "a refused invoke is traced": refused_invoke_is_traced,
    "tokens that two workers spend": budget_spent_by_two,
    "below 5 % of the budget": invokes_with_an_exhausted_mode,
    "a stream is charged to the budget": stream_is_charged,
    "Kernel.stats": stats_exist,
    "capabilities after import_remote": import_reaches,
}


def main() -> int:
    """Print the result of each claim."""
    logging.disable(logging.CRITICAL)
    seen: dict[str, str] = {}
    for name, claim in CLAIMS.items():
        try:
            seen[name] = claim()
        except Absent as missing:
            seen[name] = f"{ABSENT}: {missing}"
    json.dump(seen, sys.stdout)
    return 0


if __name__ == "__main__":
    sys.exit(main())
