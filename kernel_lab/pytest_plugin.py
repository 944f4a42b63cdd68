"""pytest: `@guarantee(...)` on a test, or the fixture `kernel_lab`; the failure message is the counter-example.

::

    from kernel_lab.pytest_plugin import guarantee


    @guarantee(claim="revocation", deployment="redis", connections="round_robin")
    def test_a_revoked_token_is_dead(): ...

All guarantees that the selected tests declare are measured together, once, before the first of them is judged. The
body of the test runs when its guarantee holds. A guarantee that could not be judged fails the test: unknown never
counts as good.

This file imports nothing of the lab until a guarantee is used, so it costs other people's test runs nothing.
"""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from kernel_lab.gate.guarantees import Guarantee
    from kernel_lab.gate.judging import Held
    from kernel_lab.run.results import CellResult

MARK = "guarantee"


def guarantee(**keys: Any) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Declare a guarantee on a test; the keys are those of a table of guarantees.toml (docs/gate.md)."""
    mark: Callable[[Callable[..., Any]], Callable[..., Any]] = getattr(pytest.mark, MARK)(**keys)
    return mark


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options."""
    group = parser.getgroup("kernel-lab")
    group.addoption(
        "--kernel-lab-quick", action="store_true", help="Short cells for the guarantees of kernel-lab."
    )
    group.addoption("--kernel-lab-run", metavar="PATH", help="Judge this run folder instead of measuring.")


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line(
        "markers", "guarantee(claim, deployment, ...): a guarantee that kernel-lab measures (docs/gate.md)"
    )


class Lab:
    """The value of the fixture `kernel_lab`: guarantees, measured together and judged one by one."""

    def __init__(self, config: pytest.Config) -> None:
        self._config = config
        self._held: dict[str, Held] = {}
        self._number = 0

    def holds(self, **keys: Any) -> Held:
        """Measure a guarantee and return what was seen; fail the test where it does not hold.

        Args:
            keys: Those of a table of guarantees.toml.
        """
        __tracebackhide__ = True
        from kernel_lab.bad_input import BadInput  # noqa: PLC0415

        try:
            held = self.held(keys)
        except BadInput as error:
            pytest.fail(f"kernel-lab: {error}", pytrace=False)
        if held.validity != "valid":
            pytest.fail(told(held), pytrace=False)
        return held

    def held(self, keys: dict[str, Any]) -> Held:
        """Return the result for a guarantee. It is measured now if it was not measured before."""
        key = repr(sorted(keys.items()))
        if key not in self._held:
            self.measure([keys])
        return self._held[key]

    def measure(self, many: Sequence[dict[str, Any]]) -> None:
        """Measure guarantees together: one stack for all that share a deployment.

        Raises:
            BadInput: One of them cannot be measured.
        """
        import asyncio  # noqa: PLC0415

        from kernel_lab.gate.guarantees import Declared, deployment_name  # noqa: PLC0415
        from kernel_lab.gate.judging import hold, open_run, refuse_quick  # noqa: PLC0415
        from kernel_lab.gate.running import plan_work, run_work  # noqa: PLC0415

        beside = Path(self._config.rootpath) / "pytest"
        declared = [_guarantee(keys) for keys in many]
        quick = bool(self._config.getoption("--kernel-lab-quick"))
        saved: str | None = self._config.getoption("--kernel-lab-run")
        if saved is None:
            self._number += 1
            work = plan_work(
                Declared(guarantee=declared), beside, quick=quick, seed=self._number, out=self._folder()
            )
            asyncio.run(run_work(work, _Silent()))
            place = work.folder.path
        else:
            place = Path(saved)
        run = open_run(place)
        refuse_quick(run, quick=quick)
        found = hold(declared, run, lambda one: deployment_name(one, beside))
        for keys, held in zip(many, found, strict=True):
            self._held[repr(sorted(keys.items()))] = held

    def _folder(self) -> Path:
        from datetime import UTC, datetime  # noqa: PLC0415

        name = datetime.now(tz=UTC).strftime("%Y%m%dT%H%M%S.%fZ")
        return Path(self._config.rootpath) / "results" / "pytest" / name


class _Silent:
    def say(self, line: str) -> None:
        pass

    def done(self, cell: CellResult) -> None:
        pass


def _guarantee(keys: dict[str, Any]) -> Guarantee:
    import msgspec  # noqa: PLC0415

    from kernel_lab.bad_input import BadInput  # noqa: PLC0415
    from kernel_lab.gate.guarantees import Guarantee, check  # noqa: PLC0415

    try:
        one = msgspec.convert(keys, Guarantee)
    except msgspec.ValidationError as error:
        raise BadInput(f"@guarantee({', '.join(keys)}): {error}; docs/gate.md describes the keys") from None
    check(one, f"@guarantee ({one.title})")
    return one


def told(held: Held) -> str:
    """The failure message: what was seen, and the smallest counter-example."""
    lines = [f"{held.guarantee.title}: {held.said}", *([held.anomaly] if held.anomaly else [])]
    lines += [f"  {line}" for line in held.story]
    lines += [f"everything: kernel-lab check {held.folder}"] if held.folder else []
    lines += [f"on a live deployment: python {held.replay} URL"] if held.replay else []
    return "\n".join(lines)


@pytest.fixture(scope="session")
def kernel_lab(request: pytest.FixtureRequest) -> Lab:
    """Measure guarantees from a test: ``kernel_lab.holds(claim="tokens", deployment="redis")``."""
    return _lab(request.config)


_LABS = pytest.StashKey[Lab]()
_DECLARED = pytest.StashKey[list[dict[str, Any]]]()


def _lab(config: pytest.Config) -> Lab:
    if _LABS not in config.stash:
        config.stash[_LABS] = Lab(config)
    return config.stash[_LABS]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Remember the guarantees that the selected tests declare.

    A worker of xdist measures the guarantees one by one, as it comes to them.
    """
    declared = [dict(mark.kwargs) for item in items for mark in item.iter_markers(MARK)]
    config.stash[_DECLARED] = [] if hasattr(config, "workerinput") else declared


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_call(item: pytest.Item) -> None:
    """Judge the guarantees of a test before its body runs."""
    __tracebackhide__ = True
    marks = list(item.iter_markers(MARK))
    if not marks:
        return
    lab, waiting = _lab(item.config), item.config.stash.get(_DECLARED, [])
    if waiting:
        from kernel_lab.bad_input import BadInput  # noqa: PLC0415

        item.config.stash[_DECLARED] = []
        unique = list({repr(sorted(keys.items())): keys for keys in waiting}.values())
        with contextlib.suppress(BadInput):  # each test says for itself what is wrong with its own guarantee
            lab.measure(unique)
    for mark in reversed(marks):
        lab.holds(**mark.kwargs)
