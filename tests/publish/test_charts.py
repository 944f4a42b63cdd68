"""Pictures show what was measured, in the order in which it happened."""

import itertools
import re
from xml.etree import ElementTree as ET

from hypothesis import given, settings
from hypothesis import strategies as st

from kernel_lab.judge.history import read_history
from kernel_lab.judge.staleness import Since, Slice, since_revoke, slices
from kernel_lab.publish.charts.plot import from_zero, percents
from kernel_lab.publish.charts.sequence import sequence
from kernel_lab.publish.charts.standalone import standalone
from kernel_lab.publish.charts.survival import survival
from kernel_lab.publish.charts.workers import against_workers, answered


@settings(deadline=None)
@given(st.lists(st.floats(1e-3, 1e6), min_size=1))
def test_an_axis_from_zero_holds_every_value_in_few_round_steps(values):
    axis = from_zero("", values)
    assert axis.low == 0
    assert axis.high >= max(values) * (1 - 1e-9)
    assert axis.ticks[-1][0] == axis.high
    assert 2 <= len(axis.ticks) <= 7
    assert all(0 <= axis.at(value) <= 1 + 1e-9 for value in values)


def test_a_per_cent_axis_ends_at_a_hundred():
    assert [word for _, word in percents("").ticks] == ["0 %", "25 %", "50 %", "75 %", "100 %"]


def boxes(svg):
    found = []
    for group in ET.fromstring(svg).iter("g"):  # noqa: S314 - our own
        rect = group.find("rect")
        low = float(rect.get("x"))
        found.append((low, low + float(rect.get("width")), float(rect.get("y")), group.get("class")))
    return found


@st.composite
def calls(draw):
    """Calls with instants of their own, over three workers; one client has one call in flight."""
    instants = draw(st.lists(st.integers(0, 10**10), min_size=4, max_size=12, unique=True))
    pairs = [sorted(instants[at : at + 2]) for at in range(0, len(instants) // 2 * 2, 2)]
    return [
        {
            "index": index, "f": draw(st.sampled_from(["grant", "invoke", "revoke_all"])), "outcome": "ok",
            "call_ns": low, "return_ns": high, "worker": f"r0/{draw(st.integers(1, 3))}/a",
        }
        for index, (low, high) in enumerate(pairs)
    ]  # fmt: skip


@settings(deadline=None)
@given(calls())
def test_boxes_of_a_sequence_overlap_where_the_calls_did(lines):
    lines.sort(key=lambda line: line["call_ns"])
    drawn = boxes(sequence(lines))
    for (one, a), (other, b) in itertools.combinations(zip(lines, drawn, strict=True), 2):
        assert (a[1] > b[0]) == (one["return_ns"] > other["call_ns"])
        if a[1] > b[0]:
            assert a[2] != b[2], "one box covers another"


@settings(deadline=None)
@given(calls())
def test_a_sequence_has_lanes_for_each_worker_and_marks_the_last_call(lines):
    drawn = boxes(sequence(lines))
    assert len({y for _, _, y, _ in drawn}) >= len({line["worker"] for line in lines})
    assert [cls for *_, cls in drawn] == ["call ok"] * (len(lines) - 1) + ["call ok wrong"]
    assert len(drawn) == len(lines)


def test_a_call_without_a_reply_has_a_lane_of_its_own():
    line = {"index": 0, "f": "invoke", "outcome": "info", "call_ns": 0, "return_ns": None, "worker": None}
    assert "no reply" in sequence([line])


def test_staleness_counts_invokes_of_revoked_tokens_by_the_time_since_the_revoke(run):
    cell = next(c for c in run.of("revocation", "memory-2"))
    found = since_revoke(read_history(run.path / cell.history), {"brief"})
    # the revoke returned at 15 ms; both workers are asked from 20 ms on, every 100 ms
    assert found[:2] == [Since(0.005, False), Since(0.015, True)]
    assert slices(found, width_s=0.3) == [
        Slice(begin_s=0.0, end_s=0.3, accepted=3, asked=6),
        Slice(begin_s=0.3, end_s=0.6, accepted=3, asked=6),
        Slice(begin_s=0.6, end_s=0.8999999999999999, accepted=0, asked=2),
    ]


def test_tokens_of_other_capabilities_are_not_watched(run):
    cell = next(c for c in run.of("revocation", "memory-2"))
    assert since_revoke(read_history(run.path / cell.history), {"another"}) == []


def test_every_mark_leads_to_its_cell_and_tells_its_figures(run):
    picture = against_workers(run, "rate_limit", ["single", "memory-2"])
    assert "#cell-rate_limit-memory-2-round_robin" in picture.svg
    assert "2 grants admitted, where one worker alone gives 1; 2 predicted" in picture.svg
    assert dict(picture.legend) == {0: "round robin", 2: "keep alive"}


def test_shares_are_drawn_with_their_intervals(run):
    for picture in (against_workers(run, name, ["single", "memory-2"]) for name in ("handles", "revocation")):
        assert "interval" in picture.marks
        assert picture.svg.count('class="interval') == 2


def test_the_survival_curve_has_what_survived_and_counts_what_did_not(run):
    picture = survival(run, "revocation", ["single", "memory-2"], ["single", "memory-2"])
    assert [name for _, name in picture.legend] == ["memory-2"]
    assert "single 0 of 7 (95 %: at most 35 %)" in picture.caption


def test_who_answered_is_counted_from_the_busiest_on(run):
    picture = answered(run, ["single", "memory-2"])
    assert "worker 1 of 2 answered 30 of 40 calls" in picture.svg
    assert "the busiest 75 %, the idlest 25 % of 40" in picture.caption


def test_a_run_without_the_figures_has_no_picture(run):
    assert answered(run, ["sidecar"]) is None
    assert [name for name in run.declared if against_workers(run, name, ["sidecar"])] == []
    assert survival(run, "revocation", ["sidecar"], ["sidecar"]) is None


def test_a_picture_for_a_text_has_all_it_needs_inside_it(run):
    picture = standalone(against_workers(run, "rate_limit", ["single", "memory-2"]))
    root = ET.fromstring(picture)  # noqa: S314 - our own
    tags = {element.tag.rpartition("}")[2] for element in root.iter()}
    assert "style" in tags
    assert "a" not in tags
    words = " ".join(root.itertext())
    assert "How the limit multiplies" in words
    assert "round robin" in words
    assert "predicted by the probe" in words


def test_no_coordinate_is_beside_the_picture(page):
    for svg in re.findall(r"<svg.*?</svg>", page, re.DOTALL):
        root = ET.fromstring(svg)  # noqa: S314 - our own
        _, _, width, height = (float(part) for part in root.get("viewBox").split())
        for element in root.iter():
            for name, most in (("x", width), ("x1", width), ("x2", width), ("y", height), ("y1", height)):
                assert -20 <= float(element.get(name, 0)) <= most + 20, ET.tostring(element)
