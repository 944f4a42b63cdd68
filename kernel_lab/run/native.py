"""Open a deployment of a run as processes on this machine."""

from __future__ import annotations

from contextlib import AbstractAsyncContextManager
from pathlib import Path

from kernel_lab.deployments import AppSpec, NativeStack
from kernel_lab.deployments.deployment import Deployment
from kernel_lab.deployments.live import Live
from kernel_lab.run import registry


def open_native(deployment: Deployment, env: dict[str, str], logs: Path) -> AbstractAsyncContextManager[Live]:
    """Start a deployment when the block is entered, and stop it when the block is left."""
    return NativeStack(deployment, app=AppSpec(root=registry.root()), folder=logs, env=env)
