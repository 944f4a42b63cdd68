"""An operator's own kernel: no false green, no false red, and no punishment for a good one."""

import csv
import os
import subprocess
import sys
from pathlib import Path

import pytest

COMMAND = Path(sys.executable).with_name("kernel-lab")
KERNELS = """
import os
from weaver_kernel import *
from weaver_kernel.stores import SQLiteRevocationStore

def _kernel(handler, **parts):
    registry = CapabilityRegistry()
    registry.register(Capability("tickets.get", "Get", "One ticket.", SafetyClass.READ))
    registry.register(Capability("tickets.update", "Update", "Change a ticket.", SafetyClass.WRITE))
    tokens = HMACTokenProvider(os.environ["WEAVER_KERNEL_SECRET"], revocation_store=parts.pop("revocations", None))
    kernel = Kernel(registry, token_provider=tokens, **parts)
    if handler is not None:
        driver = InMemoryDriver("memory")
        for name in ("tickets.get", "tickets.update"):
            driver.register_handler(name, handler)
        kernel.register_driver(driver)
    return kernel

def needs_arguments(settings):
    return _kernel(lambda ctx: {"id": ctx.args["ticket_id"]})

def without_driver(settings):
    return _kernel(None)

def own_limits(settings):
    policy = DefaultPolicyEngine(rate_limits={SafetyClass.WRITE: (3, 1.0), SafetyClass.READ: (100000, 60.0)})
    return _kernel(lambda ctx: {"id": 1}, policy=policy)

def shared(settings):
    return _kernel(lambda ctx: {"id": 1}, revocations=SQLiteRevocationStore(os.environ["MY_STORE"]))

def denies(settings):
    class Nobody:
        def evaluate(self, *args, **options):
            raise PolicyDenied("nobody may", reason_code="policy_denied")
    return _kernel(lambda ctx: {"id": 1}, policy=Nobody())

async def asynchronous(settings):
    return needs_arguments(settings)

def without_settings():
    return needs_arguments(None)

def raises(settings):
    raise RuntimeError("the database is away")

def something_else(settings):
    return 3
"""


@pytest.fixture
def lab(tmp_path):
    (tmp_path / "mine.py").write_text(KERNELS)

    def run(*arguments):
        return subprocess.run(
            [COMMAND, *arguments],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(tmp_path), "MY_STORE": str(tmp_path / "revoked.db")},
            capture_output=True,
            text=True,
            check=False,
        )

    return run


def row(folder, scenario):
    with (folder / "run" / f"{scenario}.csv").open(newline="") as file:
        (found,) = csv.DictReader(file)
    return found


def measured(lab, factory, deployment, scenario):
    return lab(
        "run", "--kernel", f"mine:{factory}", "--deployment", deployment, "--scenario", scenario,
        "--connections", "round_robin", "--quick", "--out", "run",
    )  # fmt: skip


@pytest.mark.live
@pytest.mark.parametrize("factory", ["needs_arguments", "without_driver"])
def test_a_driver_that_fails_does_not_hide_that_a_revoked_token_was_accepted(lab, tmp_path, factory):
    done = measured(lab, factory, "memory-2", "revocation")
    assert done.returncode == 1, done.stderr
    assert row(tmp_path, "revocation")["validity"] == "invalid"
    assert "the invoke failed (driver_failed" in done.stderr


@pytest.mark.live
def test_a_kernel_is_judged_by_its_own_limit(lab, tmp_path):
    done = measured(lab, "own_limits", "single", "rate_limit")
    assert done.returncode == 0, done.stderr
    found = row(tmp_path, "rate_limit")
    assert (found["validity"], found["limit"], found["window_s"]) == ("valid", "3", "1")


@pytest.mark.live
def test_a_good_kernel_is_not_punished_for_what_the_labs_own_kernel_would_break(lab, tmp_path):
    done = measured(lab, "shared", "memory-2", "revocation")
    assert done.returncode == 0, done.stderr
    assert row(tmp_path, "revocation")["validity"] == "valid"


@pytest.mark.live
def test_a_policy_that_denies_everything_shows_nothing(lab, tmp_path):
    done = measured(lab, "denies", "memory-2", "revocation")
    assert done.returncode == 2, done.stderr
    assert row(tmp_path, "revocation")["validity"] == "unknown"


@pytest.mark.parametrize(
    ("kernel", "said"),
    [
        ("mine:asynchronous", "is asynchronous; a plain factory(settings) -> Kernel is needed"),
        ("mine:without_settings", "cannot be called with the settings alone"),
        ("mine:raises", "raised RuntimeError"),
        ("mine:something_else", "returned int, not a weaver_kernel.Kernel"),
        ("mine:nothing", "the module mine has no nothing"),
        ("nowhere:build", "there is no module nowhere on the path"),
        ("mine", "should be module:factory"),
    ],
)
def test_a_factory_that_gives_no_kernel_is_one_sentence(lab, kernel, said):
    done = lab("preflight", "--kernel", kernel)
    assert done.returncode == 64
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert said in done.stderr


def test_a_preflight_says_what_would_help(lab, tmp_path):
    done = lab("preflight", "--kernel", "mine:needs_arguments")
    assert done.returncode == 2
    assert "give parts.read.args in a promises file" in done.stdout
    (tmp_path / "promises.toml").write_text(
        '[parts.read]\ncapability = "tickets.get"\nargs = { ticket_id = "T-1" }\n'
        '[parts.write]\ncapability = "tickets.update"\nargs = { ticket_id = "T-1" }\n'
    )
    done = lab("preflight", "--kernel", "mine:needs_arguments", "--promises", "promises.toml")
    assert done.returncode == 0, done.stdout
    assert "limit on WRITE: 10 in 60 s" in done.stdout
