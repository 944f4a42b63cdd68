"""Nothing that everybody can read describes a weakness of the package under test that upstream has not fixed.

A description needs a subject and a weakness. The words are kept as digests, because the list itself would be such a
description: a paragraph that holds a subject and a weakness of one row tells too much. `digest` makes a new entry.
"""

import hashlib
import re
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TOLD = [
    *(ROOT / name for name in ("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md")),
    *sorted((ROOT / "docs").rglob("*")),
    *sorted((ROOT / "kernel_lab").rglob("*")),
    *sorted((ROOT / "scenarios").rglob("*.py")),
    *(
        path
        for name in ("lab", "mutants", "examples", "deploy", ".github")
        for path in sorted((ROOT / name).rglob("*"))
    ),
    *sorted((ROOT / "results").glob("*.md")),
    *(
        path
        for kind in ("html", "csv")
        for path in sorted((ROOT / "results" / "reference").glob(f"*.{kind}"))
    ),
]
SEARCHES = [ROOT / "kernel_lab" / "upstream" / name for name in ("contract.py", "searches.py")]
"""What looks for weaknesses has to name what it looks at; it says of nothing that it is weak."""
KINDS = {
    ".md",
    ".in",
    ".py",
    ".j2",
    ".toml",
    ".patch",
    ".diff",
    ".html",
    ".csv",
    ".yml",
    ".yaml",
    ".conf",
    ".sh",
}
MADE = {".venv", "results"}
"""Folders of examples that hold no text of ours."""
TEXTS = [
    path
    for path in TOLD
    if path.is_file()
    and path.suffix in KINDS
    and path not in SEARCHES
    and not MADE & set(path.relative_to(ROOT).parts[1:])
]
LONGEST = 3
"""Words of an entry."""


# Subjects, and what must not be said of them: a row each.
WORDS = [
    (
        "5ee124468e5a 8a11e25267cb",
        (
            "45d4d091b2cc e68e43985d78 5d40fe31606e ec995f1cc3fa cfff46a44915 98606e2db324 "
            "c5397a6dd64e c7d09d6d7ccf 9dfa8af2609e"
        ),
    ),
    (
        "a344872d9859 4ccf73b562e7 e636984b699d 6beb19675d17",
        "840aee1980ae e9b05ca3f708 f23c8e94fcda 3f9fe27f075f 53cc3a7b0f88 db1f0904e25f 2e9da182e31d",
    ),
    (
        "1c360cece9df 1ecce80caf74 a23a266c279e 0a5a52320ac8 67cef5c33cdd",
        "e588cf8b34df a1790cd43a60 b5014c9990d9 9b897ab3d816 c02297be3c9d 0cfcb8b0ff15",
    ),
    (
        "f004f02ce4af 2132d22118bf a3ed8ca5d232",
        (
            "499697ff7486 cbffc8fe5c87 b6e41ef63ebd 5c47383d2216 ed89a3e91ed2 baf502e86c47 "
            "655143581c70 6a2c4be2279d"
        ),
    ),
    (
        "6c81a221e091 8a7dcb8824bc",
        "617116e340a3 1812e91f2ec8 77f036c70696 586876693070 162e50bbbc90",
    ),
    (
        (
            "2173c7ac0633 1f120b545332 d05b9c620e2d 5865a6085fb3 3c3b8304d6d7 05e68d6d71cd "
            "4cd97cb94ea2 deb5109f7a73"
        ),
        "97fbc7c911da 082d05629d9f e375c9122d0e ef3ba4888df6 420289ff262a c867957e1f18 c95d8dbd5679",
    ),
    (
        "b7a43a86a8aa 6ee219f9dd6a 0a3abae3df19 2f1aebd14203",
        "65039d01168a 6d7a760da9b3 023b61692890 33bf0dfd8d54",
    ),
    (
        "2df926d9580a 719ef96c28d8 6118d4b5f6de",
        "540a0939886c 748b247908ca e29077457111 97fbc7c911da 420289ff262a",
    ),
]


@cache
def digest(words: str) -> str:
    return hashlib.sha256(f"kernel-lab:{words}".encode()).hexdigest()[:12]


def paragraphs(text: str) -> Iterator[str]:
    """Paragraphs, items of lists and rows of tables: what is read together. A patch is read as what it adds."""
    text = re.sub(r"^\+", "", text, flags=re.MULTILINE)
    for block in re.split(r"\n\s*\n", text):
        yield from re.split(r"\n(?=\||- |\d+\. |  *\w+=)", block)


def phrases(paragraph: str) -> set[str]:
    """The digests of every one, two and three words that follow each other."""
    words = re.findall(r"[a-z_]+(?:-[a-z]+)*", paragraph.lower())
    return {
        digest(" ".join(words[start : start + length]))
        for length in range(1, LONGEST + 1)
        for start in range(len(words) - length + 1)
    }


def told(text: str, rows: list[tuple[str, str]] = WORDS) -> list[str]:
    """The paragraphs that tell too much."""
    found = []
    for paragraph in paragraphs(text):
        said = phrases(paragraph)
        if any(said & set(subjects.split()) and said & set(weak.split()) for subjects, weak in rows):
            found.append(paragraph)
    return found


@pytest.mark.parametrize("path", TEXTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_text_describes_no_unpatched_weakness(path: Path) -> None:
    assert told(path.read_text(encoding="utf-8")) == []


def test_no_test_is_named_after_one() -> None:
    names = [
        name.replace("_", " ")
        for path in sorted((ROOT / "tests").rglob("*.py"))
        for name in re.findall(r"def (test_\w+)", path.read_text(encoding="utf-8"))
    ]
    assert len(names) > 100
    assert [name for name in names if told(name)] == []


def test_no_comment_or_docstring_of_a_test_describes_one() -> None:
    told_by = {}
    for path in sorted((ROOT / "tests").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        said = re.findall(r'"""(.*?)"""', text, re.DOTALL) + re.findall(r"#(.*)", text)
        if found := told("\n\n".join(said)):
            told_by[path.name] = found
    assert told_by == {}


def test_no_commit_is_named_after_one() -> None:
    done = subprocess.run(
        ["git", "log", "--format=%s%n%n%b%n"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if done.returncode:
        pytest.skip("this copy of the sources has no history")
    assert told(done.stdout) == []


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("The teapot has a\ncracked handle.", 1),
        ("The teapot is whole.\n\nA cup has a cracked handle.", 0),
        ("| teapot | Cracked handle |\n| cup | whole |", 1),
        ("+The teapot\n+has a cracked handle", 1),
    ],
)
def test_a_description_is_found_in_what_is_read_together(text: str, found: int) -> None:
    rows = [(f"{digest('teapot')} {digest('kettle')}", digest("cracked handle"))]
    assert len(told(text, rows)) == found
