"""The files of the compose stack, read: what a reviewer of an operator's would look for."""

import re
from pathlib import Path

import pytest
import yaml

from kernel_lab.deployments.deployment import read_deployments
from kernel_lab.run import registry

ROOT = Path(__file__).resolve().parents[2]
COMPOSE = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
DOCKERFILE = (ROOT / "lab" / "Dockerfile").read_text()
NGINX = (ROOT / "lab" / "nginx.deployments.conf").read_text()
SERVICES = COMPOSE["services"]
WORKERS = {
    name: service for name, service in SERVICES.items() if "LAB_WORKERS" in service.get("environment", {})
}
IMAGES = sorted({service["image"] for service in SERVICES.values()})
BASES = re.findall(r"^FROM (\S+:\S+)", DOCKERFILE, flags=re.MULTILINE)


def test_every_deployment_of_the_stack_is_a_known_one():
    assert set(WORKERS) <= set(read_deployments(ROOT / "lab" / "deployments.toml"))


@pytest.mark.parametrize("name", WORKERS)
def test_a_service_is_labelled_with_its_deployment(name):
    assert WORKERS[name]["labels"] == {"kernel-lab.part": "worker", "kernel-lab.deployment": name}


@pytest.mark.parametrize("name", WORKERS)
def test_a_deployment_is_routed_as_its_row_says(name):
    routing = read_deployments(ROOT / "lab" / "deployments.toml")[name].routing
    hashed = re.search(rf"upstream {name} +{{ hash \$http_x_principal_id consistent;", NGINX)
    assert bool(hashed) == (routing == "hash_principal")


def test_each_deployment_has_a_port_of_its_own():
    ports = dict(re.findall(r"^ +(\d{4}) ([\w-]+);$", NGINX, flags=re.MULTILINE))
    assert sorted(ports.values()) == sorted(WORKERS)
    assert SERVICES["nginx"]["ports"] == ["127.0.0.1:${LAB_PORTS:-8101-8110}:8101-8110"]
    assert sorted(ports) == [str(port) for port in range(8101, 8111)]


def test_whatever_is_published_is_published_on_loopback():
    published = [port for service in SERVICES.values() for port in service.get("ports", ())]
    assert published
    assert all(port.startswith("127.0.0.1:") for port in published)


def test_the_workers_are_measured_as_the_native_ones_are():
    settings = registry.settings(quick=False)
    for service in WORKERS.values():
        for variable, value in settings.items():
            assert service["environment"][variable] == f"${{{variable}:-{value}}}"


@pytest.mark.parametrize("image", [*IMAGES, *BASES])
def test_an_image_has_a_tag_and_it_is_not_the_latest(image):
    name, _, tag = image.partition(":")
    assert tag
    assert not tag.startswith("latest")
    assert name.startswith("kernel-lab") or name in {"python", "nginx", "valkey/valkey"}


@pytest.mark.parametrize("name", SERVICES)
def test_a_container_can_do_no_more_than_it_must(name):
    service = SERVICES[name]
    assert service["read_only"]
    assert service["init"]
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert service["deploy"]["resources"]["limits"]["memory"]
    assert service["logging"]["options"]["max-size"]
    assert not str(service.get("user", "")).startswith(("0", "root"))


def test_the_image_is_not_run_by_root():
    assert re.findall(r"^USER (\S+)$", DOCKERFILE, flags=re.MULTILINE) == ["10001:10001"]


def test_no_secret_is_in_a_layer():
    stated = re.findall(r"^(?:ENV|ARG) .*", DOCKERFILE, flags=re.MULTILINE)
    assert not [line for line in stated if re.search(r"SECRET|PASSWORD|TOKEN", line)]


def test_what_the_image_is_built_from_is_listed():
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    kept = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    copied = {
        word
        for line in re.findall(r"^COPY (?!--from)(.*)$", DOCKERFILE, flags=re.MULTILINE)
        for word in line.split()[:-1]
    }
    assert "*" in ignored
    assert kept == copied


def test_the_store_never_sees_the_signing_secret():
    store = yaml.safe_dump(SERVICES["store"]) + (ROOT / "lab" / "store.sh").read_text()
    assert "WEAVER_KERNEL_SECRET" not in store
    assert SERVICES["store"]["secrets"] == ["store_password"]
