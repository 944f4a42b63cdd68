"""Deployments, live: a `Deployment` is a value, a `Stack` is that deployment running."""

from harness.stack.live import AppSpec, Process, Stack, StackFailed, StackUnavailable
from harness.stack.native import NativeStack

__all__ = ["AppSpec", "NativeStack", "Process", "Stack", "StackFailed", "StackUnavailable"]
