"""The images, built by a real engine: what is in them, what they answer, how they start and stop."""

import json
import os
import re
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from scripts.questionnaire import base_image
from tests.commands import ROOT, check_run, run
from tests.conftest import CHOICES, PAIRS, STACKS, Image, Render, slow
from tests.docker import (
    HARDENED,
    PLUGINS,
    PROCESS_IDS,
    REPOSITORY,
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
VERSION = "0.1.0"


# Each framework with each server on the default Python, each of them once on an older one.
SERVED = [(*stack, "3.14") for stack in STACKS] + [(*pair, "3.11") for pair in PAIRS]


@pytest.mark.parametrize(
    ("framework", "server", "python_version"), [*SERVED, *slow(*[(*pair, "3.13") for pair in PAIRS])]
)
def test_production_serves_locked_down_and_stops_cleanly(
    framework: str, server: str, python_version: str, image: Image
) -> None:
    name = image(on_trial=True, framework=framework, server=server, python_version=python_version)
    with container(name, *HARDENED, "--env=WEB_CONCURRENCY=2") as service:
        assert service.get("/health").json() == {"status": "ok", "version": VERSION}
        assert service.get("/").json() == {"name": "my-service", "version": VERSION}
        assert service.get("/no-such-path").status == 404
        assert service.health() == "healthy"
        running = service.execute("python", "-c", "import sys; print(*sys.version_info[:2], sep='.', end='')")
        assert running == python_version
        code, seconds = service.stop()
        log = service.logs()
        assert code == 0, log
        assert seconds < 5
        assert re.search(rf"\[info\] started .*app=my-service log_level=info version={VERSION}$", log, re.M), log
        assert "[info] GET / [my_service.access_log]" in log
        assert "/health" not in log
        assert log.count("atexit ran") == 2, log
        assert not re.search(r"\[(warning|error|critical)\]|Traceback", log), log


# What belongs to the one server, and must not be in an image of the other.
SERVER_PACKAGES = {"gunicorn": {"gunicorn", "uvicorn", "uvicorn_worker", "httptools"}, "granian": {"granian", "click"}}


@pytest.mark.parametrize(("framework", "server"), STACKS)
def test_production_holds_nothing_but_the_service(framework: str, server: str, image: Image) -> None:
    name = image(framework=framework, server=server)
    tools = check_run("docker", "run", "--rm", name, "sh", "-c", "ls /opt /app /opt/venv/bin", cwd=ROOT)
    assert not re.search(r"poetry|\buv\b|\bpip|pytest|mypy|ruff|pre-commit|hadolint|tests|src", tools), tools
    absent = "for tool in uv poetry gcc make git; do if command -v $tool; then exit 1; fi; done"
    check_run("docker", "run", "--rm", name, "sh", "-c", absent, cwd=ROOT)
    packages = set(
        check_run("docker", "run", "--rm", name, "sh", "-c", "ls /opt/venv/lib/*/site-packages", cwd=ROOT).split()
    )
    assert server in packages
    other = next(other for other in SERVER_PACKAGES if other != server)
    assert packages & (SERVER_PACKAGES[other] - {"click"}) == set()


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


START_MODULES = {"gunicorn": ["gunicorn.app.wsgiapp", "gunicorn.arbiter"], "granian": ["granian.cli", "granian.server"]}


@pytest.mark.parametrize("python_version", ["3.13", "3.14"])
@pytest.mark.parametrize(("framework", "server"), PAIRS)
def test_production_has_bytecode_for_every_module(
    framework: str, server: str, python_version: str, image: Image
) -> None:
    name = image(framework=framework, server=server, python_version=python_version)
    found = json.loads(check_run("docker", "run", "--rm", name, "python", "-c", BYTECODE, cwd=ROOT))
    assert len(found) > 200
    assert [module for module, is_unchecked in found.items() if not is_unchecked] == []
    modules = ["my_service.app", *START_MODULES[server], "http.client", "logging.config"]
    command = ("python", "-c", COMPILED_AT_START, *modules)
    count, _, without = check_run("docker", "run", "--rm", name, *command, cwd=ROOT).strip().partition(" ")
    assert int(count) > 300
    assert without == "[]"


# What packages bring besides code: Werkzeug its debugger's page, FastAPI notes for coding assistants.
ASSETS = {"flask": {".css", ".js", ".md", ".png"}, "fastapi": {".md"}}


@pytest.mark.parametrize(("framework", "server"), STACKS)
def test_production_environment_is_trimmed(framework: str, server: str, image: Image) -> None:
    tag = image(framework=framework, server=server)
    files = {name: facts for name, facts in files_of(tag).items() if name.startswith("opt/")}
    assert {"/".join(name.split("/")[:3]).rstrip("/") for name in files} == {
        "opt/venv",
        *(f"opt/venv/{name}" for name in ("bin", "lib", "lib64", "pyvenv.cfg")),
    }
    suffixes = {Path(name).suffix for name, facts in files.items() if facts[-1] and ".dist-info/" not in name}
    assert suffixes <= {"", ".py", ".pyc", ".pyi", ".so", ".typed", ".cfg", *ASSETS[framework]}, suffixes
    commands = {Path(name).name for name in files if name.startswith("opt/venv/bin/") and not name.endswith("/")}
    assert {server, "python"} <= commands
    assert not any("activate" in command or command.endswith(".bat") for command in commands)
    sizes = "find /opt/venv -type f -exec stat -c '%n %s' {} +"
    again = f"{sizes} > /tmp/a && python /trim.py /opt/venv && {sizes} | diff /tmp/a -"
    script = f"--volume={ROOT / 'template' / 'docker' / 'trim.py'}:/trim.py:ro"
    check_run("docker", "run", "--rm", "--user=0", script, tag, "sh", "-c", again, cwd=ROOT)


@pytest.mark.parametrize(("framework", "python_version"), [("fastapi", "3.14"), *slow(("flask", "3.11"))])
def test_clean_builds_give_the_same_bytes(framework: str, python_version: str, project: Render) -> None:
    folder = project(framework=framework, python_version=python_version)
    found = []
    for number, mode in enumerate((0o644, 0o600)):  # two checkouts, under different umasks and at different times
        for path in filter(Path.is_file, folder.rglob("*")):
            path.chmod(mode)
            os.utime(path, (number, number))
        tag = f"{REPOSITORY}:clean-{number}"
        cold = ("--no-cache", f"--build-arg=BUILDKIT_CACHE_MOUNT_NS={time.time_ns()}")
        result = build(folder, tag, *cold)
        assert result.returncode == 0, result.stdout
        found.append(files_of(tag))
    assert len(found[0]) > 2000
    assert {name for name in found[0] | found[1] if found[0].get(name) != found[1].get(name)} == set()


def test_labels_hold_the_description(image: Image) -> None:
    labels = inspect("image", image(app_description=HAZARDS + "\nsecond line"))["Config"]["Labels"]
    assert labels["org.opencontainers.image.title"] == "my-service"
    assert labels["org.opencontainers.image.description"] == HAZARDS + " second line"


@pytest.mark.parametrize("framework", FRAMEWORKS)
def test_edit_rebuilds_what_it_must_and_no_more(framework: str, project: Render) -> None:
    folder, tag = project(framework=framework), f"{REPOSITORY}:edit"
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
    folder, tag = project(), f"{REPOSITORY}:add"
    own_cache = f"--build-arg=BUILDKIT_CACHE_MOUNT_NS={time.time_ns()}"
    first = build(folder, tag, own_cache)
    assert first.returncode == 0, first.stdout
    assert re.search(r"Prepared \d\d packages", first.stdout), first.stdout
    check_run("poetry", "add", "--lock", "cowsay>=6.0,<7", cwd=folder)
    second = build(folder, tag, own_cache)
    assert second.returncode == 0, second.stdout
    assert rebuilt_steps(second.stdout) == {"requirements", "dependencies", "package"}
    step = re.search(r"^#(\d+) \[dependencies 2/\d\]", second.stdout, re.M)
    assert step is not None
    log = re.findall(rf"^#{step[1]} [\d.]+ (.*)$", second.stdout, re.M)
    assert [line for line in log if line.startswith("Prepared 1 package ")], log
    assert [line for line in log if line.startswith(" + cowsay==6")], log


def test_extras_are_left_to_poetry_and_stay_out(project: Render) -> None:
    folder, tag = project(), f"{REPOSITORY}:extras"
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
        result = build(folder, f"{REPOSITORY}:edit-development", "--target=development")
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
    assert build(folder, f"{REPOSITORY}:lint", "--target=lint").returncode == 0
    pyproject = folder / "pyproject.toml"
    pyproject.write_text(pyproject.read_text().replace("line-length = 100", f"line-length = 99 # {time.time_ns()}"))
    result = build(folder, f"{REPOSITORY}:lint", "--target=lint")
    assert rebuilt_steps(result.stdout) == {"requirements"}, result.stdout
    check_run("docker", "run", "--rm", f"{REPOSITORY}:lint", "git", "--version", cwd=ROOT)


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
    folder, tag = project(), f"{REPOSITORY}:offline"
    assert build(folder, tag).returncode == 0
    no_network()
    app = folder / "src" / "my_service" / "app.py"
    app.write_text(app.read_text() + f"# {time.time_ns()}\n")
    result = build(folder, tag)
    assert result.returncode == 0, result.stdout
    assert rebuilt_steps(result.stdout) == {"package"}
    downloading = build(folder, f"{REPOSITORY}:cut-off", "--no-cache", "--target=uv")
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
    result = build(folder, f"{REPOSITORY}:bad-lock", f"--target={target}")
    assert result.returncode == 1
    line = "poetry.lock is missing or does not match pyproject.toml: run 'make lock', then build again."
    assert re.search(rf"^#\d+ [\d.]+ {re.escape(line)}$", result.stdout, re.M), result.stdout


@pytest.mark.parametrize(
    ("framework", "python_version"),
    [
        ("fastapi", "3.14"),
        ("flask", "3.11"),
        *slow(("fastapi", "3.11"), ("fastapi", "3.13"), ("flask", "3.13"), ("flask", "3.14")),
    ],
)
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
    dockerfile.write_text(f"FROM {base_image()}\nCOPY . /context\n")
    result = build(folder, f"{REPOSITORY}:context", f"--file={dockerfile}")
    assert result.returncode == 0, result.stdout
    listed = check_run("docker", "run", "--rm", f"{REPOSITORY}:context", "find", "/context", "-type", "f", cwd=ROOT)
    names = {line.removeprefix("/context/") for line in listed.split()}
    assert names == {
        "README.md",
        "docker/apt_install.sh",
        "docker/export_lock.py",
        "docker/trim.py",
        "entrypoint.sh",
        "gunicorn.conf.py",
        "poetry.lock",
        "pyproject.toml",
        *(f"src/my_service/{name}.py" for name in ("__init__", "access_log", "app", "logs", "settings")),
    }
