"""The workshop: every technique builds and serves, and the benchmark measures them and cleans up."""

import time
from collections.abc import Callable, Iterator

import pytest

from tests.support.commands import ROOT, check_run, run
from tests.support.docker import PLUGINS, check_build, container, files_of, inspect, rebuilt_steps, seconds_until
from tests.support.matrix import slow
from tests.support.projects import Render
from tests.support.template import DEFAULTS, TECHNIQUES

FASTAPI, FLASK = (("fastapi", DEFAULTS["fastapi"]), ("flask", DEFAULTS["flask"]))
# Built in every run. A run of `-m slow` builds the others.
EVERY_RUN = ["04-wheel", "uv"]
# The techniques whose containers run as root, as in their articles.
AS_ROOT = {"01-naive", "02-pinned-and-copied-late", "03-dependencies-first", "08-two-stages-prebuilt"}

Technique = Callable[..., str]


@pytest.fixture(scope="module")
def technique(render: Render) -> Iterator[Technique]:
    """Return a function that builds a technique's image from a rendered project, and returns its name."""
    built = set()

    def build_once(name: str, framework: str, server: str, *options: str) -> str:
        project = render(framework=framework, server=server, include_workshop=True)
        file = f"--file=workshop/{name}/Dockerfile"
        if name == "uv" and not (project / "workshop" / "uv" / "uv.lock").exists():
            command = ("build", file, "--target=lock", "--output=workshop/uv", ".")
            check_run("docker", *command, cwd=project)
        tag = f"workshop-test:{name}-{framework}-{server}"
        check_build(project, tag, file, f"--build-arg=POETRY_PLUGINS={PLUGINS}", *options)
        built.add(tag)
        return tag

    yield build_once
    run("docker", "image", "rm", "--force", *built, cwd=ROOT)


@pytest.mark.parametrize(("framework", "server"), [FASTAPI, *slow(FLASK)])
@pytest.mark.parametrize("name", [*EVERY_RUN, *slow(*((name,) for name in TECHNIQUES if name not in EVERY_RUN))])
def test_technique_builds_and_serves(name: str, framework: str, server: str, technique: Technique) -> None:
    image = technique(name, framework, server)
    with container(image) as service:
        assert service.get("/health").json() == {"status": "ok", "version": "0.1.0"}
        assert service.get("/").json()["name"] == "my-service"
    assert inspect("image", image)["Config"]["User"] == ("" if name in AS_ROOT else "1000:1000")


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


@pytest.mark.slow
def test_dev_stage_has_the_tools_and_app_has_none(technique: Technique) -> None:
    dev = technique("05-builder-app-dev", *FASTAPI, "--target=dev")
    check_run("docker", "run", "--rm", "--entrypoint=pytest", dev, "--version", cwd=ROOT)
    assert not [name for name in files_of(dev) if name.endswith("bin/sudo")]
    app = technique("05-builder-app-dev", *FASTAPI)
    assert not [name for name in files_of(app) if name.endswith(("bin/pytest", "bin/poetry"))]


@pytest.mark.parametrize(
    "name", ["04-wheel", *slow(("05-builder-app-dev",), ("06-environment-copied",), ("07-cache-mounts",))]
)
def test_technique_ships_no_poetry(name: str, technique: Technique) -> None:
    files = files_of(technique(name, *FASTAPI))
    assert not [file for file in files if file.endswith(("bin/poetry", "bin/uv")) or "/poetry/" in file]


def test_edit_in_the_workshop_rebuilds_nothing(project: Render) -> None:
    folder, tag = project(include_workshop=True), "workshop-test:edit"

    def rebuilt() -> set[str]:
        return rebuilt_steps(check_build(folder, tag))

    try:
        rebuilt()
        (folder / "workshop" / "README.md").write_text(f"{time.time_ns()}\n")
        assert rebuilt() == set()
    finally:
        run("docker", "image", "rm", "--force", tag, cwd=ROOT)
