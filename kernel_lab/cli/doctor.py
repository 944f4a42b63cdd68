"""kernel-lab doctor: what this machine has for the lab, and what it lacks."""

from __future__ import annotations

import typer

from kernel_lab.doctor.machine import diagnose


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(doctor)


def doctor() -> None:
    """Say what this machine has for the lab, and what it lacks."""
    findings = diagnose()
    for finding in findings:
        print(f"{'✓' if finding.ok else '✗'} {finding.what}: {finding.detail}")
    raise typer.Exit(0 if all(finding.ok for finding in findings) else 1)
