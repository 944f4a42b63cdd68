"""The docs say what a run says, and nothing about a run that was not measured."""

import csv
import fnmatch
import re
from pathlib import Path

import pytest

from beside_upstream import cost as state
from kernel_lab import runbook
from kernel_lab.convergence import measure as convergence
from kernel_lab.load import curves, distance
from kernel_lab.load.costs import frontier, table
from kernel_lab.publish import docs, hosts
from kernel_lab.publish.markers import NOT_MEASURED, BadMarker, check, fill
from kernel_lab.publish.reference import complaints
from kernel_lab.run import effect, registry, results, timeline
from kernel_lab.run.measures import Column
from kernel_lab.run.saved import read_run

REFERENCE = docs.reference()
needs_reference = pytest.mark.skipif(not REFERENCE.exists(), reason="no results/reference in this checkout")


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("rate_limit.csv memory-2 round_robin factor", "× 2.0"),
        ("rate_limit.csv memory-2 round_robin admitted", "2"),
        ("rate_limit.csv memory-2 round_robin validity", "invalid"),
        ("handles.csv memory-2 round_robin miss_rate", "50 %"),
        ("handles.csv memory-2 round_robin share", "50 % (1 of 2; 95 %: 9 to 91 %)"),
        ("revocation.csv single round_robin share", "0 of 6 (95 %: at most 39 %)"),
        ("revocation.csv memory-2 round_robin lag_lower_ms_max", "515 ms"),
        ("cost.csv redis read-heavy closed throughput_vs_memory", "× 0.91 (0.88 to 0.94)"),
        ("cost.csv redis read-heavy closed all_p99_ms", "12.5 ms"),
        ("cost.csv redis read-heavy closed calls", "12,345"),
        ("cost.csv redis read-heavy closed reading", "throughput × 0.91; CPU: no difference measured"),
        ("cost_distance.csv redis grant 0.5 blocked_ms_per_call", "1.51 ms"),
        ("cost_distance.csv redis grant 1 ceiling_per_s", "1,581"),
    ],
)
def test_a_figure_is_said_with_its_unit(with_cost, words, said):
    text = f"before <!-- figure: {words} -->?<!-- /figure --> after"
    assert fill(text, with_cost, {}) == f"before <!-- figure: {words} -->{said}<!-- /figure --> after"


@pytest.fixture(scope="module")
def with_cost(tmp_path_factory):
    import making

    folder = making.make_run(tmp_path_factory.mktemp("docs") / "run")
    row = {
        "deployment": "redis", "mix": "read-heavy", "step": "closed", "throughput_vs_memory": 0.91,
        "throughput_vs_memory_low": 0.88, "throughput_vs_memory_high": 0.94, "all_p99_ms": 12.5,
        "calls": 12345, "reading": "throughput × 0.91; CPU: no difference measured",
    }  # fmt: skip
    results.write_rows(folder / "cost.csv", table.COLUMNS, [row])
    far = {"deployment": "redis", "mix": "grant", "rtt_ms": 1.0, "ceiling_per_s": 1581.13}
    near = {"deployment": "redis", "mix": "grant", "rtt_ms": 0.5, "blocked_ms_per_call": 1.5123}
    results.write_rows(folder / "cost_distance.csv", distance.COLUMNS, [near, far])
    return read_run(folder)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("<!-- figure: handles.csv memory-2 round_robin -->?<!-- /figure -->", "0 rows of handles.csv"),
        ("<!-- figure: traces.csv single fresh lost -->?<!-- /figure -->", "with a file of: "),
        ("<!-- figure: handles single fresh lost -->?<!-- /figure -->", "FILE.csv KEYS"),
        ("<!-- figure: handles.csv single round_robin lost -->?<!-- /figure -->", "no such column; one of"),
        ("<!-- figure: handles.csv redis round_robin misses -->?<!-- /figure -->", "not observed"),
        ("<!-- figure: handles.csv redis round_robin share -->?<!-- /figure -->", "counts no share"),
        ("<!-- figure: handles.csv single round_robin x y misses -->?<!-- /figure -->", "0 rows"),
        ("<!-- figure: handles.csv single round_robin misses -->?", "not closed"),
        ("<!-- table: nothing -->\n<!-- /table -->", "no table 'nothing'; one of: front"),
        ("<!-- /table -->", "not closed"),
    ],
)
def test_a_marker_that_says_nothing_is_one_line(run, text, said):
    with pytest.raises(BadMarker, match=re.escape(said)) as told:
        fill(text, run, {"front": lambda _: "x"})
    assert len(str(told.value).splitlines()) == 1


@pytest.mark.parametrize("column", ["misses", "share"])
def test_a_deployment_that_a_run_did_not_ask_is_not_measured_and_a_misspelt_one_is_refused(run, column):
    text = f"<!-- figure: handles.csv remote round_robin {column} -->?<!-- /figure -->"
    assert NOT_MEASURED in fill(text, run, {})
    with pytest.raises(BadMarker, match="0 rows of handles"):
        fill(text.replace("remote", "remoet"), run, {})


def test_filling_twice_changes_nothing(run):
    text = "a <!-- figure: handles.csv single round_robin misses -->?<!-- /figure -->\n"
    text += "<!-- table: t -->\n<!-- /table -->\n"
    once = fill(text, run, {"t": lambda _: "| a |\n| --- |"})
    assert once != text
    assert fill(once, run, {"t": lambda _: "| a |\n| --- |"}) == once


def test_every_table_of_the_docs_can_be_made_of_any_run(run):
    for path in docs.texts():
        for name, made in docs.tables_for(path).items():
            lines = made(run).splitlines()
            assert len({line.count("|") - line.count("\\|") for line in lines}) == 1, name


def test_evidence_links_lead_from_where_the_text_lies(run):
    assert "(../results/reference/cells/handles/memory-2-round_robin/verdict.json)" in docs.tables_for(
        registry.root() / "docs" / "consistency-model.md"
    )["repairs"](run)
    front = docs.tables_for(registry.root() / "README.md")["front"](run)
    link = "[✓](results/reference/cells/rate_limit/single-round_robin/verdict.json)"
    assert f"{link} 1 where 1 are allowed (× 1.0)" in front


def test_zero_failures_print_their_bound(run):
    repairs = docs.tables_for(registry.root() / "docs" / "consistency-model.md")["repairs"](run)
    assert "0 of 6 (95 %: at most 39 %)" in repairs


@pytest.mark.parametrize("path", docs.texts(), ids=lambda path: path.name)
def test_every_marker_of_the_docs_is_whole_and_known(path):
    check(path.read_text(encoding="utf-8"), docs.tables_for(path))


@pytest.mark.parametrize(
    "name",
    [
        "consistency-model.md",
        "choosing.md",
        "upstream/recommendation.md",
        "upstream/checklist.md",
    ],
)
def test_no_measured_figure_stands_outside_a_marker(name):
    text = (registry.root() / "docs" / name).read_text(encoding="utf-8")
    text = re.sub(r"<!-- (figure|table): .*?<!-- /\1 -->", "", text, flags=re.DOTALL)
    loose = re.findall(r"\S*\d(?:\.\d+)? ?%(?! interval)|× ?\d[\d.]*", text)
    assert set(loose) <= {"× 2"}, "a figure of a run belongs into a marker"


@pytest.mark.parametrize(
    "path", [*docs.texts(), registry.results() / "README.md"], ids=lambda path: path.name
)
def test_every_link_of_the_docs_leads_somewhere(path):
    text = re.sub(r"```.*?```", "", path.read_text(encoding="utf-8"), flags=re.DOTALL)
    for target in re.findall(r'(?:\]\(|src=")([^)#"\s]+)', text):
        if "://" not in target:
            assert (path.parent / target).exists(), target


def test_what_goes_upstream_is_held_to_the_run_too():
    folder = registry.root() / "docs" / "upstream"
    held = {path.relative_to(folder).as_posix() for path in docs.texts() if path.is_relative_to(folder)}
    assert {"recommendation.md", "checklist.md"} <= held
    assert "followups/01-shared-revocation-store.md" in held


def test_every_column_of_every_csv_is_described():
    text = (registry.results() / "README.md").read_text(encoding="utf-8")
    named = set(re.findall(r"`([a-z0-9_*]+)`", text))
    columns = {*results.LEADING, *results.VERDICTS, *results.SHARES, *table.COLUMNS, *frontier.COLUMNS}
    columns |= {
        one.name
        for scenario in registry.scenarios().values()
        for one in scenario.quantities
        if one.column is not Column.NONE
    }
    columns |= {column for curve in curves.CURVES.values() for column in curve.columns}
    columns |= set(runbook.COLUMNS) | set(convergence.COLUMNS)
    columns |= {
        *effect.COLUMNS,
        *timeline.COLUMNS,
        *hosts.COLUMNS,
        *hosts.FAULT_COLUMNS,
        *state.COLUMNS,
        *distance.COLUMNS,
    }
    missing = [c for c in sorted(columns) if not any(fnmatch.fnmatch(c, one) for one in named)]
    assert missing == []


@pytest.fixture(scope="module")
def reference():
    return docs.read(REFERENCE)


@needs_reference
@pytest.mark.parametrize("path", docs.texts(), ids=lambda path: path.name)
def test_the_docs_say_what_the_reference_run_says(reference, path):
    text = path.read_text(encoding="utf-8")
    assert fill(text, reference, docs.tables_for(path)) == text, "run `make docs`"


@needs_reference
def test_the_docs_show_the_pictures_of_the_reference_run(reference):
    for name, drawn in docs.pictures(reference).items():
        assert (registry.root() / "docs" / "pictures" / name).read_text("utf-8") == drawn, "run `make docs`"


@needs_reference
def test_nothing_is_wrong_with_the_reference_run():
    assert complaints(REFERENCE, registry.scenarios()) == []


@needs_reference
def test_the_reference_run_is_of_the_version_the_lab_pins():
    pinned = re.search(r'"weaver-kernel==([\d.]+)"', (registry.root() / "pyproject.toml").read_text())[1]
    assert read_run(REFERENCE).environment["packages"]["weaver-kernel"] == pinned


@needs_reference
def test_every_csv_of_the_reference_run_can_be_read_by_anybody():
    for path in sorted(Path(REFERENCE).glob("*.csv")):
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.reader(file, strict=True))
        assert len({len(row) for row in rows}) == 1, path.name


def test_docs_are_written_once_and_then_found_right(run, tmp_path, monkeypatch, capsys):
    text = tmp_path / "page.md"
    text.write_text("<!-- figure: handles.csv single round_robin misses -->?<!-- /figure -->\n")
    monkeypatch.setattr(docs, "texts", lambda: [text])
    monkeypatch.setattr(registry, "root", lambda: tmp_path)
    monkeypatch.setattr(docs, "tables_for", lambda path: {})
    monkeypatch.setattr(docs, "pictures", lambda run: {"one.svg": "<svg/>"})
    monkeypatch.setattr(docs, "read", read_run)
    assert docs.main([str(run.path), "--check"]) == 1
    assert "?" in text.read_text()
    assert docs.main([str(run.path)]) == 0
    assert text.read_text() == "<!-- figure: handles.csv single round_robin misses -->0<!-- /figure -->\n"
    assert docs.main([str(run.path), "--check"]) == 0
    assert "differs from the run: page.md" in capsys.readouterr().out


def test_a_folder_that_is_no_run_is_one_line(tmp_path, capsys):
    assert docs.main([str(tmp_path)]) == 64
    assert "has no verdicts.csv" in capsys.readouterr().err
