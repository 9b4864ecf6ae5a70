"""Updates to a release with migrations, and the oldest Copier that can update."""

import re
import shutil
import sys
from pathlib import Path
from textwrap import dedent

import pytest
import yaml

from tests.support.commands import ROOT, check_run, commit, fail_run, run
from tests.support.files import replace
from tests.support.matrix import slow
from tests.support.template import COPIER_YML
from tests.support.updates import OURS, changes, copy, files, update, write_news

# --- migrations ------------------------------------------------------------------------------------------------------

CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
(MIGRATION,) = (dedent(block) for block in re.findall(r"```yaml\n(.*?) *```", CONTRIBUTING, re.DOTALL))
OLD, NEW = "entrypoint.sh", "docker/entrypoint.sh"


def add_setting(template: Path, text: str) -> None:
    """Add a setting, or an item of the previously added setting, to the settings in `copier.yml`."""
    replace(template / "copier.yml", "\n_envops:\n", f"\n{text}\n_envops:\n")


def rename_file(template: Path, old: str, new: str) -> None:
    """Rename a file of a template, add a line to it, and add the migration from CONTRIBUTING."""
    check_run("git", "mv", f"template/{old}.jinja", f"template/{new}.jinja", cwd=template)
    text = (template / "template" / f"{new}.jinja").read_text().partition("\n")
    (template / "template" / f"{new}.jinja").write_text(f"{text[0]}\n# moved\n{text[2]}")
    migrations = MIGRATION.replace("OLD", old).replace("NEW", new).replace("1.2.0", "1.1.0")
    assert yaml.safe_load(migrations)["_migrations"][0]["version"] == "1.1.0"
    add_setting(template, migrations)


def rename(template: Path, old: str = OLD, new: str = NEW) -> None:
    """Release two versions. The second one renames a file and adds a line to it."""
    commit(template, "first release", tag="1.0.0")
    rename_file(template, old, new)
    commit(template, "second release", tag="1.1.0")


def test_release_with_a_rename_passes_the_checks_and_keeps_the_edits(template_clone: Path, tmp_path: Path) -> None:
    """A rename is released as CONTRIBUTING says: migration, commit, `make release`."""
    write_news(template_clone)
    check_run("python", "-m", "tools.release", "1.0.0", cwd=template_clone)
    rename_file(template_clone, OLD, NEW)
    write_news(template_clone)
    check_run("python", "-m", "tools.release", "1.1.0", cwd=template_clone)
    check_run("pytest", "-n0", "-q", "tests/render/test_trust.py", "tests/unit/test_release.py", cwd=template_clone)
    project = copy(template_clone, "1.0.0", tmp_path / "project")
    replace(project / OLD, 'exec "$@"\n', 'echo "our own line"\nexec "$@"\n')
    commit(project, "our own work")
    update(project)
    assert 'echo "our own line"' in (project / NEW).read_text()


@pytest.mark.slow  # test_release_with_a_rename_passes_the_checks_and_keeps_the_edits is in every run
def test_renamed_file_keeps_the_edits(template_clone: Path, tmp_path: Path) -> None:
    rename(template_clone)
    project = copy(template_clone, "1.0.0", tmp_path / "project")
    fresh = copy(template_clone, "1.1.0", tmp_path / "fresh")
    for folder, name in ((project, OLD), (fresh, NEW)):
        replace(folder / name, 'exec "$@"\n', 'echo "our own line"\nexec "$@"\n')
    commit(project, "our own work")
    update(project)
    shutil.copy(project / "poetry.lock", fresh)
    assert files(project) == files(fresh)
    commit(project, "updated")
    update(project)
    assert changes(project) == [], "the migration ran again"


def test_renamed_file_has_a_conflict_where_both_changed_a_line(template_clone: Path, tmp_path: Path) -> None:
    rename(template_clone)
    project = copy(template_clone, "1.0.0", tmp_path / "project")
    replace(project / OLD, "#!/bin/sh\n", "#!/bin/sh\n# ours\n")
    commit(project, "our own work")
    update(project)
    assert not (project / OLD).exists()
    assert (
        (project / NEW).read_text().startswith(f"#!/bin/sh\n{OURS}\n# ours\n=======\n# moved\n>>>>>>> after updating\n")
    )


@pytest.mark.slow
def test_renamed_file_keeps_its_mode(template_clone: Path, tmp_path: Path) -> None:
    rename(template_clone)
    project = copy(template_clone, "1.0.0", tmp_path / "project")
    (project / OLD).chmod(0o755)
    commit(project, "executable")
    update(project)
    assert (project / NEW).stat().st_mode & 0o777 == 0o755


@pytest.mark.slow
def test_file_that_is_renamed_twice_keeps_the_edits(template_clone: Path, tmp_path: Path) -> None:
    rename(template_clone)
    check_run("git", "mv", f"template/{NEW}.jinja", "template/start.sh.jinja", cwd=template_clone)
    second = MIGRATION.replace("_migrations:\n", "")
    second = second.replace("- OLD\n      - NEW\n", f"- {OLD}\n      - {NEW}\n      - start.sh\n")
    add_setting(template_clone, second)
    commit(template_clone, "third release", tag="1.2.0")
    for version, name in (("1.0.0", OLD), ("1.1.0", NEW)):
        project = copy(template_clone, version, tmp_path / version)
        replace(project / name, 'exec "$@"\n', 'echo "our own line"\nexec "$@"\n')
        commit(project, "our own work")
        update(project)
        assert not {OLD, NEW} & set(files(project))
        text = files(project)["start.sh"]
        assert text.startswith("#!/bin/sh\n# moved\n")
        assert 'echo "our own line"\nexec "$@"\n' in text


@pytest.mark.slow
def test_renamed_file_that_the_project_never_had_is_added(template_clone: Path, tmp_path: Path) -> None:
    rename(template_clone)
    migration = (template_clone / "copier.yml").read_text()
    (template_clone / "template" / "new.sh").write_text("#!/bin/sh\n")
    (template_clone / "copier.yml").write_text(migration.replace(f"- {OLD}\n", "- never.sh\n").replace(NEW, "new.sh"))
    commit(template_clone, "third release", tag="1.1.1")
    project = copy(template_clone, "1.0.0", tmp_path / "project")
    commit(project, "start from the template")
    update(project)
    assert files(project)["new.sh"] == "#!/bin/sh\n"


@pytest.mark.parametrize("answers_file", slow(("conf/answers.yml",), (".copier-answers.docker.yml",)))
def test_renamed_file_keeps_the_edits_beside_another_template(
    answers_file: str, template_clone: Path, tmp_path: Path
) -> None:
    rename(template_clone)
    option = f"--answers-file={answers_file}"
    options = ["--trust", "--defaults", "--vcs-ref=1.0.0", "--data=server=granian", option, str(template_clone)]
    check_run("copier", "copy", *options, "project", cwd=tmp_path)
    project = tmp_path / "project"
    (project / ".copier-answers.yml").write_text("_src_path: gh:another/template\nframework: django\n")
    replace(project / OLD, 'exec "$@"\n', 'echo "our own line"\nexec "$@"\n')
    commit(project, "our own work")
    (command,) = re.findall(r"^uvx .*(copier update .*)$", (project / "docs" / "template-updates.md").read_text(), re.M)
    check_run(*command.split(), "--defaults", cwd=project)
    assert not (project / OLD).exists()
    assert (project / NEW).read_text().startswith("#!/bin/sh\n# moved\n")
    assert 'echo "our own line"\nexec "$@"\n' in (project / NEW).read_text()
    assert f"copier check-update --quiet {option.replace('=', ' ')}" in (project / "docker" / "doctor.sh").read_text()


@pytest.mark.slow
def test_renamed_file_whose_new_name_is_taken_stays_with_its_edits(
    template_clone: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    rename(template_clone)
    edited, untouched = (copy(template_clone, "1.0.0", tmp_path / name) for name in ("edited", "untouched"))
    replace(edited / OLD, 'exec "$@"\n', 'echo "our own line"\nexec "$@"\n')
    before = files(edited)[OLD]
    for project in (edited, untouched):
        (project / NEW).write_text("#!/bin/sh\necho ours\n")
        commit(project, "our own work")
    update(edited)
    assert files(edited)[OLD] == before
    assert f"The template renamed {OLD} to {NEW}, which you have too: both stay unchanged." in capfd.readouterr().err
    assert "echo ours" in files(edited)[NEW]
    update(untouched)
    assert OLD not in files(untouched)
    assert "echo ours" in files(untouched)[NEW]


def test_renamed_file_is_not_added_to_a_project_with_its_own(template_clone: Path, tmp_path: Path) -> None:
    rename(template_clone, "docker-compose.yml", "compose.yaml")
    project = tmp_path / "project"
    project.mkdir()
    (project / "pyproject.toml").write_text('[project]\nname = "my-shop"\nversion = "1"\n')
    (project / "docker-compose.yml").write_text("services: {}\n")
    commit(project, "our own work")
    check_run("copier", "copy", "--trust", "--defaults", "--vcs-ref=1.0.0", str(template_clone), ".", cwd=project)
    commit(project, "moved in")
    for _ in range(2):
        update(project)
        assert files(project)["docker-compose.yml"] == "services: {}\n"
        assert "compose.yaml" not in files(project)
        commit(project, "updated")


@pytest.mark.slow
def test_renamed_file_that_was_deleted_stays_deleted(template_clone: Path, tmp_path: Path) -> None:
    rename(template_clone)
    project = copy(template_clone, "1.0.0", tmp_path / "project")
    (project / OLD).unlink()
    commit(project, "less")
    update(project)
    assert not {OLD, NEW} & set(files(project))


@pytest.mark.parametrize("new", ["link.sh", "../other/new.sh", "away/new.sh"])
def test_renamed_file_is_not_written_outside_the_project(new: str, tmp_path: Path) -> None:
    project, other = tmp_path / "project", tmp_path / "other"
    for folder in (project, other):
        folder.mkdir()
    (project / "link.sh").symlink_to(other / "new.sh")
    (project / "away").symlink_to(other)
    (project / OLD).write_text("ours\n")
    (project / ".copier-answers.yml").write_text(f"own_files: [{OLD}]\n")
    (other / "new.sh").write_text("theirs\n")
    commit(project, "our own work")
    script = ROOT / "migrations" / "rename.py"
    command = (sys.executable, script, str(ROOT), ".copier-answers.yml", "1.0.0", OLD, new)
    message = f"{new} must be a file in this project, not a link or outside: move it away.\n"
    assert fail_run(*command, cwd=project) == message
    assert files(other) == {"new.sh": "theirs\n"}
    assert changes(project) == []


# --- Copier ----------------------------------------------------------------------------------------------------------


def with_copier(version: str, *arguments: str) -> tuple[int, str]:
    """Run a version of Copier; return its exit code and what it printed."""
    tools = ["--from", f"copier=={version}", "--with", "copier-template-extensions"]
    result = run("uvx", "--quiet", *tools, "copier", *arguments, cwd=ROOT, PYTHONWARNINGS="ignore")
    return result.returncode, re.sub(r"\x1b\[[0-9;]*m", "", result.stdout).strip()


@pytest.mark.slow
def test_older_copier_is_refused_with_a_reason(tmp_path: Path) -> None:
    oldest = COPIER_YML["_min_copier_version"]
    options = ["copy", "--trust", "--defaults", "--quiet", "--vcs-ref=HEAD", str(ROOT), str(tmp_path / "project")]
    code, output = with_copier("9.18.2", *options)
    assert code != 0
    reason = f"This template requires Copier version >= {oldest}, while your version of Copier is 9.18.2."
    assert output.splitlines()[-1] == reason
    assert not (tmp_path / "project").exists()
    assert with_copier(oldest, *options)[0] == 0
