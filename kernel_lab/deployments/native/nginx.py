"""nginx in front of the replicas."""

from __future__ import annotations

import grp
import os
from collections.abc import Sequence
from pathlib import Path

from kernel_lab.deployments.deployment import Routing
from kernel_lab.deployments.native.binaries import find_nginx
from kernel_lab.deployments.native.guarded import Command
from kernel_lab.deployments.ports import LOOPBACK

NAME = "nginx"
"""The name of the balancer among the servers of a stack."""


def configuration(*, routing: Routing, port: int, replicas: Sequence[int], folder: Path) -> str:
    """Return ``nginx.conf``: listen on `port`, pass calls on to the replicas' ports, and keep files in `folder`."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415 - 60 ms, for balancers only

    template = Environment(
        loader=FileSystemLoader(Path(__file__).parent), undefined=StrictUndefined, autoescape=False  # noqa: S701 - no HTML
    ).get_template("nginx.conf.j2")  # fmt: skip
    return template.render(
        routing=routing,
        port=port,
        ports=replicas,
        host=LOOPBACK,
        folder=folder,
        group=grp.getgrgid(0).gr_name if os.geteuid() == 0 else None,
    )


def command(config: Path, *, folder: Path, log: Path) -> Command:
    """The command that serves a configuration.

    Raises:
        StackUnavailable: There is no nginx.
    """
    argv = (str(find_nginx().path), "-e", "stderr", "-p", str(folder), "-c", str(config))
    return Command(argv=argv, env=os.environ, cwd=folder, log=log)
