"""The manifests for Kubernetes are valid and restricted, and agree with the rest of the project."""

import copy
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from kubernetes_validate.utils import ValidationError, all_versions, validate

from tests.support.adopters import ADOPTERS, move_in
from tests.support.kubernetes import (
    OVERLAYS,
    container_port,
    docker_options,
    pod_of,
    rendered_objects,
    restricted_violations,
)
from tests.support.matrix import slow
from tests.support.projects import Render

# The oldest and the newest supported version, of three: https://kubernetes.io/releases/
SUPPORTED = (all_versions()[-3], all_versions()[-1])
# Names that YAML or Kubernetes would not accept as they are, and the default.
NAMES = ["no", "-".join(["long"] * 12) + "-name", *slow(("my-service",))]
KINDS = {
    "ConfigMap",
    "Deployment",
    "HorizontalPodAutoscaler",
    "NetworkPolicy",
    "PodDisruptionBudget",
    "Service",
    "ServiceAccount",
}


def check_objects(kubectl: Path, project: Path) -> None:
    """Check that both overlays have the expected objects, and that each is valid in the supported versions."""
    for overlay in OVERLAYS:
        objects = rendered_objects(kubectl, project, overlay)
        assert set(objects) == KINDS
        assert list(restricted_violations(pod_of(objects))) == []
        for one in objects.values():
            assert one["metadata"]["namespace"] == overlay
            assert len(one["metadata"]["name"]) <= 63 or one["kind"] == "ConfigMap"
            for version in SUPPORTED:
                validate(one, version, strict=True)


@pytest.mark.parametrize("app_name", NAMES)
def test_objects_are_valid_in_the_supported_versions(app_name: str, kubectl: Path, render: Render) -> None:
    check_objects(kubectl, render(include_kubernetes=True, app_name=app_name))


def test_validation_finds_an_unknown_field(kubectl: Path, render: Render) -> None:
    objects = rendered_objects(kubectl, render(include_kubernetes=True), "staging")
    pod_of(objects)["automountServiceAccountTokens"] = False
    with pytest.raises(ValidationError):
        validate(objects["Deployment"], SUPPORTED[0], strict=True)


def test_project_that_moved_in_gets_manifests_for_its_own_application(
    kubectl: Path, released: Path, tmp_path: Path
) -> None:
    project = tmp_path / "project"
    project.mkdir()
    ADOPTERS["flat module, Poetry 1"].write(project)
    own = project / "deploy" / "kubernetes" / "base" / "service-account.yaml"
    own.parent.mkdir(parents=True)
    own.write_text("# ours\napiVersion: v1\nkind: ServiceAccount\nmetadata: { name: my-shop }\n")
    text = own.read_text()
    move_in(project, released, include_kubernetes="true")
    assert own.read_text() == text
    assert "deploy/kubernetes/base/service-account.yaml" in (project / ".copier-answers.yml").read_text()
    check_objects(kubectl, project)
    deployment = rendered_objects(kubectl, project, "staging")
    (container,) = pod_of(deployment)["containers"]
    assert container["lifecycle"] == {"preStop": {"sleep": {"seconds": 10}}}
    assert {container[f"{kind}Probe"]["httpGet"]["path"] for kind in ("startup", "liveness", "readiness")} == {
        "/health"
    }


# --- the rules that the tests apply ----------------------------------------------------------------------------------


def set_field(*path: str | int, to: object) -> Callable[[dict[str, Any]], None]:
    """Return a function that sets a field of a pod."""

    def change(pod: dict[str, Any]) -> None:
        at: Any = pod
        for key in path[:-1]:
            at = at.setdefault(key, {}) if isinstance(key, str) else at[key]
        at[path[-1]] = to

    return change


IN_CONTAINER = ("containers", 0, "securityContext")
VIOLATIONS = {
    "allowPrivilegeEscalation": set_field(*IN_CONTAINER, "allowPrivilegeEscalation", to=None),
    "appArmorProfile": set_field("securityContext", "appArmorProfile", to={"type": "Unconfined"}),
    "capabilities": set_field(*IN_CONTAINER, "capabilities", to={"drop": ["ALL"], "add": ["SYS_ADMIN"]}),
    "host of a probe": set_field("containers", 0, "livenessProbe", "httpGet", "host", to="192.0.2.1"),
    "hostNetwork": set_field("hostNetwork", to=True),
    "hostPort": set_field("containers", 0, "ports", 0, "hostPort", to=8000),
    "hostProcess": set_field("securityContext", "windowsOptions", to={"hostProcess": True}),
    "privileged": set_field(*IN_CONTAINER, "privileged", to=True),
    "procMount": set_field(*IN_CONTAINER, "procMount", to="Unmasked"),
    "runAsNonRoot": set_field(*IN_CONTAINER, "runAsNonRoot", to=False),
    "runAsUser": set_field("securityContext", "runAsUser", to=0),
    "seLinuxOptions": set_field("securityContext", "seLinuxOptions", to={"user": "system_u"}),
    "seccompProfile": set_field("securityContext", "seccompProfile", to={"type": "Unconfined"}),
    "sysctls": set_field("securityContext", "sysctls", to=[{"name": "kernel.msgmax", "value": "1"}]),
    "volume hostPath": set_field("volumes", 0, to={"name": "tmp", "hostPath": {"path": "/tmp"}}),
}


def test_each_rule_of_the_restricted_standard_is_applied(kubectl: Path, render: Render) -> None:
    pod = pod_of(rendered_objects(kubectl, render(include_kubernetes=True), "production"))
    for rule, change in VIOLATIONS.items():
        changed = copy.deepcopy(pod)
        change(changed)
        assert list(restricted_violations(changed)) == [rule]


UNTRANSLATED = [
    set_field("hostAliases", to=[]),
    set_field("enableServiceLinks", to=True),
    set_field("containers", 0, "workingDir", to="/"),
    set_field("containers", 0, "envFrom", to=[{"secretRef": {"name": "my-service"}}]),
    set_field("containers", 0, "resources", "limits", "ephemeral-storage", to="1Gi"),
    set_field("containers", 0, "securityContext", "runAsUser", to=1234),
    set_field("containers", 0, "volumeMounts", 0, "subPath", to="tmp"),
    set_field("volumes", 0, "emptyDir", "medium", to=""),
]


def test_field_that_has_no_option_of_docker_is_refused(kubectl: Path, render: Render) -> None:
    objects = rendered_objects(kubectl, render(include_kubernetes=True), "production")
    assert docker_options(objects, "secrets")
    for change in UNTRANSLATED:
        changed = copy.deepcopy(objects)
        change(pod_of(changed))
        with pytest.raises(ValueError, match=r"translation|must be false"):
            docker_options(changed, "secrets")


# --- agreement with the rest of the project --------------------------------------------------------------------------


def found(pattern: str, file: Path) -> str:
    """Return the only match of a pattern in a file."""
    (match,) = re.findall(pattern, file.read_text(), re.M)
    return str(match)


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_manifests_agree_with_the_project(overlay: str, kubectl: Path, render: Render) -> None:
    project = render(include_kubernetes=True, port=9123, user_uid=1234, app_name="my-shop")
    objects = rendered_objects(kubectl, project, overlay)
    pod = pod_of(objects)
    (container,) = pod["containers"]
    dockerfile, entrypoint = project / "Dockerfile", project / "entrypoint.sh"
    assert container_port(objects) == 9123
    assert found(r"^EXPOSE (\d+)$", dockerfile) == found(r"\bPORT:-(\d+)", entrypoint) == "9123"
    assert container["livenessProbe"]["httpGet"]["path"] == found(r"^ENV HEALTH_PATH=(.*)$", dockerfile)
    assert container["readinessProbe"]["httpGet"]["path"] == container["livenessProbe"]["httpGet"]["path"] + "/ready"
    stage = dockerfile.read_text().partition(" AS production\n")[2]
    assert "\nUSER ${APP_UID}:${APP_GID}\n" in stage
    assert "runAsUser" not in repr(pod), "the image sets the user, and OpenShift another one"
    production = yaml.safe_load((project / "docker-compose.yml").read_text())["services"]["production"]
    hardening = (production["read_only"], production["cap_drop"], production["security_opt"])
    assert hardening == (True, ["ALL"], ["no-new-privileges"])
    in_memory = [volume["target"] for volume in production["volumes"] if volume["type"] == "tmpfs"]
    mounts = {mount["name"]: mount["mountPath"] for mount in container["volumeMounts"]}
    assert [mounts[volume["name"]] for volume in pod["volumes"] if "emptyDir" in volume] == in_memory


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_pod_has_the_time_to_stop(overlay: str, kubectl: Path, render: Render) -> None:
    project = render(include_kubernetes=True)
    objects = rendered_objects(kubectl, project, overlay)
    pod = pod_of(objects)
    (container,) = pod["containers"]
    hook = float(found(r"time\.sleep\((\d+)\)", project / "deploy" / "kubernetes" / "base" / "deployment.yaml"))
    graceful = objects["ConfigMap"]["data"]["GRACEFUL_TIMEOUT"]
    assert graceful == found(r"GRACEFUL_TIMEOUT:-(\d+)", project / "entrypoint.sh")
    assert pod["terminationGracePeriodSeconds"] >= hook + int(graceful) + 5
    readiness = container["readinessProbe"]
    assert readiness["periodSeconds"] * (readiness["failureThreshold"] + 1) < hook, "proxies learn of the stop too late"


def test_selectors_choose_the_pods_of_the_deployment(kubectl: Path, render: Render) -> None:
    objects = rendered_objects(kubectl, render(include_kubernetes=True), "production")
    deployment = objects["Deployment"]["spec"]
    labels = deployment["template"]["metadata"]["labels"]
    constraints = pod_of(objects)["topologySpreadConstraints"]
    selectors = [
        deployment["selector"]["matchLabels"],
        objects["Service"]["spec"]["selector"],
        objects["PodDisruptionBudget"]["spec"]["selector"]["matchLabels"],
        objects["NetworkPolicy"]["spec"]["podSelector"]["matchLabels"],
        *(constraint["labelSelector"]["matchLabels"] for constraint in constraints),
    ]
    assert selectors == [labels] * len(selectors)
    ports = {rule["port"] for ingress in objects["NetworkPolicy"]["spec"]["ingress"] for rule in ingress["ports"]}
    (container,) = pod_of(objects)["containers"]
    assert ports == {port["name"] for port in container["ports"]}
    target = objects["HorizontalPodAutoscaler"]["spec"]["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", objects["Deployment"]["metadata"]["name"])
    assert "replicas" not in deployment, "an apply would reset the number of the autoscaler"
    assert pod_of(objects)["serviceAccountName"] == objects["ServiceAccount"]["metadata"]["name"]


@pytest.mark.parametrize("repository", ["ghcr.io/team/my-service", "registry.example.com:5000/my-service"])
def test_image_is_the_one_that_the_overlay_names(repository: str, kubectl: Path, project: Render) -> None:
    """Write the fields that `kustomize edit set image` writes, for an image as `make publish` prints it.

    Source: https://kubectl.docs.kubernetes.io/references/kustomize/kustomization/images/
    """
    folder, image = project(include_kubernetes=True), f"{repository}@sha256:{'1a' * 32}"
    overlay = folder / "deploy" / "kubernetes" / "overlays" / "staging" / "kustomization.yaml"
    kustomization = yaml.safe_load(overlay.read_text())
    (entry,) = kustomization["images"]
    entry["newName"], entry["digest"] = image.split("@")
    overlay.write_text(yaml.safe_dump(kustomization))
    (container,) = pod_of(rendered_objects(kubectl, folder, "staging"))["containers"]
    assert container["image"] == image
    (other,) = pod_of(rendered_objects(kubectl, folder, "production"))["containers"]
    assert other["image"] != image


def test_change_of_a_setting_replaces_the_pods(kubectl: Path, project: Render) -> None:
    folder = project(include_kubernetes=True)
    before = rendered_objects(kubectl, folder, "staging")
    overlay = folder / "deploy" / "kubernetes" / "overlays" / "staging" / "kustomization.yaml"
    overlay.write_text(overlay.read_text().replace("LOG_LEVEL=debug", "LOG_LEVEL=info"))
    after = rendered_objects(kubectl, folder, "staging")
    assert pod_of(before) != pod_of(after)


def test_project_without_kubernetes_has_nothing_of_it(render: Render) -> None:
    project = render()
    assert not (project / "deploy").exists()
    assert "stopping" not in (project / "src" / "my_service" / "app.py").read_text()
