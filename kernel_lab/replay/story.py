"""From a counter-example to the lines of a story: who does what on which worker, and when that is an anomaly.

Calls are made one after the other, in the order of the recorded ones. That is sound: outcomes that no legal order
explains when calls overlapped have no legal order in that one sequence either. Two things are played at once,
because they break nothing otherwise: grants against a limit, and revocations where the state is shared.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kernel_lab.judge.verdict import Cell

Line = Mapping[str, Any]
"""One line of a history, as JSON."""
AT_ONCE = 8
"""The number of revocations at the same moment, where the state is shared and loses some of them."""
TRIES = 20
REMOTE = "remote"
"""The name of the variable for an imported capability. Each replay imports a capability with a new name."""


@dataclass(frozen=True, slots=True)
class Story:
    """The body of the function, and how often it is told."""

    lines: tuple[str, ...]
    tries: int = TRIES


class NoStory(ValueError):  # noqa: N818 - it names a thing
    """A counter-example that cannot be replayed. The message says why."""


def story_of(history: Sequence[Line], counterexample: Sequence[Line], cell: Cell) -> Story:
    """The story of a counter-example.

    Raises:
        NoStory: Its operations cannot be done again from outside.
    """
    if not counterexample:
        raise NoStory("the verdict has no counter-example")
    if any(op["f"].startswith("fault.") for op in counterexample):
        raise NoStory("the counter-example has a fault in it, which a client cannot inject")
    if any(_input(op).get("tampered") for op in counterexample):
        raise NoStory("the counter-example has an altered token in it, and the history does not say how")
    kinds = [op["f"] for op in counterexample]
    if cell.scenario == "rate_limit":
        return (
            _denied(counterexample)
            if any(op["error"] for op in counterexample)
            else _admitted(counterexample, cell)
        )
    if "budget" in kinds:
        return _read_back(history)
    if cell.scenario == "budget":
        return _overspent(counterexample)
    if kinds[-1] == "stats":
        return _counted(history, counterexample)
    if _raced(history, counterexample):
        return _revoked_at_once(counterexample, cell)
    return _as_it_was(history, counterexample, cell)


# The general story: the same calls, and the same answers.


@dataclass(slots=True)
class _Teller:
    """Names for what the history names by ids, and the lines so far."""

    history: Sequence[Line]
    lines: list[str] = field(default_factory=list)
    workers: list[str] = field(default_factory=list)
    callers: dict[str, str] = field(default_factory=dict)
    things: dict[str, str] = field(default_factory=dict)
    """Id of a token, a handle or an action → the expression that holds it."""
    count: int = 0

    def worker(self, op: Line) -> str:
        """The letter of its worker."""
        name = op.get("worker") or (self.workers[0] if self.workers else "")
        if name not in self.workers:
            self.workers.append(name)
        return "ABCDEFGH"[self.workers.index(name) % 8]

    def caller(self, name: str) -> str:
        """The variable of a principal."""
        if name not in self.callers:
            kind = "admin" if name.startswith("admin") else "agent"
            same = sum(one.startswith(kind) for one in self.callers.values())
            self.callers[name] = kind + (str(same + 1) if same else "")
        return self.callers[name]

    def thing(self, name: str | None) -> str:
        """The expression of an id.

        Raises:
            NoStory: No operation of the history made it.
        """
        if name not in self.things:
            raise NoStory("the counter-example uses something that no recorded call made")
        return self.things[name]

    def play(self, op: Line, *, needed: bool) -> str:
        """Add the call of an operation; the variable that holds its reply."""
        self.count += 1
        name = f"step{self.count}"
        call = f"{self.worker(op)}.{self.expression(op)}"
        self.lines.append(f"{name} = need({call})" if needed else f"{name} = {call}")
        output = op.get("output") or {}
        for key, place in (
            ("token_id", '["token"]'),
            ("handle_id", '["handle_id"]'),
            ("action_id", '["action_id"]'),
        ):
            if output.get(key) and (key != "token_id" or op["f"] == "grant"):
                self.things[output[key]] = f"{name}.body{place}"
        return name

    def expression(self, op: Line) -> str:
        """The call, in the script's words."""
        asked, f = _input(op), op["f"]
        who = self.caller(str(asked.get("by") or asked.get("principal") or "admin"))
        if f in ("grant", "import_capability"):
            return f"{f}({who}, {_capability(asked)})"
        if f == "invoke":
            method = "stream" if asked.get("stream") else "invoke"
            mode = (op.get("output") or {}).get("response_mode")
            more = f", {asked['args']!r}" if asked.get("args") else ""
            more += f", mode={mode!r}" if mode not in (None, "summary") and method == "invoke" else ""
            return f"{method}({who}, {self.thing(asked['token_id'])}{more})"
        if f == "revoke":
            return f"revoke({who}, {self.thing(asked['token_id'])})"
        if f == "revoke_all":
            return f"revoke_all({who}, {self.caller(asked['principal'])})"
        if f == "expand":
            more = f", rows={asked['limit']!r}" if asked.get("limit") else ""
            return f"expand({who}, {self.thing(asked['handle_id'])}{more})"
        if f == "explain":
            return f"explain({who}, {self.thing(asked['action_id'])})"
        if f == "list_traces":
            return f"list_traces({who})"
        if f in ("stats", "budget"):
            return f"{f}({who})"
        raise NoStory(f"a {f} cannot be told as a call of a client")

    def whole(self, body: Sequence[str]) -> tuple[str, ...]:
        """The lines with the introductions in front."""
        letters = ["ABCDEFGH"[number % 8] for number in range(max(1, len(self.workers)))]
        head = [f"{', '.join(letters)}{',' if len(letters) == 1 else ''} = lab.workers({len(letters)})"]
        for variable in self.callers.values():
            roles = ', roles="admin"' if variable.startswith("admin") else ""
            head.append(f'{variable} = lab.caller("{variable}"{roles})')
        if any(REMOTE in line for line in body):
            head.append(f'{REMOTE} = "remote.tool_" + lab.caller("peer").name.replace("-", "_")')
        return (*head, "", *body)


def _as_it_was(history: Sequence[Line], counterexample: Sequence[Line], cell: Cell) -> Story:
    teller = _Teller(history)
    proof = {op["index"] for op in counterexample}
    stale_s = float(cell.parameters.get("max_stale_ms") or 0) / 1000
    start = counterexample[0]["call_ns"]
    shown = []
    for op in sorted([*_needed(history, counterexample), *counterexample], key=lambda op: op["call_ns"]):
        if op["index"] not in proof:
            teller.lines.append("# What the counter-example needs.")
            teller.play(op, needed=op["outcome"] == "ok")
            continue
        if stale_s and op["index"] == counterexample[-1]["index"]:
            teller.lines.append(
                f"time.sleep({stale_s + 0.2:g})  # the deployment may be so stale, and no more"
            )
        teller.lines.append(
            f"# The counter-example, {(op['call_ns'] - start) / 1e6:+.1f} ms: {_recorded(op)}"
        )
        name = teller.play(op, needed=False)
        shown.append(_same(name, op, teller))
    return Story(teller.whole([*teller.lines, "", f"return {' and '.join(shown)}"]))


def _same(name: str, op: Line, teller: _Teller) -> str:
    """The condition that the reply is as it was."""
    if op["outcome"] != "ok":
        return f"refused({name}, {op['error']!r})"
    if op["f"] == "list_traces":
        missing = [
            expression
            for action, expression in teller.things.items()
            if expression.endswith('["action_id"]')
            and action not in (op["output"] or {}).get("action_ids", ())
        ]
        return " and ".join([f"{name}.ok", *(f'{one} not in {name}.body["action_ids"]' for one in missing)])
    return f"{name}.ok"


def _recorded(op: Line) -> str:
    said = "it was answered" if op["outcome"] == "ok" else f"it was refused with {op['error']}"
    if op["outcome"] == "info":
        said = "nobody knows whether it was carried out"
    words = {"revoke_all": "all tokens are revoked", "list_traces": "the traces are listed"}
    return f"{words.get(op['f'], op['f'].replace('_', ' '))}; {said}."


def _needed(history: Sequence[Line], counterexample: Sequence[Line]) -> list[Line]:
    """The operations that made what the counter-example uses, in the order of their calls."""
    made: dict[str, Line] = {}
    revoked: dict[str, list[Line]] = {}
    imported: dict[str, Line] = {}
    for op in sorted(history, key=lambda op: op["call_ns"]):
        if op["f"] == "import_capability" and op["outcome"] == "ok":
            imported.setdefault(_input(op)["capability"], op)
        output = op.get("output") or {}
        keys = ("token_id",) if op["f"] == "grant" else ("handle_id", "action_id")
        for key in keys if op["outcome"] == "ok" else ():
            if output.get(key):
                made.setdefault(output[key], op)
        if op["f"] == "revoke":
            revoked.setdefault(_input(op)["token_id"], []).append(op)
        elif op["f"] == "revoke_all":
            revoked.setdefault(_input(op)["principal"], []).append(op)
    chosen = {op["index"]: op for op in counterexample}
    waiting, needed = list(counterexample), {}
    while waiting:
        op = waiting.pop()
        asked = _input(op)
        found = [made[asked[key]] for key in ("token_id", "handle_id", "action_id") if asked.get(key) in made]
        if op["error"] == "token_revoked":
            by = [*revoked.get(asked.get("token_id", ""), ()), *revoked.get(asked.get("principal", ""), ())]
            found += [one for one in by if one["call_ns"] < op["call_ns"]][:1]
        if op["f"] != "import_capability" and asked.get("capability") in imported:
            found.append(imported[asked["capability"]])
        for one in found:
            if one["index"] not in chosen and one["index"] not in needed:
                needed[one["index"]] = one
                waiting.append(one)
    return sorted(needed.values(), key=lambda op: op["call_ns"])


# Stories of their own.


def _letters(ops: Sequence[Line]) -> int:
    """Return the number of workers that took part, and at least two, since another worker may answer differently."""
    return max(2, len({op.get("worker") for op in ops if op.get("worker")}))


def _admitted(counterexample: Sequence[Line], cell: Cell) -> Story:
    capability = _capability(_input(counterexample[0]))
    recorded = f"{len(counterexample)} grants in one window, where {cell.parameters.get('limit')} are allowed"
    return Story(
        (
            f"limit, window_s = lab.limit({capability})",
            f"workers = lab.workers({_letters(counterexample)})",
            'agent = lab.caller("agent")',
            "",
            f"# The recorded run admitted {recorded}. Here twice the limit is asked for at once.",
            "asked = [workers[number % len(workers)] for number in range(2 * limit)]",
            f"replies = lab.together([lambda one=one: one.grant(agent, {capability}) for one in asked])",
            "",
            "admitted = [reply for reply in replies if reply.ok]",
            "if len(admitted) <= limit:",
            "    return False",
            "took_s = max(reply.returned for reply in admitted) - min(reply.called for reply in admitted)",
            'lab.say(f"{len(admitted)} were admitted within {took_s:.3f} s: {limit} in {window_s:g} s are allowed")',
            "return took_s < window_s",
        )
    )


def _denied(counterexample: Sequence[Line]) -> Story:
    capability = _capability(_input(counterexample[-1]))
    return Story(
        (
            f"limit, _ = lab.limit({capability})",
            "[A] = lab.workers(1)",
            'agent = lab.caller("agent")',
            "",
            "# A principal that never called before may have as many grants as the limit says.",
            "for admitted in range(limit):",
            f"    reply = A.grant(agent, {capability})",
            '    if refused(reply, "rate_limited"):',
            '        lab.say(f"denied after {admitted} of {limit} grants")',
            "        return True",
            "return False",
        )
    )


def _overspent(counterexample: Sequence[Line]) -> Story:
    dear = max(counterexample, key=lambda op: (op.get("output") or {}).get("tokens") or 0)
    capability = _capability(_input(dear))
    mode = (dear.get("output") or {}).get("response_mode") or "summary"
    return Story(
        (
            f"workers = lab.workers({_letters(counterexample)})",
            'agent = lab.caller("agent")',
            'total = need(workers[0].budget(agent)).body["total"]',
            "if total is None:",
            '    raise CannotTell("this deployment has no budget")',
            "",
            "# One budget is for everybody. Everybody spends in turn, through every worker, one call after the other.",
            'agents = [lab.caller("agent") for _ in range(4)]',
            f'tokens = [need(workers[0].grant(one, {capability})).body["token"] for one in agents]',
            "spent = 0",
            "for number in range(200):",
            "    who = number % len(agents)",
            f"    reply = workers[number % len(workers)].invoke(agents[who], tokens[who], mode={mode!r})",
            "    if reply.ok and spent >= total:",
            '        lab.say(f"answered after {spent} of {total} tokens were spent")',
            "        return True",
            '    spent += (reply.body["tokens"] or 0) if reply.ok else 0',
            "return False",
        ),
        tries=1,
    )


def _read_back(history: Sequence[Line]) -> Story:
    spender = next(
        (op for op in history if op["f"] == "invoke" and (op.get("output") or {}).get("tokens")), None
    )
    if spender is None:
        raise NoStory("no recorded call cost anything")
    capability = _capability(_input(spender))
    mode = (spender["output"] or {}).get("response_mode") or "summary"
    return Story(
        (
            "A, B = lab.workers(2)",
            'agent = lab.caller("agent")',
            f'token = need(A.grant(agent, {capability})).body["token"]',
            f'cost = need(A.invoke(agent, token, mode={mode!r})).body["tokens"] or 0',
            'first = need(A.budget(agent)).body["used"] or 0',
            'second = need(B.budget(agent)).body["used"] or 0',
            'lab.say(f"{cost} tokens were spent; worker A says {first}, then worker B says {second}")',
            "return second < first or second < cost",
        )
    )


_COUNTERS = {"grant": "grants", "invoke": "invocations"}


def _counted(history: Sequence[Line], counterexample: Sequence[Line]) -> Story:
    teller = _Teller(history)
    for op in _needed(history, counterexample):
        teller.play(op, needed=op["outcome"] == "ok")
    made: dict[str, int] = dict.fromkeys(_COUNTERS.values(), 0)
    earlier = ""
    for op in counterexample[:-1]:
        name = teller.play(op, needed=op["outcome"] == "ok")
        if op["f"] == "stats":
            earlier, made = name, dict.fromkeys(made, 0)
        elif op["f"] in _COUNTERS and op["outcome"] == "ok":
            made[_COUNTERS[op["f"]]] += 1
    who = teller.caller("admin")
    teller.worker(counterexample[-1])
    letters = ", ".join("ABCDEFGH"[number % 8] for number in range(len(teller.workers)))
    base = f" {earlier}.body[counter] +" if earlier else ""
    return Story(
        teller.whole(
            [
                *teller.lines,
                "",
                "# Whoever asks next must be told of at least as many, whichever worker answers.",
                f"told = [need(worker.stats({who})) for worker in ({letters},)]",
                f"made = {made!r}",
                f"return any(one.body[counter] <{base} number for one in told for counter, number in made.items())",
            ]
        )
    )


def _raced(history: Sequence[Line], counterexample: Sequence[Line]) -> bool:
    """Whether a revoked token was accepted although workers share their revocations: some update was lost.

    They do if a worker refused a token as revoked that another worker had revoked.
    """
    if counterexample[-1]["f"] != "invoke" or counterexample[-1]["outcome"] != "ok":
        return False
    if not any(op["f"] in ("revoke", "revoke_all") for op in counterexample):
        return False
    by = {_input(op)["token_id"]: op.get("worker") for op in history if op["f"] == "revoke"}
    refusing = [op for op in history if op["f"] == "invoke" and op["error"] == "token_revoked"]
    far = [op for op in refusing if by.get(_input(op)["token_id"], op.get("worker")) != op.get("worker")]
    return len(far) > len(refusing) / 4


def _revoked_at_once(counterexample: Sequence[Line], cell: Cell) -> Story:
    last = counterexample[-1]
    capability = _capability(_input(last))
    stale_s = float(cell.parameters.get("max_stale_ms") or 0) / 1000
    call = "stream" if _input(last).get("stream") else "invoke"
    return Story(
        (
            "workers = lab.workers(4)",
            'agent = lab.caller("agent")',
            f'tokens = [need(workers[0].grant(agent, {capability})).body["token"] for _ in range({AT_ONCE})]',
            "",
            "# The workers share their revocations, and one was lost all the same. So several are made at once.",
            "asked = [(workers[number % len(workers)], token) for number, token in enumerate(tokens)]",
            "revoked = lab.together([lambda w=w, t=t: w.revoke(agent, t) for w, t in asked])",
            *([f"time.sleep({stale_s + 0.2:g})"] if stale_s else []),
            "",
            "# Each of them had returned before this, so each token must be refused.",
            "for (worker, token), reply in zip(asked, revoked, strict=True):",
            f"    if reply.ok and worker.{call}(agent, token).ok:",
            '        lab.say("this token was accepted after its revocation had returned")',
            "        return True",
            "return False",
        ),
        tries=40,
    )


def _input(op: Line) -> dict[str, Any]:
    return op.get("input") or {}


def _capability(asked: Mapping[str, Any]) -> str:
    """The capability as a literal.

    Raises:
        NoStory: The history does not name it.
    """
    if not asked.get("capability"):
        raise NoStory("the history does not name the capability")
    name = str(asked["capability"])
    if name.startswith("remote."):
        return REMOTE
    return repr(name)
