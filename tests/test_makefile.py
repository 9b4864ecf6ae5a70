"""The generated Makefile by itself: its help, and one clear line for whatever a machine lacks. No Docker is needed."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pexpect
import pytest

from tests.commands import check_run, run
from tests.conftest import Render

TOOLS = ("sh", "bash", "make", "awk", "sed", "grep", "tail", "head", "id", "echo", "test", "env", "printenv", "find")
NEEDED = (*TOOLS, "cat", "cut", "df", "mktemp", "rm", "tar", "git", "curl", "chmod", "mkdir", "tr")

DOCKER = """#!/bin/sh
case "$*" in
    version) printf 'Client:\\n Version: 28.0.0\\n\\nServer:\\n Engine:\\n  Version:  {engine}\\n' ;;
    "compose version"*) {compose} ;;
    *) exit 1 ;;
esac
"""
COMPOSE_2 = "echo 2.40.3"
PODMAN = "#!/bin/sh\necho 'Client:       Podman Engine\nVersion:      5.4.0'\n"


def path_with(folder: Path, **programs: str) -> str:
    """Return a PATH with the tools that a bare machine has, and programs of the given scripts."""
    tools = folder / "bin"
    tools.mkdir()
    for name in NEEDED:
        if found := shutil.which(name):
            (tools / name).symlink_to(found)
    for name, script in programs.items():
        program = tools / name.replace("_", "-")
        program.unlink(missing_ok=True)  # what is linked is the machine's own
        program.write_text(script)
        program.chmod(0o755)
    return str(tools)


def only_line(result: subprocess.CompletedProcess[str]) -> str:
    """Return the one line that a make which failed printed, besides make's own."""
    assert result.returncode != 0, result.stdout
    (line,) = [line for line in result.stdout.splitlines() if not line.startswith("make")]
    return line


LACKS = {
    "no docker": ({}, "Docker is missing: install it as https://docs.docker.com/engine/install/ says."),
    "no daemon": (
        {"docker": "#!/bin/sh\n[ \"$1\" = compose ] || { echo 'Cannot connect to the Docker daemon' >&2; exit 1; }\n"},
        "The Docker daemon does not answer: start Docker, then try again.",
    ),
    "not allowed": (
        {"docker": "#!/bin/sh\n[ \"$1\" = compose ] || { echo 'permission denied while trying' >&2; exit 1; }\n"},
        "This user may not use Docker: sudo usermod -aG docker {user}, then log in again.",
    ),
    "old engine": (
        {"docker": DOCKER.format(engine="24.0.9", compose=COMPOSE_2)},
        "Docker Engine 24.0.9 is too old: update it to version 25 or newer.",
    ),
    "podman called docker": (
        {"docker": PODMAN},
        "docker is Podman on this machine: name its Compose, as in make up COMPOSE='podman compose'.",
    ),
    "no compose": (
        {"docker": DOCKER.format(engine="28.0.0", compose="exit 1")},
        "Docker Compose is missing: install the plugin as https://docs.docker.com/compose/install/ says.",
    ),
    "old compose": (
        {
            "docker": DOCKER.format(engine="28.0.0", compose="exit 1"),
            "docker_compose": "#!/bin/sh\necho 1.25.0\n",
        },
        "Compose 1.25.0 is too old: update it to version 2 (1.28 is the oldest that works).",
    ),
}


@pytest.mark.parametrize("lack", LACKS)
@pytest.mark.parametrize("target", ["up", "test"])
def test_what_is_missing_takes_one_line(target: str, lack: str, render: Render, tmp_path: Path) -> None:
    programs, message = LACKS[lack]
    user = check_run("id", "-un", cwd=tmp_path).strip()
    result = run("make", target, cwd=render(), PATH=path_with(tmp_path, **programs))
    assert only_line(result) == message.format(user=user)


def test_compose_that_is_named_must_run(render: Render, tmp_path: Path) -> None:
    path = path_with(tmp_path, docker=DOCKER.format(engine="28.0.0", compose=COMPOSE_2))
    result = run("make", "up", "COMPOSE=docker-composer", cwd=render(), PATH=path)
    assert (
        only_line(result) == "'docker-composer version' fails: install Compose, or name another command with COMPOSE=…."
    )


def test_build_secrets_want_compose_2(render: Render, tmp_path: Path) -> None:
    path = path_with(
        tmp_path,
        docker=DOCKER.format(engine="28.0.0", compose="exit 1"),
        docker_compose="#!/bin/sh\necho 1.29.2\n",
    )
    result = run("make", "up", "NETRC=/dev/null", cwd=render(), PATH=path)
    assert only_line(result) == "Compose 1.29.2 cannot pass build secrets: update it to version 2."


RECORDING = '#!/bin/sh\n[ "$*" = version ] || echo "{name} $*" >>"$RECORD"\n'


@pytest.mark.parametrize(
    ("programs", "given", "used"),
    [
        (["docker", "docker-compose"], "", "docker compose --profile production --profile tools down --remove-orphans"),
        (["podman"], "podman compose", "podman compose --profile production --profile tools down --remove-orphans"),
        (["podman-compose", "podman"], "podman-compose", "podman-compose --profile production --profile tools down"),
        (["docker-compose", "docker"], "docker-compose", "docker-compose --profile production --profile tools down"),
    ],
    ids=["v2 wins", "podman compose", "podman-compose", "docker-compose given"],
)
def test_compose_is_the_newest_or_the_one_that_is_given(
    programs: list[str], given: str, used: str, render: Render, tmp_path: Path
) -> None:
    scripts = {name.replace("-", "_"): RECORDING.format(name=name) for name in programs}
    for name in set(scripts) & {"docker", "podman"}:
        scripts[name] += DOCKER.format(engine="28.0.0", compose=COMPOSE_2).replace("*) exit 1", "*) exit 0")
    record = tmp_path / "record"
    arguments = [f"COMPOSE={given}"] if given else []
    check_run("make", "down", *arguments, cwd=render(), PATH=path_with(tmp_path, **scripts), RECORD=str(record))
    ran = [line for line in record.read_text().splitlines() if "version" not in line]
    assert ran[-1].startswith(used)
    if given.startswith("podman"):
        assert not [line for line in ran if line.startswith("docker")]


def documented_targets(project: Path) -> list[str]:
    """Return the targets that a Makefile documents, in their order."""
    return re.findall(r"^([a-z-]+):.*## ", (project / "Makefile").read_text(), re.M)


def test_help_groups_and_aligns_every_target(render: Render) -> None:
    project = render(include_workshop=True)
    lines = check_run("make", cwd=project).splitlines()
    headings = [line for line in lines if line and not line.startswith(" ")]
    assert headings == ["Develop", "Check", "Dependencies", "Deploy", "Learn"]
    targets = [line for line in lines if line.startswith(" ")]
    assert [line.split()[0] for line in targets] == documented_targets(project)
    columns = {found.end() for line in targets if (found := re.match(r" +\S+ +", line))}
    assert len(columns) == 1
    assert max(map(len, lines)) <= 120
    phony = set(" ".join(re.findall(r"^\.PHONY: (.+)$", (project / "Makefile").read_text(), re.M)).split())
    internal = {"compose", "image", "lint-image", "poetry"}
    folders = {"docker", "src", "tests"}
    assert phony - set(documented_targets(project)) == internal | folders


def test_help_is_coloured_on_a_terminal_alone(render: Render) -> None:
    project = render()
    assert "\x1b" not in check_run("make", cwd=project)
    coloured = pexpect.run("make", cwd=str(project), env={**os.environ, "TERM": "xterm"}, encoding="utf-8")
    assert "\x1b[36mup" in str(coloured)
    plain = pexpect.run("make", cwd=str(project), env={**os.environ, "NO_COLOR": "1"}, encoding="utf-8")
    assert "\x1b" not in str(plain)


@pytest.mark.parametrize(
    ("goal", "message"),
    [
        ("bulid", "There is no target bulid: did you mean build?"),
        ("tests", "There is no target tests: did you mean test?"),
        ("lnit", "There is no target lnit: did you mean lint?"),
        ("upd", "There is no target upd: did you mean up or update?"),
        ("deploy-it", "There is no target deploy-it: make alone lists them."),
    ],
)
def test_unknown_target_names_the_nearest(goal: str, message: str, render: Render) -> None:
    assert only_line(run("make", goal, cwd=render())) == message


def test_group_counts_on_the_command_line_alone(render: Render) -> None:
    command = ("make", "--dry-run", "add", "PKG=httpx")
    assert "--group" not in check_run(*command, cwd=render(), GROUP="staff")
    assert "--group dev" in check_run(*command, "GROUP=dev", cwd=render(), GROUP="staff")


# What came after GNU make 3.81, which macOS has: https://git.savannah.gnu.org/cgit/make.git/tree/NEWS
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
    assert only_line(run(old, "bulid", cwd=project)) == "There is no target bulid: did you mean build?"
    for target in documented_targets(project):
        assert run(old, "--dry-run", target, "PKG=x", cwd=project).returncode == 0, target
