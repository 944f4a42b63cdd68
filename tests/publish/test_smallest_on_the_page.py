"""The report page tells beside "holds" how small a fault can be that "holds" hides."""

from __future__ import annotations

import dataclasses
import re

import making
import pytest

from kernel_lab.publish.report.page import render
from kernel_lab.publish.report.smallest import SeenFault, read_smallest, smallest_faults
from kernel_lab.run import registry
from kernel_lab.run.saved import read_run


def row(wrong, smallest, *, unit="% of calls", mode="full", claim="tokens"):
    return SeenFault(
        claim=claim,
        wrong=wrong,
        unit=unit,
        mode=mode,
        smallest=smallest,
        commit="1234567",
        measured="2030-01-02",
    )


def test_of_each_unit_the_largest_size_stands_beside_the_claim():
    rows = [
        row("rejects", 2),
        row("rejects", 10, mode="quick"),
        row("forges", 5),
        row("is late by", 50, unit="ms"),
    ]
    assert smallest_faults(rows, ["tokens"], quick=False).beside("tokens") == ("5 % of calls", "50 ms")
    assert smallest_faults(rows, ["tokens"], quick=True).beside("tokens") == ("10 % of calls",)


@pytest.mark.parametrize(
    "rows", [[row("rejects", None), row("forges", 5)], [row("forges", 5), row("rejects", None)]]
)
def test_a_fault_that_no_size_shows_is_the_largest(rows):
    assert smallest_faults(rows, ["tokens"], quick=False).beside("tokens") == ("no size that was tried",)


def test_a_claim_that_was_not_measured_says_so():
    seen = smallest_faults([row("rejects", 2)], ["tokens", "streams"], quick=False)
    assert seen.beside("streams") == ("not measured",)
    assert [one.claim for one in seen.claims] == ["tokens"]


def test_the_page_says_the_size_and_of_which_measurement_it_is(folder):
    measured = dataclasses.replace(making.subjects(), seen=[row("denies", 20, claim="rate_limit")])
    page = render(read_run(folder), measured)
    (beside,) = re.findall(r'<td class="size"><div>20 % of calls</div></td>', page)
    assert beside
    assert "at commit 1234567 on 2030-01-02" in page
    assert "it denies</td><td>not measured</td><td>20 % of calls" in page


def test_a_page_without_a_measurement_has_no_such_column(page):
    assert 'class="size"' not in page


def test_the_package_has_sizes_of_every_claim_that_can_be_simulated():
    rows = read_smallest()
    assert {one.claim for one in rows} == set(registry.scenarios()) - {"streams"}
    assert all(one.commit and one.measured for one in rows)
