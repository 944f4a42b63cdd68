"""Deployments, live: a `Deployment` is a value, a `Stack` is that deployment running."""

from kernel_lab.deployments.live import AppSpec, Process, Stack, StackFailed, StackUnavailable
from kernel_lab.deployments.native.stack import NativeStack

__all__ = ["AppSpec", "NativeStack", "Process", "Stack", "StackFailed", "StackUnavailable"]
