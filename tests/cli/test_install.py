"""The lab installed as a package, used from a folder that is no checkout."""

import os
import subprocess
import sys
import venv
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.live, pytest.mark.slow]


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """An environment with the built wheel, on top of the packages of this one."""
    folder = tmp_path_factory.mktemp("installed")
    source = folder / "source"  # a build leaves files behind: not in the checkout
    source.mkdir()
    for name in ("kernel_lab", "lab", "scenarios", "pyproject.toml", "README.md", "LICENSE"):
        (source / name).symlink_to(ROOT / name)
    subprocess.run(
        [sys.executable, "-m", "pip", "--quiet", "wheel", "--no-deps", "--wheel-dir", folder, source],
        check=True,
        env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
    )
    (wheel,) = folder.glob("*.whl")
    venv.create(folder / "env", with_pip=False)
    (packages,) = (folder / "env" / "lib").glob("python*/site-packages")
    subprocess.run(
        [sys.executable, "-m", "pip", "--quiet", "install", "--no-deps", "--target", packages, wheel],
        check=True,
        env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
    )
    # the dependencies of this environment, without the checkout that it has installed in place
    ours = Path(next(path for path in sys.path if path.endswith("site-packages")))
    links = {"kernel_lab", "lab", "kernel_lab_scenarios", packages.name}
    for entry in ours.iterdir():
        if (
            entry.name not in links
            and "kernel_lab" not in entry.name
            and not (packages / entry.name).exists()
        ):
            (packages / entry.name).symlink_to(entry)
    return folder / "env" / "bin" / "python"


def kernel_lab(python, *arguments, cwd, **env):
    return subprocess.run(
        [python, "-c", "from kernel_lab.cli.main import main; main()", *arguments],
        cwd=cwd,
        env={**os.environ, **env},
        capture_output=True,
        text=True,
        check=False,
    )


def test_it_runs_from_any_folder_and_writes_to_results_below_it(installed, tmp_path):
    done = kernel_lab(
        installed, "run", "--quick", "--deployment", "single", "--scenario", "tokens", "--connections", "fresh",
        cwd=tmp_path,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "results" / "latest" / "report.html").is_file()
    assert kernel_lab(installed, "check", "results/latest", cwd=tmp_path).returncode == 0


def test_a_package_of_the_user_that_shadows_ours_is_named_in_one_sentence(installed, tmp_path):
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / "__init__.py").touch()
    done = kernel_lab(installed, "list", "deployments", cwd=tmp_path, PYTHONPATH=str(tmp_path))
    assert done.returncode == 64, done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert "another package of that name" in done.stderr


def test_the_interface_for_scripts_is_typed_and_documented(installed, tmp_path):
    script = (
        "import kernel_lab; "
        "print(all(getattr(kernel_lab, name).__doc__ for name in kernel_lab.__all__)); "
        "import kernel_lab.guard"
        if (ROOT / "kernel_lab" / "guard.py").exists()
        else "import kernel_lab; print(all(getattr(kernel_lab, name).__doc__ for name in kernel_lab.__all__))"
    )
    done = subprocess.run(
        [installed, "-c", script], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.stdout.strip() == "True", done.stderr
