"""make rollout: run each experiment under real workers and write ``docs/upstream/rollout.csv``.

Two gunicorns of two workers each stand behind one nginx: one side before the rollout, one after it. An
experiment changes state on a named side, asks for the result through the balancer, and counts the answers of
each side.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from kernel_lab import markdown
from kernel_lab.bad_input import EXIT_CODE
from kernel_lab.deployments.live import StackUnavailable
from kernel_lab.deployments.native.packages import other_version
from kernel_lab.run import registry
from kernel_lab.upstream.rollout.servers import Balanced, Side, balanced

OLD, NEW = "0.11.0", "0.12.0"
FOLDER = registry.root() / "docs" / "upstream"
COLUMNS = ("experiment", "made_by", "asked_of", "calls", "ok", "refused", "outcomes")
SECRET = {"WEAVER_KERNEL_SECRET": "of-the-rollout"}
KEY = {"k1": "of-the-rollout"}
NEXT = {"k2": "of-the-next-key"}
BOTH = {**KEY, **NEXT}
CALLS = 40
Row = dict[str, str]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the experiments; exit code 64 where the other version or nginx cannot be had."""
    parser = argparse.ArgumentParser(prog="make rollout", description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, default=FOLDER, help="where rollout.csv and rollout.md are")
    given = parser.parse_args(arguments)
    try:
        with tempfile.TemporaryDirectory(prefix="lab-rollout-") as folder:
            rows = [*versions(Path(folder)), *keys(Path(folder))]
    except StackUnavailable as error:
        print(f"make rollout: {error}", file=sys.stderr)
        return EXIT_CODE
    (given.out / "rollout.csv").write_text(as_csv(rows), encoding="utf-8")
    page = given.out / "rollout.md"
    if page.exists():
        page.write_text(filled(page.read_text(encoding="utf-8"), rows), encoding="utf-8")
    print(
        *(f"{row['experiment']}: {row['made_by']} → {row['asked_of']}: {row['outcomes']}" for row in rows),
        sep="\n",
    )
    return 0


def versions(folder: Path) -> Iterator[Row]:
    """0.11.0 beside 0.12.0, with the default stores, with upstream's files, with stores of one's own."""
    packages = other_version(OLD)

    def sides(**env: str) -> tuple[Side, Side]:
        return Side(name=OLD, packages=packages, env={**SECRET, **env}), Side(name=NEW, env={**SECRET, **env})

    with balanced(fresh(folder), *sides()) as stack:
        yield from tokens("token, one secret", stack, (OLD, NEW))
        yield from revoked("revoked token, default store", stack)
    files = {"ROLLOUT_STORE": str(folder / "r.db"), "ROLLOUT_TRACES": str(folder / "t.db")}
    with balanced(fresh(folder), *sides(**files)) as stack:
        yield from revoked("revoked token, SQLiteRevocationStore", stack)
        yield from revoked("revoke_all, SQLiteRevocationStore", stack, everything=True)
        yield from swept(stack)
        yield from traced(stack)
    for shape in ("0.11", "0.12"):
        with balanced(fresh(folder), *sides(ROLLOUT_STORE=shape)) as stack:
            yield from rows(f"grant, own store written for {shape}", "", stack.tally(CALLS, do="issue"))


def keys(folder: Path) -> Iterator[Row]:
    """The key ring's own rollout, then the steps of a rotation, the wrong order among them."""
    pinned = Side(name=f"{NEW} as published", env=SECRET)
    for experiment, legacy in (
        ("key ring arrives, every token names its key", None),
        ("key ring arrives, the first key is left unnamed", "k1"),
    ):
        with balanced(fresh(folder), pinned, ring("key ring", KEY, "k1", legacy)) as stack:
            yield from tokens(experiment, stack, (pinned.name, "key ring"))
    before = ring("not yet changed", KEY, "k1")
    for experiment, first, second in (
        ("rotation, step 1: verify the new key", before, ring("changed", BOTH, "k1")),
        ("rotation, step 2: sign with it", ring("not yet changed", BOTH, "k1"), ring("changed", BOTH, "k2")),
        ("rotation, step 3: drop the old key", ring("not yet changed", BOTH, "k2"), ring("changed", NEXT, "k2")),
        ("rotation in the wrong order: sign with it first", before, ring("changed", BOTH, "k2")),
    ):  # fmt: skip
        with balanced(fresh(folder), first, second) as stack:
            yield from tokens(experiment, stack, (first.name, second.name))


def ring(name: str, secrets: Mapping[str, str], active: str, legacy: str | None = "k1") -> Side:
    """A side that signs with a key ring."""
    told = {"keys": dict(secrets), "active": active, "legacy": legacy}
    return Side(name=name, env={**SECRET, "ROLLOUT_KEYS": json.dumps(told)})


def fresh(folder: Path) -> Path:
    """A folder for the next stack."""
    return Path(tempfile.mkdtemp(dir=folder))


def tokens(experiment: str, stack: Balanced, names: Sequence[str]) -> Iterator[Row]:
    """A token of each side, verified through the balancer."""
    for name in names:
        token = stack.of(name, do="issue").value
        yield from rows(experiment, name, stack.tally(CALLS, do="verify", token=token))


def revoked(experiment: str, stack: Balanced, *, everything: bool = False) -> Iterator[Row]:
    """A token issued on one side and revoked on the other, verified through the balancer."""
    for issuer, revoker in ((OLD, NEW), (NEW, OLD)):
        token = stack.of(issuer, do="issue").value
        if everything:
            stack.of(revoker, do="revoke_all")
        else:
            stack.of(revoker, do="revoke", token=token)
        yield from rows(experiment, f"revoked by {revoker}", stack.tally(CALLS, do="verify", token=token))


def swept(stack: Balanced) -> Iterator[Row]:
    """Whether a sweep a day later removes what each version tracked."""
    for name in (OLD, NEW):
        stack.of(NEW, do="sweep")
        stack.of(name, do="issue")
        removed = stack.of(NEW, do="sweep").value
        yield from rows("sweep by 0.12.0 a day later", name, {NEW: Counter({f"{removed} removed": 1})})


def traced(stack: Balanced) -> Iterator[Row]:
    """A trace that one version recorded, read by both through the balancer."""
    for name in (OLD, NEW):
        stack.of(name, do="record", action_id=name)
        yield from rows("trace, SQLiteTraceStore", name, stack.tally(CALLS, do="explain", action_id=name))
    yield from rows("chain of both, SQLiteTraceStore", "both", stack.tally(CALLS, do="chain"))


def rows(experiment: str, made_by: str, tally: Mapping[str, Counter[str]]) -> Iterator[Row]:
    """A row for each side that was asked."""
    for side, counted in tally.items():
        said: Any = ", ".join(f"{count} {outcome}" for outcome, count in sorted(counted.items()))
        calls = sum(counted.values())
        cells = (experiment, made_by or side, side, calls, counted["ok"], calls - counted["ok"], said)
        yield dict(zip(COLUMNS, map(str, cells), strict=True))


def as_csv(found: Sequence[Row]) -> str:
    """The rows as a file."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(found)
    return text.getvalue()


def filled(page: str, found: Sequence[Row]) -> str:
    """The page with its table made of the rows."""
    mark = "<!-- rollout -->\n"
    head, _, rest = page.partition(mark)
    table = [["experiment", "made by", "asked of", "outcomes"]]
    table += [[row["experiment"], row["made_by"], row["asked_of"], row["outcomes"]] for row in found]
    return f"{head}{mark}{markdown.table(table)}\n{rest[rest.index('<!-- /rollout -->') :]}"


if __name__ == "__main__":
    sys.exit(main())
