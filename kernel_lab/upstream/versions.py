"""make versions: which guarantee arrived or changed with which published release.

For each version an environment is made that holds that version and nothing else. In it runs
`kernel_lab.upstream.probe`, which asks two Kernels for each claim, and the script of each follow-up. The answers
go to ``docs/upstream/versions.csv``, and the table of ``docs/upstream/versions.md`` is filled from them.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import os
import re
import subprocess
import sys
import tempfile
import venv
from collections.abc import Sequence
from pathlib import Path

from kernel_lab import markdown
from kernel_lab.bad_input import EXIT_CODE, BadInput
from kernel_lab.run import registry
from kernel_lab.upstream import followups

VERSIONS = ("0.8.0", "0.9.0", "0.10.0", "0.11.0", "0.12.0")
"""Every version that is published from 0.8.0 on."""
FOLDER = registry.root() / "docs" / "upstream"
COLUMNS = ("kind", "subject", "version", "outcome", "reason")
_SKIPPED = "skipped"
_TIMEOUT_S = 120


def main(arguments: Sequence[str] | None = None) -> int:
    """Ask every version; exit code 64 where one cannot be installed."""
    parser = argparse.ArgumentParser(prog="make versions", description=__doc__.partition("\n")[0])
    parser.add_argument("--version", action="append", choices=VERSIONS, help="default: all")
    parser.add_argument("--out", type=Path, default=FOLDER, help="where versions.csv and versions.md are")
    given = parser.parse_args(arguments)
    rows = []
    try:
        for version in given.version or VERSIONS:
            with tempfile.TemporaryDirectory(prefix=f"lab-{version}-") as folder:
                rows += asked(version, Path(folder))
                print(f"{version}: {sum(row['version'] == version for row in rows)} answers")
    except BadInput as error:
        print(f"make versions: {error}", file=sys.stderr)
        return EXIT_CODE
    (given.out / "versions.csv").write_text(as_csv(rows), encoding="utf-8")
    page = given.out / "versions.md"
    if page.exists():
        page.write_text(filled(page.read_text(encoding="utf-8"), rows), encoding="utf-8")
    return 0


def asked(version: str, folder: Path) -> list[dict[str, str]]:
    """Return the answers of one version.

    Raises:
        BadInput: It cannot be installed.
    """
    python = installed(version, folder)
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "WEAVER"))}
    old = next(folder.glob("env/lib/python*/site-packages/agent_kernel"), None)
    if old is not None:  # until 0.9.0 the package had this name; the follow-ups import the new one
        (folder / "alias").mkdir()
        (folder / "alias" / "weaver_kernel").symlink_to(old)
        env["PYTHONPATH"] = str(folder / "alias")
    probe = Path(__file__).with_name("probe.py")
    told = subprocess.run(
        [python, probe], env=env, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S
    )
    if told.returncode:
        raise BadInput(f"the probe failed on {version}: {told.stderr.strip().splitlines()[-1]}")
    rows = [_row("claim", claim, version, said) for claim, said in json.loads(told.stdout).items()]
    for one in followups.every():
        script = folder / "reproduction.py"
        script.write_text(one.script, encoding="utf-8")
        done = subprocess.run(
            [python, script], env=env, capture_output=True, text=True, check=False, timeout=_TIMEOUT_S
        )
        rows.append(_row("follow-up", one.number, version, _judged(done)))
    return rows


def installed(version: str, folder: Path) -> Path:
    """A Python whose environment holds that version and what it needs."""
    environment = folder / "env"
    venv.create(environment, with_pip=True)
    python = environment / "bin" / "python"
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    done = subprocess.run(
        [*command, f"weaver-kernel=={version}"], capture_output=True, text=True, check=False
    )
    if done.returncode:
        raise BadInput(f"weaver-kernel {version} cannot be installed: {done.stderr.strip()[-200:]}")
    return python


def _judged(done: subprocess.CompletedProcess[str]) -> str:
    if done.returncode == 0:
        return "as described"
    if "NO LONGER" in done.stdout:
        gone = re.findall(r"^NO LONGER +(.+)$", done.stdout, re.MULTILINE)
        return f"differs: {gone[0]}"
    return f"absent: {done.stderr.strip().splitlines()[-1]}"


def _row(kind: str, subject: str, version: str, said: str) -> dict[str, str]:
    absent, _, reason = said.partition("absent: ")
    outcome = said if absent else _SKIPPED
    return dict(zip(COLUMNS, (kind, subject, version, outcome, reason if not absent else ""), strict=True))


def as_csv(rows: Sequence[dict[str, str]]) -> str:
    """The answers, a row each; what a version does not have is skipped, with the reason."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def table(rows: Sequence[dict[str, str]], kind: str) -> str:
    """Subjects by version."""
    versions = list(dict.fromkeys(row["version"] for row in rows))
    said = {(row["subject"], row["version"]): row for row in rows if row["kind"] == kind}
    body = [
        [subject, *(_cell(said[subject, version]) for version in versions)]
        for subject in dict.fromkeys(row["subject"] for row in rows if row["kind"] == kind)
    ]
    return markdown.table([[kind, *versions], *body])


def _cell(row: dict[str, str]) -> str:
    if row["outcome"] == _SKIPPED:
        return "–"
    return row["outcome"].partition(":")[0] if row["kind"] == "follow-up" else row["outcome"]


def filled(page: str, rows: Sequence[dict[str, str]]) -> str:
    """The page with its tables made of `rows`."""
    for kind in ("claim", "follow-up"):
        mark = f"<!-- versions: {kind} -->"
        head, _, rest = page.partition(f"{mark}\n")
        page = f"{head}{mark}\n{table(rows, kind)}\n{rest[rest.index('<!-- /versions -->') :]}"
    return page


if __name__ == "__main__":
    sys.exit(main())
