"""Revocation checks from process memory: never staler than they say, and never more sure than the store."""

import datetime as dt
import signal
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from places import PATIENT

from beside_upstream.servers import Valkey, until
from lab.state import StateOptions, StateUnavailable, open_state
from lab.state.cached import CachedRevocations

MAX_STALE_S = 1.0


class Store:
    """A revocation store that counts how often it is asked, and may be away."""

    def __init__(self) -> None:
        self.revoked: set[str] = set()
        self.asked = 0
        self.away = False
        self.meanwhile: Callable[[], None] = lambda: None

    def is_revoked(self, token_id: str) -> bool:
        self.asked += 1
        if self.away:
            raise StateUnavailable
        answer = token_id in self.revoked
        self.meanwhile()  # the answer is under way
        return answer

    def revoke(self, token_id: str) -> None:
        self.revoked.add(token_id)

    def track(self, principal_id: str, token_id: str, expires_at: dt.datetime) -> None:
        pass

    def revoke_principal(self, principal_id: str) -> int:
        self.revoked |= {"t1", "t2"}
        return 2

    def sweep_expired(self, now: dt.datetime) -> int:
        return 0


class Told:
    """A feed that is told by the test what it hears, on a clock of the test."""

    def __init__(self) -> None:
        self.now_s = 1000.0
        self.begin = threading.Event()
        self.begin.set()
        self.heard: Any = None
        self.listened = 0
        self._interrupt = threading.Event()

    def listen(self, every_s: float, heard: Any, alive: Any, end: threading.Event) -> None:
        assert self.begin.wait(30)
        alive(self.now_s)
        self.heard = heard
        self.listened += 1
        while not end.wait(0.001):
            if self._interrupt.is_set():
                self._interrupt.clear()
                raise StateUnavailable

    def interrupted(self) -> None:
        """Interrupt it, and wait until it is listened to again."""
        before = self.listened
        self._interrupt.set()
        until(lambda: self.listened > before, "the feed is listened to again")


class Cache:
    """A cache over both."""

    def __init__(self) -> None:
        self.store, self.feed = Store(), Told()
        self.checks = CachedRevocations(
            self.store, self.feed, max_stale_s=MAX_STALE_S, clock=lambda: self.feed.now_s
        )
        self.checks.is_revoked("wake")
        until(lambda: self.feed.listened, "the feed is listened to")
        self.store.asked = 0

    def asked(self, token_id: str) -> tuple[bool, int]:
        """The answer, and how often the store was asked for it."""
        before = self.store.asked
        return self.checks.is_revoked(token_id), self.store.asked - before


@pytest.fixture
def cache() -> Iterator[Cache]:
    cache = Cache()
    yield cache
    cache.checks.close()


def test_a_good_token_is_asked_for_once(cache: Cache) -> None:
    assert [cache.asked("t1") for _ in range(3)] == [(False, 1), (False, 0), (False, 0)]


def test_a_revocation_that_was_heard_is_known_without_asking(cache: Cache) -> None:
    cache.asked("t1")
    cache.feed.heard("t1")
    assert cache.asked("t1") == (True, 0)


def test_what_is_older_than_max_stale_is_asked_again(cache: Cache) -> None:
    cache.asked("t1")
    cache.feed.now_s += MAX_STALE_S
    assert cache.asked("t1") == (False, 0)
    cache.feed.now_s += 0.001
    cache.store.revoke("t1")
    assert cache.asked("t1") == (True, 1)


def test_a_silent_feed_and_an_absent_store_refuse(cache: Cache) -> None:
    cache.asked("t1")
    cache.store.away = True
    assert cache.asked("t1") == (False, 0)
    cache.feed.now_s += MAX_STALE_S + 0.001
    with pytest.raises(StateUnavailable):
        cache.asked("t1")


def test_a_heard_revocation_is_believed_however_silent_the_feed(cache: Cache) -> None:
    cache.feed.heard("t1")
    cache.store.away = True
    cache.feed.now_s += 1000
    assert cache.asked("t1") == (True, 0)


def test_an_answer_under_way_does_not_bring_a_token_back(cache: Cache) -> None:
    cache.store.meanwhile = lambda: cache.feed.heard("t1")
    assert cache.asked("t1") == (False, 1), "it was good when it was asked for"
    cache.store.meanwhile = lambda: None
    assert cache.asked("t1") == (True, 0)


def test_an_answer_from_before_an_interruption_is_not_remembered(cache: Cache) -> None:
    def interrupted() -> None:
        cache.store.revoke("t1")  # while nobody listens
        cache.feed.interrupted()

    cache.store.meanwhile = interrupted
    assert cache.asked("t1") == (False, 1)
    cache.store.meanwhile = lambda: None
    assert cache.asked("t1") == (True, 1)


def test_what_was_asked_before_anybody_listened_is_asked_again() -> None:
    store, feed = Store(), Told()
    feed.begin.clear()
    checks = CachedRevocations(store, feed, max_stale_s=MAX_STALE_S, clock=lambda: feed.now_s)
    assert not checks.is_revoked("t1")
    store.revoke("t1")  # nobody hears of it
    feed.begin.set()
    until(lambda: feed.listened, "the feed is listened to")
    assert checks.is_revoked("t1")
    checks.close()


def test_an_interruption_forgets_what_was_remembered(cache: Cache) -> None:
    cache.asked("t1")
    cache.feed.interrupted()
    assert cache.asked("t1") == (False, 1)


def test_a_process_knows_what_it_revoked_itself(cache: Cache) -> None:
    for token_id in ("t1", "t2", "t3"):
        cache.asked(token_id)
    cache.checks.revoke("t3")
    assert cache.asked("t3") == (True, 0)
    cache.checks.revoke_principal("alice")
    assert [cache.asked(token_id)[0] for token_id in ("t1", "t2")] == [True, True]


def test_memory_is_bounded(cache: Cache, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lab.state.cached._REMEMBERED", 10)
    for i in range(100):
        cache.asked(f"t{i}")
        cache.feed.heard(f"r{i}")
    assert len(cache.checks._good) + len(cache.checks._revoked) <= 12


def test_no_thread_before_the_first_check_and_none_after_close(url_of: Callable[[str], str]) -> None:
    def feeds() -> list[threading.Thread]:
        return [thread for thread in threading.enumerate() if thread.name == "lab-state-feed"]

    others = feeds()
    state = open_state(url_of("cached+redis"), PATIENT)
    assert feeds() == others
    state.revocations.is_revoked("t1")
    assert len(feeds()) == len(others) + 1
    state.close()
    assert feeds() == others


@pytest.mark.parametrize("name", ["cached+sqlite", "cached+redis", "cached+redis+cluster"])
def test_what_another_process_revokes_is_heard_and_not_asked_for(
    name: str, url_of: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    url = url_of(name).replace("max_stale_ms=100", "max_stale_ms=60000")
    cached, plain = (
        open_state(url, PATIENT),
        open_state(url.removeprefix("cached+").partition("&max")[0].partition("?max")[0], PATIENT),
    )
    checks: Any = cached.revocations
    checks._max_stale_s = 0.4  # how often it listens; what it believes is set below
    try:
        for token_id in ("t1", "t2", "t3"):
            plain.revocations.track("alice", token_id, dt.datetime.now(dt.UTC) + dt.timedelta(hours=1))
        until(lambda: not checks.is_revoked("t1") and checks._as_of_s > 0, "the feed is listened to")
        checks._max_stale_s = 60
        for token_id in ("t1", "t2", "t3"):
            assert not checks.is_revoked(token_id)
        monkeypatch.setattr(checks.store, "is_revoked", lambda token_id: pytest.fail(f"asked for {token_id}"))
        plain.revocations.revoke("t1")
        until(lambda: checks.is_revoked("t1"), "it is heard")
        plain.revocations.revoke_principal("alice")
        until(lambda: checks.is_revoked("t2") and checks.is_revoked("t3"), "they are heard")
    finally:
        cached.close()
        plain.close()


def test_a_server_that_falls_silent_is_not_believed_for_longer_than_max_stale(hurt: Valkey) -> None:
    url = f"redis://127.0.0.1:{hurt.port}/0"
    cached = open_state(f"cached+{url}?max_stale_ms=300", StateOptions(timeout_ms=1000))
    checks: Any = cached.revocations
    until(lambda: not checks.is_revoked("t1") and "t1" in checks._good, "t1 is remembered")
    hurt.signal(signal.SIGSTOP)
    stopped_s = time.monotonic()
    believed_s = stopped_s
    while True:
        called_s = time.monotonic()
        try:
            assert not checks.is_revoked("t1")
        except StateUnavailable:
            break
        believed_s = called_s
    # strictly: what was last believed was asked for before the bound had passed since the server was stopped
    assert believed_s - stopped_s <= 0.3
    hurt.signal(signal.SIGCONT)
    until(lambda: answers(checks), "service resumes")
    until(lambda: not checks.is_revoked("t1") and "t1" in checks._good, "it is remembered again")
    cached.close()


def answers(checks: Any) -> bool:
    try:
        checks.is_revoked("t2")
    except StateUnavailable:
        return False
    return True
