"""`make hooks` with a real engine: each commit runs the checks of `make lint`."""

from collections.abc import Callable

from tests.support.commands import check_run, run
from tests.support.docker import PLUGINS
from tests.support.made import Made
from tests.support.template import PASSING_HOOKS


def test_hook_refuses_a_commit_that_lint_refuses(made: Callable[..., Made]) -> None:
    day = made()
    day.check_make("hooks")
    app = day.package / "app.py"
    text = app.read_text()
    app.write_text(text + "x = [ 1 ]\n")
    refused = run("git", "commit", "--all", "--message=fault", cwd=day.folder, POETRY_PLUGINS=PLUGINS)
    assert refused.returncode != 0
    assert "1 file would be reformatted" in refused.stdout
    lint = day.fail_make("lint")
    names = {line.partition("....")[0] for line in lint.splitlines() if line.endswith(("Passed", "Failed", "Skipped"))}
    assert len(names) == PASSING_HOOKS + 1
    assert all(name in refused.stdout for name in names), refused.stdout
    assert app.read_text() == text + "x = [ 1 ]\n", "the hook changed the working tree"

    app.write_text(text + "\n\nx = [1]\n")
    check_run("git", "commit", "--all", "--message=fixed", cwd=day.folder, POETRY_PLUGINS=PLUGINS)
    assert check_run("git", "log", "-1", "--format=%s", cwd=day.folder).strip() == "fixed"
    assert day.changed_files() == []
