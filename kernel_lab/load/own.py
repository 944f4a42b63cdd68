"""A kernel and deployments of the caller's own, under load."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from kernel_lab.bad_input import BadInput, pick
from kernel_lab.deployments.deployment import Deployment
from kernel_lab.load.costs import table
from kernel_lab.load.generator.agent import LIMITED, LISTING, READING
from kernel_lab.run import registry
from kernel_lab.run.plan import chosen_deployments
from kernel_lab.run.preflight import preflight
from kernel_lab.run.promises import Promises

REFERENCES = table.References()


@dataclass(frozen=True, slots=True, kw_only=True)
class Own:
    """The properties of the named deployments, as the command line states them."""

    file: Path | None = None
    workers: int | None = None
    replicas: int | None = None
    state: str | None = None

    def known(self, names: Sequence[str]) -> tuple[dict[str, Deployment], list[str]]:
        """Every deployment by its name, and the names that are measured.

        An option for all applies to the deployments that are named. The reference deployments do not change.

        Raises:
            BadInput: A name is not known, or nothing is named that could be changed.
        """
        changed = chosen_deployments(
            self.file, workers=self.workers, replicas=self.replicas, state=self.state
        )
        if (
            not names
            and self.file is None
            and (self.workers, self.replicas, self.state) != (None, None, None)
        ):
            raise BadInput("--workers, --replicas and --state need --deployment: they change what it names")
        chosen = [pick("--deployment", name, changed).name for name in names] or list(changed)
        references = {REFERENCES.memory, REFERENCES.single}
        if same := [
            name for name in chosen if name in references and changed[name] != registry.deployments()[name]
        ]:
            raise BadInput(
                f"--deployment {same[0]}: is what the others are compared with, and cannot be changed"
            )
        return {**registry.deployments(), **{name: changed[name] for name in chosen}}, chosen


def fits(kernel: str, env: Mapping[str, str]) -> None:
    """Build a kernel once, and check that it has the capabilities that the load calls.

    Raises:
        BadInput: It cannot be built, or lacks a capability.
    """
    looked = preflight(kernel, Promises(), env)
    have = {str(one["capability_id"]) for one in looked.capabilities}
    if lacking := [name for name in (READING, LISTING, LIMITED) if name not in have]:
        there = ", ".join(sorted(have)) or "none"
        raise BadInput(
            f"--kernel {kernel}: the load calls {lacking[0]}, and this kernel has {there}; a kernel with capabilities "
            "of its own is measured with kernel-lab run"
        )
