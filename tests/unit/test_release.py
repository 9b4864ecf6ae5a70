"""Releases of the template: the changelog, the tags, and the pull request for renewed locks."""

import re
from pathlib import Path

import pytest
from packaging.version import Version

from tests.support.commands import ROOT, check_run, commit, run
from tests.support.files import replace
from tests.support.template import CHOICES
from tests.support.updates import TAGS, changes, copy, files, improve, write_news
from tools.release import notes

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
    result = run("python", "-m", "tools.release", version, cwd=template)
    return result.returncode, (result.stdout.strip().splitlines() or [""])[-1]


def test_release_dates_the_entries_and_tags_it(template_clone: Path) -> None:
    write_news(template_clone)
    news = notes((template_clone / "CHANGELOG.md").read_text(), "Unreleased")
    assert release(template_clone, "7.0.0")[0] == 0
    changelog = (template_clone / "CHANGELOG.md").read_text()
    assert re.search(r"^## \[Unreleased\]\n\n## \[7\.0\.0\] - \d{4}-\d\d-\d\d\n\n", changelog, re.MULTILINE)
    assert notes(changelog, "7.0.0") == news
    assert check_run("git", "describe", cwd=template_clone).strip() == "7.0.0"
    assert check_run("python", "-m", "tools.release", "--notes", "7.0.0", cwd=template_clone) == news
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


# --- example projects and renewed locks -------------------------------------------------------------------------------


@pytest.fixture
def published(template_clone: Path, tmp_path: Path) -> Path:
    """Return an empty repository that a clone of the template pushes to."""
    check_run("git", "init", "--bare", "--quiet", str(tmp_path / "origin.git"), cwd=tmp_path)
    check_run("git", "remote", "add", "origin", str(tmp_path / "origin.git"), cwd=template_clone)
    return tmp_path / "origin.git"


@pytest.mark.slow
def test_examples_are_new_projects_with_one_commit_for_each_release(
    template_clone: Path, published: Path, tmp_path: Path
) -> None:
    branches = {framework: f"example-{framework}" for framework in CHOICES["framework"]}
    for number, version in enumerate(("1.0.0", "1.1.0rc1", "1.1.0"), start=1):
        improve(template_clone, version)
        commit(template_clone, version, tag=version)
        head = check_run("git", "rev-parse", "HEAD", cwd=template_clone)
        check_run("sh", "tools/publish_examples.sh", version, cwd=template_clone)
        assert check_run("git", "rev-parse", "HEAD", cwd=template_clone) == head
        assert changes(template_clone) == []
        for branch in branches.values():
            messages = check_run("git", "log", "--format=%s", branch, cwd=published).splitlines()
            assert len(messages) == {1: 1, 2: 1, 3: 2}[number], "a prerelease is not published"
    for framework, branch in branches.items():
        example = tmp_path / branch
        check_run("git", "clone", "--quiet", "--branch", branch, str(published), branch, cwd=tmp_path)
        fresh = copy(template_clone, "1.1.0", tmp_path / framework, framework=framework)
        source = f"_src_path: {published}\n"
        answers = (fresh / ".copier-answers.yml").read_text()
        (fresh / ".copier-answers.yml").write_text(re.sub("_src_path: .*\n", source, answers))
        assert files(example) == files(fresh)


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
    script = ("sh", "tools/propose_locks.sh")
    assert check_run(*script, cwd=template_clone, **variables) == "Every lock is up to date.\n"
    assert not said.exists()
    lock = next(template_clone.glob("locks/*.lock"))
    lock.write_text("renewed\n")
    replace(template_clone / "data" / "reserved_names.json", "[\n", '[\n  "a-new-dependency",\n')
    check_run(*script, cwd=template_clone, **variables)
    pushed = check_run("git", "show", "--stat", "--format=%s", "locks", cwd=published).splitlines()
    assert pushed[0] == "build: renew the locks of the projects"
    assert pushed[-1].startswith(" 2 files changed")
    lock.write_text("renewed once more\n")
    check_run("git", "update-ref", "refs/heads/locks", "locks~1", cwd=published)  # somebody else has pushed
    assert run(*script, cwd=template_clone, **variables).returncode != 0
    asked = [line.split()[1] for line in said.read_text().splitlines()]
    assert asked == (["list"] if is_open == "1" else ["list", "create"])
