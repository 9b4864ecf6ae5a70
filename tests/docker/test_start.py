"""The start of the production container: its variables, its number of workers, and other commands."""

import json
import re
import subprocess
from pathlib import Path

import pytest

from tests.support.commands import ROOT, check_run, run
from tests.support.docker import Image, container, inspect
from tests.support.matrix import CONTAINER_STACKS, in_every_run
from tests.support.template import DEFAULTS, SERVERS, STACKS, VARIABLES


def server_command(image: str) -> tuple[str, ...]:
    """Return the command of an image, which starts the server."""
    return tuple(inspect("image", image)["Config"]["Cmd"])


@pytest.mark.parametrize(("framework", "server"), CONTAINER_STACKS)
def test_command_replaces_the_server_byte_for_byte(framework: str, server: str, image: Image) -> None:
    name = image(framework=framework, server=server)
    arguments = ['a "b"', "$HOME ${X} $(id)", "(x) `y` ; & | * ~", "back\\slash 'single'", "", "new\nline", "--flag"]
    script = "import json, sys; print(json.dumps(sys.argv[1:]))"
    output = check_run("docker", "run", "--rm", name, "python", "-c", script, *arguments, cwd=ROOT)
    assert json.loads(output) == arguments
    assert check_run("docker", "run", "--rm", name, "sh", "-c", "echo $0", cwd=ROOT) == "sh\n"


VERSION_LINES = {
    "uvicorn": "Running uvicorn 0.",
    "gunicorn": "gunicorn (version 27.",
    "granian": "python -m granian 2.",
}


@pytest.mark.parametrize(("framework", "server"), SERVERS)
def test_server_takes_options(framework: str, server: str, image: Image) -> None:
    name = image(framework=framework, server=server)
    output = check_run("docker", "run", "--rm", name, server, "--version", cwd=ROOT)
    assert output.startswith(VERSION_LINES[server])


@pytest.mark.parametrize(("framework", "server"), CONTAINER_STACKS)
def test_option_overrides_the_environment(framework: str, server: str, image: Image) -> None:
    name = image(framework=framework, server=server)
    command = (*server_command(name), "--workers=3")
    with container(name, "--env=WEB_CONCURRENCY=1", command=command) as service:
        service.get("/health")
        assert len(service.workers()) == 3, service.logs()


@pytest.mark.parametrize("server", [server for framework, server in STACKS if framework == "flask"])
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


@pytest.mark.parametrize(("framework", "server"), CONTAINER_STACKS)
def test_interactive_commands_run(framework: str, server: str, image: Image) -> None:
    """Run a shell and Python with their input from a pipe."""
    inputs = {
        "sh": 'echo "$0 with $WEB_CONCURRENCY"',
        "python": "import os; print('python with', os.environ['WEB_CONCURRENCY'])",
    }
    if framework == "flask":
        inputs["flask shell"] = "import os; print(app.name, 'with', os.environ['WEB_CONCURRENCY'])"
    name = image(framework=framework, server=server)
    outputs = {}
    for command, text in inputs.items():
        run_image = ("docker", "run", "--rm", "--interactive", "--cpus=1", name, *command.split())
        outputs[command] = subprocess.run(
            run_image, input=text + "\n", capture_output=True, text=True, timeout=60, check=True
        ).stdout
    assert outputs.pop("sh") == "sh with 1\n"
    assert outputs.pop("python") == "python with 1\n"
    assert all("my_service.app with 1" in output for output in outputs.values()), outputs


BAD_VALUES = [
    ("PORT", "abc"),
    ("PORT", "0"),
    ("PORT", "70000"),
    ("PORT", "-1"),
    ("PORT", "99999999999999999999"),
    ("PORT", "8000.0"),
    ("PORT", "80\n2026 forged\x1b[31m"),
    ("WEB_CONCURRENCY", "0"),
    ("WEB_CONCURRENCY", "two"),
    ("WEB_CONCURRENCY", "1.0"),
    ("WEB_CONCURRENCY", "1025"),
    ("GRACEFUL_TIMEOUT", "0"),
    ("GRACEFUL_TIMEOUT", "1.5"),
    ("GRACEFUL_TIMEOUT", "25.0"),
    ("LOG_LEVEL", "loud"),
    ("LOG_LEVEL", r"80\nforged\c"),
    ("LOG_FORMAT", "xml"),
    ("HOST", "256.1.1.1"),
    ("HOST", "a b"),
    ("HOST", "127.0.0.1,::1"),
    ("HOST", " 127.0.0.1"),
    ("FORWARDED_ALLOW_IPS", "abc"),
    ("FORWARDED_ALLOW_IPS", "10.0.0.1,$(id)"),
]


def is_refusal(code: int, log: str, variable: str) -> bool:
    """Return whether a start failed with the expected error about the value of a variable."""
    line, newline, rest = log.partition("\n")
    is_line = line.isprintable() and (newline, rest) == ("\n", "")
    return code == 1 and is_line and re.fullmatch(rf"{variable} is invalid: .+\.", line) is not None


# Every bad value with one stack, and one for each variable with the others.
BAD_VALUE_CASES = [(*stack, is_complete) for stack in STACKS for is_complete in (True, False)]
BAD_VALUE_CASES_IN_EVERY_RUN = [
    ("fastapi", "uvicorn", True),
    ("fastapi", "granian", False),
    ("flask", "gunicorn", False),
]


@pytest.mark.parametrize(
    ("framework", "server", "is_complete"), in_every_run(BAD_VALUE_CASES_IN_EVERY_RUN, BAD_VALUE_CASES)
)
def test_bad_variable_ends_the_start_with_one_line(
    framework: str, server: str, is_complete: bool, image: Image
) -> None:
    """Start the service once for each bad value. All starts share a container, which saves most of the time."""
    name = image(framework=framework, server=server)
    values = [*BAD_VALUES, *([("MAX_REQUESTS", "-5"), ("MAX_REQUESTS", "x")] if server == "gunicorn" else [])]
    assert {variable for variable, _ in values} | {"MAX_REQUESTS"} == set(VARIABLES)
    if not is_complete:
        values = list(dict(values).items())
    start = ("timeout", "15", "entrypoint.sh", *server_command(name))
    wrong = {}
    with container(name, "--no-healthcheck", command=("sleep", "600")) as service:
        for variable, value in values:
            result = run("docker", "exec", f"--env={variable}={value}", service.id, *start, cwd=ROOT)
            if not is_refusal(result.returncode, result.stdout, variable):
                wrong[variable, value] = f"{result.returncode}: {result.stdout[-500:]}"
    assert wrong == {}


@pytest.mark.parametrize(("framework", "server"), CONTAINER_STACKS)
def test_bad_variable_ends_the_container(framework: str, server: str, image: Image) -> None:
    with container(image(framework=framework, server=server), "--env=PORT=0") as service:
        code = service.wait(seconds=15)
        assert is_refusal(code, service.logs(), "PORT"), service.logs()


@pytest.mark.parametrize(("framework", "server"), SERVERS)
def test_bad_variables_have_a_line_each(framework: str, server: str, image: Image) -> None:
    options = ("--env=PORT=abc", "--env=LOG_LEVEL=loud")
    with container(image(framework=framework, server=server), *options) as service:
        assert service.wait(seconds=15) == 1
        lines = sorted(service.logs().splitlines())
    assert [line.split(" is invalid: ")[0] for line in lines] == ["LOG_LEVEL", "PORT"]


@pytest.mark.parametrize(("framework", "server"), CONTAINER_STACKS)
def test_empty_variables_mean_the_defaults(framework: str, server: str, image: Image) -> None:
    empty = [f"--env={name}=" for name in VARIABLES]
    with container(image(framework=framework, server=server), *empty) as service:
        assert service.get("/health").status == 200
        assert "[info] started" in service.logs()


@pytest.mark.parametrize(("framework", "server"), CONTAINER_STACKS)
def test_secret_files_set_the_variables(framework: str, server: str, image: Image, tmp_path: Path) -> None:
    """Mount a directory of secrets as Kubernetes does, which also contains the token of the service account."""
    (tmp_path / "kubernetes.io" / "serviceaccount").mkdir(parents=True)
    (tmp_path / "kubernetes.io" / "serviceaccount" / "token").write_text("token")
    (tmp_path / "log_level").write_text("debug\n")
    tmp_path.chmod(0o755)
    name, mounted = image(framework=framework, server=server), f"--volume={tmp_path}:/run/secrets:ro"
    with container(name, mounted) as service:
        assert service.get("/health").status == 200
        assert "log_level=debug" in service.logs()
    (tmp_path / "log_level").write_text("loud")
    with container(name, mounted) as service:
        code = service.wait(seconds=15)
        assert is_refusal(code, service.logs(), "LOG_LEVEL"), service.logs()
    with container(name, mounted, "--env=LOG_LEVEL=info") as service:
        assert service.get("/health").status == 200
        assert "log_level=info" in service.logs()


@pytest.mark.parametrize(("framework", "server"), CONTAINER_STACKS)
def test_kubernetes_service_named_like_the_server_changes_nothing(framework: str, server: str, image: Image) -> None:
    """Set the variables that Kubernetes sets for a Service.

    Source: https://kubernetes.io/docs/concepts/services-networking/service/#environment-variables
    """
    name, address = server.upper(), "10.0.0.1"
    variables = {
        f"{name}_SERVICE_HOST": address,
        f"{name}_SERVICE_PORT": "80",
        f"{name}_PORT": f"tcp://{address}:80",
        f"{name}_PORT_80_TCP": f"tcp://{address}:80",
        f"{name}_PORT_80_TCP_PROTO": "tcp",
        f"{name}_PORT_80_TCP_PORT": "80",
        f"{name}_PORT_80_TCP_ADDR": address,
    }
    options = [f"--env={variable}={value}" for variable, value in variables.items()]
    with container(image(framework=framework, server=server), *options) as service:
        assert service.get("/health").status == 200
        assert service.health() == "healthy"


@pytest.mark.parametrize(
    ("variable", "value"),
    [("HOST", "0.0.0.0"), ("HOST", "::"), ("FORWARDED_ALLOW_IPS", "*"), ("FORWARDED_ALLOW_IPS", "10.0.0.0/8, ::1")],  # noqa: S104
)
@pytest.mark.parametrize(("framework", "server"), DEFAULTS.items())
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
def test_workers_follow_the_cpus(options: list[str], workers: int, image: Image) -> None:
    command = ("docker", "run", "--rm", *options, image(), "sh", "-c", "echo $WEB_CONCURRENCY")
    assert check_run(*command, cwd=ROOT) == f"{workers}\n"


@pytest.mark.parametrize(("framework", "server"), SERVERS)
def test_server_starts_the_workers(framework: str, server: str, image: Image) -> None:
    with container(image(framework=framework, server=server), "--cpus=1.5") as service:
        service.get("/health")
        assert len(service.workers()) == 2, service.logs()
        assert service.stop()[0] == 0


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize(("framework", "server"), CONTAINER_STACKS)
def test_wrapped_server_gets_the_workers(framework: str, server: str, workers: int, image: Image) -> None:
    name = image(framework=framework, server=server)
    with container(name, f"--cpus={workers}", command=("env", "A=1", *server_command(name))) as service:
        service.get("/health")
        assert len(service.workers()) == workers, service.logs()


@pytest.mark.parametrize(("framework", "server"), CONTAINER_STACKS)
def test_any_command_gets_the_variables(framework: str, server: str, image: Image) -> None:
    script = "import os; print(*(os.environ[n] for n in ('WEB_CONCURRENCY', 'HOST', 'PORT', 'GRACEFUL_TIMEOUT')))"
    command = (image(framework=framework, server=server), "python", "-c", script)
    assert check_run("docker", "run", "--rm", "--cpus=1", *command, cwd=ROOT) == "1 0.0.0.0 8000 25\n"


# The files of a control group as the kernel writes them, for version 1 and version 2.
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
def test_workers_follow_both_versions_of_control_groups(
    files: dict[str, str], workers: int, image: Image, tmp_path: Path
) -> None:
    group = tmp_path / "cgroup"
    group.mkdir()
    for name, text in files.items():
        (group / name).parent.mkdir(exist_ok=True)
        (group / name).write_text(text)
    command = (f"--volume={group}:/sys/fs/cgroup:ro", image(), "sh", "-c", "echo $WEB_CONCURRENCY")
    assert check_run("docker", "run", "--rm", "--cpuset-cpus=0,1", *command, cwd=ROOT) == f"{workers}\n"
