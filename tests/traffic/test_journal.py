"""The journal: what other histories' calls may have pushed out of a deployment's stores."""

from kernel_lab.judge.history import Outcome
from kernel_lab.judge.verdict import Beside
from kernel_lab.traffic.journal import Journal


def made(journal, owner, call, ret=None, f="invoke"):
    entry = journal.begin(owner, f, call)
    if ret is not None:
        entry.return_ns, entry.outcome = ret, Outcome.OK


def test_it_tells_of_others_that_may_have_stored_something_since():
    journal = Journal()
    made(journal, "probe", 0, 4)  # over before the history begins: what it stored goes first
    made(journal, "probe", 3, 6)
    made(journal, "main", 5, 7)
    made(journal, "other cell", 8)  # under way
    assert journal.begin("probe", "explain", 9) is None
    assert journal.beside("main", 2) == (
        Beside("invoke", 3, 6, Outcome.OK),
        Beside("invoke", 8, None, Outcome.INFO),
    )


def test_it_says_nothing_while_nothing_can_have_been_pushed_out():
    journal = Journal()
    for number in range(4):
        made(journal, "probe", number, number)
    assert journal.beside("main", 4) == ()
    assert journal.beside("main", None) == ()


def test_calls_from_before_the_history_do_not_count_towards_the_cap():
    journal = Journal()
    for number in range(10):
        made(journal, "probe", number, number)
    made(journal, "main", 20, 21)
    made(journal, "probe", 22, 23)
    assert journal.beside("main", 2) == ()
    assert len(journal.beside("main", 1)) == 1
