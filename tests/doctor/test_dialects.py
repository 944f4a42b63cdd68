"""The number of processes and the findings of many small configurations."""

from pathlib import Path

import pytest
from dialects import CASES
from doctor_files import written

from kernel_lab.doctor.diagnosis import diagnose


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_doctor_counts_and_says(case, tmp_path):
    diagnosis = diagnose([written(tmp_path, case.files)])
    total = diagnosis.sum
    said = [f"{each.place} {each.count} {each.why}" for each in total.factors]
    assert (total.processes.min, total.processes.max) == (case.low, case.high), said
    if case.rollout is not None:
        assert total.during_rollout.max == case.rollout
    missing = case.findings - {each.id for each in diagnosis.findings}
    assert not missing, [f"{each.severity} {each.id} {each.place.line}" for each in diagnosis.findings]
    assert not [each.message for each in diagnosis.findings if each.id == "unreadable"]


def test_the_cases_are_many():
    assert len(CASES) >= 100
    assert Path(__file__).with_name("dialects.py").exists()
