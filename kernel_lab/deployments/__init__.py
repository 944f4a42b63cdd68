"""Deployments and how they run: a `Deployment` is a value, and a `Stack` runs that deployment."""

from kernel_lab.deployments.live import AppSpec, Process, Stack, StackFailed, StackUnavailable
from kernel_lab.deployments.native.stack import NativeStack

__all__ = ["AppSpec", "NativeStack", "Process", "Stack", "StackFailed", "StackUnavailable"]
