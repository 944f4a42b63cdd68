import os
import sys

import pytest

from kernel_lab.deployments.containers import compose
from kernel_lab.deployments.containers.compose import Running, UnusableStack, find
from kernel_lab.deployments.containers.engine import NoEngine
from kernel_lab.deployments.deployment import Deployment


def container(name, *, project="kernel-lab", deployment="", part="worker", workers=None, ports=()):
    """What ``docker inspect`` says of one, as far as it is read."""
    return {
        "Name": f"/{name}",
        "Config": {
            "Labels": {compose.PROJECT: project, compose.PART: part, compose.DEPLOYMENT: deployment},
            "Env": [] if workers is None else [f"LAB_WORKERS={workers}", "WEAVER_KERNEL_SECRET=a=b"],
        },
        "State": {"Running": True},
        "NetworkSettings": {
            "Ports": {"80/tcp": None} | {f"{p}/tcp": [{"HostIp": "127.0.0.1", "HostPort": p}] for p in ports}
        },
    }


STACK = [
    container("lab-redis-2", deployment="redis", workers=2),
    container("lab-redis-1", deployment="redis", workers=2),
    container("lab-memory-4-1", deployment="memory-4", workers=4),
    container("lab-nginx-1", part="balancer", ports=("9101", "9102")),
]


def test_a_deployment_has_the_replicas_and_workers_that_run():
    urls = {"memory-4": "http://127.0.0.1:9101", "redis": "http://127.0.0.1:9102"}
    found = compose._deployments(STACK[:3], urls)
    assert list(found) == ["memory-4", "redis"]
    assert found["redis"] == Running(
        name="redis",
        url="http://127.0.0.1:9102",
        workers=2,
        replicas=2,
        containers=("lab-redis-1", "lab-redis-2"),
    )


def test_a_container_that_names_no_number_has_one_worker():
    one = container("lab-single-1", deployment="single")
    assert compose._deployments([one], {"single": "http://h:1"})["single"].workers == 1


def test_a_deployment_without_a_port_is_none():
    assert compose._deployments(STACK[:3], {}) == {}


def test_the_balancer_says_which_ports_were_chosen():
    assert compose._addresses("lab", STACK) == ["http://127.0.0.1:9101", "http://127.0.0.1:9102"]


def test_a_stack_without_its_balancer_is_refused_in_one_line():
    with pytest.raises(UnusableStack, match="the compose stack lab has no balancer running: docker compose"):
        compose._addresses("lab", STACK[:3])


def test_of_two_stacks_one_must_be_named():
    two = [container("a-1", project="a"), container("b-1", project="b")]
    assert compose._project(two, "b") == "b"
    with pytest.raises(UnusableStack, match=r"\(a, b\): COMPOSE_PROJECT_NAME says which"):
        compose._project(two, None)


@pytest.mark.parametrize(
    ("declared", "routing"),
    [("direct", "round_robin"), ("round_robin", "round_robin"), ("hash_principal", "hash_principal")],
)
def test_a_row_has_the_real_numbers_and_a_balancer(declared, routing):
    row = Deployment(name="d", workers=4, routing=declared, shares=("limiter",))
    real = Running(name="d", url="http://h:1", workers=2, replicas=3).row(row)
    assert (real.workers, real.replicas, real.routing, real.shares) == (2, 3, routing, ("limiter",))


async def test_without_docker_there_is_no_engine(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NoEngine, match="there is no docker on PATH"):
        await find(tmp_path, environ={})


async def test_an_engine_that_refuses_is_one_line(tmp_path, monkeypatch):
    docker = tmp_path / "docker"
    docker.write_text(f"#!{sys.executable}\nimport sys; sys.exit('no daemon here\\nand a second line')\n")
    docker.chmod(0o700)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    with pytest.raises(NoEngine, match=r"^docker ps: no daemon here$"):
        await find(tmp_path, environ={})


@pytest.mark.parametrize("place", ["nginx", "http://nginx", "http://nginx:8101"])
async def test_from_inside_a_balancer_is_named_with_its_ports(tmp_path, place):
    with pytest.raises(UnusableStack, match="should be like http://nginx:8101-8110"):
        await find(tmp_path, environ={"LAB_STACK": place})
