"""More histories for each oracle in `make test-slow`; the full mode takes as long as it takes."""

from pathlib import Path

import pytest
from sketch import ORACLE, RIGHT

HERE = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    for item in items:
        if HERE in item.path.parents:
            item.add_marker(pytest.mark.counted)
        if ORACLE > 5000 or RIGHT > 1000:
            item.add_marker(pytest.mark.timeout(0))
