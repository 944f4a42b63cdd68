"""``guarantees.toml``: what an operator declares, read and checked before anything is measured."""

from __future__ import annotations

import math
import tomllib
from pathlib import Path
from typing import Any

import msgspec

from kernel_lab.apps import mapping
from kernel_lab.apps.adapter import NEEDS
from kernel_lab.apps.faults import FAULTS as APP_FAULTS
from kernel_lab.bad_input import BadInput
from kernel_lab.run import registry
from kernel_lab.run.declaration import Proportion
from kernel_lab.run.measures import Kind, Quantity
from kernel_lab.run.scenario import Scenario
from kernel_lab.traffic.connections import Policy

MOST_BYTES = 1 << 20
SEE = "docs/gate.md describes the keys"


class Guarantee(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One declared guarantee: a claim that must be valid, or a measure with its bounds."""

    claim: str
    name: str = ""
    """The name that a person gave it. Without a name, it is called by its claim and its place."""
    deployment: str = ""
    app: str = ""
    """The app.toml of a service that is not the lab's, relative to the guarantees file."""
    workers: int | None = None
    """The number of workers of that service. The default is the largest number in its [start]."""
    connections: str | None = None
    fault: str = ""
    verdict: str = ""
    """``valid`` is the only one that a guarantee can ask for. It may stand beside a measure."""
    measure: str | None = None
    max: float | None = None
    min: float | None = None
    upper_bound: float | None = None
    """The share of failures must be at most this, with 95 % confidence."""

    @property
    def title(self) -> str:
        """One line that names it."""
        if self.name:
            return self.name
        parts = [
            f"{self.claim} on {self.deployment or self.app}",
            self.connections,
            self.fault and f"with {self.fault}",
        ]
        return ", ".join(part for part in parts if part)

    @property
    def needs_valid(self) -> bool:
        """Whether the verdict itself must be valid."""
        return self.measure is None or self.verdict == "valid"

    def quantity(self, scenario: Scenario) -> Quantity | None:
        """The declaration of its measure."""
        return next((one for one in scenario.quantities if one.name == self.measure), None)


class Declared(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The whole file."""

    guarantee: list[Guarantee] = []
    kernel: str | None = None
    """``module:factory`` of a kernel that is not the lab's."""
    promises: str | None = None
    deployments: str | None = None
    """A file like ``lab/deployments.toml``."""


def read_guarantees(path: Path) -> Declared:
    """Read the file. Names of deployments are checked later, when all deployments are known.

    Raises:
        BadInput: With the guarantee and the key that is wrong, and what would be right.
    """
    try:
        tables = tomllib.loads(path.read_bytes()[:MOST_BYTES].decode())
        declared = msgspec.convert(tables, Declared)
    except UnicodeDecodeError as error:
        raise BadInput(
            f"{path}: is not UTF-8 at byte {error.start}; a guarantees file is TOML in UTF-8"
        ) from None
    except OSError as error:
        said = f"cannot be read ({error.strerror}); `kernel-lab init --gate` writes one"
        raise BadInput(f"{path}: {said}") from None
    except (tomllib.TOMLDecodeError, msgspec.ValidationError, RecursionError) as error:
        raise BadInput(f"{path}: {_short(error)}; {SEE}") from None
    if not declared.guarantee:
        raise BadInput(f"{path}: no [[guarantee]] table; {SEE}")
    for number, one in enumerate(declared.guarantee, 1):
        check(one, f"{path}: guarantee {number} ({one.title})")
    titles = [one.title for one in declared.guarantee]
    if twice := [title for title in titles if titles.count(title) > 1 and title]:
        same = [one for one in declared.guarantee if one.title == twice[0]]
        if len(set(map(_key, same))) < len(same):
            raise BadInput(f"{path}: the guarantee {twice[0]!r} is declared twice; declare it once")
    return declared


def check(one: Guarantee, where: str) -> None:
    """Refuse a guarantee that names what is not there, or that contradicts itself.

    Raises:
        BadInput: With `where`, the key, its value, and what would be right.
    """
    scenario = registry.scenarios().get(one.claim)
    if scenario is None:
        raise BadInput(
            f"{where}: claim {one.claim!r} is not known; one of: {', '.join(registry.scenarios())}"
        )
    if bool(one.deployment) == bool(one.app):
        raise BadInput(f"{where}: needs `deployment` or `app`, and not both")
    if one.app and one.claim not in NEEDS:
        raise BadInput(f"{where}: an app can be asked for {', '.join(NEEDS)}, and not for {one.claim}")
    if one.workers is not None and not one.app:
        raise BadInput(f"{where}: `workers` goes with `app`; a deployment says itself how many it has")
    policies = [policy.value for policy in Policy]
    if one.connections is not None and one.connections not in policies:
        raise BadInput(
            f"{where}: connections {one.connections!r} is not known; one of: {', '.join(policies)}"
        )
    if one.verdict not in ("", "valid"):
        raise BadInput(f'{where}: verdict {one.verdict!r}: a guarantee can only ask for "valid"')
    faults = list(APP_FAULTS if one.app else registry.faults())
    if one.fault and one.fault not in faults:
        raise BadInput(f"{where}: fault {one.fault!r} is not known; one of: {', '.join(faults)}")
    _check_measure(one, scenario, where)


def _check_measure(one: Guarantee, scenario: Scenario, where: str) -> None:
    bounds = {"max": one.max, "min": one.min, "upper_bound": one.upper_bound}
    for key, value in bounds.items():
        if value is not None and not math.isfinite(value):
            raise BadInput(f"{where}: {key} = {value} is no number to compare with; give a finite one")
    if one.max is not None and one.min is not None and one.min > one.max:
        raise BadInput(f"{where}: min {one.min:g} is above max {one.max:g}, so nothing can hold")
    if one.measure is None and (one.max is not None or one.min is not None):
        raise BadInput(f"{where}: `max` and `min` need `measure`")
    if one.measure is not None and all(value is None for value in bounds.values()):
        raise BadInput(f"{where}: `measure` needs `max`, `min` or `upper_bound`")
    quantity = one.quantity(scenario)
    if one.measure is not None and quantity is None:
        named = ", ".join(q.name for q in scenario.quantities)
        raise BadInput(f"{where}: {one.claim} has no measure {one.measure!r}; one of: {named}")
    if quantity is not None and quantity.kind is Kind.RATE:
        for key, value in bounds.items():
            if value is not None and not 0 <= value <= 1:
                raise BadInput(f"{where}: {key} = {value:g}: {one.measure} is a share between 0 and 1")
    if one.upper_bound is not None:
        if not 0 < one.upper_bound < 1:
            raise BadInput(
                f"{where}: upper_bound = {one.upper_bound:g}: a share between 0 and 1, such as 0.02"
            )
        if quantity is not None and (quantity.kind is not Kind.RATE or quantity.of is None):
            raise BadInput(f"{where}: upper_bound needs a share of something counted; {one.measure} is none")
        if quantity is None and not isinstance(scenario.headline, Proportion):
            raise BadInput(f"{where}: upper_bound: {one.claim} counts no share of failures; leave it out")


def _key(one: Guarantee) -> tuple[Any, ...]:
    return tuple(getattr(one, name) for name in one.__struct_fields__)


def _short(error: BaseException) -> str:
    if isinstance(error, RecursionError):
        return "is nested too deeply"
    return " ".join(str(error).split())


def read_app(one: Guarantee, beside: Path) -> mapping.Service:
    """The service of a guarantee.

    Raises:
        BadInput: Its app.toml cannot be used, or it cannot be asked for the claim.
    """
    service = mapping.read(beside.parent / one.app)
    if why := service.left_out(one.claim):
        raise BadInput(f"{beside}: {one.title}: {why}")
    start = service.file.start
    if one.workers is not None and start is not None and not 1 <= one.workers <= 64:
        raise BadInput(f"{beside}: {one.title}: workers = {one.workers}: a number from 1 to 64")
    return service


def app_workers(one: Guarantee, service: mapping.Service) -> int | None:
    """The number of workers that the service is started with; None where it runs already and does not state it."""
    if service.file.attach is not None:
        return service.file.attach.workers
    assert service.file.start is not None  # noqa: S101 - mapping.read holds that there is one of both
    counts = service.file.start.workers
    return one.workers or (max(counts) if isinstance(counts, list) else counts)


def deployment_name(one: Guarantee, beside: Path) -> str:
    """The name under which its cells stand in a run."""
    if not one.app:
        return one.deployment
    service = read_app(one, beside)
    workers = app_workers(one, service)
    return f"{service.file.name}-{workers}" if workers else service.file.name
