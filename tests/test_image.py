"""The images, built by a real engine: what is in them, what they answer, how they start and stop."""

import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import CHOICES, ROOT, Render, check_run, run
from tests.docker import HARDENED, Response, build, container, inspect, seconds_until
from tests.test_extensions import HAZARDS

pytestmark = pytest.mark.docker

FRAMEWORKS = CHOICES["framework"]
PYTHON_VERSIONS = ["3.11", "3.13", "3.14"]
VERSION = "0.1.0"
PROCESS_IDS = (
    "import pathlib; print(sorted({tuple(line.split()[1] for line in status.read_text().splitlines() "
    "if line.startswith(('Uid:', 'Gid:'))) for status in pathlib.Path('/proc').glob('[0-9]*/status')}))"
)

Image = Callable[..., str]


@pytest.fixture(scope="session")
def image(render: Render) -> Iterator[Image]:
    """Return a function that builds an image of a rendered project, once, and gives its name."""
    built: dict[str, str] = {}

    def build_once(target: str = "production", **answers: str | int) -> str:
        key = json.dumps([target, answers], sort_keys=True)
        if key not in built:
            tag = f"template-test:{len(built)}"
            result = build(render(**answers), tag, f"--target={target}")
            assert result.returncode == 0, result.stdout
            built[key] = tag
        return built[key]

    yield build_once
    left = run("docker", "image", "ls", "--format={{.Repository}}:{{.Tag}}", "template-test", cwd=ROOT).stdout.split()
    run("docker", "image", "rm", "--force", *left, cwd=ROOT)


@pytest.mark.parametrize("python_version", PYTHON_VERSIONS)
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_production_serves_locked_down_and_stops_cleanly(framework: str, python_version: str, image: Image) -> None:
    name = image(framework=framework, python_version=python_version)
    with container(name, *HARDENED) as service:
        assert service.get("/health").json() == {"status": "ok", "version": VERSION}
        assert service.get("/").json() == {"name": "my-service", "version": VERSION}
        assert service.get("/no-such-path").status == 404
        assert service.health() == "healthy"
        assert service.execute("python", "-c", PROCESS_IDS) == "[('1000', '1000')]"
        running = service.execute("python", "-c", "import sys; print(*sys.version_info[:2], sep='.', end='')")
        assert running == python_version
        code, seconds = service.stop()
        assert code == 0, service.logs()
        assert seconds < 5
        log = service.logs()
        assert re.search(rf"\[info\] started .*app=my-service log_level=info version={VERSION}$", log, re.M), log
        assert "GET / HTTP" in log
        assert "/health" not in log
        assert not re.search(r"\[(warning|error|critical)\]|Traceback", log), log


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_production_holds_nothing_but_the_service(framework: str, image: Image) -> None:
    name = image(framework=framework)
    tools = check_run("docker", "run", "--rm", name, "sh", "-c", "ls /opt /app /opt/venv/bin", cwd=ROOT)
    assert not re.search(r"poetry|\buv\b|\bpip|pytest|mypy|ruff|pre-commit|hadolint|tests|src", tools), tools
    absent = "for tool in uv poetry gcc make git; do if command -v $tool; then exit 1; fi; done"
    check_run("docker", "run", "--rm", name, "sh", "-c", absent, cwd=ROOT)
    kept_out = " ".join(f"-not -path '{path}'" for path in ("/proc/*", "/tmp*", "/var/tmp"))
    writable = f"find / -xdev {kept_out} \\( -type f -o -type d \\) -writable"
    found = run("docker", "run", "--rm", name, "sh", "-c", f"{writable} 2>/dev/null", cwd=ROOT).stdout.split()
    assert set(found) <= {"/run/lock"}, found


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_production_has_bytecode_for_every_module(framework: str, image: Image) -> None:
    script = (
        "import importlib.util as u, pathlib, sysconfig\n"
        "modules = list(pathlib.Path(sysconfig.get_path('purelib')).rglob('*.py'))\n"
        "print(len(modules), [str(m) for m in modules if not pathlib.Path(u.cache_from_source(m)).exists()])"
    )
    output = check_run("docker", "run", "--rm", image(framework=framework), "python", "-c", script, cwd=ROOT)
    count, _, without = output.strip().partition(" ")
    assert int(count) > 200
    assert without == "[]"


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_command_replaces_the_server_byte_for_byte(framework: str, image: Image) -> None:
    name = image(framework=framework)
    arguments = ['a "b"', "$HOME ${X} $(id)", "(x) `y` ; & | * ~", "back\\slash 'single'", "", "new\nline", "--flag"]
    script = "import json, sys; print(json.dumps(sys.argv[1:]))"
    output = check_run("docker", "run", "--rm", name, "python", "-c", script, *arguments, cwd=ROOT)
    assert json.loads(output) == arguments
    assert check_run("docker", "run", "--rm", name, "sh", "-c", "echo $0", cwd=ROOT) == "sh\n"


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_option_goes_to_the_server(framework: str, image: Image) -> None:
    output = check_run("docker", "run", "--rm", image(framework=framework), "--version", cwd=ROOT)
    assert output.startswith("gunicorn (version ")


def test_flask_command_finds_the_application(image: Image) -> None:
    output = check_run("docker", "run", "--rm", image(framework="flask"), "flask", "routes", cwd=ROOT)
    assert "/health" in output


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_port_follows_the_environment(framework: str, image: Image) -> None:
    with container(image(framework=framework), "--env=PORT=9321", port=9321) as service:
        assert service.get("/health").status == 200
        assert service.health() == "healthy"


@pytest.mark.parametrize(
    ("variable", "value", "rule"),
    [
        ("PORT", "abc", "a whole number from 1 to 65535"),
        ("PORT", "70000", "a whole number from 1 to 65535"),
        ("PORT", "-1", "a whole number from 1 to 65535"),
        ("PORT", "99999999999999999999", "a whole number from 1 to 65535"),
        ("WEB_CONCURRENCY", "0", "a whole number from 1 to 1024"),
        ("WEB_CONCURRENCY", "two", "a whole number from 1 to 1024"),
        ("GRACEFUL_TIMEOUT", "1.5", "a whole number from 1 to 3600"),
        ("LOG_LEVEL", "loud", "one of: debug info warning error critical"),
        ("LOG_FORMAT", "xml", "one of: text json"),
        ("HOST", "256.1.1.1", "an IP address"),
        ("HOST", "a b", "an IP address"),
        ("FORWARDED_ALLOW_IPS", "abc", "IP addresses or networks with commas between them, or *"),
        ("FORWARDED_ALLOW_IPS", "10.0.0.1,$(id)", "IP addresses or networks with commas between them, or *"),
    ],
)
def test_bad_variable_ends_the_start_in_one_line(variable: str, value: str, rule: str, image: Image) -> None:
    result = run("docker", "run", "--rm", f"--env={variable}={value}", image(), cwd=ROOT)
    assert (result.returncode, result.stdout) == (78, f"{variable} must be {rule}, not '{value}'.\n")


def test_empty_variables_mean_the_defaults(image: Image) -> None:
    names = ["PORT", "HOST", "WEB_CONCURRENCY", "LOG_LEVEL", "LOG_FORMAT", "FORWARDED_ALLOW_IPS", "GRACEFUL_TIMEOUT"]
    with container(image(), *(f"--env={name}=" for name in names)) as service:
        assert service.get("/health").status == 200


@pytest.mark.parametrize(
    ("variable", "value"),
    [("HOST", "0.0.0.0"), ("HOST", "::"), ("FORWARDED_ALLOW_IPS", "*"), ("FORWARDED_ALLOW_IPS", "10.0.0.0/8, ::1")],  # noqa: S104
)
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_good_addresses_serve(framework: str, variable: str, value: str, image: Image) -> None:
    with container(image(framework=framework), f"--env={variable}={value}") as service:
        assert service.get("/health").status == 200


def test_log_can_be_json(image: Image) -> None:
    with container(image(), "--env=LOG_FORMAT=json", "--env=LOG_LEVEL=INFO") as service:
        service.get("/")
        records = [json.loads(line) for line in service.logs().splitlines()]
    started = [record for record in records if record["event"] == "started"]
    assert started
    assert started[0]["version"] == VERSION
    assert {"level", "logger", "timestamp"} <= started[0].keys()


@pytest.mark.parametrize(("cpus", "workers"), [("0.5", 1), ("1", 1), ("2", 2)])
def test_workers_follow_the_cpu_quota(cpus: str, workers: int, image: Image) -> None:
    with container(image(), f"--cpus={cpus}") as service:
        service.get("/health")
        assert service.logs().count("Booting worker") == workers


@pytest.mark.parametrize(("uid", "gid"), [(501, 20), (33, 33), (65534, 65534), (197609, 197121)])
@pytest.mark.parametrize("target", ["production", "development"])
def test_any_ids_build_and_serve(target: str, uid: int, gid: int, image: Image) -> None:
    name = image(target=target, user_uid=uid, user_gid=gid)
    assert inspect("image", name)["Config"]["User"] == f"{uid}:{gid}"
    command = ("gunicorn",) if target == "production" else ("python", "-m", "http.server", "8000")
    with container(name, command=command) as service:
        assert service.get("/").status == 200
        assert service.execute("python", "-c", PROCESS_IDS) == f"[('{uid}', '{gid}')]"


def test_labels_hold_the_description(image: Image) -> None:
    labels = inspect("image", image(app_description=HAZARDS + "\nsecond line"))["Config"]["Labels"]
    assert labels["org.opencontainers.image.title"] == "my-service"
    assert labels["org.opencontainers.image.description"] == HAZARDS + " second line"


SLOW_ROUTE = {
    "flask": """

@routes.get("/slow")
def slow() -> str:
    import time
    time.sleep(2)
    return "slow"
""",
    "fastapi": """

@app.get("/slow")
async def slow() -> str:
    import asyncio
    await asyncio.sleep(2)
    return "slow"
""",
}


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_stop_lets_requests_in_flight_finish(framework: str, project: Render) -> None:
    folder = project(framework=framework)
    app = folder / "src" / "my_service" / "app.py"
    before, marker, after = app.read_text().partition("\n\ndef create_app")
    app.write_text(before + SLOW_ROUTE[framework] + marker + after)
    result = build(folder, f"template-test:slow-{framework}")
    assert result.returncode == 0, result.stdout
    answers: list[Response] = []
    with container(f"template-test:slow-{framework}", "--env=WEB_CONCURRENCY=1") as service:
        service.get("/health")
        requests = [threading.Thread(target=lambda: answers.append(service.get("/slow"))) for _ in range(4)]
        for request in requests:
            request.start()
        threading.Event().wait(0.5)
        code, seconds = service.stop()
        for request in requests:
            request.join(timeout=40)
        assert code == 0, service.logs()
    assert [(answer.status, answer.text.strip('"')) for answer in answers] == [(200, "slow")] * 4
    assert seconds < 6


def rebuilt_steps(output: str) -> set[str]:
    """Return the `RUN` steps that BuildKit ran, by stage, from its plain progress."""
    steps = dict(re.findall(r"^#(\d+) \[([\w-]+) \d+/\d+\] RUN", output, re.M))
    cached = set(re.findall(r"^#(\d+) CACHED", output, re.M))
    return {stage for number, stage in steps.items() if number not in cached}


def test_edit_that_changes_no_dependency_installs_none(project: Render) -> None:
    folder = project()
    assert build(folder, "template-test:edit").returncode == 0
    pyproject = folder / "pyproject.toml"
    version = f"0.2.{time.time_ns()}"  # a new one each time, so that no earlier run's cache holds it
    text = pyproject.read_text().replace(f'version = "{VERSION}"', f'version = "{version}"')
    pyproject.write_text(text.replace("line-length = 100", "line-length = 99"))
    assert rebuilt_steps(build(folder, "template-test:edit").stdout) == {"requirements", "package"}
    with container("template-test:edit") as service:
        assert service.get("/health").json()["version"] == version
    app = folder / "src" / "my_service" / "app.py"
    app.write_text(app.read_text() + f"# {version}\n")
    assert rebuilt_steps(build(folder, "template-test:edit").stdout) == {"package"}


@pytest.mark.parametrize("target", ["production", "development"])
@pytest.mark.parametrize("lock", ["stale", "missing"])
def test_bad_lock_ends_the_build_with_a_clear_line(lock: str, target: str, project: Render) -> None:
    folder = project()
    if lock == "missing":
        (folder / "poetry.lock").unlink()
    else:
        pyproject = folder / "pyproject.toml"
        pyproject.write_text(pyproject.read_text().replace("structlog (>=26.1.0", "structlog (>=26.0.0"))
    result = build(folder, "template-test:bad-lock", f"--target={target}")
    assert result.returncode == 1
    line = "poetry.lock is missing or does not match pyproject.toml: run 'make lock', then build again."
    assert re.search(rf"^#\d+ [\d.]+ {re.escape(line)}$", result.stdout, re.M), result.stdout


@pytest.mark.parametrize("python_version", PYTHON_VERSIONS)
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_development_reloads_and_has_the_tools(
    framework: str, python_version: str, image: Image, project: Render
) -> None:
    name = image(target="development", framework=framework, python_version=python_version)
    folder = project(framework=framework, python_version=python_version)
    app = folder / "src" / "my_service" / "app.py"
    with container(name, f"--volume={folder}:/app") as service:
        assert service.get("/health").json() == {"status": "ok", "version": VERSION}
        assert service.health() == "healthy"
        assert service.execute("python", "-c", PROCESS_IDS) == "[('1000', '1000')]"
        assert re.fullmatch(r"Poetry \(version 2\.\d+\.\d+\)", service.execute("poetry", "--version", "--no-ansi"))
        for edit in ("first", "second", "third"):  # as fast as it is served: no stale bytecode
            app.write_text(re.sub(r'"/health\w*"', f'"/health{edit}"', app.read_text()))
            assert seconds_until('"ok"', service.port, f"/health{edit}") < 2
        code, seconds = service.stop()
        assert seconds < 5, service.logs()
        assert code != 137
    assert not list(folder.rglob("__pycache__"))


def test_build_context_holds_what_is_named(project: Render, tmp_path: Path) -> None:
    folder = project()
    (folder / ".env").write_text("SECRET=1\n")
    (folder / ".venv" / "bin").mkdir(parents=True)
    (folder / ".venv" / "bin" / "python").touch()
    (folder / "src" / "my_service" / "__pycache__").mkdir()
    (folder / "src" / "my_service" / "__pycache__" / "app.pyc").touch()
    dockerfile = tmp_path / "Dockerfile"
    dockerfile.write_text("FROM python:3.14-slim-trixie\nCOPY . /context\n")
    result = build(folder, "template-test:context", f"--file={dockerfile}")
    assert result.returncode == 0, result.stdout
    listed = check_run("docker", "run", "--rm", "template-test:context", "find", "/context", "-type", "f", cwd=ROOT)
    names = {line.removeprefix("/context/") for line in listed.split()}
    assert names == {
        "README.md",
        "entrypoint.sh",
        "gunicorn.conf.py",
        "poetry.lock",
        "pyproject.toml",
        *(f"src/my_service/{name}.py" for name in ("__init__", "app", "logs", "settings")),
    }
