"""The images, built by a real engine: their content, how they start and stop, and which steps an edit rebuilds."""

import json
import re
import time
from pathlib import Path

import pytest

from tests.support.commands import ROOT, check_run
from tests.support.docker import (
    HARDENED,
    PROCESS_IDS,
    REPOSITORY,
    Image,
    build,
    check_build,
    container,
    inspect,
    is_in_layers,
    rebuilt_steps,
    seconds_until,
)
from tests.support.matrix import CONTAINER_STACKS, slow
from tests.support.projects import Render
from tests.support.template import HAZARDS, HOST_PYTHON, PAIRS, STACKS
from tools.questionnaire import base_image

VERSION = "0.1.0"


SERVED = [(*stack, "3.14") for stack in STACKS]
# test_supported.py covers the other versions of Python in every run.
SERVED_EVERY_WEEK = [(*pair, python) for python in ("3.11", "3.13") for pair in PAIRS]


@pytest.mark.parametrize(("framework", "server", "python_version"), [*SERVED, *slow(*SERVED_EVERY_WEEK)])
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
        # uvicorn ends each of several workers with the signal. Granian forks its workers, and before Python 3.13, a
        # forked process runs no atexit handlers. The lifespan function of FastAPI runs to its end with both.
        runs_atexit = server == "gunicorn" or (server == "granian" and python_version not in {"3.11", "3.12"})
        assert log.count("atexit ran") == (2 if runs_atexit else 0), log
        if framework == "fastapi":
            assert log.count("[info] stopped [my_service.app]") == 2, log
        assert not re.search(r"\[(warning|error|critical)\]|Traceback", log), log


# Packages that only the service's server needs.
SERVER_PACKAGES = {"gunicorn": {"gunicorn"}, "uvicorn": {"uvicorn", "h11"}, "granian": {"granian"}}


@pytest.mark.parametrize(("framework", "server"), CONTAINER_STACKS)
def test_production_holds_nothing_but_the_service(framework: str, server: str, image: Image) -> None:
    name = image(framework=framework, server=server)
    tools = check_run("docker", "run", "--rm", name, "sh", "-c", "ls /opt /app /opt/venv/bin", cwd=ROOT)
    assert not re.search(r"poetry|\buv\b|\bpip|pytest|mypy|ruff|pre-commit|hadolint|tests|src", tools), tools
    absent = "for tool in uv poetry gcc make git; do if command -v $tool; then exit 1; fi; done"
    check_run("docker", "run", "--rm", name, "sh", "-c", absent, cwd=ROOT)
    packages = set(
        check_run("docker", "run", "--rm", name, "sh", "-c", "ls /opt/venv/lib/*/site-packages", cwd=ROOT).split()
    )
    assert packages >= SERVER_PACKAGES[server]
    others = {package for other in SERVER_PACKAGES if other != server for package in SERVER_PACKAGES[other]}
    assert packages & (others | {"httptools", "uvicorn_worker"}) == set()
    assert check_run("docker", "run", "--rm", name, "ls", "-A", "/opt", cwd=ROOT).split() == ["venv"]


# Reads the header of each module's bytecode. The magic number is that of this Python. Flag 1 means that Python does not
# read the source to check the bytecode. Source: https://peps.python.org/pep-0552/
BYTECODE = """
import importlib.util as u, json, pathlib, sysconfig
found = {}
for module in pathlib.Path(sysconfig.get_path("purelib")).rglob("*.py"):
    cached = pathlib.Path(u.cache_from_source(module))
    header = cached.read_bytes()[:8] if cached.exists() else b""
    found[str(module)] = header == u.MAGIC_NUMBER + (1).to_bytes(4, "little")
print(json.dumps(found))
"""
# Imports modules, and prints how many were imported, and those of them that have no bytecode file.
COMPILED_AT_START = """
import importlib, pathlib, sys
for name in sys.argv[1:]:
    importlib.import_module(name)
cached = {name: getattr(module.__spec__, "cached", None) for name, module in sys.modules.items()}
print(len(cached), [name for name, file in cached.items() if file and not pathlib.Path(file).exists()])
"""


START_MODULES = {
    "gunicorn": ["gunicorn.app.wsgiapp", "gunicorn.arbiter"],
    "uvicorn": ["uvicorn.main", "uvicorn.supervisors.multiprocess", "uvicorn.protocols.http.h11_impl"],
    "granian": ["granian.cli", "granian.server"],
}


@pytest.mark.parametrize("python_version", ["3.14", *slow(("3.13",))])
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


def test_labels_hold_the_description(image: Image) -> None:
    labels = inspect("image", image(app_description=HAZARDS + "\nsecond line"))["Config"]["Labels"]
    assert labels["org.opencontainers.image.title"] == "my-service"
    assert labels["org.opencontainers.image.description"] == HAZARDS + " second line"


@pytest.mark.parametrize("framework", ["fastapi", *slow(("flask",))])
def test_edit_rebuilds_what_it_must_and_no_more(framework: str, project: Render) -> None:
    folder, tag = project(framework=framework), f"{REPOSITORY}:edit"
    pyproject, app = folder / "pyproject.toml", folder / "src" / "my_service" / "app.py"
    unique = time.time_ns()  # in every edit, so that no cache of an earlier run has it

    def rebuilt() -> set[str]:
        return rebuilt_steps(check_build(folder, tag, f"--build-arg=BUILDKIT_CACHE_MOUNT_NS={unique}"))

    rebuilt()
    assert rebuilt() == set()
    for name in ("tests/test_app.py", "Makefile", "docker-compose.override.yml"):
        with (folder / name).open("a") as file:
            file.write(f"# {unique}\n")
        assert rebuilt() == set(), name
    app.write_text(app.read_text() + f"# {unique}\n")
    assert rebuilt() == {"package"}
    pyproject.write_text(pyproject.read_text().replace(f'"{VERSION}"', f'"0.2.{unique}"', 1))
    assert rebuilt() == {"requirements", "package"}
    pyproject.write_text(pyproject.read_text().replace("line-length = 100", f"line-length = 99 # {unique}"))
    assert rebuilt() == {"requirements", "package"}
    with container(tag) as service:
        assert service.get("/health").json()["version"] == f"0.2.{unique}"


def test_new_dependency_is_the_only_download(project: Render) -> None:
    folder, tag = project(python_version=HOST_PYTHON), f"{REPOSITORY}:add"
    unique = time.time_ns()  # so that no cache of an earlier run has it
    own_cache = f"--build-arg=BUILDKIT_CACHE_MOUNT_NS={unique}"
    first = check_build(folder, tag, own_cache)
    assert re.search(r"Prepared \d\d packages", first), first
    check_run("poetry", "add", "--lock", "cowsay>=6.0,<7", cwd=folder)
    with (folder / "pyproject.toml").open("a") as file:
        file.write(f"# {unique}\n")
    second = check_build(folder, tag, own_cache)
    assert rebuilt_steps(second) == {"requirements", "dependencies", "package"}
    step = re.search(r"^#(\d+) \[dependencies \d/\d\] RUN", second, re.M)
    assert step is not None
    log = re.findall(rf"^#{step[1]} [\d.]+ (.*)$", second, re.M)
    assert [line for line in log if line.startswith("Prepared 1 package ")], log
    assert [line for line in log if line.startswith(" + cowsay==6")], log


def test_production_installs_the_extras_that_are_named(project: Render) -> None:
    folder, tag = project(python_version=HOST_PYTHON), f"{REPOSITORY}:extras"
    pyproject = folder / "pyproject.toml"
    extra = '\n[project.optional-dependencies]\nmoo = ["cowsay>=6.0,<7"]\n\n[dependency-groups]\n'
    pyproject.write_text(pyproject.read_text().replace("\n[dependency-groups]\n", extra))
    check_run("poetry", "lock", cwd=folder)
    for named, is_there in (("", "False"), ("moo", "True")):
        check_build(folder, tag, f"--build-arg=EXTRAS={named}")
        with container(tag) as service:
            assert service.get("/health").status == 200
            found = "import importlib.util as u; print(bool(u.find_spec('cowsay')))"
            assert service.execute("python", "-c", found) == is_there


@pytest.mark.slow
def test_edit_of_a_file_leaves_the_development_image_unchanged(project: Render) -> None:
    folder, tag = project(framework="flask"), f"{REPOSITORY}:edit-development"

    def rebuilt() -> set[str]:
        return rebuilt_steps(check_build(folder, tag, "--target=development"))

    rebuilt()
    # Compose replaces the container if the image has another ID.
    image_id = inspect("image", tag)["Id"]
    for name, steps in (
        ("tests/test_app.py", set()),
        ("Makefile", set()),
        ("src/my_service/app.py", {"package-editable"}),
        ("src/my_service/new.py", {"package-editable"}),
        ("gunicorn.conf.py", {"package-editable"}),
    ):
        with (folder / name).open("a") as file:
            file.write(f"# {time.time_ns()}\n")
        assert rebuilt() == steps, name
        assert inspect("image", tag)["Id"] == image_id, name
    pyproject = folder / "pyproject.toml"
    pyproject.write_text(pyproject.read_text().replace(f'"{VERSION}"', f'"0.2.{time.time_ns()}"', 1))
    assert rebuilt() == {"requirements", "requirements-all", "package-editable"}
    assert inspect("image", tag)["Id"] != image_id


def test_source_edit_builds_without_a_network(project: Render) -> None:
    """Build with a proxy that does not exist. BuildKit excludes the variables of a proxy from the cache key.

    Source: https://docs.docker.com/reference/dockerfile/#predefined-args
    """
    folder, tag = project(), f"{REPOSITORY}:offline"
    assert build(folder, tag).returncode == 0
    no_network = [f"--build-arg={name}=http://127.0.0.1:9" for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")]
    app = folder / "src" / "my_service" / "app.py"
    app.write_text(app.read_text() + f"# {time.time_ns()}\n")
    output = check_build(folder, tag, *no_network)
    assert rebuilt_steps(output) == {"package"}
    downloading = build(folder, f"{REPOSITORY}:cut-off", "--no-cache", "--target=uv", *no_network)
    assert downloading.returncode != 0, "the network was available"


@pytest.mark.parametrize(
    ("lock", "target"),
    [
        ("stale", "production"),
        ("missing", "development"),
        *slow(("stale", "development"), ("missing", "production")),
    ],
)
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
        *slow(("flask", "3.11"), ("fastapi", "3.11"), ("fastapi", "3.13"), ("flask", "3.13"), ("flask", "3.14")),
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
        for tool in ("mypy", "pre-commit", "pytest", "ruff"):
            assert re.search(r"\d+\.\d+", service.execute(tool, "--version"))
        service.execute("sh", "-c", "! command -v poetry")
        for edit in ("first", "second", "third"):  # in quick succession, to detect stale bytecode
            app.write_text(re.sub(r'"/health\w*"', f'"/health{edit}"', app.read_text()))
            assert seconds_until('"ok"', service.port, f"/health{edit}") < 2
        code, seconds = service.stop()
        assert seconds < 5, service.logs()
        assert code != 137
    assert not list(folder.rglob("__pycache__"))


# --- the build context -----------------------------------------------------------------------------------------------


def test_build_context_has_every_file_but_ignored_ones(project: Render, tmp_path: Path) -> None:
    folder = project(include_devcontainer=True, include_kubernetes=True, include_workshop=True)
    check_run("git", "init", "--quiet", cwd=folder)
    patterns = [line.strip("/") for line in (folder / ".gitignore").read_text().splitlines()]
    for pattern in patterns:
        for parent in (folder, folder / "src" / "my_service"):
            if pattern.startswith((".env", ".coverage")):
                (parent / pattern).touch()
            else:
                (parent / pattern / "nested").mkdir(parents=True)
                (parent / pattern / "nested" / "file").touch()
    listed = ("git", "ls-files", "--others", "--exclude-standard")
    ignored = set(check_run(*listed, "--ignored", cwd=folder).splitlines())
    assert len(ignored) >= 2 * len(patterns)
    dockerfile = tmp_path / "Dockerfile"
    dockerfile.write_text(f"FROM {base_image()}\nCOPY . /context\n")
    check_build(folder, f"{REPOSITORY}:context", f"--file={dockerfile}")
    found = check_run("docker", "run", "--rm", f"{REPOSITORY}:context", "find", "/context", "-type", "f", cwd=ROOT)
    context = {line.removeprefix("/context/") for line in found.splitlines()}
    assert context & ignored == set()
    left_out = set(check_run(*listed, cwd=folder).splitlines()) - context
    assert {name.split("/")[0] for name in left_out} == {
        ".devcontainer",
        ".github",
        ".vscode",
        "Dockerfile",
        "Makefile",
        "ci",
        "deploy",
        "docker-compose.override.yml",
        "docker-compose.yml",
        "tests",
        "workshop",
    }


@pytest.mark.slow  # test_layouts.py has these files in every run
def test_package_has_every_file_that_pyproject_names(project: Render) -> None:
    folder, tag = project(), f"{REPOSITORY}:files"
    (folder / "LICENSE").write_text("All rights reserved.\n")
    (folder / "src" / "shared").mkdir()
    (folder / "src" / "shared" / "__init__.py").write_text("VALUE = 42\n")
    (folder / "src" / "shared" / "data.txt").write_text("data\n")
    pyproject = folder / "pyproject.toml"
    text = pyproject.read_text().replace("\nreadme = ", '\nlicense = {file = "LICENSE"}\nreadme = ')
    text = text.replace('from = "src" }]', 'from = "src" }, { include = "shared", from = "src" }]')
    pyproject.write_text(text)
    check = (
        "import importlib.metadata as m, importlib.resources as r, shared; "
        "license, = (file for file in m.files('my-service') if file.name == 'LICENSE'); "
        "print(shared.VALUE, license.read_text().strip(), r.files(shared).joinpath('data.txt').read_text().strip())"
    )
    for target, options in (("production", []), ("development", [f"--volume={folder}:/app"])):
        check_build(folder, tag, f"--target={target}")
        output = check_run("docker", "run", "--rm", *options, tag, "python", "-c", check, cwd=ROOT)
        assert output.strip() == "42 All rights reserved. data", target


def test_ignored_file_is_in_no_image_and_in_no_wheel(project: Render) -> None:
    folder, tag = project(), f"{REPOSITORY}:ignored"
    secret = f"secret-{time.time_ns()}"
    (folder / "src" / "my_service" / ".env").write_text(f"TOKEN={secret}\n")
    (folder / "src" / "my_service" / "data.txt").write_text(f"data-{secret}\n")
    installed = "import importlib.metadata as m; print(*sorted(file.name for file in m.files('my-service')))"
    for target in ("production", "development"):
        check_build(folder, tag, f"--target={target}")
        names = check_run("docker", "run", "--rm", tag, "python", "-c", installed, cwd=ROOT).split()
        assert ".env" not in names
        assert "METADATA" in names
        assert ("data.txt" in names) is (target == "production")
        assert not is_in_layers(tag, f"TOKEN={secret}")
        assert is_in_layers(tag, f"data-{secret}") is (target == "production"), "the layers can be searched"
