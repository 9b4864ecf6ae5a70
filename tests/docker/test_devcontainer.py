"""The dev container, started by the reference implementation: https://github.com/devcontainers/cli."""

import json
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.support.commands import ROOT, check_run, run
from tests.support.docker import PLUGINS, Container, Image, become, inspect
from tests.support.made import Made
from tests.support.npm import installed_packages
from tests.support.template import PASSING_HOOKS

# Use `nobody` instead of root. The tool needs a user with a name, and few users of a dev container are root.
UID = 65534 if os.getuid() == 0 else os.getuid()


@pytest.fixture(scope="module")
def cli() -> Iterator[str]:
    """Install the command-line tool of `package.json` for all users, and return its path."""
    with installed_packages() as modules:
        yield f"{modules}/.bin/devcontainer"


@pytest.mark.slow
def test_dev_container_comes_up_and_tests_the_project(cli: str, made: Callable[..., Made]) -> None:
    day = made(include_devcontainer=True)
    with tempfile.TemporaryDirectory() as home:
        folder = Path(shutil.move(day.folder, f"{home}/project"))
        as_user: list[str] = []
        if os.getuid() == 0:
            for path in [Path(home), *Path(home).rglob("*")]:
                os.chown(path, UID, UID)
            as_user = become(UID, UID)
        env = {"COMPOSE_PROJECT_NAME": day.name, "HOME": home, "PORT": str(day.port), "POETRY_PLUGINS": PLUGINS}

        def devcontainer(*arguments: str) -> str:
            workspace = ("--workspace-folder", str(folder))
            return check_run(*as_user, cli, arguments[0], *workspace, *arguments[1:], cwd=folder, **env)

        try:
            brought_up = json.loads(devcontainer("up").splitlines()[-1])
            assert brought_up["outcome"] == "success"
            service = Container(brought_up["containerId"], day.port)
            assert service.health(seconds=60) == "healthy", service.logs()
            assert service.get("/health").json()["status"] == "ok"
            assert re.search(r"\b[12]\d passed", devcontainer("exec", "make", "test"))
            assert devcontainer("exec", "make", "lint").count("Passed") == PASSING_HOOKS
            devcontainer("exec", "make", "add", "PKG=cowsay>=6,<7")
            assert '"cowsay (>=6,<7)"' in (folder / "pyproject.toml").read_text()
            assert '\nname = "cowsay"\n' in (folder / "poetry.lock").read_text()
            devcontainer("exec", "make", "remove", "PKG=cowsay")
            assert "cowsay" not in (folder / "poetry.lock").read_text()
            devcontainer("exec", "make", "lock")
            devcontainer("exec", "make", "format")
            assert devcontainer("exec", "git", "--version").startswith("git version")
            assert devcontainer("exec", "sh", "-c", "command -v sudo || echo none").strip() == "none"
            configuration = inspect("container", brought_up["containerId"])["Config"]
            assert configuration["Labels"]["com.docker.compose.service"] == "app"
            owners = {path.stat().st_uid for path in folder.rglob("*")}
            assert owners == {UID}
        finally:
            shutil.move(folder, day.folder)
            run("docker", "compose", "--project-name", day.name, "down", "--volumes", cwd=ROOT)
            images = run("docker", "image", "ls", "--format={{.Repository}}:{{.Tag}}", "vsc-*", cwd=ROOT).stdout.split()
            run("docker", "image", "rm", "--force", f"{day.name}-app", *images, cwd=ROOT)


@pytest.mark.slow
def test_sudo_is_installed_only_if_the_argument_is_set(made: Callable[..., Made], image: Image) -> None:
    day = made(include_devcontainer=True)
    for argument, printed in (("1", "0"), ("", "no sudo")):
        build = ("docker", "build", "--quiet", "--target=devcontainer", f"--build-arg=SUDO={argument}", ".")
        name = check_run(*build, cwd=day.folder).strip()
        become_root = ("sh", "-c", "command -v sudo >/dev/null || { echo no sudo; exit; }; sudo -n id -u")
        assert run("docker", "run", "--rm", name, *become_root, cwd=ROOT).stdout.strip() == printed
        run("docker", "image", "rm", "--force", name, cwd=ROOT)
    for target in ("development", "production"):
        found = run(
            "docker", "run", "--rm", image(target=target), "sh", "-c", "command -v sudo; ls /etc/sudoers.d", cwd=ROOT
        )
        assert found.returncode != 0, found.stdout
