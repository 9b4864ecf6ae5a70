"""The code that `--trust` allows to run, and its documentation."""

import re
from pathlib import Path

from tests.support.commands import ROOT, run
from tests.support.template import COPIER_YML

PAGE = (ROOT / "docs" / "trust.md").read_text()


def copy(destination: Path, **env: str) -> tuple[int, str]:
    """Run Copier without --trust; return its exit code and what it printed."""
    command = ["copier", "copy", "--defaults", "--quiet", "--vcs-ref=HEAD", str(ROOT), str(destination)]
    result = run(*command, cwd=ROOT, PYTHONWARNINGS="ignore", **env)
    return result.returncode, re.sub(r"\x1b\[[0-9;]*m", "", result.stdout).strip()


def test_copy_without_trust_ends_with_a_message_that_names_the_option(tmp_path: Path) -> None:
    code, message = copy(tmp_path / "project")
    assert code != 0
    assert not (tmp_path / "project").exists()
    assert "Traceback" not in message
    assert "consider adding the `--trust` option" in message
    assert "`--trust`" in PAGE.partition("\n")[0], "a search for the option finds the page"


def test_trust_may_be_a_setting_as_the_page_says(tmp_path: Path) -> None:
    (settings,) = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
    file = tmp_path / "settings.yml"
    file.write_text(settings.replace("https://git.example.com/templates/", f"{ROOT.parent}/"))
    code, message = copy(tmp_path / "project", COPIER_SETTINGS_PATH=str(file))
    assert (code, message) == (0, "")


def test_page_names_every_file_that_runs() -> None:
    loader, *extensions = COPIER_YML["_jinja_extensions"]
    assert loader == "copier_template_extensions.TemplateExtensionLoader"
    files = {entry.partition(":")[0] for entry in extensions}
    assert files == {str(path.relative_to(ROOT)) for path in (ROOT / "extensions").glob("*.py")}
    named = set(re.findall(r"`([\w/]+\.py)`", PAGE))
    assert named == files | {"template/docker/export_lock.py", "migrations/rename.py"}


def test_template_runs_no_command_except_for_migrations() -> None:
    assert "_tasks" not in COPIER_YML
    for migration in COPIER_YML.get("_migrations", []):
        assert migration["command"][1].endswith("/migrations/rename.py")
