"""Run upstream's own tests with our stores in place of its own: ``make upstream-tests``.

The sdist of the installed version is fetched, its tests of tokens, handles, traces, rate limits, budgets and
the kernel run once for each state, and the result is compared with the list of exceptions below: a test that
fails and is not listed, or is listed and does not fail, ends this with 1.
"""

import argparse
import contextlib
import os
import re
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from beside_upstream.servers import server

ROOT = Path(__file__).resolve().parents[1]
NAME = f"weaver_kernel-{version('weaver-kernel')}"

FILES = (
    "tokens", "handles", "trace", "trace_codec", "trace_query", "policy", "policy_properties", "kernel",
    "invariants", "firewall", "firewall_boundary", "firewall_canary", "stats", "replay", "conformance",
    "logging",
)  # fmt: skip

INSIDE = "looks at a private attribute of the in-memory class"
CLOCK = "sweeps at a time of its own choice; ours believes the store's clock"
BYTES = "sets a byte budget; a shared store has none"
COPY = "expects the very object back; ours is an equal copy"
ONCE = "records an action twice; ours refuses the second, as upstream's SQLite store does"

BOTH = {
    "handles.py::test_byte_budget_rejects_invalid_config": BYTES,
    "handles.py::test_entry_larger_than_total_budget_is_rejected": BYTES,
    "handles.py::test_expanding_byte_evicted_handle_raises_not_found": BYTES,
    "handles.py::test_max_entry_bytes_allows_within_cap": BYTES,
    "handles.py::test_max_entry_bytes_rejects_oversized_payload": BYTES,
    "handles.py::test_max_total_bytes_evicts_oldest_until_within_budget": BYTES,
    "handles.py::test_total_budget_never_exceeded_after_stores": BYTES,
    "handles.py::test_max_entries_evicts_oldest": INSIDE,
    "handles.py::test_max_entries_prefers_expired_over_live": INSIDE,
    "handles.py::test_periodic_eviction_on_store": INSIDE,
    "tokens.py::test_revocation_state_bounded_under_grant_revoke_loop": INSIDE,
    "tokens.py::test_track_and_sweep_accept_naive_datetimes": CLOCK,
    "trace.py::test_record_and_get": COPY,
    "trace.py::test_rerecording_existing_action_id_does_not_evict": ONCE,
}
EXCEPTIONS = {
    "sqlite": BOTH,
    "redis": {
        **BOTH,
        "tokens.py::test_sweep_removes_expired_entry": "counts what is swept; the server forgets by itself",
    },
}
"""Test → why it fails with our stores in place."""


def main() -> int:
    """Exit code 0 if every test passes or is a listed exception, 1 if not, 64 for bad input."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--sdist", type=Path, help=f"a {NAME}.tar.gz, or the folder of an unpacked one")
    parser.add_argument("--state", action="append", choices=sorted(EXCEPTIONS), help="default: both")
    arguments = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lab-upstream-")))
        try:
            source = unpacked(arguments.sdist, folder)
        except (OSError, tarfile.TarError, subprocess.CalledProcessError) as error:
            print(f"no sdist of {NAME}: {error}; give one with --sdist", file=sys.stderr)
            return 64
        wrong = [
            line
            for state in arguments.state or EXCEPTIONS
            for line in differences(state, source, stack.enter_context(place_of(state)))
        ]
    print(*wrong, sep="\n")
    return 1 if wrong else 0


def unpacked(sdist: Path | None, folder: Path) -> Path:
    """The unpacked sdist, fetched if none is given."""
    if sdist is None:
        fetch = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check"]
        fetch += ["--no-deps", "--no-binary", ":all:", "--dest", str(folder)]
        subprocess.run([*fetch, f"weaver-kernel=={version('weaver-kernel')}"], check=True)
        (sdist,) = folder.glob("*.tar.gz")
    if sdist.is_dir():
        return sdist
    with tarfile.open(sdist) as archive:
        archive.extractall(folder, filter="data")
    return folder / NAME


@contextlib.contextmanager
def place_of(state: str) -> Iterator[str]:
    """What ``LAB_UPSTREAM_STATE`` is to be."""
    if state == "sqlite":
        yield state
        return
    with server() as valkey:
        yield f"redis://127.0.0.1:{valkey.port}/0"


def differences(state: str, source: Path, where: str) -> list[str]:
    """Run the tests on one state; a line for each result that is not as listed."""
    command = [sys.executable, "-m", "pytest", "-q", "-rfE", "--tb=line", "-p", "beside_upstream.our_stores"]
    command += [
        "-p",
        "no:cacheprovider",
        "-p",
        "no:locust",
        "-o",
        "asyncio_default_fixture_loop_scope=function",
    ]
    command += [f"tests/test_{name}.py" for name in FILES]
    env = {**os.environ, "PYTHONPATH": str(ROOT), "LAB_UPSTREAM_STATE": where}
    done = subprocess.run(command, cwd=source, env=env, capture_output=True, text=True, check=False)
    failed = set(re.findall(r"^(?:FAILED|ERROR) tests/test_(\S+?\.py::\S+)", done.stdout, re.MULTILINE))
    if done.returncode not in {0, 1}:
        return [f"{state}: pytest ended with {done.returncode}", done.stdout, done.stderr]
    listed = EXCEPTIONS[state]
    print(f"{state}: {done.stdout.strip().splitlines()[-1]}")
    for test in sorted(failed & listed.keys()):
        print(f"  {test}: {listed[test]}")
    return [f"{state}: {test} fails and is not listed" for test in sorted(failed - listed.keys())] + [
        f"{state}: {test} is listed and does not fail" for test in sorted(listed.keys() - failed)
    ]


if __name__ == "__main__":
    sys.exit(main())
