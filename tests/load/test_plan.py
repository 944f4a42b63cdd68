"""The plan: slots one after another, the same for whoever reads it."""

from kernel_lab.load.plan import Plan, Slot, read_plan, schedule, write_plan


def slot(name: str, **more) -> Slot:
    return Slot(name=name, subject="memory-4", base_url="http://127.0.0.1:1", mix="grant", **more)


def test_slots_follow_each_other_with_a_gap():
    first, second = schedule([slot("a"), slot("b")], warm_s=0.25, measured_s=1.0, gap_s=0.5)
    assert (first.begin_s, first.counted_s, first.end_s) == (0.0, 0.25, 1.25)
    assert (second.begin_s, second.counted_s, second.end_s) == (1.75, 2.0, 3.0)


def test_a_stretched_slot_warms_up_counts_and_rests_longer():
    first, second = schedule([slot("a", stretch=3.0), slot("b")], warm_s=0.25, measured_s=1.0, gap_s=0.5)
    assert (first.begin_s, first.counted_s, first.end_s) == (0.0, 0.75, 3.75)
    assert (second.begin_s, second.counted_s, second.end_s) == (5.25, 5.5, 6.5)


def test_a_plan_is_read_back_as_it_was_written(tmp_path):
    plan = Plan(slots=schedule([slot("a", rate_per_s=20.0)], warm_s=0, measured_s=1, gap_s=0), seed=7)
    write_plan(tmp_path / "plan.json", plan)
    assert read_plan(tmp_path / "plan.json") == plan


def test_a_step_is_a_closed_loop_or_a_rate():
    assert [slot("a").step, slot("a", rate_per_s=120.0).step] == ["closed", "rate"]
