import os
import secrets
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from kernel_lab.deployments.ports import LOOPBACK, free_port, is_free

ROOT = Path(__file__).resolve().parents[2]
PORTS = 10
PROJECT = "kernel-lab-test-"
"""What the names of these tests' compose projects begin with; the id of the tests' process follows."""
COMMAND_S = 900
"""No command of these tests may hang: an image is built in minutes, and machines are busy."""


def run_of_ports(count):
    """The first of `count` free ports in a row."""
    for _ in range(100):
        first = free_port()
        if all(is_free(port) for port in range(first, first + count)):
            return first
    raise OSError(f"no {count} free ports in a row on {LOOPBACK}")


@dataclass(frozen=True)
class Checkout:
    """A clean clone, with a compose project of its own."""

    root: Path
    first_port: int = field(default_factory=lambda: run_of_ports(PORTS))
    project: str = f"{PROJECT}{os.getpid()}"

    @property
    def env(self):
        """The caller's way to the engine, and nothing of the caller's settings."""
        kept = ("PATH", "HOME", "DOCKER_HOST", "DOCKER_CONFIG", "DOCKER_CONTEXT", "LANG")
        indexed = {
            name: value for name, value in os.environ.items() if name.startswith(("PIP_", "UV_", "SSL_"))
        }
        return indexed | {name: os.environ[name] for name in kept if name in os.environ}

    @property
    def stack_env(self):
        return self.env | {
            "COMPOSE_PROJECT_NAME": self.project,
            "LAB_PORTS": f"{self.first_port}-{self.first_port + PORTS - 1}",
            "LAB_TAG": "test",
            "WEAVER_KERNEL_SECRET": SECRET,
        }

    def run(self, *command, env=None, **how):
        """A command in the clone, with what it printed."""
        return subprocess.run(
            command,
            cwd=self.root,
            env=self.stack_env if env is None else env,
            capture_output=True,
            text=True,
            timeout=COMMAND_S,
            check=False,
            **how,
        )

    def must(self, *command):
        """What a command printed, which must succeed."""
        done = self.run(*command)
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-4000:]
        return done.stdout

    def listed(self, what, *options):
        """The ids of containers, networks or volumes of the project."""
        label = f"label=com.docker.compose.project={self.project}"
        return self.must("docker", *what.split(), "--quiet", "--filter", label, *options).split()


SECRET = secrets.token_hex(32)


def end_leftovers(checkout):
    """End the stacks of earlier tests that were killed: the engine starts their containers again with itself."""
    for name in checkout.must("docker", "compose", "ls", "--all", "--quiet").split():
        if name.startswith(PROJECT) and not psutil.pid_exists(int(name.removeprefix(PROJECT))):
            checkout.must(
                "docker", "compose", "--project-name", name, "down", "--volumes", "--remove-orphans"
            )


@pytest.fixture(scope="session")
def checkout(tmp_path_factory):
    """What is committed, and nothing else."""
    root = tmp_path_factory.mktemp("clone") / "kernel-lab"
    subprocess.run(["git", "clone", "--quiet", "--depth", "1", f"file://{ROOT}", str(root)], check=True)
    made = Checkout(root)
    end_leftovers(made)
    return made


@pytest.fixture(scope="session")
def stack(checkout):
    """The checkout, its stack up."""
    try:
        checkout.must("docker", "compose", "up", "--build", "--wait")
        yield checkout
    finally:
        checkout.run("docker", "compose", "--profile", "*", "down", "--volumes", "--remove-orphans")
        checkout.run("docker", "rmi", "kernel-lab:test", "kernel-lab-bench:test")
