"""Every mutant, in the order of the claims."""

from __future__ import annotations

from collections.abc import Mapping

from kernel_lab.run import registry
from mutants import (  # noqa: F401 - importing them lists them
    budget,
    capabilities,
    handles,
    rate_limit,
    revocation,
    stats,
    streams,
    tokens,
    traces,
)
from mutants.mutant import MUTANTS, Mutant

ALL: Mapping[str, Mutant] = {
    name: one for claim in registry.scenarios() for name, one in MUTANTS.items() if one.breaks == claim
}

LIVE_CLAIMS = ("streams",)
"""Their scenarios hang up and kill workers, and the simulation can do neither."""

SIMULATED = {name: one for name, one in ALL.items() if one.breaks not in LIVE_CLAIMS}
