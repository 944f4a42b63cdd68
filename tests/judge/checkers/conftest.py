"""The full mode of the oracles takes as long as it takes."""

import pytest
from sketch import ORACLE, RIGHT


def pytest_collection_modifyitems(items):
    if ORACLE > 5000 or RIGHT > 1000:
        for item in items:
            item.add_marker(pytest.mark.timeout(0))
