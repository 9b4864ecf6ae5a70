"""Releases: the changelog, the tags, the migrations, and the oldest Copier that can update."""

import re
import shutil
from pathlib import Path
from textwrap import dedent

import pytest
import yaml
from packaging.version import Version

from scripts.release import notes
from tests.commands import ROOT, check_run, commit, run
from tests.conftest import COPIER_YML
from tests.test_update import OURS, TAGS, changes, copy, files, replace, update

CHANGELOG = (ROOT / "CHANGELOG.md").read_text()
SECTIONS = {"Added", "Changed", "Deprecated", "Removed", "Fixed", "Security"}


def test_changelog_keeps_its_form() -> None:
    headings = re.findall(r"^## (.*)$", CHANGELOG, re.MULTILINE)
    assert headings[0] == "[Unreleased]"
    released = [re.fullmatch(r"\[(\S+)\] - (\d{4}-\d\d-\d\d)", heading) for heading in headings[1:]]
    versions = [Version(match[1]) for match in released if match]
    assert len(versions) == len(released)
    assert versions == sorted(versions, reverse=True)
    assert set(re.findall(r"^### (.*)$", CHANGELOG, re.MULTILINE)) <= SECTIONS


def test_every_tag_is_a_version_that_the_changelog_describes() -> None:
    for tag in TAGS:
        assert str(Version(tag)) == tag
        assert notes(CHANGELOG, tag)


def release(template: Path, version: str) -> tuple[int, str]:
    """Run `make release` with the tools of this checkout; return its exit code and its last line."""
    result = run("python", "-m", "scripts.release", version, cwd=template)
    return result.returncode, (result.stdout.strip().splitlines() or [""])[-1]


def test_release_dates_the_entries_and_tags_it(template_clone: Path) -> None:
    news = notes((template_clone / "CHANGELOG.md").read_text(), "Unreleased")
    assert release(template_clone, "7.0.0")[0] == 0
    changelog = (template_clone / "CHANGELOG.md").read_text()
    assert re.search(r"^## \[Unreleased\]\n\n## \[7\.0\.0\] - \d{4}-\d\d-\d\d\n\n", changelog, re.MULTILINE)
    assert notes(changelog, "7.0.0") == news
    assert check_run("git", "describe", cwd=template_clone).strip() == "7.0.0"
    assert check_run("python", "-m", "scripts.release", "--notes", "7.0.0", cwd=template_clone) == news
    assert release(template_clone, "7.1.0") == (
        1,
        "CHANGELOG.md says nothing under [Unreleased]: write there what is new in it.",
    )


@pytest.mark.parametrize(
    ("version", "message"),
    [
        ("next", "VERSION must be a version such as 1.2.0 or 1.2.0rc1, not 'next'."),
        ("", "VERSION must be a version such as 1.2.0 or 1.2.0rc1, not ''."),
        ("v1.2.0", "VERSION must be written 1.2.0, not v1.2.0."),
        ("1.2.0-rc.1", "VERSION must be written 1.2.0rc1, not 1.2.0-rc.1."),
        ("7.0.0", "VERSION must be newer than 7.0.0, which is tagged already."),
        ("8.0.0+ours", "VERSION must be the version of a release, not 8.0.0+ours."),
        ("6.9.0", "VERSION must be newer than 7.0.0, which is tagged already."),
    ],
)
def test_release_refuses_in_one_line(version: str, message: str, template_clone: Path) -> None:
    commit(template_clone, "released", tag="7.0.0")
    check_run("git", "tag", "before-the-move", cwd=template_clone)
    head = check_run("git", "rev-parse", "HEAD", cwd=template_clone)
    assert release(template_clone, version) == (1, message)
    assert check_run("git", "rev-parse", "HEAD", cwd=template_clone) == head
    assert changes(template_clone) == []


def test_release_that_a_hook_refuses_leaves_nothing(template_clone: Path) -> None:
    hook = template_clone / ".git" / "hooks" / "pre-commit"
    hook.parent.mkdir(exist_ok=True)
    hook.write_text("#!/bin/sh\nexit 1\n")
    hook.chmod(0o755)
    assert release(template_clone, "7.0.0")[0] != 0
    assert changes(template_clone) == []
    assert "7.0.0" not in check_run("git", "tag", cwd=template_clone)


def test_release_needs_a_clean_checkout(template_clone: Path) -> None:
    (template_clone / "README.md").write_text("edited\n")
    assert release(template_clone, "7.0.0") == (1, "The checkout has changes: commit them, then release.")


# --- renewed locks, proposed -----------------------------------------------------------------------------------------


@pytest.fixture
def published(template_clone: Path, tmp_path: Path) -> Path:
    """Return an empty repository that a clone of the template pushes to."""
    check_run("git", "init", "--bare", "--quiet", str(tmp_path / "origin.git"), cwd=tmp_path)
    check_run("git", "remote", "add", "origin", str(tmp_path / "origin.git"), cwd=template_clone)
    return tmp_path / "origin.git"


@pytest.mark.parametrize("is_open", ["0", "1"])
def test_renewed_locks_become_one_pull_request(
    is_open: str, template_clone: Path, published: Path, tmp_path: Path
) -> None:
    said = tmp_path / "said"
    gh = tmp_path / "bin" / "gh"
    gh.parent.mkdir()
    gh.write_text(f'#!/bin/sh\necho "$@" >>{said}\n[ "$2" != list ] || echo {is_open}\n')
    gh.chmod(0o755)
    variables = {"BRANCH": "locks", "PATH": f"{gh.parent}:/usr/bin:/bin"}
    script = ("sh", "scripts/propose_locks.sh")
    assert check_run(*script, cwd=template_clone, **variables) == "Every lock is up to date.\n"
    assert not said.exists()
    lock = next(template_clone.glob("locks/*.lock"))
    lock.write_text("renewed\n")
    check_run(*script, cwd=template_clone, **variables)
    pushed = check_run("git", "show", "--stat", "--format=%s", "locks", cwd=published).splitlines()
    assert pushed[0] == "build: renew the locks of the projects"
    assert pushed[-1].startswith(" 1 file changed")
    lock.write_text("renewed once more\n")
    check_run("git", "update-ref", "refs/heads/locks", "locks~1", cwd=published)  # somebody else has pushed
    assert run(*script, cwd=template_clone, **variables).returncode != 0
    asked = [line.split()[1] for line in said.read_text().splitlines()]
    assert asked == (["list"] if is_open == "1" else ["list", "create"])


# --- migrations ------------------------------------------------------------------------------------------------------

CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text()
(MIGRATION,) = (dedent(block) for block in re.findall(r"```yaml\n(.*?) *```", CONTRIBUTING, re.DOTALL))
OLD, NEW = "entrypoint.sh", "docker/entrypoint.sh"


def rename(template: Path, old: str = OLD, new: str = NEW) -> None:
    """Release a version that has a file under another name and with another line, as CONTRIBUTING says."""
    commit(template, "first release", tag="1.0.0")
    check_run("git", "mv", f"template/{old}.jinja", f"template/{new}.jinja", cwd=template)
    text = (template / "template" / f"{new}.jinja").read_text().partition("\n")
    (template / "template" / f"{new}.jinja").write_text(f"{text[0]}\n# moved\n{text[2]}")
    migrations = MIGRATION.replace("OLD", old).replace("NEW", new).replace("1.2.0", "1.1.0")
    with (template / "copier.yml").open("a") as copier_yml:
        copier_yml.write(migrations)
    assert yaml.safe_load(migrations)["_migrations"][0]["version"] == "1.1.0"
    commit(template, "second release", tag="1.1.0")


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
    assert changes(project) == [], "a migration runs once"


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
    with (template_clone / "copier.yml").open("a") as copier_yml:
        copier_yml.write(second)
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


@pytest.mark.parametrize("answers_file", [".copier-answers.docker.yml", "conf/answers.yml"])
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
def test_renamed_file_whose_new_name_is_taken_stays_with_its_edits(template_clone: Path, tmp_path: Path) -> None:
    rename(template_clone)
    edited, untouched = (copy(template_clone, "1.0.0", tmp_path / name) for name in ("edited", "untouched"))
    replace(edited / OLD, 'exec "$@"\n', 'echo "our own line"\nexec "$@"\n')
    before = files(edited)[OLD]
    for project in (edited, untouched):
        (project / NEW).write_text("#!/bin/sh\necho ours\n")
        commit(project, "our own work")
    said = update(edited)
    assert files(edited)[OLD] == before
    assert f"The template renamed {OLD} to {NEW}, which you have too: both stay unchanged." in said
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


def test_renamed_file_that_was_deleted_stays_deleted(template_clone: Path, tmp_path: Path) -> None:
    rename(template_clone)
    project = copy(template_clone, "1.0.0", tmp_path / "project")
    (project / OLD).unlink()
    commit(project, "less")
    update(project)
    assert not {OLD, NEW} & set(files(project))


# --- Copier ----------------------------------------------------------------------------------------------------------


def with_copier(version: str, *arguments: str) -> tuple[int, str]:
    """Run a version of Copier; return its exit code and what it printed."""
    tools = ["--from", f"copier=={version}", "--with", "copier-template-extensions"]
    result = run("uvx", "--quiet", *tools, "copier", *arguments, cwd=ROOT, PYTHONWARNINGS="ignore")
    return result.returncode, re.sub(r"\x1b\[[0-9;]*m", "", result.stdout).strip()


def test_older_copier_is_refused_with_a_reason(tmp_path: Path) -> None:
    oldest = COPIER_YML["_min_copier_version"]
    options = ["copy", "--trust", "--defaults", "--quiet", "--vcs-ref=HEAD", str(ROOT), str(tmp_path / "project")]
    code, output = with_copier("9.18.2", *options)
    assert code != 0
    reason = f"This template requires Copier version >= {oldest}, while your version of Copier is 9.18.2."
    assert output.splitlines()[-1] == reason
    assert not (tmp_path / "project").exists()
    assert with_copier(oldest, *options)[0] == 0
