"""The page: one file, everything on it has a source, nothing on it is empty."""

import dataclasses
import itertools
import re
from html.parser import HTMLParser

import making
import msgspec
import pytest

from kernel_lab.bad_input import BadInput
from kernel_lab.publish.report import Subjects, write_report
from kernel_lab.publish.report.matrix import tables
from kernel_lab.publish.report.page import render
from kernel_lab.publish.report.trust import MutationTests
from kernel_lab.publish.reporting import read_mutation_tests
from kernel_lab.run.saved import NotASavedRun, read_run

VOID = {"meta", "link", "br", "hr", "img", "input"}


class Outline(HTMLParser):
    """Tags with their attributes, and the text inside each."""

    def __init__(self, page):
        super().__init__()
        self.tags = []
        self.open = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        entry = {"tag": tag, "inside": [one["tag"] for one in self.open], "text": "", **dict(attrs)}
        self.tags.append(entry)
        if tag not in VOID:
            self.open.append(entry)

    def handle_endtag(self, tag):
        if tag in [one["tag"] for one in self.open]:
            while self.open.pop()["tag"] != tag:
                pass

    def handle_data(self, data):
        for entry in self.open:
            entry["text"] += data

    def all(self, *names):
        return [entry for entry in self.tags if entry["tag"] in names]


@pytest.fixture(scope="module")
def outline(page):
    return Outline(page)


def test_the_page_needs_nothing_from_elsewhere(page, outline):
    assert "://" not in re.sub(r"memory://|redis://|sqlite:///", "", page)
    assert not [entry for entry in outline.tags if "src" in entry]
    assert [entry["href"] for entry in outline.all("link")] == ["data:,"]
    assert "default-src 'none'" in page


def test_every_link_leads_somewhere(outline, folder):
    ids = {entry["id"] for entry in outline.tags if "id" in entry}
    for entry in outline.all("a"):
        href = entry["href"]
        assert href[1:] in ids if href.startswith("#") else (folder / href).exists(), href


def test_the_question_is_asked_as_an_operator_asks_it(outline):
    (heading,) = outline.all("h1")
    assert heading["text"] == "2 workers, in-memory state: what still holds?"


def test_three_tiles_each_lead_to_their_counter_example(outline):
    found = [entry for entry in outline.all("a") if entry.get("class", "").startswith("tile")]
    assert [(tile["href"], tile["class"]) for tile in found] == [
        ("#cell-rate_limit-memory-2-round_robin", "tile invalid"),
        ("#cell-revocation-memory-2-round_robin", "tile invalid"),
        ("#cell-handles-memory-2-round_robin", "tile invalid"),
    ]
    said = [" ".join(tile["text"].split()) for tile in found]
    assert "× 2.0 the limit 2 grants in one window of 2 s, where 1 are allowed" in said[0]
    assert "515 ms later 50 % of the invokes after a revoke were accepted" in said[1]
    assert "every worker refused them 625 ms after the revoke at the latest, because they expired." in said[1]
    assert "50 % find no handle 1 of 2; 95 %: 9 to 91 %, 50 % predicted (round robin)." in said[2]


def test_a_verdict_is_a_mark_and_a_word_beside_its_colour(outline):
    boxes = [entry for entry in outline.all("td") if entry.get("class", "").startswith("v ")]
    said = {(box["class"], " ".join(box["text"].split()[:2])) for box in boxes}
    assert said == {
        ("v valid", "✓ holds"),
        ("v valid thin", "✓ holds,"),
        ("v invalid", "✗ broken"),
        ("v skipped", "– skipped"),
        ("v none", "not run"),
    }


def test_policies_that_differ_each_have_their_mark(outline):
    (said,) = [
        entry["text"]
        for entry in outline.all("span")
        if entry.get("class") == "by" and "rr ✗" in entry["text"] and "ka ✓" in entry["text"]
    ]
    assert said.replace("✗", "✗ ").split() == ["rr", "✗", "ka", "✓"]


def test_each_broken_cell_has_its_counter_example_drawn_and_told(run, page):
    for cell in run.cells:
        article = page.split(f'id="cell-{cell.name}"')[1].split("</article>")[0]
        drawn = 'class="sequence"' in article
        assert drawn == bool(cell.verdict and cell.verdict.counterexample)
        if drawn:
            assert article.count("<rect") == len(cell.verdict.counterexample)
            assert article.count("<code>") == len(cell.verdict.story)
            assert f'href="{cell.folder}/history.jsonl"' in article


def test_what_a_run_does_not_have_is_said_in_a_line_and_shown_nowhere(page):
    assert (
        "Not in this run: what each deployment costs, near its store and far from it (kernel-lab load); how"
        in page
    )
    assert "what happens under faults" in page
    assert "how soon a revocation holds on every worker (kernel-lab convergence)" in page
    assert "Under faults" not in page
    assert "A/A ratio" not in page


def test_faults_have_a_matrix_of_their_own(run):
    paused = tuple(msgspec.structs.replace(cell, fault="pause_store") for cell in run.cells[:2])
    page = render(msgspec.structs.replace(run, cells=run.cells + paused), making.subjects())
    part = page.split("Under faults</h2>")[1].split("</section>")[0]
    assert "<h3>pause store</h3>" in part
    assert part.count("<td class=") == len({cell.deployment for cell in paused})
    assert "use it for" not in part


def test_what_the_checkers_are_known_to_catch_is_told(run):
    known = MutationTests(
        caught=41, wrong=42, accused=0, right=1000, live_caught=6, live_wrong=8, live_accused=0, live_right=9
    )
    page = " ".join(render(run, dataclasses.replace(making.subjects(), teeth=known)).split())
    assert "<dt>wrong kernels caught</dt><dd><b>41 of 42</b>" in page
    assert "0 of 1,000 simulated runs of a correct kernel were judged broken" in page
    assert "Under gunicorn 6 of 8 were caught and 0 of 9 correct cells judged broken" in page


def test_the_counts_of_the_mutation_tests_are_read_from_their_file(tmp_path):
    path = tmp_path / "teeth.json"
    assert read_mutation_tests(path) is None
    path.write_text('{"caught": 41, "wrong": 42, "accused": 0, "right": 1000}')
    assert read_mutation_tests(path) == MutationTests(caught=41, wrong=42, accused=0, right=1000)
    path.write_text('{"caught": 41}')
    with pytest.raises(BadInput, match=r"teeth.json: .*missing required field.*make teeth"):
        read_mutation_tests(path)


def test_a_skipped_cell_says_why(outline):
    said = [entry["text"] for entry in outline.all("summary") if "skipped" in entry["text"]]
    assert any("no redis-server on this machine" in one for one in said)


def test_nothing_on_the_page_is_empty(outline):
    for entry in outline.all("td", "th", "dd", "dt", "li", "p", "figcaption", "summary", "h2", "h3", "h4"):
        assert entry["text"].strip(), entry


def test_a_reader_who_hears_the_page_finds_his_way(outline):
    assert {"header", "main", "footer"} <= {entry["tag"] for entry in outline.tags}
    assert all(entry.get("scope") in ("col", "row") for entry in outline.all("th"))
    assert all("aria-label" in e or e.get("aria-hidden") for e in outline.all("svg"))
    ids = [entry["id"] for entry in outline.tags if "id" in entry]
    assert len(ids) == len(set(ids))
    labels = [entry["aria-labelledby"] for entry in outline.tags if "aria-labelledby" in entry]
    assert set(labels) <= set(ids)
    levels = [int(entry["tag"][1]) for entry in outline.tags if re.fullmatch("h[1-6]", entry["tag"])]
    assert all(below - above <= 1 for above, below in itertools.pairwise(levels))
    (html,) = outline.all("html")
    assert html["lang"] == "en"


def test_a_run_of_deployments_that_nobody_knows_has_a_page(run):
    unknown = msgspec.structs.replace(run, cells=run.of("handles", "memory-2"))
    page = render(unknown, Subjects(scenarios={}, deployments={}, front=(), controls=()))
    assert "2 workers, deployed as “memory-2”: what still holds?" in page
    assert "1 of 2; 95 %: 9 to 91 %" in page


def test_what_comes_from_a_run_is_text_and_never_markup(run):
    nasty = msgspec.structs.replace(run.cells[0], reason="<script>alert(1)</script>", validity="unknown")
    page = render(msgspec.structs.replace(run, cells=(nasty,)), making.subjects())
    assert "<script>alert(1)" not in page
    assert "&lt;script&gt;alert(1)" in page


def test_the_first_matrix_has_nine_deployments_at_most_and_the_rest_follows(run):
    names = [name for name in making.subjects().deployments if name != "single"]
    cells = [
        msgspec.structs.replace(cell, deployment=name)
        for cell in run.cells
        if cell.deployment == "single"
        for name in ["single", *names]
    ]
    many = msgspec.structs.replace(run, cells=tuple(cells))
    found = tables(many, making.subjects().deployments, making.subjects().front)
    assert [name for name, _ in found[0].columns] == list(making.subjects().front)
    shown = [name for table in found for name, _ in table.columns]
    assert sorted(shown) == sorted(["single", *names])
    assert all(len(table.columns) <= 9 for table in found)


def test_a_full_run_of_six_hundred_cells_stays_below_a_megabyte_and_a_half(run):
    judged = [cell for cell in run.cells if cell.verdict]
    cells = tuple(
        msgspec.structs.replace(judged[number % len(judged)], deployment=f"d{number}", fault=f"f{number % 5}")
        for number in range(600)
    )
    page = render(msgspec.structs.replace(run, cells=cells), making.subjects())
    assert page.count('class="sequence"') > 200
    assert len(page.encode()) < 1_500_000


def test_a_run_of_one_right_worker_has_good_tiles(run):
    alone = tuple(cell for cell in run.cells if cell.deployment == "single")
    page = render(msgspec.structs.replace(run, cells=alone), making.subjects())
    assert "1 worker, in-memory state: what still holds?" in page
    assert page.count('class="tile valid"') == 3
    assert "0 of 6 (95 %: at most 39 %) invokes were accepted after the revoke had returned" in page


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda folder: (folder / "verdicts.csv").unlink(), "has no verdicts.csv"),
        (lambda folder: (folder / "environment.json").unlink(), "environment.json: is missing"),
        (lambda folder: (folder / "environment.json").write_text("{"), "Input data was truncated"),
        (lambda folder: (folder / "handles.csv").write_text("a,b\n1\n"), "handles.csv:2: not as many fields"),
        (lambda folder: (folder / "verdicts.csv").write_text("run,x\n1,2\n"), "scenario"),
    ],
)
def test_a_folder_that_is_no_run_is_one_line(tmp_path, spoil, said):
    folder = making.make_run(tmp_path / "run")
    spoil(folder)
    with pytest.raises(NotASavedRun, match=said) as told:
        write_report(folder, making.subjects())
    assert len(str(told.value).splitlines()) == 1


def test_a_packed_run_has_the_same_page(tmp_path, folder):
    from kernel_lab.publish.pack import pack

    pack(folder, tmp_path / "packed")
    write_report(tmp_path / "packed", making.subjects())
    packed = (tmp_path / "packed" / "report.html").read_text(encoding="utf-8")
    whole = (folder / "report.html").read_text(encoding="utf-8")
    assert packed.replace("history.jsonl.gz", "history.jsonl") == whole


def test_a_run_is_read_back_as_it_was_written(run):
    assert run.name == "made"
    assert run.scenarios == ("rate_limit", "revocation", "handles")
    assert [c.validity for c in run.of("handles", "redis")] == ["skipped"]
    assert read_run(run.path) == run


def test_each_deployment_has_a_box_for_each_fault_with_what_broke_and_how_long_requests_failed(run):
    def row(deployment, fault, claim, mode, **more):
        given = {"connections": "fresh", "validity": "invalid" if mode == "open" else "valid", "mode": mode}
        figures = {"failed_requests": "0", "unavailable_ms": "0", "recovered_ms": ""}
        return {"deployment": deployment, "fault": fault, "claim": claim, **given, **figures, **more}

    rows = [
        row("memory-4", "reload", "rate_limit", "open"),
        row("memory-4", "reload", "tokens", "none"),
        row("memory-4", "kill_store", "tokens", "", validity="skipped", failed_requests=""),
        row(
            "redis", "kill_store", "tokens", "closed", failed_requests="7", unavailable_ms="1500", recovered_ms="1600"
        ),
        row("redis", "reload", "tokens", "none", requests="80"),
        row("redis", "reload", "traces", "none", requests="11"),
        row("single", "reload", "tokens", "closed", requests="80", failed_requests="2", unavailable_ms="10900"),
    ]  # fmt: skip
    tables = {**run.tables, "faults": rows}
    page = " ".join(render(msgspec.structs.replace(run, tables=tables), making.subjects()).split())
    part = page.split("Under faults</h2>")[1].split("</section>")[0]
    assert "<b>fails open</b>: rate limit</div><div><b>goes on</b>: tokens</div>" in part
    assert "<b>refuses</b>: tokens</div>" in part
    assert "7 requests failed over 1.5 s; back 1.6 s after the fault" in part
    # a run that was recorded before requests were counted has no denominator, and says none
    assert '<div class="said">no request failed</div>' in part
    assert "none of 91 requests failed" in part
    assert "2 of 80 requests failed over 10.9 s, until the lab stopped looking" in part
    assert '<td class="v none">–</td>' in part
    assert "what happens under faults" not in page


def test_how_soon_a_revocation_holds_stands_in_the_matrix_with_what_it_covers(run):
    usual = {
        "max_stale_ms": "",
        "reason": "",
        "max_covers": "0.9901",
        "width_p50_ms": "2.6",
        "max_ms": "11.6",
        "revocations": "300",
    }
    told = (
        {"deployment": "single", "end": "refusal", **usual},
        {"deployment": "memory-2", "end": "expiry", **usual},
    )
    read = {"mix": "read-heavy", "step": "closed", "throughput_vs_memory": "0.5"}
    cost = ({"deployment": "single", **read}, {"deployment": "memory-2", **read, "throughput_vs_memory": ""})
    more = msgspec.structs.replace(run, tables=run.tables | {"convergence": told, "cost": cost})
    (table, *_) = tables(more, making.subjects().deployments, making.subjects().front)
    names = [name for name, _ in table.columns]
    rows = {row.name: dict(zip(names, row.facts, strict=True)) for row in table.facts}
    holds = rows["a revocation holds on every worker"]
    assert holds["single"] == "99.0 % within 12 ms, known to 3 ms (300 revocations)"
    assert holds["memory-2"] == "only when the token expires"
    assert all(all(row.facts) for row in table.facts)
    reads = rows["throughput vs memory-4 (sessions that mostly read, on loopback)"]
    assert (reads["single"], reads["memory-2"]) == ("× 0.50, one measurement", "not measured")
