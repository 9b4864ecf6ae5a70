"""How the production container starts: what it reads and refuses of the environment, and what it runs instead."""

import json
from pathlib import Path

import pytest

from tests.commands import ROOT, check_run, run
from tests.conftest import CHOICES, PAIRS, STACKS, Image, Render
from tests.docker import container

pytestmark = pytest.mark.docker

VARIABLES = [
    "PORT",
    "HOST",
    "WEB_CONCURRENCY",
    "LOG_LEVEL",
    "LOG_FORMAT",
    "FORWARDED_ALLOW_IPS",
    "GRACEFUL_TIMEOUT",
    "MAX_REQUESTS",
]


@pytest.mark.parametrize(("framework", "server"), STACKS)
def test_command_replaces_the_server_byte_for_byte(framework: str, server: str, image: Image) -> None:
    name = image(framework=framework, server=server)
    arguments = ['a "b"', "$HOME ${X} $(id)", "(x) `y` ; & | * ~", "back\\slash 'single'", "", "new\nline", "--flag"]
    script = "import json, sys; print(json.dumps(sys.argv[1:]))"
    output = check_run("docker", "run", "--rm", name, "python", "-c", script, *arguments, cwd=ROOT)
    assert json.loads(output) == arguments
    assert check_run("docker", "run", "--rm", name, "sh", "-c", "echo $0", cwd=ROOT) == "sh\n"


VERSION_LINES = {"gunicorn": "gunicorn (version 27.", "granian": "granian 2."}


@pytest.mark.parametrize("is_named", [False, True], ids=["option", "server-and-option"])
@pytest.mark.parametrize(("framework", "server"), STACKS)
def test_option_goes_to_the_server(framework: str, server: str, is_named: bool, image: Image) -> None:
    command = [server, "--version"] if is_named else ["--version"]
    output = check_run("docker", "run", "--rm", image(framework=framework, server=server), *command, cwd=ROOT)
    assert output.startswith(VERSION_LINES[server])


@pytest.mark.parametrize(("framework", "server"), STACKS)
def test_option_comes_before_the_environment(framework: str, server: str, image: Image) -> None:
    with container(
        image(framework=framework, server=server), "--env=WEB_CONCURRENCY=1", command=("--workers=3",)
    ) as service:
        service.get("/health")
        service.stop()
        assert len(service.workers()) == 3, service.logs()


@pytest.mark.parametrize("server", CHOICES["server"])
@pytest.mark.parametrize(
    ("command", "text"),
    [
        (["flask", "routes"], "/health"),
        (["flask", "shell"], "my_service.app"),
        (["flask", "--version"], "Flask 3."),
    ],
    ids=["routes", "shell", "version"],
)
def test_flask_command_finds_the_application(server: str, command: list[str], text: str, image: Image) -> None:
    name = image(framework="flask", server=server)
    assert text in check_run("docker", "run", "--rm", "--interactive", name, *command, cwd=ROOT)


@pytest.mark.parametrize(
    ("variable", "value", "rule"),
    [
        ("PORT", "abc", "a whole number from 1 to 65535"),
        ("PORT", "70000", "a whole number from 1 to 65535"),
        ("PORT", "-1", "a whole number from 1 to 65535"),
        ("PORT", "99999999999999999999", "a whole number from 1 to 65535"),
        ("WEB_CONCURRENCY", "0", "a whole number from 1 to 1024"),
        ("WEB_CONCURRENCY", "two", "a whole number from 1 to 1024"),
        ("GRACEFUL_TIMEOUT", "1.5", "a whole number from 1 to 1800"),
        ("MAX_REQUESTS", "-5", "a whole number from 1 to 999999999"),
        ("LOG_LEVEL", "loud", "one of: debug info warning error critical"),
        ("LOG_FORMAT", "xml", "one of: text json"),
        ("HOST", "256.1.1.1", "an IP address"),
        ("HOST", "a b", "an IP address"),
        ("HOST", "127.0.0.1,::1", "an IP address"),
        ("HOST", " 127.0.0.1", "an IP address"),
        ("LOG_LEVEL", r"80\nforged\c", "one of: debug info warning error critical"),
        ("FORWARDED_ALLOW_IPS", "abc", "IP addresses or networks with commas between them, or *"),
        ("FORWARDED_ALLOW_IPS", "10.0.0.1,$(id)", "IP addresses or networks with commas between them, or *"),
    ],
)
def test_bad_variable_ends_the_start_in_one_line(variable: str, value: str, rule: str, image: Image) -> None:
    """Try the entrypoint of Gunicorn, which checks what Granian's does, and MAX_REQUESTS."""
    result = run("docker", "run", "--rm", f"--env={variable}={value}", image(), cwd=ROOT)
    assert (result.returncode, result.stdout) == (78, f"{variable} must be {rule}, not '{value}'.\n")


@pytest.mark.parametrize(("framework", "server"), STACKS)
def test_bad_variable_ends_every_server(framework: str, server: str, image: Image) -> None:
    result = run("docker", "run", "--rm", "--env=PORT=0", image(framework=framework, server=server), cwd=ROOT)
    assert (result.returncode, result.stdout) == (78, "PORT must be a whole number from 1 to 65535, not '0'.\n")


def test_bad_variable_cannot_forge_a_line(image: Image) -> None:
    result = run("docker", "run", "--rm", "--env=PORT=80\n2026 forged\x1b[31m", image(), cwd=ROOT)
    expected = "PORT must be a whole number from 1 to 65535, not '80?2026 forged?[31m'.\n"
    assert (result.returncode, result.stdout) == (78, expected)


@pytest.mark.parametrize(("framework", "server"), STACKS)
def test_empty_variables_mean_the_defaults(framework: str, server: str, image: Image) -> None:
    empty = [f"--env={name}=" for name in VARIABLES]
    with container(image(framework=framework, server=server), *empty) as service:
        assert service.get("/health").status == 200
        assert "[info] started" in service.logs()


@pytest.mark.parametrize("server", CHOICES["server"])
def test_every_variable_is_explained(server: str, render: Render) -> None:
    project = render(server=server)
    for variable in VARIABLES:
        expected = (server, variable) != ("granian", "MAX_REQUESTS")
        assert (f" {variable} " in (project / "entrypoint.sh").read_text()) is expected
        assert (f"\n#{variable}=" in (project / ".env.example").read_text()) is expected


@pytest.mark.parametrize(
    ("variable", "value"),
    [("HOST", "0.0.0.0"), ("HOST", "::"), ("FORWARDED_ALLOW_IPS", "*"), ("FORWARDED_ALLOW_IPS", "10.0.0.0/8, ::1")],  # noqa: S104
)
@pytest.mark.parametrize(("framework", "server"), PAIRS)
def test_good_addresses_serve(framework: str, server: str, variable: str, value: str, image: Image) -> None:
    with container(image(framework=framework, server=server), f"--env={variable}={value}") as service:
        assert service.get("/health").status == 200


# Options of docker run, and how many workers follow from them on a machine with two CPUs or more.
LIMITS = {
    "half": (["--cpus=0.5"], 1),
    "one": (["--cpus=1"], 1),
    "one-and-a-half": (["--cpus=1.5"], 2),
    "two": (["--cpus=2"], 2),
    "one-of-the-set": (["--cpuset-cpus=0"], 1),
    "set-below-quota": (["--cpuset-cpus=0", "--cpus=2"], 1),
    "asked-for": (["--cpus=1", "--env=WEB_CONCURRENCY=3"], 3),
    "empty": (["--cpus=1", "--env=WEB_CONCURRENCY="], 1),
    "threads-of-libraries": (["--cpus=2", "--env=OMP_NUM_THREADS=1"], 2),
}


@pytest.mark.parametrize(("options", "workers"), LIMITS.values(), ids=LIMITS)
@pytest.mark.parametrize("server", CHOICES["server"])
def test_workers_follow_the_cpus(server: str, options: list[str], workers: int, image: Image) -> None:
    with container(image(server=server), *options) as service:
        service.get("/health")
        assert service.stop()[0] == 0
        assert len(service.workers()) == workers, service.logs()


# What the kernel writes into the files of a control group, in either version, whichever this machine has.
CONTROL_GROUPS = {
    "v2-half": ({"cpu.max": "50000 100000\n"}, 1),
    "v2-one-and-a-bit": ({"cpu.max": "100001 100000\n"}, 2),
    "v2-no-limit": ({"cpu.max": "max 100000\n"}, 2),
    "v2-more-than-there-are": ({"cpu.max": "6400000 100000\n"}, 2),
    "v1-one": ({"cpu/cpu.cfs_quota_us": "100000\n", "cpu/cpu.cfs_period_us": "100000\n"}, 1),
    "v1-short-period": ({"cpu/cpu.cfs_quota_us": "5000\n", "cpu/cpu.cfs_period_us": "10000\n"}, 1),
    "v1-no-limit": ({"cpu/cpu.cfs_quota_us": "-1\n", "cpu/cpu.cfs_period_us": "100000\n"}, 2),
    "none": ({}, 2),
}


@pytest.mark.parametrize(("files", "workers"), CONTROL_GROUPS.values(), ids=CONTROL_GROUPS)
def test_workers_follow_either_control_group(files: dict[str, str], workers: int, image: Image, tmp_path: Path) -> None:
    group, server = tmp_path / "cgroup", tmp_path / "gunicorn"
    group.mkdir()
    for name, text in files.items():
        (group / name).parent.mkdir(exist_ok=True)
        (group / name).write_text(text)
    server.write_text('#!/bin/sh\necho "$WEB_CONCURRENCY"\n')
    server.chmod(0o755)
    options = (f"--volume={group}:/sys/fs/cgroup:ro", f"--volume={server}:/opt/venv/bin/gunicorn:ro")
    output = check_run("docker", "run", "--rm", "--cpuset-cpus=0,1", *options, image(), cwd=ROOT)
    assert output == f"{workers}\n"
