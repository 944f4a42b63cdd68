"""Here too: the sketches of the checkers' tests, and oracles that take as long as they take."""

import sys
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parents[1] / "checkers"))
from sketch import ORACLE


def pytest_collection_modifyitems(items):
    if ORACLE > 5000:
        for item in items:
            item.add_marker(pytest.mark.timeout(0))
