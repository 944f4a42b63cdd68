"""The swarm's files and what is read from a swarm's engine; nothing is started here."""

import importlib.util
import re
from pathlib import Path

import pytest
import yaml

from kernel_lab.deployments.containers import swarm
from kernel_lab.deployments.containers.code import differing, ours
from kernel_lab.deployments.containers.compose import Running
from kernel_lab.deployments.containers.hosts import BadHosts, read_hosts
from kernel_lab.deployments.live import Node
from kernel_lab.judge.verdict import Validity
from kernel_lab.run import registry
from kernel_lab.traffic.connections import Policy

ROOT = Path(__file__).resolve().parents[2]
SWARM = ROOT / "deploy" / "swarm"


class Loader(yaml.SafeLoader):
    """Compose's !override, as what stands behind it."""


Loader.add_constructor("!override", lambda loader, node: loader.construct_sequence(node, deep=True))
COMPOSE = yaml.load((SWARM / "compose.yml").read_text(), Loader)  # noqa: S506 - a safe loader
WORKERS = {name: one for name, one in COMPOSE["services"].items() if name.startswith("hosts-")}
NGINX = (SWARM / "nginx.deployments.conf").read_text()


@pytest.fixture(scope="module")
def render():
    """deploy/swarm/render.py, which is a script."""
    spec = importlib.util.spec_from_file_location("swarm_render", SWARM / "render.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_each_service_is_a_deployment_with_a_port_of_its_own():
    ports = re.findall(r"^ +(\d{4}) ([\w-]+);$", NGINX, flags=re.MULTILINE)
    assert [name for _, name in ports] == list(WORKERS) == list(registry.hosts())
    assert [port["published"] for port in COMPOSE["services"]["nginx"]["ports"]] == [int(p) for p, _ in ports]


@pytest.mark.parametrize("name", WORKERS)
def test_a_service_is_what_its_row_says(name):
    row, service = registry.hosts()[name], WORKERS[name]
    kernel = {"kernel-lab.kernel": "remote-kernel"} if row.remote else {}
    assert service["labels"] == {"kernel-lab.deployment": name, **kernel}
    assert set(kernel.values()) <= set(COMPOSE["services"])
    assert (service["environment"]["LAB_WORKERS"], service["deploy"]["replicas"]) == (
        row.workers,
        row.replicas,
    )
    hashed = re.search(rf"upstream {name} +{{ hash \$http_x_principal_id consistent;", NGINX)
    assert bool(hashed) == (row.routing == "hash_principal")


def test_what_is_expected_of_each():
    def broken(claim):
        scenario = registry.scenarios()[claim]
        return {
            name
            for name, row in registry.hosts().items()
            if scenario.expect(row, Policy.ROUND_ROBIN) is Validity.INVALID
        }

    assert broken("rate_limit") == {"hosts-memory", "hosts-sqlite", "hosts-sidecar"}
    assert broken("revocation") == {"hosts-memory", "hosts-sqlite", "hosts-sidecar", "hosts-sticky"}
    assert registry.hosts()["hosts-memory"].homes("limiter") == 6
    assert registry.hosts()["hosts-sqlite"].homes("limiter") == 3
    # a file on each host shares five kinds, and not what lives in no store
    assert registry.hosts()["hosts-sqlite"].homes("stats") == 6
    assert registry.hosts()["hosts-redis"].homes("limiter") == 1
    assert registry.hosts()["hosts-remote"].homes("stats") == 1


def test_a_stack_has_nothing_that_a_swarm_does_not_know(render, tmp_path):
    script = tmp_path / "start.sh"
    script.write_text("exit\n")
    composed = {
        "services": {
            "w": {
                "image": "i:1", "restart": "always", "security_opt": ["x"], "depends_on": {"s": {}}, "command": None,
                "labels": {"kernel-lab.part": "worker"}, "tmpfs": ["/scratch:size=64m,mode=1777"],
                "networks": {"n": None}, "ports": [{"target": 80, "published": "81", "mode": "host"}],
                "secrets": [{"source": "k", "target": "/run/secrets/k"}],
                "volumes": [
                    {"type": "bind", "source": str(script), "target": "/start.sh", "read_only": True},
                    {"type": "volume", "source": "v", "target": "/data"},
                ],
            },
        },
        "networks": {"n": {"internal": True}}, "volumes": {"v": {}}, "secrets": {"k": {"name": "lab_k"}},
    }  # fmt: skip
    stack = render.stack(composed)
    [config] = stack["configs"]
    assert stack["services"]["w"] == {
        "image": "i:1",
        "deploy": {"labels": {"kernel-lab.part": "worker"}},
        "networks": ["n"],
        "volumes": [
            {"type": "tmpfs", "target": "/scratch", "tmpfs": {"size": 64 << 20}},
            {"type": "volume", "source": "v", "target": "/data", "read_only": False},
        ],
        "configs": [{"source": config, "target": "/start.sh", "mode": 0o444}],
        "secrets": [{"source": "k", "target": "/run/secrets/k"}],
        "ports": [{"target": 80, "published": 81, "mode": "host"}],
    }
    assert stack["secrets"] == {"k": {"external": True, "name": "lab_k"}}
    assert stack["networks"]["n"]["driver"] == "overlay"
    assert stack["networks"]["n"]["internal"]
    # a config cannot change: of another file it is another one
    script.write_text("exit 1\n")
    assert list(render.stack(composed)["configs"]) != [config]


def test_a_service_is_read_as_it_runs():
    service = {
        "Spec": {
            "Name": "kernel-lab_hosts-redis",
            "Labels": {"kernel-lab.deployment": "hosts-redis"},
            "TaskTemplate": {
                "ContainerSpec": {"Image": "i", "Env": ["LAB_WORKERS=2", "LAB_STATE=redis://a=b"]}
            },
            "Mode": {"Replicated": {"Replicas": 3}},
        }
    }
    assert swarm._running(service, "http://10.0.0.2:8103") == Running(
        name="hosts-redis",
        url="http://10.0.0.2:8103",
        workers=2,
        replicas=3,
        containers=("kernel-lab_hosts-redis",),
    )


def test_a_worker_is_known_by_its_host():
    nodes = (
        Node(id="ot0cl5kifzjb", host="1", address="10.98.0.1"),
        Node(id="zc7e21ibp958", host="3", address="10.98.0.3"),
    )
    stack = swarm.SwarmStack(manager="", deployments={}, nodes=nodes, hosts=None, about={})
    assert stack.host_of("zc7e21ib.2/108/3bb85de0") == "3"
    assert stack.host_of("r0/108/3bb85de0") == ""


def test_no_file_is_no_hosts(tmp_path):
    assert read_hosts(tmp_path / ".hosts.toml") is None


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[[host]]\nname = 1\nengine = 'e'\n", "Expected `str`, got `int`"),
        ("[[host]]\nname = '1'\n", "missing required field `engine`"),
        ("host = []\n", "has no [[host]]"),
        ("[[host]\n", ".hosts.toml: "),
    ],
)
def test_a_wrong_file_is_one_line(tmp_path, text, said):
    path = tmp_path / ".hosts.toml"
    path.write_text(text)
    with pytest.raises(BadHosts) as error:
        read_hosts(path)
    assert str(error.value).startswith(".hosts.toml: ")
    assert said in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_other_code_is_named(tmp_path):
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / "app.py").write_text("1\n")
    (tmp_path / "constraints.txt").write_text("\n")
    expected = ours(tmp_path)
    listed = "\n".join(f"{digest}  {path}" for path, digest in expected.items())
    assert differing(expected, listed) == ""
    assert differing(expected, listed + "\nabc  lab/more.py") == "lab/more.py differ from this checkout"
    assert differing(expected, "") == "constraints.txt and 1 more differ from this checkout"
