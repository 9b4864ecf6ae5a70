"""Releases of a template, updates of its projects, and the edits that teams make."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from copier import run_copy, run_update
from copier.errors import UserMessageError

from tests.support.commands import ROOT, check_run, commit, printed, run
from tests.support.files import replace
from tests.support.poetry import poetry_check

PACKAGE = Path("src/my_service")
NEW_LOCK = "run make lock"
COMMENTS = {".md": "<!-- {} -->\n", ".json": "", ".lock": ""}
OURS, THEIRS = "<<<<<<< before updating", ">>>>>>> after updating"
TAGS = run("git", "tag", "--merged=HEAD", cwd=ROOT).stdout.split()


def improve(template: Path, word: str) -> None:
    """Add a comment to every file of a template that may contain one, as its first line or after the `#!` line."""
    for file in sorted((template / "template").rglob("*")):
        name = re.sub(r"{%.*?%}", "", file.name).removesuffix(".jinja")
        comment = COMMENTS.get(Path(name).suffix, "# {}\n").format(word)
        if not file.is_file() or "answers_file" in name:
            continue
        text = file.read_text()
        head = text.index("\n") + 1 if text.startswith("#!") else 0
        file.write_text(text[:head] + comment + text[head:])


def write_news(template: Path) -> None:
    """Add an unreleased entry to the changelog of a template, which has none after a release, and commit it."""
    replace(template / "CHANGELOG.md", "## [Unreleased]\n", "## [Unreleased]\n\n### Added\n\n- Something new.\n")
    commit(template, "feat: something new")


def copy(template: Path, version: str, folder: Path, **answers: Any) -> Path:
    """Make a project of a version of a template, and return its folder."""
    run_copy(str(template), folder, data=answers, vcs_ref=version, defaults=True, unsafe=True, quiet=True)
    return folder


def update(project: Path, version: str = "", **answers: Any) -> str:
    """Update a project without questions, and return what Copier printed."""
    with printed() as text:
        run_update(project, answers, vcs_ref=version or None, defaults=True, overwrite=True, unsafe=True)
    return text.getvalue()


def refusal(project: Path, **answers: Any) -> str:
    """Return the message of an update that must be refused and change nothing. The command line shows this message."""
    with pytest.raises(UserMessageError) as refused:
        update(project, **answers)
    assert changes(project) == []
    return str(refused.value)


def changes(project: Path) -> list[str]:
    """Return the lines of `git status` in a project, one for each changed file."""
    return check_run("git", "status", "--porcelain", "--untracked-files=all", cwd=project).splitlines()


def files(project: Path) -> dict[str, str]:
    """Return the text of each file of a project by its path, without the files of git."""
    paths = (path for path in sorted(project.rglob("*")) if path.is_file() and ".git" not in path.parts)
    return {str(path.relative_to(project)): path.read_text() for path in paths}


def check_advice(project: Path, said: str) -> None:
    """Check that Copier asks for a new lock if `poetry check` fails, and only then."""
    faults = poetry_check(project)
    assert (NEW_LOCK in said) is bool(faults), f"{said}\n{faults}"


# --- edits of teams --------------------------------------------------------------------------------------------------

Edit = Callable[[Path], None]


def append(file: Path, text: str) -> None:
    """Add a text at the end of a file."""
    file.write_text(file.read_text() + text)


def write_code(project: Path) -> None:
    """Add lines to the code, and a test."""
    append(project / PACKAGE / "app.py", "\nEDITED = True\n")
    append(project / PACKAGE / "settings.py", "\nEDITED = True\n")
    append(project / "tests" / "test_app.py", "\n\ndef test_more() -> None:\n    assert True\n")


def add_files(project: Path) -> None:
    """Add a module, a folder of data and a document."""
    (project / PACKAGE / "orders.py").write_text('"""Orders."""\n')
    (project / "data").mkdir()
    (project / "data" / "größe.txt").write_text("42\n")
    (project / "NOTES.md").write_text("# Notes\n")


def delete_starter_files(project: Path) -> None:
    """Delete files that a service does not need."""
    for name in ("tests/test_app.py", "tests/test_logs.py", ".vscode/launch.json", ".editorconfig"):
        (project / name).unlink()


def change_the_makefile(project: Path) -> None:
    """Change a target, and add one."""
    replace(project / "Makefile", "pytest --cov $(ARGS)", "pytest --cov --cov-branch $(ARGS)")
    append(project / "Makefile", "\n.PHONY: seed\nseed: ## Fill the database\n\t@echo seeding\n")


def add_a_compose_service(project: Path) -> None:
    """Add a database service and its volume to docker-compose.override.yml."""
    database = "services:\n  db:\n    image: postgres:18\n    volumes:\n      - db:/var/lib/postgresql\n\n"
    replace(project / "docker-compose.override.yml", "services:\n", database)
    append(project / "docker-compose.override.yml", "  db:\n")


def change_the_dockerfile(project: Path) -> None:
    """Install a Debian package, and change an instruction."""
    replace(project / "Dockerfile", 'ARG RUNTIME_PACKAGES=""', 'ARG RUNTIME_PACKAGES="libpq5"')
    replace(project / "Dockerfile", "--interval=10s", "--interval=15s")


def change_the_readme(project: Path) -> None:
    """Add a section to the README."""
    replace(project / "README.md", "## Run\n", "## Purpose\n\nThe service stores orders.\n\n## Run\n")


def change_the_ci_job(project: Path) -> None:
    """Change the timeout of the CI job, if there is one."""
    for workflow in project.glob(".github/workflows/ci.yml"):
        replace(workflow, "timeout-minutes: 60", "timeout-minutes: 45")
    for pipeline in project.glob(".gitlab-ci.yml"):
        replace(pipeline, "timeout: 60 minutes", "timeout: 45 minutes")


def change_the_settings(project: Path) -> None:
    """Change the version, and the settings of the server and of git."""
    replace(project / "pyproject.toml", 'version = "0.1.0"', 'version = "3.2.1"')
    for settings_file in project.glob("gunicorn.conf.py"):
        append(settings_file, "\nEDITED = True\n")
    append(project / ".gitignore", "/data/\n")


EDITS: list[Edit] = [
    write_code,
    add_files,
    change_the_makefile,
    add_a_compose_service,
    change_the_dockerfile,
    change_the_readme,
    change_the_ci_job,
    change_the_settings,
]


def edit_everything(project: Path) -> None:
    """Make all edits in one project."""
    for edit in EDITS:
        edit(project)
