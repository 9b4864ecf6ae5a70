"""`make hooks`, and the checks where there is Poetry and no Docker."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.commands import ROOT, check_run, commit, run
from tests.conftest import Environment, Render, in_environment
from tests.docker import PLUGINS
from tests.made import Made
from tests.test_makefile import only_line, path_with


@pytest.mark.docker
def test_hooks_check_what_is_staged(made: Callable[..., Made]) -> None:
    day = made()
    assert day.check_make("hooks").splitlines()[-1].startswith("Each commit is checked from now on")
    assert day.check_make("hooks"), "again does no harm"
    app = day.package / "app.py"
    text = app.read_text()

    app.write_text(text + "x = [ 1 ]\n")
    check_run("git", "add", "--all", cwd=day.folder)
    app.write_text(text)  # mended, but not staged
    refused = run("git", "commit", "--message=fault", cwd=day.folder, POETRY_PLUGINS=PLUGINS)
    assert refused.returncode != 0
    assert "1 file would be reformatted" in refused.stdout
    assert app.read_text() == text, "the working tree is left alone"

    check_run("git", "add", "--all", cwd=day.folder)
    (day.folder / "README.md").write_text("<<<<<<< before updating\n")  # not staged, so nobody's business
    (day.folder / "docker" / "note.txt").write_text("staged\n")
    check_run("git", "add", "docker/note.txt", cwd=day.folder)
    check_run("git", "commit", "--message=mended", cwd=day.folder, POETRY_PLUGINS=PLUGINS)
    assert check_run("git", "log", "-1", "--format=%s", cwd=day.folder).strip() == "mended"


def test_hooks_say_where_they_cannot_go(project: Render) -> None:
    folder = project()
    message = "This folder is not the top of a git repository: git init, then make hooks again."
    assert only_line(run("make", "hooks", cwd=folder)) == message
    commit(folder, "start")
    hook = folder / ".git" / "hooks" / "pre-commit"
    hook.write_text("#!/bin/sh\necho ours\n")
    assert only_line(run("make", "hooks", cwd=folder)) == (
        ".git/hooks/pre-commit is there already: add 'make --no-print-directory staged' to it."
    )
    assert hook.read_text() == "#!/bin/sh\necho ours\n"
    hook.write_text("#!/bin/sh\necho ours\nmake --no-print-directory staged\n")
    check_run("make", "hooks", cwd=folder)
    assert "echo ours" in hook.read_text(), "what is there stays there"
    check_run("git", "config", "core.hooksPath", "/shared/hooks", cwd=folder)
    assert only_line(run("make", "hooks", cwd=folder)).startswith(
        "core.hooksPath is set, so git may share /shared/hooks"
    )


def test_poetry_takes_the_place_of_docker(environment: Environment, project: Render, tmp_path: Path) -> None:
    folder = project()
    commit(folder, "start")
    variables = in_environment(environment("fastapi", "gunicorn"))
    poetry = Path(check_run("sh", "-c", "command -v poetry", cwd=ROOT).strip())
    tools = path_with(tmp_path)
    Path(tools, "poetry").symlink_to(poetry)
    env = {"VIRTUAL_ENV": variables["VIRTUAL_ENV"], "PATH": f"{variables['VIRTUAL_ENV']}/bin:{tools}"}
    assert " passed" in check_run("make", "test", cwd=folder, **env)
    assert check_run("make", "lint", cwd=folder, **env).count("Passed") == 7
    app = folder / "src" / "my_service" / "app.py"
    text = app.read_text()
    app.write_text(text + "x = [ 1 ]\n")
    assert check_run("make", "staged", cwd=folder, **env).count("Passed") == 7, "nothing of it is staged"
    check_run("make", "hooks", cwd=folder, **env)
    assert run("git", "commit", "--all", "--message=fault", cwd=folder, **env).returncode != 0
    check_run("make", "format", cwd=folder, **env)
    assert app.read_text().endswith("\nx = [1]\n")
    check_run("git", "commit", "--all", "--message=mended", cwd=folder, **env)
    check_run("make", "lock", cwd=folder, **env)
    assert only_line(run("make", "up", cwd=folder, **env)).startswith("Docker is missing")
