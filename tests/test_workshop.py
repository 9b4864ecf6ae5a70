"""The workshop: every technique builds and serves, and the benchmark measures them and cleans up."""

import json
import os
import re
import sys
import time
import xml.etree.ElementTree as ET
from collections.abc import Callable, Iterator
from pathlib import Path

import pexpect
import pytest

from tests.commands import ROOT, check_run, commit, run
from tests.conftest import DEFAULTS, TECHNIQUES, Render, slow
from tests.docker import PLUGINS, build, container, files_of, inspect, rebuilt_steps, seconds_until

FASTAPI, FLASK = (("fastapi", DEFAULTS["fastapi"]), ("flask", DEFAULTS["flask"]))
# Built in every run. A run of `-m slow` builds the others.
EVERY_RUN = ["04-wheel", "uv"]
# The techniques whose containers run as root, as in their articles.
AS_ROOT = {"01-naive", "02-pinned-and-copied-late", "03-dependencies-first", "08-two-stages-prebuilt"}

Technique = Callable[..., str]


@pytest.fixture(scope="module")
def technique(render: Render) -> Iterator[Technique]:
    """Return a function that builds a technique's image from a rendered project, and gives its name."""
    built = set()

    def build_once(name: str, framework: str, server: str, *options: str) -> str:
        project = render(framework=framework, server=server, include_workshop=True)
        file = f"--file=workshop/{name}/Dockerfile"
        if name == "uv" and not (project / "workshop" / "uv" / "uv.lock").exists():
            command = ("build", file, "--target=lock", "--output=workshop/uv", ".")
            check_run("docker", *command, cwd=project)
        tag = f"workshop-test:{name}-{framework}-{server}"
        result = build(project, tag, file, f"--build-arg=POETRY_PLUGINS={PLUGINS}", *options)
        assert result.returncode == 0, result.stdout
        built.add(tag)
        return tag

    yield build_once
    run("docker", "image", "rm", "--force", *built, cwd=ROOT)


@pytest.mark.docker
@pytest.mark.parametrize(("framework", "server"), [FASTAPI, *slow(FLASK)])
@pytest.mark.parametrize("name", [*EVERY_RUN, *slow(*((name,) for name in TECHNIQUES if name not in EVERY_RUN))])
def test_technique_builds_and_serves(name: str, framework: str, server: str, technique: Technique) -> None:
    image = technique(name, framework, server)
    with container(image) as service:
        assert service.get("/health").json() == {"status": "ok", "version": "0.1.0"}
        assert service.get("/").json()["name"] == "my-service"
    assert inspect("image", image)["Config"]["User"] == ("" if name in AS_ROOT else "1000:1000")


@pytest.mark.docker
@pytest.mark.parametrize(("framework", "server"), [FASTAPI, *slow(FLASK, ("fastapi", "granian"))])
def test_wheel_has_a_development_stage_that_reloads(
    framework: str, server: str, technique: Technique, project: Render
) -> None:
    image = technique("04-wheel", framework, server, "--target=development")
    folder = project(framework=framework, server=server, include_workshop=True)
    app = folder / "src" / "my_service" / "app.py"
    with container(image, f"--volume={folder / 'src'}:/app/src") as service:
        assert service.get("/health").json()["status"] == "ok"
        app.write_text(app.read_text().replace('"/health"', '"/alive"'))
        assert seconds_until('"ok"', service.port, "/alive") < 5


@pytest.mark.docker
@pytest.mark.slow
def test_dev_stage_has_the_tools_and_app_has_none(technique: Technique) -> None:
    dev = technique("05-builder-app-dev", *FASTAPI, "--target=dev")
    check_run("docker", "run", "--rm", "--entrypoint=pytest", dev, "--version", cwd=ROOT)
    assert not [name for name in files_of(dev) if name.endswith("bin/sudo")]
    app = technique("05-builder-app-dev", *FASTAPI)
    assert not [name for name in files_of(app) if name.endswith(("bin/pytest", "bin/poetry"))]


@pytest.mark.docker
@pytest.mark.parametrize(
    "name", ["04-wheel", "05-builder-app-dev", *slow(("06-environment-copied",), ("07-cache-mounts",))]
)
def test_technique_ships_no_poetry(name: str, technique: Technique) -> None:
    files = files_of(technique(name, *FASTAPI))
    assert not [file for file in files if file.endswith(("bin/poetry", "bin/uv")) or "/poetry/" in file]


@pytest.mark.docker
def test_edit_in_the_workshop_rebuilds_nothing(project: Render) -> None:
    folder, tag = project(include_workshop=True), "workshop-test:edit"

    def rebuilt() -> set[str]:
        result = build(folder, tag)
        assert result.returncode == 0, result.stdout
        return rebuilt_steps(result.stdout)

    try:
        rebuilt()
        (folder / "workshop" / "README.md").write_text(f"{time.time_ns()}\n")
        assert rebuilt() == set()
    finally:
        run("docker", "image", "rm", "--force", tag, cwd=ROOT)


def cache_records() -> set[str]:
    """Return the IDs of the records in the engine's build cache."""
    return set(re.findall(r"^ID:\s+(\w+)", check_run("docker", "buildx", "du", "--verbose", cwd=ROOT), re.M))


def left_behind() -> list[str]:
    """Return the containers, images, volumes and builders of a benchmark."""
    return [
        *check_run("docker", "container", "ls", "--all", "--quiet", "--filter=label=bench", cwd=ROOT).split(),
        *check_run("docker", "image", "ls", "--all", "--quiet", "--filter=label=bench", cwd=ROOT).split(),
        *check_run("docker", "volume", "ls", "--quiet", "--filter=name=^bench-", cwd=ROOT).split(),
        *[line for line in check_run("docker", "buildx", "ls", cwd=ROOT).splitlines() if line.startswith("bench-")],
    ]


def bench(project: Path, *arguments: str) -> list[str | Path]:
    """Return the command that runs a project's benchmark."""
    return ["uv", "run", "--quiet", project / "workshop" / "bench.py", *arguments]


@pytest.mark.docker
@pytest.mark.slow
def test_bench_measures_reports_and_cleans_up(project: Render, tmp_path: Path) -> None:
    folder = project(include_workshop=True)
    commit(folder, "before the benchmark")
    before = cache_records()
    arguments = ("--repeat=1", "--only", "07-cache-mounts", "uv", "project", "--yes", f"--output={tmp_path / 'out'}")
    output = check_run("make", "bench", f"ARGS={' '.join(arguments)}", cwd=folder, POETRY_PLUGINS=PLUGINS)
    assert re.search(r"^ *project +\d", output, re.M), output
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    cases = ["cold", "no change", "source edit", "version bump", "linter edit", "new dependency"]
    for measured in results["techniques"].values():
        assert list(measured["ran"]) == cases
        assert measured["ran"]["no change"] == []
        assert set(measured["median"]) == {*cases, "size", "layers", "start"}
        assert all(value > 0 for value in measured["median"].values())
        assert [len(measured["values"][name]) for name in (*cases, "start")] == [1] * 6 + [3]
    own = results["techniques"]["project"]
    for case in ("version bump", "linter edit"):
        assert own["ran"][case] == ["package 1/1", "requirements 2/2"]
    assert own["ran"]["source edit"] == ["package 1/1"]
    assert own["ran"]["new dependency"] == ["dependencies 2/2", "package 1/1", "requirements 2/2"]
    assert own["median"]["version bump"] < own["median"]["cold"] / 2
    heading, ruler, *lines = (tmp_path / "out" / "results.md").read_text().splitlines()[2:]
    assert heading.count("|") == ruler.count("|") == 11
    assert [line.split("|")[1].strip() for line in lines] == [
        "07-cache-mounts",
        "uv",
        "project",
        "to the best of 04-08",
        "to uv",
    ]
    assert ET.parse(tmp_path / "out" / "results.svg").getroot().tag.endswith("svg")  # noqa: S314 # it is our own
    assert left_behind() == []
    assert cache_records() <= before
    assert check_run("git", "status", "--porcelain", "--ignored", cwd=folder) == ""


@pytest.mark.docker
@pytest.mark.slow
@pytest.mark.parametrize("moment", ["start", "cold"])
def test_bench_interrupted_leaves_nothing_behind(moment: str, project: Render) -> None:
    folder = project(include_workshop=True)
    commit(folder, "before the benchmark")
    before = cache_records()
    pty_process = pexpect.spawn(
        "uv",
        [*map(str, bench(folder, "--repeat=1", "--only", "project", "--yes")[1:])],
        env=os.environ | {"POETRY_PLUGINS": PLUGINS},
        timeout=180,
        encoding="utf-8",
    )
    pty_process.expect(f"project: {moment}")
    pty_process.sendintr()
    pty_process.expect(pexpect.EOF)
    pty_process.close()
    assert pty_process.exitstatus == 130
    assert "Traceback" not in str(pty_process.before)
    assert left_behind() == []
    assert cache_records() <= before
    assert check_run("git", "status", "--porcelain", "--ignored", cwd=folder) == ""


@pytest.mark.docker
def test_bench_asks_before_it_shares_a_builder(render: Render) -> None:
    result = run(*bench(render(include_workshop=True), "--only", "project", "--repeat=1"), cwd=ROOT)
    shares = "the engine's is shared" in " ".join(result.stdout.split())
    if shares:
        assert result.stdout.splitlines()[-1] == "Nothing was built; --yes agrees in advance."
    assert result.returncode == (1 if shares else 0), result.stdout
    assert left_behind() == []


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [(["--repeat=0"], "--repeat must be at least 1"), (["--only=09-magic"], "invalid choice: '09-magic'")],
)
def test_bench_refuses_bad_arguments(arguments: list[str], reason: str, render: Render) -> None:
    result = run(*bench(render(include_workshop=True), *arguments), cwd=ROOT)
    assert result.returncode == 2
    assert reason in result.stdout.splitlines()[-1]


def test_bench_is_typed(render: Render) -> None:
    folder = render(include_workshop=True) / "workshop"
    check_run(sys.executable, "-m", "mypy", "--strict", "--ignore-missing-imports", "bench.py", cwd=folder)


def test_packages_of_growth_are_enough() -> None:
    names = (ROOT / "template" / "{% if include_workshop %}workshop{% endif %}" / "packages.txt").read_text().split()
    assert len(set(names)) == len(names) == 120
