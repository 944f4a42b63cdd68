"""What a shared store keeps, and what it says of the rest."""

import collections
import datetime as dt
import decimal
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from places import SHARED
from weaver_kernel import AgentKernelError

from lab.state import State
from lab.state.codec import Unstorable, decode, encode

WHEN = dt.datetime(2026, 1, 2, tzinfo=dt.UTC)
Row = collections.namedtuple("Row", "id")  # noqa: PYI024 - what drivers return


def nested(depth: int) -> Any:
    value: Any = 1
    for _ in range(depth):
        value = [value]
    return value


REFUSED = {
    "$.rows[3].when: datetime.datetime(2026, 1, 2": {"rows": [{}, {}, {}, {"when": WHEN}]},
    "$[0]: (1, 2) of type tuple": [(1, 2)],
    "$[0]: Row(id=1) of type Row": [Row(1)],
    "$: b'x' of type bytes": b"x",
    "$.a: nan of type float": {"a": float("nan")},
    "$.a: inf of type float": {"a": float("inf")},
    "$: 1180591620717411303424 of type int": 2**70,
    "$[1]: the dict key 1 of type int": [{}, {1: 2}],
    "$.price: Decimal('1.10') of type Decimal": {"price": decimal.Decimal("1.10")},
    "$.id: UUID('00000000-0000-0000-0000-000000000001') of type UUID": {"id": uuid.UUID(int=1)},
    "$: {1} of type set": {1},
    "$[0]: '\\ud800' of type str": ["\ud800"],
    "nesting deeper than 254": nested(300),
}


@pytest.mark.parametrize(("message", "value"), REFUSED.items(), ids=list(REFUSED))
def test_what_json_would_change_is_refused_by_place_and_type(message: str, value: Any) -> None:
    with pytest.raises(Unstorable) as refusal:
        encode(value)
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_value_that_contains_itself_is_refused() -> None:
    endless: list[Any] = []
    endless.append(endless)
    with pytest.raises(Unstorable, match="nesting deeper"):
        encode(endless)


LEAVES = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False) | st.text()
JSON = st.recursive(
    LEAVES.filter(lambda leaf: leaf not in {float("inf"), -float("inf")}),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=10,
)


@settings(max_examples=50, deadline=None)
@given(JSON)
def test_json_comes_back_equal(value: Any) -> None:
    assert decode(encode(value)) == value


@settings(max_examples=50, deadline=None)
@given(st.recursive(JSON | st.tuples(st.integers()) | st.dates() | st.binary() | st.floats(), st.lists))
def test_what_is_not_refused_comes_back_equal(value: Any) -> None:
    try:
        text = encode(value)
    except Unstorable:
        return
    assert decode(text) == value


@pytest.mark.parametrize("name", SHARED)
def test_a_store_refuses_at_once_and_keeps_nothing(name: str, opened: Callable[..., State]) -> None:
    state = opened(name)
    with pytest.raises(AgentKernelError, match=r"\$\[0\]\.when: datetime"):
        state.handles.store("c", [{"when": WHEN}])
    with pytest.raises(AgentKernelError, match="scope"):
        state.handles.store("c", [], constraints={"scope": {"since": WHEN}})
    assert state.handles.current_bytes == 0
