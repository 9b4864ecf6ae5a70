"""The generated Makefile without Docker: its help, the commands that it runs, and its error messages."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.support.bare_machine import path_with
from tests.support.commands import check_run, fail_run, run
from tests.support.projects import Render

DOCKER = """#!/bin/sh
case "$*" in
    "compose version"*) {compose} ;;
    *) exit {other} ;;
esac
"""
COMPOSE_2 = "echo 2.40.3"


def only_line(result: subprocess.CompletedProcess[str]) -> str:
    """Return the only line that a failed target printed, without the lines of make itself."""
    assert result.returncode != 0, result.stdout
    (line,) = [line for line in result.stdout.splitlines() if not line.startswith("make")]
    return line


@pytest.mark.parametrize(
    "programs",
    [{}, {"docker": DOCKER.format(compose="exit 1", other=0)}],
    ids=["without Docker", "Docker without Compose"],
)
@pytest.mark.parametrize("target", ["up", "test", "lint", "add", "build", "down"])
def test_missing_compose_is_one_line(target: str, programs: dict[str, str], render: Render, tmp_path: Path) -> None:
    result = run("make", target, "PKG=httpx", cwd=render(), PATH=path_with(tmp_path, **programs))
    assert only_line(result) == "Docker Compose is missing: https://docs.docker.com/compose/install/"


RECORDING = '#!/bin/sh\necho "{name} $*" >>"$RECORD"\n'
DOWN = "--profile production --profile tools down --remove-orphans"


@pytest.mark.parametrize(
    ("programs", "given", "used"),
    [
        (["docker", "docker-compose"], "", "docker compose"),
        (["docker-compose"], "", "docker-compose"),
        (["docker-compose", "docker"], "docker-compose", "docker-compose"),
        (["docker", "podman-compose"], "podman-compose", "podman-compose"),
    ],
    ids=["v2 wins", "only docker-compose", "docker-compose given", "another name given"],
)
def test_compose_is_the_newest_or_the_one_that_is_given(
    programs: list[str], given: str, used: str, render: Render, tmp_path: Path
) -> None:
    scripts = {name.replace("-", "_"): RECORDING.format(name=name) for name in programs}
    if "docker" in scripts:
        scripts["docker"] += DOCKER.format(compose=COMPOSE_2, other=0)
    log = tmp_path / "record"
    arguments = [f"COMPOSE={given}"] if given else []
    check_run("make", "down", *arguments, cwd=render(), PATH=path_with(tmp_path, **scripts), RECORD=str(log))
    ran = [line for line in log.read_text().splitlines() if "version" not in line]
    assert ran == [f"{used} {DOWN}"]


@pytest.mark.parametrize("target", ["test", "lint", "format", "add", "remove", "upgrade", "lock"])
def test_targets_run_directly_in_the_dev_container(target: str, render: Render, tmp_path: Path) -> None:
    command = ("make", "--dry-run", target, "PKG=httpx")
    scripts = {"docker": DOCKER.format(compose=COMPOSE_2, other=0)}
    path = path_with(tmp_path, **scripts)
    assert "docker compose" in check_run(*command, cwd=render(), PATH=path)
    assert "compose" not in check_run(*command, cwd=render(), PATH=path, IN_DEV_CONTAINER="1")


def makefile(project: Path) -> str:
    """Return the text of a Makefile and of the file that it includes."""
    return (project / "Makefile").read_text() + (project / "ci" / "targets.mk").read_text()


def documented_targets(project: Path) -> list[str]:
    """Return the targets that a Makefile, and the file that it includes, document, in their order."""
    return re.findall(r"^([a-z-]+):.*## ", makefile(project), re.M)


def test_help_groups_and_aligns_every_target(render: Render) -> None:
    project = render(include_workshop=True)
    lines = check_run("make", cwd=project).splitlines()
    headings = [line for line in lines if line and not line.startswith(" ")]
    assert headings == ["Develop", "Check", "Dependencies", "Deploy", "Learn", "CI"]
    targets = [line for line in lines if line.startswith(" ")]
    assert [line.split()[0] for line in targets] == documented_targets(project)
    columns = {found.end() for line in targets if (found := re.match(r" +\S+ +", line))}
    assert len(columns) == 1
    assert max(map(len, lines)) <= 120
    text = makefile(project).replace("\\\n", " ")
    phony = set(" ".join(re.findall(r"^\.PHONY: (.+)$", text, re.M)).split())
    assert phony == {*documented_targets(project), "help", "compose", "image", "locker"}


@pytest.mark.parametrize(
    ("target", "variable", "option"),
    [("add", "GROUP", "--group staff"), ("test", "ARGS", "pytest --cov staff"), ("bench", "ARGS", "bench.py staff")],
)
def test_general_names_are_only_read_from_the_command_line(
    target: str, variable: str, option: str, render: Render
) -> None:
    command, project = ("make", "--dry-run", target, "PKG=httpx"), render(include_workshop=True)
    assert "staff" not in check_run(*command, cwd=project, **{variable: "staff"})
    assert option in check_run(*command, f"{variable}=staff", cwd=project, **{variable: "other"})


# Variables that the Makefile and ci/targets.mk read, or that Compose reads.
READ = {"APP_GID", "APP_UID", "ARGS", "COMPOSE_FILE", "GROUP", "HOME", "IMAGE", "KNOWN_HOSTS", "LESSON", "NETRC", "PKG"}
READ |= {"PIP_CONFIG_FILE", "PIP_INDEX_URL", "POETRY_AUTH_FILE", "PORT", "REPOSITORY", "SOLUTION", "SSH_AGENT"}
READ |= {"SSH_AUTH_SOCK", "UV_CONFIG_FILE"}


@pytest.mark.parametrize(
    "value", ["$(shell echo >ran)", "`echo >ran`; $(echo >ran)", "p$(ss", "'; echo >ran; '", '"$$x#']
)
def test_make_does_not_expand_the_environment(value: str, project: Render, tmp_path: Path) -> None:
    """Run targets with a stand-in for Docker, which must see every variable as it is."""
    folder, log = project(include_workshop=True).rename(tmp_path / "it's $(echo >ran)"), tmp_path / "log"
    scripts = {"docker": f"#!/bin/sh\nenv >>'{log}'\n" + DOCKER.format(compose=COMPOSE_2, other=0)}
    path = path_with(tmp_path, **scripts)
    variables = dict.fromkeys(READ, value)
    targets = ("help", "up", "test", "lint", "build", "lock", "scan", "check-size", "doctor")
    for command in (["--dry-run", "test"], *([target] for target in targets)):
        result = run("make", *command, cwd=folder, PATH=path, **variables)
        assert "Stop." not in result.stdout, result.stdout
        assert not (folder / "ran").exists(), command
        assert result.returncode == 0 or command == ["doctor"], result.stdout
    seen = {line for line in log.read_text().splitlines() if line.partition("=")[0] in READ - {"ARGS", "GROUP"}}
    assert seen == {f"{name}={value}" for name in READ - {"ARGS", "GROUP"}}


def test_name_of_a_target_is_no_command(project: Render) -> None:
    folder = project()
    for options in ([], ["--dry-run"]):
        assert "No rule to make target" in fail_run("make", *options, "x'; touch ran; '", cwd=folder)
    assert not (folder / "ran").exists()


# Features that are newer than GNU make 3.81, which macOS has: https://git.savannah.gnu.org/cgit/make.git/tree/NEWS
NEWER_THAN_3_81 = {
    r"^\.(ONESHELL|SHELLFLAGS|RECIPEPREFIX|EXTRA_PREREQS|NOTINTERMEDIATE|WAIT|LOADED)\b": "3.82 to 4.4",
    r"^(override |export )?(undefine|private) ": "3.82",
    r"^define .*=\s*$": "3.82",
    r"^[A-Z_a-z]+ *!=": "4.0",
    r"^[A-Z_a-z]+ *:::?= ": "4.0",
    r"\$\((file|guile|let|intcmp) ": "4.0 to 4.4",
    r"&:": "4.3",
}


def test_makefile_has_nothing_newer_than_make_3_81(render: Render) -> None:
    makefile = (render(include_workshop=True) / "Makefile").read_text()
    for feature, version in NEWER_THAN_3_81.items():
        assert not re.search(feature, makefile, re.M), f"{feature} came with {version}"


def test_make_3_81_runs_it(render: Render) -> None:
    old = shutil.which("make-3.81") or pytest.skip("no make-3.81 is on the PATH")
    project = render()
    assert check_run(old, cwd=project) == check_run("make", cwd=project)
    for target in documented_targets(project):
        assert run(old, "--dry-run", target, "PKG=x", cwd=project).returncode == 0, target
