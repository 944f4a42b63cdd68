"""make advisories: a private bundle for the maintainers of the package under test.

The security contract (`kernel_lab.upstream.contract`) is tried on the installed version. For each property with
a counter-example the bundle holds a report with the fields that upstream asks for. Reports, counter-examples and
the operator's notes never lie in this repository: the bundle is written to a file outside of it, readable by
its owner alone, and nothing but its path is printed.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import platform
import subprocess
import sys
import tarfile
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from kernel_lab.bad_input import EXIT_CODE, BadInput
from kernel_lab.run import registry
from kernel_lab.upstream import contract, sdist, searches

TEMPLATE = registry.root() / "docs" / "upstream" / "advisory-template.md"
_ASK = "to be filled in by the operator"
_TIMEOUT_S = 600


def main(arguments: Sequence[str] | None = None) -> int:
    """Write the bundle; exit code 64 for a place inside the repository."""
    parser = argparse.ArgumentParser(prog="make advisories", description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True, help="a .tar.gz outside of the repository")
    parser.add_argument(
        "--notes",
        type=Path,
        help="a folder outside of the repository: NAME.md goes into the report of that property, every other file"
        " beside the reports",
    )
    given = parser.parse_args(arguments)
    try:
        for place in filter(None, (given.out, given.notes)):
            _outside(place)
        if given.notes is not None and not given.notes.is_dir():
            raise BadInput(f"--notes {given.notes}: there is no such folder")
        files = bundle(tried(), given.notes)
    except BadInput as error:
        print(f"make advisories: {error}", file=sys.stderr)
        return EXIT_CODE
    write(files, given.out)
    print(given.out)
    return 0


def _outside(place: Path) -> None:
    inside = [
        root for root in (registry.root(), Path.cwd()) if place.resolve().is_relative_to(root.resolve())
    ]
    if inside:
        raise BadInput(f"{place} lies in {inside[0]}; name a place outside of the repository")


def tried() -> dict[str, str | None]:
    """Property → its counter-example on the installed version, or None.

    Raises:
        BadInput: The contract could not be tried.
    """
    command = [sys.executable, contract.__file__]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S)
    if done.returncode:
        raise BadInput(f"the contract could not be tried: {done.stderr.strip().splitlines()[-1]}")
    found: dict[str, str | None] = json.loads(done.stdout)
    return found


def bundle(found: Mapping[str, str | None], notes: Path | None) -> dict[str, str]:
    """The bundle's files by name.

    A report holds the operator's notes on its property where there are some; their first line may be
    ``executed: …`` or ``also: …`` and then fills that field.
    """
    files = {
        "contract.py": Path(contract.__file__).read_text(encoding="utf-8"),
        "searches.py": Path(searches.__file__).read_text(encoding="utf-8"),
        "contract.json": json.dumps(found, indent=1) + "\n",
    }
    reported = set()
    for one in contract.CONTRACT:
        counter_example = found.get(one.name)
        if counter_example is None:
            continue
        note = notes / f"{one.name}.md" if notes else None
        text = note.read_text(encoding="utf-8") if note is not None and note.exists() else ""
        fields = {"executed": _ASK, "also": "not tried"}
        while (line := text.partition("\n")[0]).partition(":")[0] in fields:
            key, _, value = line.partition(":")
            fields[key], text = value.strip(), text.partition("\n")[2]
        reported.add(note)
        files[f"{one.name}.md"] = TEMPLATE.read_text(encoding="utf-8").format(
            name=one.name, statement=one.statement, boundary=one.boundary, mode=one.mode,
            version=version(sdist.PROJECT), python=platform.python_version(),
            counter_example=counter_example.replace("|", "\\|"), notes=text.strip() or _ASK, **fields,
        )  # fmt: skip
    if notes is not None:
        for path in sorted(path for path in notes.rglob("*") if path.is_file() and path not in reported):
            files[f"notes/{path.relative_to(notes)}"] = path.read_text(encoding="utf-8")
    return files


def write(files: Mapping[str, str], out: Path) -> None:
    """One archive that its owner alone can read."""
    handle = os.open(out, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "wb") as raw, tarfile.open(fileobj=raw, mode="w:gz") as archive:
        for name, text in files.items():
            content = text.encode()
            info = tarfile.TarInfo(f"advisories/{name}")
            info.size, info.mode = len(content), 0o600
            archive.addfile(info, io.BytesIO(content))


if __name__ == "__main__":
    sys.exit(main())
