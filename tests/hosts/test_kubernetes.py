"""The Kubernetes manifests: rendered, valid for three versions, and a worker accepts the settings in them."""

import importlib.util
import sys
from copy import deepcopy
from pathlib import Path

import pytest
import yaml

from kernel_lab.run import registry
from lab.settings import Settings

ROOT = Path(__file__).resolve().parents[2]

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="kubectl comes as a wheel for Linux alone")


@pytest.fixture(scope="module")
def check():
    """deploy/kubernetes/check.py, which is a script."""
    spec = importlib.util.spec_from_file_location(
        "kubernetes_check", ROOT / "deploy" / "kubernetes" / "check.py"
    )
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


OVERLAYS = ("memory", "redis", "sidecar", "sticky")


@pytest.fixture(scope="module")
def rendered(check):
    return {overlay: check.render(overlay) for overlay in OVERLAYS}


def one(manifests, kind, name="lab"):
    [found] = [m for m in manifests if (m["kind"], m["metadata"]["name"]) == (kind, name)]
    return found


def pod(manifests):
    return one(manifests, "Deployment")["spec"]["template"]["spec"]


def volume(manifests, name):
    [found] = [volume for volume in pod(manifests)["volumes"] if volume["name"] == name]
    return found


def environment(manifests):
    """A worker's environment, with the names that Kubernetes would fill in."""
    env = {"HOST_NAME": "node-2", "POD_NAME": "lab-6f9c-x7k2p"}
    for variable in pod(manifests)["containers"][0]["env"]:
        value = variable.get("value", env.get(variable["name"], ""))
        for name, known in env.items():
            value = value.replace(f"$({name})", known)
        env[variable["name"]] = value
    return env


def test_the_overlays_are_these(check):
    assert OVERLAYS == check.OVERLAYS


def test_three_versions_are_checked_the_newest_first(check):
    versions = [tuple(map(int, version.split("."))) for version in check.newest()]
    assert len(versions) == 3
    assert versions == sorted(versions, reverse=True)
    assert versions[0] >= (1, 37)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_is_valid(check, rendered, overlay):
    assert [line for version in check.newest() for line in check.refused(rendered[overlay], version)] == []
    assert list(check.faults(rendered[overlay])) == []


def without(key):
    def change(container):
        del container[key]

    return change


def changed(**values):
    def change(container):
        container.update(values)

    return change


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (changed(imagePullPolicy=3), "3 is not of type 'string'"),
        (changed(livenesProbe={}), "'livenesProbe' was unexpected"),
        (without("name"), "'name' is a required property"),
    ],
)
def test_a_wrong_field_is_refused_by_every_version(check, rendered, wrong, said):
    manifests = deepcopy(rendered["memory"])
    wrong(pod(manifests)["containers"][0])
    for version in check.newest():
        [line] = check.refused(manifests, version)
        assert line.startswith("Deployment lab: spec.template.spec.containers.0")
        assert said in line


def test_a_kind_that_a_version_lacks_is_refused(check):
    old = {"apiVersion": "policy/v1beta1", "kind": "PodDisruptionBudget", "metadata": {"name": "old"}}
    [line] = check.refused([old], check.newest()[0])
    assert line == "PodDisruptionBudget old: Kubernetes 1.37 has no policy/v1beta1 PodDisruptionBudget"


def as_root(manifests):
    pod(manifests)["securityContext"]["runAsNonRoot"] = False


def writable(manifests):
    pod(manifests)["containers"][0]["securityContext"]["readOnlyRootFilesystem"] = False


def capable(manifests):
    pod(manifests)["containers"][0]["securityContext"]["capabilities"] = {"drop": ["NET_RAW"]}


def unbounded(manifests):
    del pod(manifests)["containers"][0]["resources"]["limits"]


def unprobed(manifests):
    del pod(manifests)["containers"][0]["livenessProbe"]


def of_any_tag(manifests):
    pod(manifests)["containers"][0]["image"] = "registry.example.com:5000/kernel-lab"


def with_a_token(manifests):
    pod(manifests)["automountServiceAccountToken"] = True


def misselected(manifests):
    one(manifests, "Service")["spec"]["selector"] = {"app.kubernetes.io/name": "labs"}


def protected_by_nothing(manifests):
    one(manifests, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"] = {"app": "lab"}


def unmade(manifests):
    manifests.remove(one(manifests, "ConfigMap", "store"))


def other_secret(manifests):
    volume(manifests, "secrets")["projected"]["sources"][0]["secret"]["name"] = "kernel-weaver"


def unmounted(manifests):
    pod(manifests)["volumes"].remove(volume(manifests, "secrets"))


def too_early(manifests):
    pod(manifests)["containers"][0]["env"].sort(key=lambda variable: variable["name"] != "LAB_REPLICA")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (as_root, "Deployment lab: container lab may run as root"),
        (writable, "Deployment lab: container lab may write to its root file system"),
        (capable, "Deployment lab: container lab keeps capabilities"),
        (unbounded, "Deployment lab: container lab has no memory limit"),
        (unprobed, "Deployment lab: container lab listens and lacks a probe"),
        (
            of_any_tag,
            "Deployment lab: container lab: the image registry.example.com:5000/kernel-lab has no fixed tag",
        ),
        (with_a_token, "Deployment lab: is given a token of the API server"),
        (misselected, "Service lab: selects {'app.kubernetes.io/name': 'labs'}, and no Pod has these labels"),
        (
            protected_by_nothing,
            "PodDisruptionBudget lab: selects {'app': 'lab'}, and no Pod has these labels",
        ),
        (unmade, "StatefulSet store: needs the ConfigMap store, and nothing makes it"),
        (other_secret, "Deployment lab: needs the Secret kernel-weaver, and nothing makes it"),
        (unmounted, "Deployment lab: container lab mounts secrets, and there is no such volume"),
        (
            too_early,
            "Deployment lab: LAB_REPLICA uses HOST_NAME, POD_NAME, which stand after it or nowhere",
        ),
    ],
)
def test_what_no_schema_sees_is_refused(check, rendered, wrong, said):
    manifests = deepcopy(rendered["redis"])
    wrong(manifests)
    assert list(check.faults(manifests)) == [said]


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_a_worker_takes_its_settings_and_is_named_after_host_and_pod(rendered, overlay, monkeypatch):
    env = environment(rendered[overlay])
    for name, value in env.items():
        monkeypatch.setenv(name, value.replace("{store_password}", "p"))
    monkeypatch.setenv("WEAVER_KERNEL_SECRET", "s")
    settings = Settings()
    assert settings.replica == "node-2.lab-6f9c-x7k2p"
    assert settings.bind == "0.0.0.0:8000"
    # and it is measured as the native ones are
    for variable, value in registry.settings(quick=False).items():
        assert env[variable] == value


def test_what_each_overlay_changes(rendered):
    shape = {
        overlay: (
            one(manifests, "Deployment")["spec"]["replicas"],
            environment(manifests)["LAB_WORKERS"],
            environment(manifests).get("LAB_STATE", "memory://").partition(":")[0],
            environment(manifests).get("LAB_SIDECAR", "0"),
        )
        for overlay, manifests in rendered.items()
    }
    assert shape == {
        "memory": (3, "2", "memory", "0"),
        "redis": (3, "2", "redis", "0"),
        "sidecar": (1, "4", "memory", "1"),
        "sticky": (3, "1", "memory", "0"),
    }
    # two kernels at once would be two of everything, for as long as a rollout takes
    assert one(rendered["sidecar"], "Deployment")["spec"]["strategy"] == {"type": "Recreate"}


def test_only_the_sticky_ingress_takes_a_principal_to_one_pod(rendered):
    hashed = {
        overlay: one(manifests, "Ingress")["metadata"]["annotations"].get(
            "nginx.ingress.kubernetes.io/upstream-hash-by"
        )
        for overlay, manifests in rendered.items()
    }
    assert hashed == {"memory": None, "redis": None, "sidecar": None, "sticky": "$http_x_principal_id"}


def test_a_secret_is_in_no_manifest(rendered):
    for manifests in rendered.values():
        assert "Secret" not in {m["kind"] for m in manifests}
        assert "WEAVER_KERNEL_SECRET" not in yaml.safe_dump_all(manifests)


def test_the_command_says_what_it_checked(check, monkeypatch, capsys):
    monkeypatch.setattr(check, "OVERLAYS", ("memory",))
    assert check.main() == 0
    versions = ", ".join(check.newest())
    assert capsys.readouterr().out == f"memory: 10 manifests are valid for Kubernetes {versions}\n"


def test_an_overlay_that_cannot_be_rendered_is_one_line(check, monkeypatch, capsys):
    monkeypatch.setattr(check, "OVERLAYS", ("none",))
    assert check.main() == 1
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("none: error: ")
