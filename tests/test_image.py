"""The images, built by a real engine: what is in them, what they answer, how they start and stop."""

import json
import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.conftest import CHOICES, ROOT, Render, check_run, run
from tests.docker import (
    HARDENED,
    PLUGINS,
    Response,
    build,
    container,
    files_of,
    inspect,
    rebuilt_steps,
    seconds_until,
)
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


# Reads the header of each module's bytecode: the magic number is the Python's own, and flag 1 says that the source is
# not looked at. Source: https://peps.python.org/pep-0552/
BYTECODE = """
import importlib.util as u, json, pathlib, sysconfig
found = {}
for module in pathlib.Path(sysconfig.get_path("purelib")).rglob("*.py"):
    cached = pathlib.Path(u.cache_from_source(module))
    header = cached.read_bytes()[:8] if cached.exists() else b""
    found[str(module)] = header == u.MAGIC_NUMBER + (1).to_bytes(4, "little")
print(json.dumps(found))
"""
# Which modules a started service has, of the standard library too, that were compiled then and there.
COMPILED_AT_START = """
import importlib, pathlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
cached = {name: getattr(module.__spec__, "cached", None) for name, module in sys.modules.items()}
print(len(cached), [name for name, file in cached.items() if file and not pathlib.Path(file).exists()])
"""


@pytest.mark.parametrize("python_version", ["3.13", "3.14"])
@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_production_has_bytecode_for_every_module(framework: str, python_version: str, image: Image) -> None:
    name = image(framework=framework, python_version=python_version)
    found = json.loads(check_run("docker", "run", "--rm", name, "python", "-c", BYTECODE, cwd=ROOT))
    assert len(found) > 200
    assert [module for module, is_unchecked in found.items() if not is_unchecked] == []
    modules = ["my_service.app", "gunicorn.app.wsgiapp", "gunicorn.arbiter", "http.client", "logging.config"]
    command = ("python", "-c", COMPILED_AT_START, *modules)
    count, _, without = check_run("docker", "run", "--rm", name, *command, cwd=ROOT).strip().partition(" ")
    assert int(count) > 300
    assert without == "[]"


# What packages bring besides code: Werkzeug its debugger's page, FastAPI notes for coding assistants.
ASSETS = {"flask": {".css", ".js", ".md", ".png"}, "fastapi": {".md"}}


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_production_environment_is_trimmed(framework: str, image: Image) -> None:
    files = {name: facts for name, facts in files_of(image(framework=framework)).items() if name.startswith("opt/")}
    assert {"/".join(name.split("/")[:3]).rstrip("/") for name in files} == {
        "opt/venv",
        *(f"opt/venv/{name}" for name in ("bin", "lib", "lib64", "pyvenv.cfg")),
    }
    suffixes = {Path(name).suffix for name, facts in files.items() if facts[-1] and ".dist-info/" not in name}
    assert suffixes <= {"", ".py", ".pyc", ".pyi", ".so", ".typed", ".cfg", *ASSETS[framework]}, suffixes
    commands = {Path(name).name for name in files if name.startswith("opt/venv/bin/") and not name.endswith("/")}
    assert {"gunicorn", "python"} <= commands
    assert not any("activate" in command or command.endswith(".bat") for command in commands)
    sizes = "find /opt/venv -type f -exec stat -c '%n %s' {} +"
    again = f"{sizes} > /tmp/a && python /trim.py /opt/venv && {sizes} | diff /tmp/a -"
    script = f"--volume={ROOT / 'template' / 'docker' / 'trim.py'}:/trim.py:ro"
    check_run("docker", "run", "--rm", "--user=0", script, image(framework=framework), "sh", "-c", again, cwd=ROOT)


@pytest.mark.parametrize(("framework", "python_version"), [("fastapi", "3.14"), ("flask", "3.14"), ("fastapi", "3.11")])
def test_clean_builds_give_the_same_bytes(framework: str, python_version: str, project: Render) -> None:
    folder = project(framework=framework, python_version=python_version)
    found = []
    for number, mode in enumerate((0o644, 0o600)):  # two checkouts, under different umasks and at different times
        for path in filter(Path.is_file, folder.rglob("*")):
            path.chmod(mode)
            os.utime(path, (number, number))
        tag = f"template-test:clean-{number}"
        cold = ("--no-cache", f"--build-arg=BUILDKIT_CACHE_MOUNT_NS={time.time_ns()}")
        result = build(folder, tag, *cold)
        assert result.returncode == 0, result.stdout
        found.append(files_of(tag))
    assert len(found[0]) > 2000
    assert {name for name in found[0] | found[1] if found[0].get(name) != found[1].get(name)} == set()


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


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_edit_rebuilds_what_it_must_and_no_more(framework: str, project: Render) -> None:
    folder, tag = project(framework=framework), "template-test:edit"
    pyproject, app = folder / "pyproject.toml", folder / "src" / "my_service" / "app.py"
    unique = time.time_ns()  # in every edit, so that no earlier run's cache holds it

    def rebuilt() -> set[str]:
        result = build(folder, tag, f"--build-arg=BUILDKIT_CACHE_MOUNT_NS={unique}")
        assert result.returncode == 0, result.stdout
        return rebuilt_steps(result.stdout)

    rebuilt()
    assert rebuilt() == set()
    app.write_text(app.read_text() + f"# {unique}\n")
    assert rebuilt() == {"package"}
    pyproject.write_text(pyproject.read_text().replace(f'"{VERSION}"', f'"0.2.{unique}"', 1))
    assert rebuilt() == {"requirements", "package"}
    pyproject.write_text(pyproject.read_text().replace("line-length = 100", f"line-length = 99 # {unique}"))
    assert rebuilt() == {"requirements", "package"}
    with container(tag) as service:
        assert service.get("/health").json()["version"] == f"0.2.{unique}"


def test_new_dependency_downloads_that_alone(project: Render) -> None:
    folder, tag = project(), "template-test:add"
    own_cache = f"--build-arg=BUILDKIT_CACHE_MOUNT_NS={time.time_ns()}"
    first = build(folder, tag, own_cache)
    assert first.returncode == 0, first.stdout
    assert re.search(r"Prepared \d\d packages", first.stdout), first.stdout
    check_run("poetry", "add", "--lock", "cowsay>=6.0,<7", cwd=folder)
    second = build(folder, tag, own_cache)
    assert second.returncode == 0, second.stdout
    assert rebuilt_steps(second.stdout) == {"requirements", "dependencies", "package"}
    step = re.search(r"^#(\d+) \[dependencies 2/2\]", second.stdout, re.M)
    assert step is not None
    log = re.findall(rf"^#{step[1]} [\d.]+ (.*)$", second.stdout, re.M)
    assert [line for line in log if line.startswith("Prepared 1 package ")], log
    assert [line for line in log if line.startswith(" + cowsay==6")], log


def test_extras_are_left_to_poetry_and_stay_out(project: Render) -> None:
    folder, tag = project(), "template-test:extras"
    pyproject = folder / "pyproject.toml"
    extra = '\n[project.optional-dependencies]\nmoo = ["cowsay>=6.0,<7"]\n\n[dependency-groups]\n'
    pyproject.write_text(pyproject.read_text().replace("\n[dependency-groups]\n", extra))
    check_run("poetry", "lock", cwd=folder)
    result = build(folder, tag, f"--build-arg=POETRY_PLUGINS={PLUGINS}")
    assert result.returncode == 0, result.stdout
    with container(tag) as service:
        assert service.get("/health").status == 200
        service.execute("python", "-c", "import importlib.util as u; assert not u.find_spec('cowsay')")


def test_development_is_never_rebuilt_by_an_edit(project: Render) -> None:
    folder = project()

    def rebuilt() -> set[str]:
        result = build(folder, "template-test:edit-development", "--target=development")
        assert result.returncode == 0, result.stdout
        return rebuilt_steps(result.stdout)

    rebuilt()
    for name in ("src/my_service/app.py", "tests/test_app.py", "README.md", "gunicorn.conf.py", "Makefile"):
        with (folder / name).open("a") as file:
            file.write(f"# {time.time_ns()}\n")
        assert rebuilt() == set(), name
    (folder / "src" / "my_service" / "new.py").touch()
    assert rebuilt() == set()
    pyproject = folder / "pyproject.toml"
    pyproject.write_text(pyproject.read_text().replace(f'"{VERSION}"', f'"0.2.{time.time_ns()}"', 1))
    assert rebuilt() == {"requirements", "package-dev"}


def test_lint_image_keeps_git_when_pyproject_changes(project: Render) -> None:
    folder = project()
    assert build(folder, "template-test:lint", "--target=lint").returncode == 0
    pyproject = folder / "pyproject.toml"
    pyproject.write_text(pyproject.read_text().replace("line-length = 100", f"line-length = 99 # {time.time_ns()}"))
    result = build(folder, "template-test:lint", "--target=lint")
    assert rebuilt_steps(result.stdout) == {"requirements"}, result.stdout
    check_run("docker", "run", "--rm", "template-test:lint", "git", "--version", cwd=ROOT)


@pytest.fixture
def no_network() -> Iterator[Callable[[], None]]:
    """Return a function that cuts Docker's default bridge off, which builds use, until the test ends."""
    command = [*([] if os.getuid() == 0 else ["sudo", "--non-interactive"]), "iptables"]
    rule = ["FORWARD", "--in-interface", "docker0", "--jump", "REJECT"]

    def cut() -> None:
        check_run(*command, "--insert", *rule, cwd=ROOT)

    yield cut
    run(*command, "--delete", *rule, cwd=ROOT)


@pytest.mark.skipif(not os.environ.get("REQUIRE_DOCKER"), reason="cuts this machine's containers off: for CI alone")
def test_source_edit_builds_without_a_network(project: Render, no_network: Callable[[], None]) -> None:
    folder, tag = project(), "template-test:offline"
    assert build(folder, tag).returncode == 0
    no_network()
    app = folder / "src" / "my_service" / "app.py"
    app.write_text(app.read_text() + f"# {time.time_ns()}\n")
    result = build(folder, tag)
    assert result.returncode == 0, result.stdout
    assert rebuilt_steps(result.stdout) == {"package"}
    downloading = build(folder, "template-test:cut-off", "--no-cache", "--target=uv")
    assert downloading.returncode != 0, "the network was there"


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
        "docker/export_lock.py",
        "docker/trim.py",
        "entrypoint.sh",
        "gunicorn.conf.py",
        "poetry.lock",
        "pyproject.toml",
        *(f"src/my_service/{name}.py" for name in ("__init__", "app", "logs", "settings")),
    }
