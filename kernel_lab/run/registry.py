"""The registry of everything that can be run: scenarios, deployments and faults; and the workers' settings.

Scenarios are found through the entry-point group ``kernel_lab.scenarios``, so a package that is installed
beside the lab can bring a claim of its own. The instrument imports neither ``scenarios`` nor ``lab``.
"""

from __future__ import annotations

from functools import cache
from importlib.metadata import entry_points
from importlib.util import find_spec
from pathlib import Path

from kernel_lab.bad_input import BadInput
from kernel_lab.deployments.deployment import Deployment, read_deployments
from kernel_lab.faults import disk, failover, operations, partition, rollouts, stores, workers
from kernel_lab.faults import hosts as of_hosts
from kernel_lab.faults.fault import Fault
from kernel_lab.run.scenario import Scenario

GROUP = "kernel_lab.scenarios"
QUICK_DEPLOYMENTS = ("single", "memory-4", "redis", "sidecar")


@cache
def scenarios() -> dict[str, Scenario]:
    """Every installed scenario by its name, in the order in which a stack serves them.

    Raises:
        BadInput: An installed scenario cannot be imported, or two have the same name.
    """
    found: dict[str, Scenario] = {}
    for entry in entry_points(group=GROUP):
        try:
            scenario = entry.load()
        except Exception as error:  # other people's code may raise any error
            raise BadInput(
                f"the scenario {entry.name} ({entry.value}) cannot be imported: "
                f"{type(error).__name__}: {error}"
            ) from error
        if not isinstance(scenario, Scenario):
            raise BadInput(f"the scenario {entry.name} ({entry.value}) is no kernel_lab.Scenario")
        if scenario.name in found:
            raise BadInput(f"two installed scenarios are named {scenario.name}; each needs a name of its own")
        found[scenario.name] = scenario
    return dict(sorted(found.items(), key=lambda item: item[1].order))


@cache
def root() -> Path:
    """The folder that holds the ``lab`` package: the checkout, or site-packages.

    Raises:
        BadInput: There is no ``lab`` package, or another package of that name comes first on the path.
    """
    spec = find_spec("lab")
    place = Path(spec.origin).resolve().parent if spec is not None and spec.origin else None
    if place is None or not (place / "deployments.toml").is_file():
        where = f"{place} is another package of that name" if place else "there is none"
        raise BadInput(
            f"kernel-lab needs its own package `lab`, and {where}; rename it or leave it off PYTHONPATH"
        )
    return place.parent


def checkout() -> Path | None:
    """The root of the source checkout, or None where the lab was installed as a package."""
    return root() if (root() / "pyproject.toml").is_file() else None


def results() -> Path:
    """Return the folder that receives runs by default.

    It is ``results`` in the checkout, and without a checkout ``results`` in the current folder.
    """
    return (checkout() or Path.cwd()) / "results"


def deployments() -> dict[str, Deployment]:
    """Every deployment of ``lab/deployments.toml``, by name."""
    return read_deployments(root() / "lab" / "deployments.toml")


def hosts() -> dict[str, Deployment]:
    """Every deployment over several hosts, by name. ``lab/hosts.toml`` lists them, and ``deploy/swarm`` runs them."""
    return read_deployments(root() / "lab" / "hosts.toml")


def settings(*, quick: bool) -> dict[str, str]:
    """Settings of the workers that are measured.

    One stack serves every scenario. WRITE has a small limit, so that a person can read a counter-example of
    L + 1 grants, and so that the limit divides by four workers. READ has a limit that never binds. The tokens
    of one capability live for a short time.
    """
    window_s = 1.2 if quick else 2.0
    return {
        "LAB_RATE_LIMITS": f"READ=1000000/60,WRITE=4/{window_s},DESTRUCTIVE=4/{window_s}",
        "LAB_TOKEN_TTLS": "billing.peek_invoice=2",
    }


FAULT_DEPLOYMENTS = (
    "single", "memory-4", "replicas", "sticky", "sqlite-stock", "sqlite", "redis", "redis-authz", "redis-cached",
    "redis-cluster", "redis-fallback", "sidecar", "remote",
)  # fmt: skip
"""The deployments that ``--fault`` measures if none is named."""

MADE_FOR = {
    "redis-replica": "failover_store",
    "redis-wait": "failover_store",
    "redis-client-clock": "clock_skew",
}
"""Deployments that are made for one fault. If no deployment is named, ``--fault`` measures them under that fault
alone."""


def faults() -> dict[str, Fault]:
    """Every fault of deployments that run as processes of the lab, by name."""
    return {
        fault.name: fault
        for fault in (
            *workers.FAULTS,
            *stores.FAULTS,
            *partition.FAULTS,
            *failover.FAULTS,
            *disk.FAULTS,
            *operations.FAULTS,
            *rollouts.FAULTS,
        )
    }


def host_faults() -> dict[str, Fault]:
    """Faults of deployments over several hosts, by name."""
    return {fault.name: fault for fault in of_hosts.FAULTS}
