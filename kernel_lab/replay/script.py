"""The script of a replay: a docstring that says what was seen, the story, and the part that all replays share."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from kernel_lab.judge.history import open_history
from kernel_lab.judge.verdict import Cell, Verdict
from kernel_lab.replay import teller
from kernel_lab.replay.story import NoStory, story_of

MARK = "# --- from here on the text is copied ---\n"
WIDTH = 100


def replay_of(history: Path, cell: Cell, verdict: Verdict, claim: str) -> str:
    """The text of the script that does the counter-example of an invalid verdict again.

    Args:
        history: The file of the recorded history.
        cell: The cell that was recorded.
        verdict: The invalid verdict on it.
        claim: The guarantee, in words.

    Raises:
        NoStory: The counter-example cannot be done again from outside.
    """
    if cell.fault:
        raise NoStory(f"a script cannot cause the fault {cell.fault}")
    return script([line for line in _lines(history) if isinstance(line.get("f"), str)], verdict, cell, claim)


def script(history: Sequence[dict[str, Any]], verdict: Verdict, cell: Cell, claim: str) -> str:
    """The text of the script.

    Raises:
        NoStory: The counter-example cannot be done again from outside.
    """
    # the history has fields that a checker does not read, such as who revoked
    by_index = {line.get("index"): line for line in history}
    counterexample = [by_index.get(line["index"], line) for line in verdict.counterexample]
    try:
        story = story_of(history, counterexample, cell)
    except (KeyError, TypeError) as error:
        raise NoStory(f"the history does not say all that a replay needs ({error!r})") from None
    if any(len(line.splitlines()) > 1 for line in story.lines):
        raise NoStory("a name in the history has a line break in it")
    source = Path(teller.__file__).read_text(encoding="utf-8")
    imports, _, shared = source.partition(MARK)
    imports = imports.partition("from __future__ import annotations\n")[2].strip()
    text = "\n".join(
        [
            "#!/usr/bin/env python3",
            _docstring(verdict, cell, claim),
            "",
            "from __future__ import annotations",
            "",
            imports,
            "",
            "",
            "def story(lab: Lab) -> bool:",
            '    """Tell it once; whether the anomaly shows."""',
            *(f"    {line}".rstrip() for line in story.lines),
            "",
            "",
            shared.strip(),
            "",
            "",
            'if __name__ == "__main__":',
            f"    main(story, tries={story.tries})",
            "",
        ]
    )
    try:
        compile(text, "replay.py", "exec", dont_inherit=True)
    except (SyntaxError, ValueError) as error:
        raise NoStory(f"the history holds text that cannot stand in a script ({error})") from None
    return text


def _docstring(verdict: Verdict, cell: Cell, claim: str) -> str:
    where = " with ".join(part for part in (cell.connections.replace("_", " "), cell.fault) if part)
    seen = verdict.anomalies[0].message if verdict.anomalies else ""
    parts = [
        f"Replay of a counter-example: {verdict.claim} on {cell.deployment.name}, over {where}.",
        f"The guarantee: {claim}",
        f"What the recorded run showed: {seen}." if seen else "",
    ]
    paragraphs = [textwrap.fill(part, WIDTH) for part in parts if part]
    told = "\n".join(f"  {line.rstrip()}" for line in verdict.story[:20])
    usage = (
        "Try it on a deployment that runs:\n\n  python replay.py http://127.0.0.1:8000\n\n"
        "Exit code: 1 the anomaly shows, 0 it does not, 2 it could not be tried, 64 no URL was given.\n"
        "It needs httpx and nothing else. It makes callers of its own and disturbs nobody else's. Your service may\n"
        "want other roles or headers: change `Caller`."
    )
    text = "\n\n".join([*paragraphs, f"The smallest counter-example of that run:\n\n{told}", usage])
    return 'r"""' + text.replace('"""', "'''").rstrip('"') + '\n"""'


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    with open_history(path) as file:
        for line in file:
            if line.strip():
                yield msgspec.json.decode(line)
