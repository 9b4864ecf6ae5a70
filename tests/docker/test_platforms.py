"""The image on the platforms of docs/platforms.md. The commands and the settings are those of the rendered page."""

import re
import shlex
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

from tests.support import systemd
from tests.support.commands import ROOT, check_run, run
from tests.support.docker import (
    PROCESS,
    REPOSITORY,
    Image,
    Load,
    build_server,
    container,
    free_port,
    get,
    inspect,
)
from tests.support.matrix import in_every_run, slow
from tests.support.projects import Render
from tests.support.systemd import Machine, machine
from tests.support.template import DEFAULTS

STACKS = in_every_run([("fastapi", "uvicorn")], DEFAULTS.items())
# A proxy appends the address of its client to those that the client has sent.
PROXIED = {"X-Forwarded-For": "6.6.6.6, 203.0.113.7", "X-Forwarded-Proto": "https"}
# Sends SIGTERM to every process of a container, as Heroku does.
TERMINATE_ALL = (
    "import os, pathlib; [os.kill(int(folder.name), 15) for folder in pathlib.Path('/proc').glob('[0-9]*') "
    "if int(folder.name) != os.getpid()]"
)


def blocks(project: Path, heading: str, language: str) -> list[str]:
    """Return the code blocks of one language in a section of the page."""
    text = (project / "docs" / "platforms.md").read_text(encoding="utf-8")
    section = text.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)


def check_client(port: int) -> None:
    """Check that the service takes the client's address and the scheme from the platform's proxy."""
    who = get(port, "/who", headers=PROXIED).json()
    assert (who["client"], who["scheme"]) == ("203.0.113.7", "https")


def start_request(port: int, seconds: float = 5) -> Load:
    """Start a request, and return a second later, when the service handles it."""
    load = Load(port, f"/sleep?seconds={seconds}", clients=1)
    load.start(1)
    time.sleep(1)
    return load


# --- one machine with systemd -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def linux(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """Return a machine with systemd."""
    folder = tmp_path_factory.mktemp("systemd")
    for name, text in systemd.FILES.items():
        (folder / name).write_text(text)
    with machine(build_server(folder, "systemd", systemd.DOCKERFILE)) as started:
        yield started


def command(unit: str, name: str) -> list[str]:
    """Return the command that a unit gives for a setting."""
    (value,) = re.findall(rf"^{name}=-?(.*)$", unit.replace("\\\n", " "), re.MULTILINE)
    return shlex.split(value)


@pytest.mark.parametrize(("framework", "server"), STACKS)
def test_unit_runs_and_stops_the_container(
    framework: str, server: str, image: Image, render: Render, tmp_path: Path
) -> None:
    name = f"unit-{framework}-{PROCESS}"
    (unit,) = blocks(render(framework=framework, server=server), "One machine with systemd", "ini")
    port = free_port()
    settings = tmp_path / "env"
    settings.write_text("LOG_LEVEL=info\n")
    changes = {
        "--publish=127.0.0.1:8000:": f"--publish=127.0.0.1:{port}:",
        "/etc/my-service/env": str(settings),
        "${IMAGE}": image(on_trial=True, framework=framework, server=server),
        "/usr/bin/docker": "docker",
        "my-service": name,
    }
    for old, new in changes.items():
        assert old in unit
        unit = unit.replace(old, new)
    with subprocess.Popen(command(unit, "ExecStart"), stdout=subprocess.PIPE, text=True) as client:
        try:
            get(port, "/health")
            request = start_request(port)
            check_run(*command(unit, "ExecStop"), cwd=ROOT)
            log, _ = client.communicate(timeout=30)
        finally:
            run(*command(unit, "ExecStartPre"), cwd=ROOT)
    assert request.finish() == {"200": 1}, log
    assert client.returncode == 0, log
    assert "GET /sleep" in log, "systemd keeps what the client prints"


def push(image: str, name: str) -> None:
    """Push an image with another name to a registry, and remove this name from the engine."""
    check_run("docker", "tag", image, name, cwd=ROOT)
    check_run("docker", "push", "--quiet", name, cwd=ROOT)
    check_run("docker", "image", "rm", name, cwd=ROOT)


def restarts(linux: Machine, unit: str, count: int) -> bool:
    """Return whether systemd restarts a unit so many times within some seconds."""
    for _ in range(100):
        if linux.show(unit)["NRestarts"] == str(count):
            return True
        time.sleep(0.2)
    return False


@pytest.mark.slow
@pytest.mark.parametrize(("framework", "server"), DEFAULTS.items())
def test_systemd_installs_updates_restarts_and_rolls_back(
    framework: str, server: str, image: Image, render: Render, linux: Machine
) -> None:
    name = f"machine-{framework}-{PROCESS}"
    answers = {"framework": framework, "server": server, "app_name": name}
    project = render(**answers)
    (unit,) = blocks(project, "One machine with systemd", "ini")
    port = free_port()
    unit = unit.replace("--publish=127.0.0.1:8000:", f"--publish=127.0.0.1:{port}:")
    install, update = (
        text.replace("registry.example.com", linux.registry)
        for text in blocks(project, "One machine with systemd", "sh")
    )
    old, new = (re.findall(r"IMAGE=(\S+)", text)[0] for text in (install, update))
    built = image(on_trial=True, **answers)
    push(built, old)
    push(built, new)

    linux.write(f"/etc/systemd/system/{name}.service", unit)
    assert linux.run(f"systemd-analyze verify {name}.service 2>&1") == ""
    try:
        linux.run(install)
        assert get(port, "/health", seconds=60).status == 200
        check_client(port)
        started = inspect("container", name)
        host = started["HostConfig"]
        assert (host["ReadonlyRootfs"], host["CapDrop"], host["Tmpfs"]) == (True, ["ALL"], {"/tmp": ""})
        assert (host["SecurityOpt"], host["Privileged"]) == (["no-new-privileges"], False)
        assert (started["Config"]["Image"], started["Config"]["StopTimeout"]) == (old, 30)

        request = start_request(port)
        linux.run(update)
        assert request.finish() == {"200": 1}
        assert get(port, "/health", seconds=30).status == 200
        assert inspect("container", name)["Config"]["Image"] == new
        assert inspect("image", old), "the earlier image is still there"

        check_run("docker", "kill", name, cwd=ROOT)
        assert restarts(linux, name, 1)
        assert get(port, "/health", seconds=30).status == 200

        switch = update.partition("\n")[2].replace(new, old)
        linux.run(switch)
        assert get(port, "/health", seconds=30).status == 200
        assert inspect("container", name)["Config"]["Image"] == old

        request = start_request(port)
        linux.run(f"systemctl stop {name}")
        assert request.finish() == {"200": 1}
        state = linux.show(name)
        assert (state["ActiveState"], state["Result"]) == ("inactive", "success")
        assert (state["ExecMainCode"], state["ExecMainStatus"]) == ("1", "0"), "the client ended with the exit code 0"
        assert run("docker", "container", "inspect", name, cwd=ROOT).returncode, "the container is removed"
        assert linux.run(f"journalctl --quiet --unit={name} | grep --count 'GET /sleep'") == "2"
    finally:
        linux.run(f"systemctl disable --now {name}")
        run("docker", "rm", "--force", name, cwd=ROOT)
        run("docker", "image", "rm", "--force", old, new, cwd=ROOT)


# A container that does not stop in time, with shorter times than those of the page.
SHORTER = {"--stop-timeout=30": "--stop-timeout=2", "TimeoutStopSec=45": "TimeoutStopSec=12"}


@pytest.mark.slow
def test_systemd_leaves_no_container_that_does_not_stop(image: Image, render: Render, linux: Machine) -> None:
    name = f"machine-hangs-{PROCESS}"
    answers = {"framework": "fastapi", "server": "uvicorn", "app_name": name}
    (unit,) = blocks(render(**answers), "One machine with systemd", "ini")
    port = free_port()
    for old, new in {"--publish=127.0.0.1:8000:": f"--publish=127.0.0.1:{port}:", **SHORTER}.items():
        assert old in unit
        unit = unit.replace(old, new)
    linux.write(f"/etc/systemd/system/{name}.service", unit)
    linux.run(f"mkdir /etc/{name} && touch /etc/{name}/env")
    linux.write(f"/etc/{name}/image", f"IMAGE={image(on_trial=True, framework='fastapi', server='uvicorn')}")
    try:
        linux.run(f"systemctl start {name}")
        get(port, "/health", seconds=60)
        request = start_request(port, 60)
        linux.run(f"systemctl stop {name}")
        assert run("docker", "container", "inspect", name, cwd=ROOT).returncode, "the container is removed"
        assert linux.show(name)["ExecMainStatus"] == "137", "the engine killed the service"
        assert request.finish() != {"200": 1}
    finally:
        linux.run(f"systemctl stop {name}")
        run("docker", "rm", "--force", name, cwd=ROOT)


# --- Google Cloud Run -------------------------------------------------------------------------------------------------

# Source: https://docs.cloud.google.com/run/docs/container-contract
CLOUD_RUN = {"PORT": "8080", "K_SERVICE": "service", "K_REVISION": "service-00001", "K_CONFIGURATION": "service"}
CLOUD_RUN_KILLS_AFTER = 10


def cloud_run(project: Path) -> tuple[list[str], list[str]]:
    """Return the options of `docker run` that do the same as the command on the page, and the paths of its probes."""
    (file,) = blocks(project, "Google Cloud Run", "yaml")
    deploy, _ = blocks(project, "Google Cloud Run", "sh")
    given = dict(option.partition("=")[::2] for option in shlex.split(deploy) if option.startswith("--"))
    limits = [f"--cpus={given['--cpu']}", f"--memory={given['--memory'].lower().removesuffix('i')}"]
    variables = [f"--env={name}={value}" for name, value in (CLOUD_RUN | yaml.safe_load(file)).items()]
    paths = [re.findall(r"httpGet\.path=([^,]+)", given[probe])[0] for probe in ("--startup-probe", "--liveness-probe")]
    return [*limits, *variables], paths


@pytest.mark.parametrize(("framework", "server"), slow(*DEFAULTS.items()))
def test_cloud_run_stops_after_the_request_in_flight(framework: str, server: str, image: Image, render: Render) -> None:
    options, paths = cloud_run(render(framework=framework, server=server))
    with container(image(on_trial=True, framework=framework, server=server), *options, port=8080) as service:
        assert [service.get(path).status for path in paths] == [200, 200]
        check_client(service.port)
        request = start_request(service.port)
        check_run("docker", "stop", f"--timeout={CLOUD_RUN_KILLS_AFTER}", service.id, cwd=ROOT)
        assert service.wait() == 0, service.logs()
        assert request.finish() == {"200": 1}, service.logs()


@pytest.mark.slow
@pytest.mark.parametrize(("framework", "server"), DEFAULTS.items())
def test_cloud_run_does_not_kill_a_container_with_a_long_request(
    framework: str, server: str, image: Image, render: Render
) -> None:
    options, _ = cloud_run(render(framework=framework, server=server))
    name = image(on_trial=True, framework=framework, server=server)
    codes = []
    for _ in range(3):  # the best of three, because other processes on the machine can delay a stop
        with container(name, *options, port=8080) as service:
            service.get("/health")
            request = start_request(service.port, 60)
            check_run("docker", "stop", f"--timeout={CLOUD_RUN_KILLS_AFTER}", service.id, cwd=ROOT)
            codes.append(service.wait())
            assert request.finish() != {"200": 1}
        if codes[-1] == 0:
            break
    assert codes[-1] == 0, codes


# --- Heroku -----------------------------------------------------------------------------------------------------------

HEROKU_KILLS_AFTER = 30


@pytest.mark.parametrize(("framework", "server"), slow(*DEFAULTS.items()))
def test_heroku_stops_after_the_request_in_flight(framework: str, server: str, image: Image, render: Render) -> None:
    (text,) = blocks(render(framework=framework, server=server), "Heroku and similar platforms", "sh")
    (settings,) = (shlex.split(line)[3:] for line in text.splitlines() if line.startswith("heroku config:set"))
    name = image(on_trial=True, framework=framework, server=server)
    command = ("sh", "-c", shlex.join(inspect("image", name)["Config"]["Cmd"]))
    port = free_port()
    variables = [f"--env={setting}" for setting in (f"PORT={port}", "DYNO=web.1", *settings)]
    options = ("--user=23456:23456", "--memory=512m", "--no-healthcheck", *variables)
    with container(name, *options, port=port, command=command) as service:
        assert service.get("/health").status == 200
        check_client(service.port)
        request = start_request(service.port)
        check_run("docker", "exec", "--user=0", service.id, "python", "-c", TERMINATE_ALL, cwd=ROOT)
        assert service.wait(HEROKU_KILLS_AFTER) == 0, service.logs()
        assert request.finish() == {"200": 1}, service.logs()


@pytest.mark.slow
def test_heroku_image_is_built_by_the_command(project: Render) -> None:
    folder = project()
    (text,) = blocks(folder, "Heroku and similar platforms", "sh")
    (command,) = (line for line in text.splitlines() if line.startswith("docker build"))
    tag = f"{REPOSITORY}:heroku"
    check_run(*shlex.split(command.replace("registry.heroku.com/APP/web", tag)), cwd=folder)
    with container(tag, "--env=PORT=5006", port=5006) as service:
        assert service.get("/health").status == 200
        assert service.stop("SIGTERM")[0] == 0
