"""make upstream-check: the series applied to the sdist, and upstream's own ``make ci`` over the result.

Everything happens in a folder that is removed: the sdist is fetched and laid out as a repository, ``git am``
applies ``docs/upstream/patches``, a fresh environment is made with upstream's development dependencies, and
``make ci`` runs in it: format, lint, types, tests with the coverage floor, examples.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Sequence
from pathlib import Path

from kernel_lab.bad_input import EXIT_CODE, BadInput
from kernel_lab.upstream import sdist
from kernel_lab.upstream.series import PATCHES


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 if the series applies and ``make ci`` passes, 1 if not, 64 for bad input."""
    parser = argparse.ArgumentParser(prog="make upstream-check", description=__doc__.partition("\n")[0])
    parser.add_argument("--sdist", type=Path, help="a .tar.gz, or the folder of an unpacked one")
    parser.add_argument("--patches", type=Path, default=PATCHES)
    given = parser.parse_args(arguments)
    try:
        with tempfile.TemporaryDirectory(prefix="lab-upstream-check-") as folder:
            return _check(given.sdist, given.patches.resolve(), Path(folder))
    except BadInput as error:
        print(f"make upstream-check: {error}", file=sys.stderr)
        return EXIT_CODE


def _check(archive: Path | None, patches: Path, folder: Path) -> int:
    series = sorted(map(str, patches.glob("*.patch")))
    if not series:
        raise BadInput(f"{patches} holds no patch; `make upstream-patches` writes them")
    source = sdist.unpacked(archive.resolve() if archive else None, folder)
    tree = folder / "repository"
    subprocess.run(["cp", "-a", str(source), str(tree)], check=True)
    sdist.repository(tree)
    try:
        sdist.git(tree, "am", "--quiet", *series)
    except BadInput as error:
        print(f"the series does not apply: {error}")
        return 1
    print(sdist.git(tree, "log", "--oneline", "--stat", f"-{len(series)}"))
    environment = folder / "environment"
    venv.create(environment, with_pip=True)
    binaries = environment / "bin"
    _run([str(binaries / "pip"), "install", "--quiet", "--disable-pip-version-check", "-e", ".[dev]"], tree)
    path = {"PATH": os.pathsep.join((str(binaries), os.environ["PATH"])), "PYTHONDONTWRITEBYTECODE": "1"}
    began = time.monotonic()
    done = subprocess.run(
        ["make", "ci"], cwd=tree, env={**os.environ, **path}, capture_output=True, text=True, check=False
    )
    shown = done.stdout.splitlines() if done.returncode else _summary(done.stdout)
    print(*shown, *([done.stderr] if done.returncode else []), sep="\n")
    verdict = "passes" if done.returncode == 0 else f"ends with {done.returncode}"
    print(f"upstream's make ci {verdict} over the series, in {time.monotonic() - began:.0f} s")
    return 1 if done.returncode else 0


def _run(command: Sequence[str], folder: Path) -> None:
    if subprocess.run(command, cwd=folder, check=False).returncode:
        raise BadInput(f"{' '.join(command[:3])} failed; upstream's environment cannot be made")


def _summary(output: str) -> list[str]:
    """Return the lines in which each tool prints its result."""
    told = ("already formatted", "All checks passed", "Success: no issues", " passed", "Total coverage")
    return [line for line in output.splitlines() if any(one in line for one in told)]


if __name__ == "__main__":
    sys.exit(main())
