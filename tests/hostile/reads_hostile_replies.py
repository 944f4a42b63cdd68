"""The harness under hostile replies: prints what became of its calls, and the most memory that it took so far.

Arguments: a folder for histories, and ``name=URL`` for each kind of reply.
"""

import asyncio
import itertools
import json
import resource
import sys
from pathlib import Path

from kernel_lab.deployments import attached
from kernel_lab.judge.history import HistoryWriter, read_history
from kernel_lab.traffic import client, connections
from kernel_lab.traffic.address import Address
from kernel_lab.traffic.between import Between, InTheWay
from kernel_lab.traffic.client import Principal, Recorder, RecordingClient
from kernel_lab.traffic.connections import Fresh, KeepAlive

DEADLINE_S = 0.5
CALLS = 8


def most_mb() -> int:
    """The most memory that this program took so far, in MB.

    ``ru_maxrss`` keeps what the process had before it became this program, which is the tests' own size. Linux tells
    the program's alone.
    """
    status = Path("/proc/self/status")
    if status.exists():
        line = next(line for line in status.read_text().splitlines() if line.startswith("VmHWM:"))
        return int(line.split()[1]) // 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


async def meet(kind: str, url: str, history: Path) -> None:
    """Attach to one server, then call eight times at once, with and without frames, over both kinds of connection."""
    attached.CALL_TIMEOUT_S = connections.CALL_TIMEOUT_S = client.STREAM_DEADLINE_S = DEADLINE_S
    refused = ""
    try:
        await attached.attach(Address(urls=(url,), between=Between()))
    except attached.NotALab as error:
        refused = str(error)
    names = (f"k{number}" for number in itertools.count())
    with HistoryWriter(history) as writer:
        for connector in (Fresh(url, names), KeepAlive(url, names)):
            recorder = Recorder(writer, between=Between())
            clients = [RecordingClient(recorder, connector, Principal(name=f"p{n}")) for n in range(CALLS)]
            token = {"token_id": "t", "capability_id": "c"}
            for made in ([one.grant("c") for one in clients], [one.stream(token) for one in clients]):
                for failed in await asyncio.gather(*made, return_exceptions=True):
                    if isinstance(failed, BaseException) and not isinstance(failed, InTheWay):
                        raise failed
            await connector.aclose()
    recorded = list(read_history(history))
    print(
        json.dumps(
            {
                "kind": kind,
                "refused": refused,
                "calls": len(recorded),
                "outcomes": sorted({operation.outcome for operation in recorded}),
                "errors": sorted({str(operation.error) for operation in recorded}),
                "memory_mb": most_mb(),
            }
        )
    )


if __name__ == "__main__":
    for argument in sys.argv[2:]:
        named, _, at = argument.partition("=")
        asyncio.run(meet(named, at, Path(sys.argv[1]) / named / "history.jsonl"))
