"""Load from several machines: what each generator recorded becomes one history, on one clock, and is judged.

::

    locust -f scenarios/locustfile.py --master --expect-workers 2 --headless -u 8 -r 8 -t 30s \
        --host http://10.0.0.2:8103 --mix limit-one --record results/two   # the coordinator
    locust -f scenarios/locustfile.py --worker --master-host 10.0.0.1      # on each generator's machine
    python -m kernel_lab.load.several results/two hosts-redis http://10.0.0.2:8103

The generators send the coordinator what they recorded (`kernel_lab.load.generator.coordination`), so nothing has to
be copied. ``clocks.json`` says how far each generator's clock was ahead. Merging takes that off every time. How wrong
it may be is the checkers' ``tolerance_ms``. A token or handle is used by the generator that asked for it alone, so
only limits compare the calls of two generators.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from kernel_lab.deployments.attached import AttachedStack
from kernel_lab.deployments.deployment import Deployment
from kernel_lab.judge.verdict import Validity, Verdict, merge
from kernel_lab.load.generator.clocks import Clock, tolerance_ms
from kernel_lab.load.judged import cell_under_load, judge_load, merge_histories
from kernel_lab.run import registry
from kernel_lab.run.folder import RunFolder
from kernel_lab.run.schedule import look_at

CLOCKS = "clocks.json"


def read_clocks(folder: Path) -> dict[str, Clock]:
    """The generators' clocks, by number.

    Raises:
        FileNotFoundError: The folder has none: it was not recorded by generators on several machines.
    """
    return msgspec.json.decode((folder / CLOCKS).read_bytes(), type=dict[str, Clock])


def one_history(folder: Path, clocks: Mapping[str, Clock], path: Path) -> int:
    """Merge what the generators recorded, on the coordinator's clock. Returns how many operations there are.

    Raises:
        ValueError: A generator recorded something, and its clock is not known.
    """
    parts = sorted(folder.glob("*.g*.jsonl"))
    ahead_ns = {}
    for part in parts:
        number = part.name.rsplit(".g", 1)[1].removesuffix(".jsonl")
        if number not in clocks:
            raise ValueError(f"{part.name}: {CLOCKS} has no clock of generator {number}")
        ahead_ns[part] = clocks[number].ahead_ns
    return merge_histories(parts, path, ahead_ns)


async def judge(
    folder: Path, deployment: Deployment, url: str, clocks: Mapping[str, Clock]
) -> dict[str, Verdict]:
    """Judge by every claim that load puts to the test; cell folders stay in the recording's folder."""
    history = folder / "merged.jsonl"
    await asyncio.to_thread(one_history, folder, clocks, history)
    target = await look_at(
        AttachedStack(deployment=deployment, base_url=url, expected_workers=deployment.processes)
    )
    cells = []
    for scenario in registry.scenarios().values():
        if scenario.under_load:
            cell = cell_under_load(scenario, deployment, target)
            tolerant = {**cell.parameters, "tolerance_ms": tolerance_ms(clocks.values())}
            cells.append(msgspec.structs.replace(cell, parameters=tolerant))
    return await asyncio.to_thread(judge_load, RunFolder(folder.absolute()), deployment.name, history, cells)


def main(arguments: Sequence[str]) -> int:
    """Judge, and say how the clocks differed; the exit code is that of ``kernel-lab check``."""
    if len(arguments) != 3:
        print(
            "several: three arguments are needed: the folder of --record, a deployment, its URL",
            file=sys.stderr,
        )
        return 64
    folder, name, url = Path(arguments[0]), arguments[1], arguments[2]
    deployment = {**registry.deployments(), **registry.hosts()}.get(name)
    if deployment is None:
        print(f"several {name}: not known; `kernel-lab list deployments` names them", file=sys.stderr)
        return 64
    try:
        clocks = read_clocks(folder)
        verdicts = asyncio.run(judge(folder, deployment, url, clocks))
    except (OSError, ValueError, msgspec.MsgspecError) as error:
        print(f"several {folder}: {error}", file=sys.stderr)
        return 64
    for number, clock in sorted(clocks.items()):
        print(
            f"generator {number}: {clock.ahead_ns / 1e6:+.3f} ms, give or take {clock.error_ns / 1e6:.3f} ms"
        )
    print(f"tolerance between two of them: {tolerance_ms(clocks.values()):.3f} ms")
    for claim, verdict in verdicts.items():
        print(f"{verdict.validity:8} {claim} {verdict.reason or ''}".rstrip())
    found = merge(verdict.validity for verdict in verdicts.values())
    return {Validity.VALID: 0, Validity.INVALID: 1}.get(found, 2)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
