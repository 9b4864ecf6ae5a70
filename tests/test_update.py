"""`copier update` with Copier itself: nothing lost, nothing touched that a team owns."""

from pathlib import Path

import pytest

from tests.commands import check_run, commit
from tests.conftest import CHOICES


@pytest.fixture(params=CHOICES["framework"])
def committed_project(request: pytest.FixtureRequest, template_clone: Path, tmp_path: Path) -> Path:
    """Return a project of the template's version 1.0.0, committed."""
    commit(template_clone, "first release", tag="1.0.0")
    project = tmp_path / "project"
    answers = [f"--data=framework={request.param}", "--data=app_description={{ braces }} and ${X}"]
    check_run("copier", "copy", "--trust", "--defaults", *answers, str(template_clone), str(project), cwd=tmp_path)
    commit(project, "start from the template")
    return project


def update(project: Path) -> None:
    """Update a project as its README says, without questions."""
    check_run("copier", "update", "--trust", "--defaults", cwd=project)


def changes(project: Path) -> list[str]:
    """Return what `git status` says of a project, a line for each file."""
    return check_run("git", "status", "--porcelain", cwd=project).splitlines()


def test_update_without_a_new_version_changes_nothing(committed_project: Path) -> None:
    update(committed_project)
    assert changes(committed_project) == []


def test_update_brings_improvements_and_keeps_edits(committed_project: Path, template_clone: Path) -> None:
    app = committed_project / "src" / "my_service" / "app.py"
    app.write_text(app.read_text() + "\nEDITED = True\n")
    makefile = committed_project / "Makefile"
    makefile.write_text(makefile.read_text() + "\n.PHONY: seed\nseed: ## Fill the database\n\t@echo seeding\n")
    (committed_project / "poetry.lock").write_text("made anew by the team\n")
    commit(committed_project, "our own work")
    owned = ["README.md.jinja", "src/{{ package_name }}/settings.py", "tests/test_settings.py.jinja"]
    for name in ["Makefile.jinja", "{% if server == 'gunicorn' %}gunicorn.conf.py{% endif %}.jinja", *owned]:
        file = template_clone / "template" / name
        file.write_text("# improved\n" + file.read_text())
    for lock in template_clone.glob("template/*poetry.lock*"):
        lock.write_text("renewed by the template\n")
    commit(template_clone, "second release", tag="1.1.0")

    update(committed_project)

    assert sorted(changes(committed_project)) == [" M .copier-answers.yml", " M Makefile", " M gunicorn.conf.py"]
    assert makefile.read_text().startswith("# improved\n")
    assert makefile.read_text().endswith("\t@echo seeding\n")
    assert app.read_text().endswith("EDITED = True\n")
    assert (committed_project / "poetry.lock").read_text() == "made anew by the team\n"
