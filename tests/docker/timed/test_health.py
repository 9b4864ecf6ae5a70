"""The health check of the production image: its cost, its address and its results."""

import json
import time
from datetime import datetime

import pytest

from tests.support.commands import ROOT, check_run
from tests.support.docker import HARDENED, Image, Load, ask, container, inspect
from tests.support.matrix import CONTAINER_STACKS, in_every_run
from tests.support.template import DEFAULTS, PAIRS, STACKS
from tests.support.trial import BROKEN_DEPENDENCY

# Runs a command, and prints its exit code and its peak memory, in MiB.
PEAK = (
    "import os, sys; pid = os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ); "
    "_, status, usage = os.wait4(pid, 0); print(os.waitstatus_to_exitcode(status), usage.ru_maxrss / 1024)"
)
OFTEN = ("--health-interval=500ms", "--health-timeout=1s", "--health-retries=2", "--health-start-interval=500ms")
THREADS = 128


@pytest.mark.parametrize(("framework", "server"), CONTAINER_STACKS)
def test_health_check_is_quick_and_small(framework: str, server: str, image: Image) -> None:
    name = image(framework=framework, server=server)
    command = inspect("image", name)["Config"]["Healthcheck"]["Test"][1:]
    with container(name, *HARDENED, "--health-interval=500ms") as service:
        assert service.health() == "healthy"
        seconds = []
        for _ in range(5):
            start = time.monotonic()
            code, memory = service.execute("python", "-ISc", PEAK, *command).split()[-2:]
            seconds.append(time.monotonic() - start)
            assert code == "0"
            assert float(memory) < 15
        # This includes the Python that measures the command, and docker exec.
        assert min(seconds) < 0.3
        probes = inspect("container", service.id)["State"]["Health"]["Log"]
        took = [
            datetime.fromisoformat(probe["End"][:26]) - datetime.fromisoformat(probe["Start"][:26])
            for probe in probes
            if probe["ExitCode"] == 0
        ]
        assert min(took).total_seconds() < 0.3


ADDRESSES: list[tuple[dict[str, str], int]] = [
    ({"PORT": "9321"}, 9321),
    ({"HOST": "127.0.0.1"}, 8000),
    ({"HOST": "::1"}, 8000),
    ({"HOST": "::", "PORT": "80"}, 80),
    ({"PORT": ""}, 8000),
]
ADDRESS_CASES = [(*pair, *address) for pair in PAIRS for address in ADDRESSES]
# The health check is the same for all servers.
ADDRESSES_IN_EVERY_RUN = [case for case in ADDRESS_CASES if case[1] == "uvicorn" or case[3] == 80]


@pytest.mark.parametrize(
    ("framework", "server", "variables", "port"), in_every_run(ADDRESSES_IN_EVERY_RUN, ADDRESS_CASES), ids=str
)
def test_health_check_follows_the_address(
    framework: str, server: str, variables: dict[str, str], port: int, image: Image
) -> None:
    options = [f"--env={name}={value}" for name, value in variables.items()]
    if port == 80:
        options.append("--sysctl=net.ipv4.ip_unprivileged_port_start=0")
    options.append("--sysctl=net.ipv6.conf.all.disable_ipv6=0")
    with container(image(framework=framework, server=server), *options, port=port) as service:
        assert service.health() == "healthy", service.logs()


@pytest.mark.parametrize(("framework", "server"), in_every_run(DEFAULTS.items(), STACKS))
def test_health_follows_a_service_that_hangs_and_recovers(framework: str, server: str, image: Image) -> None:
    name = image(on_trial=True, framework=framework, server=server)
    with container(name, *OFTEN, "--env=WEB_CONCURRENCY=1") as service:
        assert service.health() == "healthy"
        clients = 1 if framework == "fastapi" else THREADS + 8
        load = Load(service.port, "/hang?seconds=4.5", clients)
        load.start(clients)
        assert service.health(unlike="healthy", seconds=8) == "unhealthy"
        assert service.health(unlike="unhealthy", seconds=20) == "healthy"
        assert load.finish() == {"200": clients}, service.logs()[-2000:]
        assert "/health" not in service.logs()


@pytest.mark.parametrize(("framework", "server"), CONTAINER_STACKS)
def test_busy_service_stays_healthy(framework: str, server: str, image: Image) -> None:
    name = image(on_trial=True, framework=framework, server=server)
    with container(name, *OFTEN, "--env=WEB_CONCURRENCY=1") as service:
        assert service.health() == "healthy"
        load = Load(service.port, "/sleep?seconds=3", clients=64)
        load.start(64)
        assert service.health(unlike="healthy", seconds=3) == "healthy"
        assert load.finish() == {"200": 64}


@pytest.mark.parametrize(("framework", "server"), CONTAINER_STACKS)
def test_health_and_readiness_respond_to_get_and_head(framework: str, server: str, image: Image) -> None:
    with container(image(on_trial=True, framework=framework, server=server), "--env=WEB_CONCURRENCY=1") as service:
        service.get("/health")

        def statuses() -> dict[tuple[str, str], int]:
            return {
                (method, path): ask(service.port, path, method=method).status
                for method in ("GET", "HEAD")
                for path in ("/health", "/health/ready")
            }

        working = statuses()
        assert set(working.values()) == {200}, working
        assert ask(service.port, "/health/ready").json()["status"] == "ok"
        assert "/health" not in service.logs()
        service.execute("touch", BROKEN_DEPENDENCY)
        assert statuses() == {request: 503 if "ready" in request[1] else 200 for request in working}
        assert "planted" not in ask(service.port, "/health/ready").text
        assert "RuntimeError: planted" in service.logs()
        service.execute("rm", BROKEN_DEPENDENCY)
        assert statuses() == working


def test_health_check_names_no_tool(image: Image) -> None:
    for framework, server in STACKS:
        test = inspect("image", image(framework=framework, server=server))["Config"]["Healthcheck"]["Test"]
        assert test[:3] == ["CMD", "python", "-IS"], json.dumps(test)
        check_run("docker", "run", "--rm", image(framework=framework, server=server), "python", "-ISc", "", cwd=ROOT)
