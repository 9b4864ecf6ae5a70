"""The production image as the manifests for Kubernetes start, probe and stop it."""

import json
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.support.commands import ROOT, check_run
from tests.support.docker import PROCESS_IDS, REPOSITORY, Image, Load, build_server, container, inspect
from tests.support.kubelet import Kubelet
from tests.support.kubernetes import Objects, container_port, docker_options, pod_of, rendered_objects
from tests.support.matrix import in_every_run, slow
from tests.support.projects import Render
from tests.support.servers import INSTALL
from tests.support.template import STACKS

# A proxy that follows the readiness of two pods. It sends no request twice.
HAPROXY = """
defaults
    mode http
    retries 0
    timeout connect 2s
    timeout client 30s
    timeout server 30s
listen service
    bind :8080
    option httpchk GET {path}
    default-server check inter {period}s fall {failures}
    server first first:{port}
    server second second:{port}
"""
DOCKERFILE = f"""{INSTALL}haproxy
COPY haproxy.cfg /etc/haproxy.cfg
CMD ["haproxy", "-db", "-f", "/etc/haproxy.cfg"]
"""
# Writes the values of a Secret, in JSON, as Kubernetes mounts them: links to files in a folder, all of which root owns.
MOUNT = """
import json, os, sys
os.chdir("/secret")
os.mkdir("..2026_11_26")
os.symlink("..2026_11_26", "..data")
for name, value in json.loads(sys.argv[1]).items():
    with open(f"..data/{name}", "w") as file:
        file.write(value)
    os.chmod(file.name, 0o644)
    os.symlink(f"..data/{name}", name)
"""
# A user ID that OpenShift assigns, with the group 0.
OPENSHIFT = (1000680000, 0)


@pytest.fixture(scope="module")
def objects(kubectl: Path, render: Render) -> Objects:
    """Return the rendered objects of production."""
    return rendered_objects(kubectl, render(include_kubernetes=True), "production")


@contextmanager
def secret_volume(image: str, **values: str) -> Iterator[str]:
    """Yield the name of a Docker volume with the content of a Secret."""
    name = f"{REPOSITORY}-secret"
    mount = ("--user=0", f"--volume={name}:/secret", "--entrypoint=python")
    check_run("docker", "run", "--rm", *mount, image, "-c", MOUNT, json.dumps(values), cwd=ROOT)
    try:
        yield name
    finally:
        check_run("docker", "volume", "rm", name, cwd=ROOT)


@pytest.fixture(scope="module")
def haproxy(objects: Objects, tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return the name of an image of HAProxy, which sends the readiness probes of the manifest."""
    (manifest,) = pod_of(objects)["containers"]
    probe = manifest["readinessProbe"]
    path, period, failures = probe["httpGet"]["path"], probe["periodSeconds"], probe["failureThreshold"]
    folder = tmp_path_factory.mktemp("haproxy")
    text = HAPROXY.format(path=path, period=period, failures=failures, port=container_port(objects))
    (folder / "haproxy.cfg").write_text(text)
    return build_server(folder, "haproxy", DOCKERFILE)


@pytest.fixture
def network() -> Iterator[str]:
    """Return the name of a network for HAProxy and the pods."""
    name = f"{REPOSITORY}-kubernetes"
    check_run("docker", "network", "create", name, cwd=ROOT)
    yield name
    check_run("docker", "network", "rm", name, cwd=ROOT)


@pytest.mark.parametrize(("framework", "server"), in_every_run([("fastapi", "uvicorn")], STACKS))
def test_pod_that_stops_fails_no_request(
    framework: str, server: str, image: Image, objects: Objects, haproxy: str, network: str
) -> None:
    name = image(framework=framework, server=server, on_trial=True, include_kubernetes=True)
    port, grace = container_port(objects), pod_of(objects)["terminationGracePeriodSeconds"]
    with secret_volume(name) as volume:
        options = (*docker_options(objects, volume), f"--network={network}")
        with (
            container(name, *options, "--network-alias=first", port=port) as first,
            container(name, *options, "--network-alias=second", port=port) as second,
        ):
            pods = [Kubelet(first, objects), Kubelet(second, objects)]
            for pod in pods:
                pod.start()
                assert (pod.probe("liveness"), pod.probe("readiness")) == (200, 200)
            with container(haproxy, f"--network={network}", port=8080) as proxy:
                assert proxy.get("/health").status == 200
                load = Load(proxy.port, "/sleep?seconds=0.1", clients=6)
                load.start(1000)
                start = time.monotonic()
                statuses = pods[0].run_hook()
                assert pods[0].is_removed(statuses), statuses
                assert {*statuses} == {503}, statuses
                assert pods[0].probe("readiness") == 200, "a container that is only restarted would stay unready"
                assert first.stop()[0] == 0
                assert time.monotonic() - start < grace
                assert sum(load.outcomes.values()) < 1000, "the load ended before the pod"
                assert load.finish() == {"200": 1000}
            assert "GET /sleep" in first.logs(), "the pod had no requests"
            assert "Traceback" not in first.logs()
            assert (pods[1].probe("liveness"), pods[1].probe("readiness")) == (200, 200)


READ_SETTINGS = (
    "from my_service.settings import Settings as S; print(S().log_format, S().root_path, S().graceful_timeout)"
)


@pytest.mark.parametrize(("framework", "server"), slow(*STACKS))
def test_pod_serves_as_the_user_that_openshift_assigns(
    framework: str, server: str, image: Image, objects: Objects
) -> None:
    name = image(framework=framework, server=server, include_kubernetes=True)
    user = inspect("image", name)["Config"]["User"]
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", user), "Kubernetes can check runAsNonRoot only for a numeric user"
    uid, gid = OPENSHIFT
    with secret_volume(name, root_path="/shop\n") as volume:
        options = (*docker_options(objects, volume), f"--user={uid}:{gid}")
        with container(name, *options, port=container_port(objects)) as service:
            pod = Kubelet(service, objects)
            pod.start()
            assert (pod.probe("liveness"), pod.probe("readiness")) == (200, 200)
            assert service.execute("python", "-c", PROCESS_IDS) == f"[('{uid}', '{gid}')]"
            assert service.execute("python", "-c", READ_SETTINGS).split() == ["json", "/shop", "25"]
            assert len(service.workers()) == 1, "the CPU limit of the manifest is 1"
            assert service.stop()[0] == 0


# Names of Services whose variables could be those of the service, its server or its libraries. `granian-metrics` is
# missing: Granian does not start with its variables. The manifests turn these variables off.
SERVICES = (
    "my-service",
    "app",
    "flask",
    "flask-run",
    "forwarded",
    "graceful",
    "granian",
    "gunicorn",
    "host",
    "http",
    "log",
    "port",
    "python",
    "root",
    "settings",
    "ssl",
    "uvicorn",
    "web",
)


def service_links(service: str) -> list[str]:
    """Return the variables that Kubernetes sets in each pod of a namespace that has a Service with this name.

    Source: https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
    """
    name, address, port = service.upper().replace("-", "_"), "10.96.0.10", 8000
    link = f"{name}_PORT_{port}_TCP"
    return [
        f"{name}_SERVICE_HOST={address}",
        f"{name}_SERVICE_PORT={port}",
        f"{name}_SERVICE_PORT_HTTP={port}",
        f"{name}_PORT=tcp://{address}:{port}",
        f"{link}=tcp://{address}:{port}",
        f"{link}_PROTO=tcp",
        f"{link}_PORT={port}",
        f"{link}_ADDR={address}",
    ]


@pytest.mark.parametrize(("framework", "server"), slow(*STACKS))
def test_variables_of_services_change_nothing(framework: str, server: str, image: Image) -> None:
    variables = [f"--env={variable}" for service in SERVICES for variable in service_links(service)]
    name = image(framework=framework, server=server, include_kubernetes=True)
    with container(name, *variables, "--env=WEB_CONCURRENCY=1") as service:
        assert service.get("/health/ready").status == 200
        assert service.health() == "healthy"
