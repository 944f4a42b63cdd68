"""The follow-ups: issues that are ready to file, each with the script that shows what it describes.

``python -m kernel_lab.upstream.followups NUMBER`` prints the body of one as it is filed: without the head and
without the markers of our figures. ``--try`` follows each of them as a reader would. It saves the script, runs
the commands of the text in an empty folder, and compares the output with the text.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kernel_lab.bad_input import EXIT_CODE
from kernel_lab.run import registry

FOLDER = registry.root() / "docs" / "upstream" / "followups"
REMEDIES = registry.root() / "docs" / "upstream" / "remedies"


@dataclass(frozen=True, slots=True, kw_only=True)
class Followup:
    """One follow-up, read from its file."""

    path: Path
    head: dict[str, str]
    """``title``, ``file`` (public, or a comment on an issue), ``scope``, ``affects``, ``after``."""
    body: str

    @property
    def number(self) -> str:
        """The number of the follow-up in this folder. It becomes an issue number when the follow-up is filed."""
        return self.path.name[:2]

    @property
    def affects(self) -> tuple[str, ...]:
        """The versions on which the script behaves as described."""
        return tuple(self.head["affects"].split(", "))

    @property
    def script(self) -> str:
        """The reproduction."""
        return self._block("</summary>\n\n```python\n")

    @property
    def commands(self) -> list[str]:
        """The commands that the reader types: the environment first, the reproduction last."""
        return self._block("```bash\n").splitlines()

    @property
    def stdout(self) -> str:
        """The output of the reproduction."""
        return self._block("Standard output:\n\n```text\n")

    @property
    def stderr(self) -> str:
        """The output of the reproduction on standard error."""
        return "" if "Standard error is empty." in self.body else self._block("Standard error:\n\n```text\n")

    @property
    def remedies(self) -> tuple[Path, ...]:
        """The patches of the proposed change, in the order in which they apply; empty for a comment."""
        numbers = [*filter(None, self.head.get("after", "").split(", ")), self.number]
        paths = [REMEDIES / f"{number}.diff" for number in numbers]
        return tuple(paths) if paths[-1].exists() else ()

    def issue(self) -> str:
        """The body as it is filed."""
        return re.sub(r"<!--.*?-->", "", self.body, flags=re.DOTALL).strip() + "\n"

    def _block(self, opening: str) -> str:
        _, found, rest = self.body.partition(opening)
        if not found:
            raise ValueError(f"{self.path.name} has no {opening.strip()!r}")
        return rest.partition("\n```")[0] + "\n"


def read(path: Path) -> Followup:
    """One follow-up from its file."""
    _, head, body = path.read_text(encoding="utf-8").split("---\n", 2)
    pairs = (line.split(": ", 1) for line in head.splitlines())
    return Followup(path=path, head={key: value.strip('"') for key, value in pairs}, body=body)


def every() -> list[Followup]:
    """All follow-ups by number."""
    return [read(path) for path in sorted(FOLDER.glob("*.md"))]


def differences(one: Followup, folder: Path) -> list[str]:
    """Type the commands of a follow-up in `folder`, and return the differences between their output and its text.

    The commands before the last one make the environment. They are typed once in a folder.
    """
    (folder / "reproduction.py").write_text(one.script, encoding="utf-8")
    env = {name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "WEAVER"))}
    *making, last = one.commands
    made = folder / "made"
    for command in making if not made.exists() or made.read_text("utf-8") != str(making) else []:
        done = _typed(command, folder, env)
        if done.returncode:
            return [f"{command!r} ended with {done.returncode}: {done.stderr.strip()[-200:]}"]
    made.write_text(str(making), encoding="utf-8")
    done = _typed(last, folder, env)
    wrong = [] if done.returncode == 0 else [f"{last!r} ended with {done.returncode}"]
    wrong += [f"standard output is {done.stdout!r}"] if done.stdout != one.stdout else []
    wrong += [f"standard error is {done.stderr!r}"] if done.stderr != one.stderr else []
    return wrong


def _typed(command: str, folder: Path, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["bash", "-c", command], cwd=folder, env=env, capture_output=True, text=True, check=False
    )


def tried(followups: Sequence[Followup]) -> int:
    """Exit code 1 if one of them does not print what its text shows."""
    failed = 0
    with tempfile.TemporaryDirectory(prefix="lab-followups-") as folder:
        for one in followups:
            wrong = differences(one, Path(folder))
            failed += bool(wrong)
            print(f"{one.number}: {'; '.join(wrong) or 'prints what it shows'}")
    return 1 if failed else 0


def main(arguments: Sequence[str] | None = None) -> int:
    """Print one follow-up as it is filed, or try them all."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    known = {one.number: one for one in every()}
    if given == ["--try"]:
        return tried(list(known.values()))
    if len(given) != 1 or given[0] not in known:
        print(f"make upstream-issue: N should be one of: {', '.join(known)}", file=sys.stderr)
        return EXIT_CODE
    one = known[given[0]]
    print(f"{one.head['title']}\n\n{one.issue()}", end="")
    return 0


if __name__ == "__main__":
    sys.exit(main())
