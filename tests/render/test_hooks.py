"""`make hooks`: each commit runs the checks of `make lint`."""

from pathlib import Path

import pytest

from tests.support.commands import check_run, commit, run
from tests.support.projects import Render

# Replaces the target that the hook calls, and the checks.
LINT = "lint:\n\t@pwd >>'{log}'; env | grep '^GIT_' >>'{log}'; test ! -e fault\n"


@pytest.mark.parametrize("subfolder", [".", "services/my service", 'it\'s "x" $(touch ran) `touch ran`'])
def test_hook_calls_lint_in_the_folder_of_the_project(subfolder: str, project: Render, tmp_path: Path) -> None:
    top = tmp_path / "top"
    folder = top / subfolder
    folder.parent.mkdir(parents=True, exist_ok=True)
    project().rename(folder)
    commit(top, "start")
    log = tmp_path / "log"
    check_run("make", "hooks", cwd=folder)
    (folder / "Makefile").write_text(LINT.format(log=log))
    (top / "note").write_text("a change\n")
    (folder / "fault").touch()
    assert run("git", "commit", "--all", "--message=fault", cwd=top).returncode != 0
    (folder / "fault").unlink()
    check_run("git", "commit", "--all", "--message=fixed", cwd=top)
    assert not [*top.rglob("ran")]
    ran = [line for line in log.read_text().splitlines() if line.startswith("/")]
    assert ran == [str(folder.resolve())] * 2
    local = set(check_run("git", "rev-parse", "--local-env-vars", cwd=top).split())
    assert not local & {line.partition("=")[0] for line in log.read_text().splitlines()}, "checks inherit git variables"


def test_hook_runs_in_every_worktree(project: Render, tmp_path: Path) -> None:
    folder = project()
    log = tmp_path / "log"
    commit(folder, "start")
    other = tmp_path / "other"
    check_run("git", "worktree", "add", "--quiet", other, "-b", "other", cwd=folder)
    check_run("make", "hooks", cwd=other)
    for one in (folder, other):
        (one / "Makefile").write_text(LINT.format(log=log))
        check_run("git", "commit", "--all", "--message=more", cwd=one)
    assert [line for line in log.read_text().splitlines() if line.startswith("/")] == [str(folder), str(other)]


def test_hooks_keep_a_hook_that_is_there(project: Render) -> None:
    folder = project()
    assert run("make", "hooks", cwd=folder).returncode != 0, "this is not a git repository"
    commit(folder, "start")
    hook = folder / ".git" / "hooks" / "pre-commit"
    hook.write_text("#!/bin/sh\necho ours\n")
    hook.chmod(0o644)  # git ignores it
    result = run("make", "hooks", cwd=folder)
    assert result.returncode != 0, result.stdout
    assert ".git/hooks/pre-commit" in result.stdout
    assert hook.read_text() == "#!/bin/sh\necho ours\n"
    assert hook.stat().st_mode & 0o777 == 0o644


def test_hooks_go_where_git_looks_for_them(project: Render, tmp_path: Path) -> None:
    folder = project()
    commit(folder, "start")
    shared = tmp_path / "shared"
    shared.mkdir()
    check_run("git", "config", "core.hooksPath", str(shared), cwd=folder)
    check_run("make", "hooks", cwd=folder)
    assert (shared / "pre-commit").stat().st_mode & 0o111
    assert not (folder / ".git" / "hooks" / "pre-commit").exists()
