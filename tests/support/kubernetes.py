"""The rendered manifests for Kubernetes: their objects, the rules for pods, and the container that a pod starts."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from tests.support.commands import check_run

OVERLAYS = ("production", "staging")
# The kinds of volumes and the types of profiles that the standard `restricted` allows.
VOLUMES = {"configMap", "csi", "downwardAPI", "emptyDir", "ephemeral", "persistentVolumeClaim", "projected", "secret"}
PROFILES = {"Localhost", "RuntimeDefault"}
# Units of memory and of CPUs in Kubernetes: https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
UNITS = {"m": 1e-3, "Ki": 2**10, "Mi": 2**20, "Gi": 2**30}

Objects = dict[str, dict[str, Any]]


def rendered_objects(kubectl: Path, project: Path, overlay: str) -> Objects:
    """Return the objects of an overlay by kind. There must be one of each kind."""
    folder = project / "deploy" / "kubernetes" / "overlays" / overlay
    objects = list(yaml.safe_load_all(check_run(kubectl, "kustomize", folder, cwd=project)))
    by_kind = {one["kind"]: one for one in objects}
    assert len(by_kind) == len(objects), "two objects have the same kind"
    return by_kind


def pod_of(objects: Objects) -> dict[str, Any]:
    """Return the specification of the pods of the Deployment."""
    pod: dict[str, Any] = objects["Deployment"]["spec"]["template"]["spec"]
    return pod


def quantity(text: str) -> float:
    """Return an amount of memory in bytes, or a number of CPUs."""
    unit = next((unit for unit in UNITS if text.endswith(unit)), "")
    return float(text.removesuffix(unit)) * UNITS.get(unit, 1)


# --- the standard `restricted` ---------------------------------------------------------------------------------------


def restricted_violations(pod: Mapping[str, Any]) -> Iterator[str]:
    """Yield which rules of the Pod Security Standard `restricted` a pod breaks. It includes the standard `baseline`.

    Source: https://kubernetes.io/docs/concepts/security/pod-security-standards/
    """
    containers = [one for kind in ("containers", "initContainers") for one in pod.get(kind, ())]
    of_pod: Mapping[str, Any] = pod.get("securityContext", {})
    contexts = [of_pod, *(one.get("securityContext", {}) for one in containers)]
    yield from (name for name in ("hostNetwork", "hostPID", "hostIPC") if pod.get(name))
    for volume in pod.get("volumes", ()):
        yield from (f"volume {kind}" for kind in volume.keys() - VOLUMES - {"name"})
    for context in contexts:
        if context.get("windowsOptions", {}).get("hostProcess"):
            yield "hostProcess"
        if context.get("runAsUser") == 0:
            yield "runAsUser"
        if context.get("appArmorProfile", {}).get("type", "RuntimeDefault") not in PROFILES:
            yield "appArmorProfile"
        if context.get("seLinuxOptions"):  # some are allowed; these manifests need none
            yield "seLinuxOptions"
        if context.get("sysctls"):  # some are allowed; these manifests need none
            yield "sysctls"
    for container in containers:
        own = of_pod | container.get("securityContext", {})
        if own.get("privileged"):
            yield "privileged"
        if own.get("allowPrivilegeEscalation") is not False:
            yield "allowPrivilegeEscalation"
        if own.get("runAsNonRoot") is not True:
            yield "runAsNonRoot"
        if own.get("seccompProfile", {}).get("type") not in PROFILES:
            yield "seccompProfile"
        capabilities = own.get("capabilities", {})
        if "ALL" not in capabilities.get("drop", ()) or {*capabilities.get("add", ())} - {"NET_BIND_SERVICE"}:
            yield "capabilities"
        if own.get("procMount", "Default") != "Default":
            yield "procMount"
        yield from ("hostPort" for port in container.get("ports", ()) if port.get("hostPort"))
        handlers = [container.get(name) or {} for name in ("startupProbe", "livenessProbe", "readinessProbe")]
        handlers += container.get("lifecycle", {}).values()
        actions = [handler.get(action, {}) for handler in handlers for action in ("httpGet", "tcpSocket")]
        yield from ("host of a probe" for action in actions if action.get("host"))


# --- the container of a pod ------------------------------------------------------------------------------------------

# The options of `docker run` for the security contexts. Its default seccomp profile is that of the runtime. The tests
# compare `runAsNonRoot` with the image.
SECURITY = {
    ("allowPrivilegeEscalation", "false"): ["--security-opt=no-new-privileges"],
    ("capabilities", '{"drop": ["ALL"]}'): ["--cap-drop=ALL"],
    ("readOnlyRootFilesystem", "true"): ["--read-only"],
    ("runAsNonRoot", "true"): [],
    ("seccompProfile", '{"type": "RuntimeDefault"}'): [],
}


def check_fields(fields: Mapping[str, Any], *known: str) -> None:
    """Refuse an object with a field that is not known.

    Raises:
        ValueError: A field would have no effect on the container of a test, so the test would prove nothing about it.
    """
    if unknown := fields.keys() - {*known}:
        raise ValueError(f"add a translation to tests/support/kubernetes.py for {', '.join(sorted(unknown))}")


def docker_options(objects: Objects, secrets: str) -> list[str]:
    """Return the options of `docker run` that start an image as the pods of a Deployment do.

    Args:
        objects: The rendered objects.
        secrets: A Docker volume with the content of the Secret.

    Raises:
        ValueError: A field of the pod has no translation.
    """
    pod = pod_of(objects)
    (container,) = pod["containers"]
    scheduled = ("serviceAccountName", "topologySpreadConstraints")
    absent = ("automountServiceAccountToken", "enableServiceLinks")  # Docker adds no token and no variables
    used = ("containers", "securityContext", "terminationGracePeriodSeconds", "volumes")
    check_fields(pod, *used, *scheduled, *absent)
    if any(pod[name] is not False for name in absent):
        raise ValueError(f"{' and '.join(absent)} must be false")
    probes = ("lifecycle", "livenessProbe", "readinessProbe", "startupProbe")  # the tests call them
    of_container = ("envFrom", "image", "name", "ports", "resources", "securityContext", "volumeMounts")
    check_fields(container, *of_container, *probes)
    return [
        "--no-healthcheck",  # Kubernetes does not run it
        f"--stop-timeout={pod['terminationGracePeriodSeconds']}",
        *security_options(pod["securityContext"] | container["securityContext"]),
        *environment_options(container["envFrom"], objects["ConfigMap"]),
        *resource_options(container["resources"]),
        *mount_options(container["volumeMounts"], pod["volumes"], secrets),
    ]


def security_options(context: Mapping[str, Any]) -> Iterator[str]:
    """Yield the options for a security context."""
    for name, value in context.items():
        entry = (name, json.dumps(value))
        if entry not in SECURITY:
            raise ValueError(f"add a translation to tests/support/kubernetes.py for {name}: {value}")
        yield from SECURITY[entry]


def environment_options(sources: list[dict[str, Any]], config_map: Mapping[str, Any]) -> Iterator[str]:
    """Yield the options for the environment variables. All of them come from the ConfigMap."""
    if sources != [{"configMapRef": {"name": config_map["metadata"]["name"]}}]:
        raise ValueError(f"add a translation to tests/support/kubernetes.py for {sources}")
    yield from (f"--env={name}={value}" for name, value in config_map["data"].items())


def resource_options(resources: Mapping[str, Any]) -> Iterator[str]:
    """Yield the options for the limits. Requests are for the scheduler."""
    check_fields(resources, "limits", "requests")
    check_fields(resources["limits"], "cpu", "memory")
    memory = int(quantity(resources["limits"]["memory"]))
    yield from (f"--cpus={quantity(resources['limits']['cpu'])}", f"--memory={memory}", f"--memory-swap={memory}")


def mount_options(mounts: list[dict[str, Any]], volumes: list[dict[str, Any]], secrets: str) -> Iterator[str]:
    """Yield the options for the mounts: an emptyDir in memory, and the Secret."""
    by_name = {volume["name"]: volume for volume in volumes}
    for mount in mounts:
        check_fields(mount, "mountPath", "name", "readOnly")
        path, volume = mount["mountPath"], by_name[mount["name"]]
        check_fields(volume, "name", "emptyDir", "secret")
        if "secret" in volume:
            check_fields(volume["secret"], "optional", "secretName")
            yield f"--mount=type=volume,src={secrets},dst={path}{',readonly' if mount.get('readOnly') else ''}"
        else:
            check_fields(volume["emptyDir"], "medium", "sizeLimit")
            if volume["emptyDir"]["medium"] != "Memory":
                raise ValueError("add a translation to tests/support/kubernetes.py for an emptyDir on disk")
            yield f"--tmpfs={path}:mode=0777,size={int(quantity(volume['emptyDir']['sizeLimit']))}"


def container_port(objects: Objects) -> int:
    """Return the port of the container, to which the probes and the Service must refer by its name."""
    (container,) = pod_of(objects)["containers"]
    (port,) = container["ports"]
    check_fields(port, "containerPort", "name")
    (published,) = objects["Service"]["spec"]["ports"]
    probes = [container[f"{kind}Probe"]["httpGet"] for kind in ("startup", "liveness", "readiness")]
    assert {published["targetPort"], *(probe["port"] for probe in probes)} == {port["name"]}
    number: int = port["containerPort"]
    return number
