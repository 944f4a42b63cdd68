"""A right deployment, played through: histories that no checker may accuse.

One kernel keeps all state. Several clients call it side by side; each call takes effect at one instant
between its call and its return, and the answer is what the kernel's state says at that instant. So the
history is legal by construction, whatever the sizes are: small caps, short lives, streams that their caller
closed, calls whose outcome nobody knows, workers that are recycled. Times are whole nanoseconds.

``play(seed, claim)`` returns the history and the cell.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections import defaultdict, deque
from dataclasses import dataclass, field
from typing import Any

import msgspec
from sketch import cell

from kernel_lab.judge.history import AnyOperation, Called, Outcome
from kernel_lab.judge.verdict import Beside, Cell

PRINCIPALS = ("p", "q", "r")
CAPABILITIES = ("c", "d")
LOST = 0.2
"""The share of calls whose outcome the caller never learns."""


class Refused(Exception):  # noqa: N818
    def __init__(self, code: str) -> None:
        self.code = code


@dataclass
class Kernel:
    """All state, and what the rules say."""

    limit: int
    window: int
    life: int
    handle_life: int
    handle_cap: int
    trace_cap: int
    total: int
    request: int
    now: int = 0
    windows: dict[Any, deque[int]] = field(default_factory=lambda: defaultdict(deque))
    tokens: dict[str, tuple[str, str, int]] = field(default_factory=dict)
    revoked: set[str] = field(default_factory=set)
    handles: dict[str, tuple[str, int]] = field(default_factory=dict)
    traces: dict[str, dict[str, Any]] = field(default_factory=dict)
    dropped: int = 0
    used: int = 0
    reserved: int = 0
    counts: dict[str, int] = field(
        default_factory=lambda: dict.fromkeys(("grants", "invocations", "expansions"), 0)
    )
    known: set[str] = field(default_factory=lambda: {"c", "d", "built-in"})
    numbers: Any = field(default_factory=itertools.count)

    def name(self, kind: str) -> str:
        return f"{kind}{next(self.numbers)}"

    def trace(self, action: str, **said: Any) -> None:
        self.traces[action] = said
        if len(self.traces) > self.trace_cap:
            del self.traces[next(iter(self.traces))]
            self.dropped += 1

    def grant(self, principal: str, capability: str) -> dict[str, Any]:
        if capability not in self.known:
            raise Refused("capability_not_found")
        log = self.windows[principal, capability]
        while log and log[0] <= self.now - self.window:
            log.popleft()
        if len(log) >= self.limit:
            self.trace(self.name("a"), event_type="deny", principal=principal)
            raise Refused("rate_limited")
        log.append(self.now)
        token = self.name("t")
        self.tokens[token] = principal, capability, self.now
        self.counts["grants"] += 1
        return {"token_id": token}

    def verify(self, token: str, principal: str, *, tampered: bool) -> None:
        owner, _, issued = self.tokens[token]
        if tampered:
            raise Refused("token_invalid")
        if self.now >= issued + self.life:
            raise Refused("token_expired")
        if token in self.revoked:
            raise Refused("token_revoked")
        if owner != principal:
            raise Refused("token_scope")

    def reserve(self) -> int:
        left = self.total - self.used - self.reserved
        if left <= 0:
            raise Refused("budget_exhausted")
        self.reserved += (held := min(self.request, left))
        return held

    def store(self, principal: str) -> str:
        handle = self.name("h")
        self.handles[handle] = principal, self.now
        if len(self.handles) > self.handle_cap:
            del self.handles[next(iter(self.handles))]
        return handle

    def record(self, token: str, principal: str, handle: str | None, action: str, args: Any) -> None:
        _, capability, _ = self.tokens[token]
        self.counts["invocations"] += 1
        self.trace(
            action, event_type="invoke", principal=principal, capability=capability, token_id=token,
            handle_id=handle, status="succeeded", args=args,
        )  # fmt: skip

    def expand(self, handle: str, principal: str) -> dict[str, Any]:
        if handle not in self.handles:
            raise Refused("handle_not_found")
        owner, stored = self.handles[handle]
        if self.now >= stored + self.handle_life:
            raise Refused("handle_expired")
        if owner != principal:
            raise Refused("handle_principal_mismatch")
        self.counts["expansions"] += 1
        action = self.name("a")
        self.trace(
            action, event_type="expand", principal=principal, handle_id=handle, status="succeeded", args={}
        )
        return {"rows": 2, "digest": f"of {handle}", "action_id": action}


@dataclass(order=True)
class Due:
    """Something that happens at an instant."""

    at: int
    number: int
    do: Any = field(compare=False)


class Play:
    """The clients, what they know, and what is written down."""

    def __init__(self, seed: int, claim: str) -> None:
        self.rng = random.Random(f"{claim} {seed}")
        rng = self.rng
        wide = 10**6
        self.kernel = Kernel(
            limit=rng.randint(1, 4) if claim == "rate_limit" else wide,
            window=rng.choice([20, 60, 200]),
            life=rng.choice([40, 150, 400]) if claim in ("tokens", "revocation") else 10**9,
            handle_life=rng.choice([40, 150, 10**9]),
            handle_cap=rng.choice([1, 2, 5, 10**6]),
            trace_cap=rng.choice([1, 3, 8, 10**6]),
            total=rng.choice([40, 120, 300]) if claim == "budget" else 10**9,
            request=rng.choice([1, 5, 20]),
        )
        self.claim = claim
        self.lost = rng.choice([0.0, LOST, LOST])
        self.due: list[Due] = []
        self.order = itertools.count()
        self.lines: list[dict[str, Any]] = []
        self.beside: list[Beside] = []
        self.tokens: list[tuple[str, str, str]] = []
        self.handles: list[tuple[str, str]] = []
        self.actions: list[str] = []
        self.clock = 0
        self.workers = [f"r0/{n}/{n}" for n in range(rng.randint(1, 4))]
        self.clients = itertools.count()
        self.stretch = rng.choice([1, 3, 12])

    def at(self, delay: int, do: Any) -> None:
        heapq.heappush(self.due, Due(self.clock + delay, next(self.order), do))

    def run(self, calls: int) -> None:
        self.left = calls
        for _ in range(self.rng.randint(1, 6)):
            self.at(self.rng.randint(0, 5), self.client)
        while self.due:
            due = heapq.heappop(self.due)
            self.clock = self.kernel.now = due.at
            due.do()

    def client(self) -> None:
        """One client makes its next call."""
        if self.left <= 0:
            return
        self.left -= 1
        if self.rng.random() < 0.02:  # a worker is recycled
            self.workers[self.rng.randrange(len(self.workers))] = f"r0/{self.rng.random()}/new"
        f = self.rng.choice(MIX[self.claim])
        call, line = self.clock, {"f": f, "client": f"c{next(self.clients)}"}
        worker = self.rng.choice(self.workers)
        effects, line["input"] = getattr(self, f"_{f}")()
        hidden = self.rng.random() < 0.15 and self.claim in ("handles", "traces")
        state: dict[str, Any] = {}

        def end(outcome: str, answer: Any, error: str | None) -> None:
            self.write(line, call, outcome, answer, error, worker, hidden=hidden)
            self.at(self.rng.randint(1, 3 * self.stretch), self.client)

        def step(remaining: list[Any]) -> None:
            try:
                answer = remaining[0](state)
            except Refused as refused:
                finish("fail", None, refused.code)
                return
            if len(remaining) > 1:
                self.at(self.rng.randint(0, self.stretch), lambda: step(remaining[1:]))
            else:
                finish("ok", answer, None)

        def finish(outcome: str, answer: Any, error: str | None) -> None:
            if gone:
                return
            self.at(self.rng.randint(0, self.stretch), lambda: end(outcome, answer, error))

        gone = self.rng.random() < self.lost
        never = gone and self.rng.random() < 0.4
        if gone:  # its caller learns nothing; it has its effect late, soon or never
            late = self.rng.choice([0, self.stretch, 30 * self.stretch])
            self.at(self.rng.randint(0, self.stretch), lambda: end("info", None, None))
            if not never:
                self.at(self.rng.randint(0, self.stretch + late), lambda: step(effects))
            return
        self.at(self.rng.randint(0, self.stretch), lambda: step(effects))

    def write(
        self, line: dict[str, Any], call: int, outcome: str, answer: Any, error: str | None, worker: str,
        *, hidden: bool,
    ) -> None:  # fmt: skip
        ended = None if outcome == "info" else self.clock
        if hidden:
            closed = ended is None or bool(answer and answer.get("closed"))
            if line["f"] in ("invoke", "expand", "grant"):
                end = None if closed else ended
                self.beside.append(Beside(line["f"], call, end, Outcome(outcome)))
            return
        self.lines.append(
            {**line, "index": len(self.lines), "outcome": outcome, "call_ns": call, "return_ns": ended,
             "worker": worker, "error": error, "output": answer}
        )  # fmt: skip
        if outcome != "ok":
            return
        if line["f"] == "grant":
            self.tokens.append((answer["token_id"], line["input"]["principal"], line["input"]["capability"]))
        elif (
            line["f"] == "invoke" and answer["action_id"] and (answer["final"] or not line["input"]["stream"])
        ):
            self.actions.append(answer["action_id"])
            if answer["handle_id"]:
                self.handles.append((answer["handle_id"], line["input"]["principal"]))
        elif line["f"] == "expand":
            self.actions.append(answer["action_id"])

    # What each kind of call does: its effects, one after the other, and its input.

    def _pick(self, known: list[Any]) -> Any:
        """Rather one of the newest."""
        return known[-1 - min(int(self.rng.expovariate(0.25)), len(known) - 1)]

    def _grant(self) -> Any:
        principal, capability = self.rng.choice(PRINCIPALS), self.rng.choice(CAPABILITIES)
        if self.claim == "capabilities":
            capability = self.rng.choice(["x", "y", "z", "built-in"])
        asked = {"principal": principal, "capability": capability}
        return [lambda _: self.kernel.grant(principal, capability)], asked

    def _invoke(self) -> Any:
        if not self.tokens:
            return self._grant_first()
        token, owner, capability = self._pick(self.tokens)
        kernel, rng = self.kernel, self.rng
        principal = rng.choice(PRINCIPALS) if rng.random() < 0.1 else owner
        tampered = rng.random() < 0.1
        stream = rng.random() < (0.6 if self.claim == "streams" else 0.15)
        dry = not stream and rng.random() < 0.1
        args = rng.choice([None, {"id": rng.randint(1, 3)}])
        closes = stream and rng.random() < 0.4
        cost = rng.choice([0, 1, 7, 25])
        asked = {
            "token_id": token, "principal": principal, "capability": capability, "tampered": tampered,
            "stream": stream, "dry_run": dry, "args": args,
        }  # fmt: skip

        def verify(_: Any) -> None:
            kernel.verify(token, principal, tampered=tampered)

        def reserve(state: Any) -> None:
            state["held"] = kernel.reserve()

        def settle(state: Any) -> None:
            kernel.reserved -= state["held"]
            kernel.used = min(kernel.total, kernel.used + cost)

        def record(state: Any) -> dict[str, Any]:
            state["handle"] = None if stream else kernel.store(principal)
            state["action"] = kernel.name("a")
            kernel.record(token, principal, state["handle"], state["action"], args or {})
            return {
                "action_id": state["action"], "handle_id": state["handle"], "tokens": cost,
                "digest": f"of {state['handle']}" if cost == 7 else None,
                "frames": 3, "final": True, "closed": False, "last_frame_ns": kernel.now,
            }  # fmt: skip

        def hang_up(_: Any) -> dict[str, Any]:
            action = kernel.name("a")
            self.at(
                rng.choice([0, self.stretch, 40 * self.stretch]),
                lambda: kernel.record(token, principal, None, action, args or {}),
            )
            return {
                "action_id": action, "handle_id": None, "tokens": None, "frames": 2, "final": False,
                "closed": True, "last_frame_ns": kernel.now,
            }  # fmt: skip

        if dry:
            return [verify, lambda _: {"action_id": None, "handle_id": None, "final": None}], asked
        if closes:
            return [verify, hang_up], asked
        if stream:
            return [verify, record], asked
        return [verify, reserve, settle, record], asked

    def _grant_first(self) -> Any:
        principal = self.rng.choice(PRINCIPALS)
        return [lambda _: {"action_id": None, "handle_id": None, "final": None}], {
            "token_id": "nobody's", "principal": principal, "capability": "c", "dry_run": True,
            "stream": False,
        }  # fmt: skip

    def _expand(self) -> Any:
        handle, owner = self._pick(self.handles) if self.handles else ("none", "p")
        by = self.rng.choice(PRINCIPALS) if self.rng.random() < 0.2 else owner
        return [lambda _: self.kernel.expand(handle, by)], {"handle_id": handle, "principal": by, "limit": 5}

    def _revoke(self) -> Any:
        token = self._pick(self.tokens)[0] if self.tokens else "none"
        return [lambda _: self.kernel.revoked.add(token) or {"revoked": True}], {"token_id": token}

    def _revoke_all(self) -> Any:
        principal = self.rng.choice(PRINCIPALS)

        def revoke(_: Any) -> dict[str, Any]:
            owned = {token for token, (owner, _, _) in self.kernel.tokens.items() if owner == principal}
            self.kernel.revoked |= owned
            return {"revoked": len(owned)}

        return [revoke], {"principal": principal}

    def _explain(self) -> Any:
        action = self._pick(self.actions) if self.actions else "none"

        def explain(_: Any) -> dict[str, Any]:
            if action not in self.kernel.traces:
                raise Refused("trace_not_found")
            return dict(self.kernel.traces[action])

        return [explain], {"action_id": action}

    def _list_traces(self) -> Any:
        principal = self.rng.choice([None, *PRINCIPALS])
        event = self.rng.choice([None, None, "invoke", "expand", "deny"])
        limit = self.rng.choice([None, None, None, 2])

        def listing(_: Any) -> dict[str, Any]:
            ids = [
                action for action, said in self.kernel.traces.items()
                if principal in (None, said["principal"]) and event in (None, said["event_type"])
            ]  # fmt: skip
            return {"action_ids": ids[:limit]}

        return [listing], {"principal": principal, "event_type": event, "limit": limit}

    def _audit(self) -> Any:
        return [lambda _: {"valid": True, "records": len(self.kernel.traces)}], {}

    def _budget(self) -> Any:
        return [lambda _: {"total": self.kernel.total, "used": self.kernel.used}], {}

    def _stats(self) -> Any:
        return [lambda _: dict(self.kernel.counts)], {}

    def _import_capability(self) -> Any:
        capability = self.rng.choice(["x", "y", "z"])

        def imported(_: Any) -> dict[str, Any]:
            if capability in self.kernel.known:
                raise Refused("capability_exists")
            self.kernel.known.add(capability)
            return {"capability_ids": [capability]}

        return [imported], {"capability": capability}


MIX: dict[str, list[str]] = {
    "tokens": ["grant", "invoke", "invoke", "invoke"],
    "rate_limit": ["grant", "grant", "grant", "invoke"],
    "revocation": ["grant", "grant", "invoke", "invoke", "invoke", "invoke", "revoke", "revoke_all"],
    "handles": ["grant", "invoke", "invoke", "expand", "expand", "expand"],
    "traces": ["grant", "invoke", "invoke", "expand", "explain", "explain", "list_traces", "audit"],
    "budget": ["grant", "invoke", "invoke", "invoke", "invoke", "budget"],
    "capabilities": ["grant", "grant", "grant", "invoke", "import_capability"],
    "stats": ["grant", "invoke", "expand", "stats", "stats"],
    "streams": ["grant", "invoke", "invoke", "invoke", "explain", "explain", "revoke"],
}


def play(seed: int, claim: str, calls: int = 60) -> tuple[list[AnyOperation], Cell]:
    """One right run: its history, and the cell with what the deployment states."""
    one = Play(seed, claim)
    one.run(calls)
    kernel = one.kernel
    stated: dict[str, Any] = {
        "limit": kernel.limit, "window_s": kernel.window * 1e-9, "token_ttl_s": kernel.life * 1e-9,
        "handle_ttl_s": kernel.handle_life * 1e-9, "handle_cap": kernel.handle_cap,
        "trace_cap": kernel.trace_cap, "total": kernel.total, "request": kernel.request, "stream_frames": 3,
        "baseline": dict.fromkeys(kernel.counts, 0) if seed % 2 else {},
    }  # fmt: skip
    judged = msgspec.structs.replace(cell(claim, **stated), beside=tuple(one.beside))
    history = [msgspec.convert(line, Called) for line in one.lines]
    return history, judged
