"""Right configurations get no warning."""

import pytest
from doctor_files import written
from right_ones import RIGHT

from kernel_lab.doctor.diagnosis import diagnose


@pytest.mark.parametrize("name", RIGHT)
def test_a_right_configuration_gets_no_warning(name, tmp_path):
    diagnosis = diagnose([written(tmp_path, RIGHT[name])])
    assert [
        f"{each.id} {each.place}: {each.message}" for each in diagnosis.findings if each.severity != "info"
    ] == []
    assert not diagnosis.fails("warning")


def test_thirty_or_more_are_tried():
    assert len(RIGHT) >= 30
