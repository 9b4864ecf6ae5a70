"""The tests, linters and lock check of rendered projects, run on this machine without Docker."""

import re
import tomllib

import pytest
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from extensions.answers import OLDEST_POETRY
from tests.support.commands import check_run, run
from tests.support.matrix import in_every_run, slow
from tests.support.projects import Environment, Render, in_environment
from tests.support.template import HOST_PYTHON, POETRIES, STACKS
from tools import locks

# The name of the hook that checks the lock.
LOCK_HOOK = "poetry.lock matches pyproject.toml"
IGNORE_HOOK = ".dockerignore covers .gitignore"
# Each framework, with Granian or Gunicorn, which add code to the project; Docker tests check uvicorn. The oldest and
# the newest Python, because the findings of ruff and mypy depend on the Python version.
EVERY_RUN = [("fastapi", "granian", "3.11"), ("flask", "gunicorn", "3.15")]
LINTED = [(*stack, python) for stack in STACKS for python in ("3.11", "3.15")]


@pytest.mark.parametrize(("framework", "server"), in_every_run([("fastapi", "granian")], STACKS))
def test_own_tests_pass(framework: str, server: str, environment: Environment, project: Render) -> None:
    folder = project(framework=framework, server=server, python_version=HOST_PYTHON)
    variables = in_environment(environment(framework, server))
    check_run("uv", "pip", "install", "--quiet", "--no-deps", "--editable", ".", cwd=folder, **variables)
    output = check_run("pytest", "-W", "error", cwd=folder, **variables)
    assert re.search(r"\b[12]\d passed", output), output
    assert "skipped" not in output


@pytest.mark.parametrize(("framework", "server", "python_version"), in_every_run(EVERY_RUN, LINTED))
def test_linters_are_clean(
    framework: str, server: str, python_version: str, environment: Environment, project: Render
) -> None:
    parts = python_version == "3.11"
    folder = project(
        framework=framework,
        server=server,
        python_version=python_version,
        include_devcontainer=parts,
        include_kubernetes=parts,
        include_workshop=parts,
    )
    variables = in_environment(environment(framework, server))
    check_run("git", "init", "--quiet", cwd=folder)
    check_run("git", "add", "--all", cwd=folder)
    output = check_run("pre-commit", "run", "--all-files", cwd=folder, **variables)
    hooks = ["ruff check", "ruff format", "mypy", "hadolint", "shellcheck", LOCK_HOOK, IGNORE_HOOK, "conflict markers"]
    assert re.findall(r"^(.*?)\.+Passed$", output, re.M) == hooks, output
    assert re.findall(r"^(.*?)\.+\(no files to check\)Skipped$", output, re.M) == ["rejected patches"], output


@pytest.mark.parametrize(
    ("file", "fault", "hook"),
    [
        ("src/my_service/app.py", "import os\n", "ruff-check"),
        ("src/my_service/app.py", "x = [ 1 ]\n", "ruff-format"),
        *slow(("src/my_service/settings.py", "number: int = 'text'\n", "mypy")),
        ("Dockerfile", "RUN cd /tmp && sudo ls\n", "hadolint"),
        ("entrypoint.sh", "echo $unquoted\n", "shellcheck"),
        ("pyproject.toml", '[project.optional-dependencies]\nextra = ["cowsay"]\n', "lock"),
        ("README.md", "<<<<<<< before updating\nours\n=======\ntheirs\n>>>>>>> after updating\n", "conflict-markers"),
        ("Makefile.rej", "@@ -1 +1 @@\n", "rejected-patches"),
    ],
)
def test_linters_find_a_planted_fault(
    file: str, fault: str, hook: str, environment: Environment, project: Render
) -> None:
    folder = project()
    with (folder / file).open("a") as text:
        text.write(fault)
    check_run("git", "init", "--quiet", cwd=folder)
    check_run("git", "add", "--all", cwd=folder)
    command = ("pre-commit", "run", "--all-files", hook)
    result = run(*command, cwd=folder, **in_environment(environment("fastapi", "uvicorn")))
    assert result.returncode == 1
    assert re.search(rf"\.Failed\n- hook id: {hook}$", result.stdout, re.M), result.stdout


@pytest.mark.parametrize(
    ("folder", "options", "end", "fault", "hook"),
    [
        ("", ["--exit-zero", "--help"], ".py", "import os\n", "ruff-check"),
        ("", ["--exit-zero", "--help"], ".py", "x = [ 1 ]\n", "ruff-format"),
        ("", ["--no-fail", "--help"], ".Dockerfile", "FROM a\nRUN cd /tmp && sudo ls\n", "hadolint"),
        ("", ["-x", "--help"], ".sh", "#!/bin/sh\necho $unquoted\n", "shellcheck"),
        ("", ["--negate", "--help"], ".md", "<<<<<<< before updating\n", "conflict-markers"),
        ("", ["-r"], ".rej", "@@ -1 +1 @@\n", "rejected-patches"),
        ("/.gitignore", ["-f", "x=y", "--version"], "", "*.sqlite3\n", "dockerignore"),
    ],
)
def test_linters_read_files_of_any_name(
    folder: str, options: list[str], end: str, fault: str, hook: str, environment: Environment, project: Render
) -> None:
    """Plant a fault in files that have the name of an option, or of something for a shell to do."""
    root = project()
    names = [*options, "a b", "it's", 'say "x"', "two\nlines", "$(touch ran)", "`touch ran`;touch ran", "é", "%s", "*"]
    command = ("pre-commit", "run", "--all-files", hook)
    variables = in_environment(environment("fastapi", "uvicorn"))
    check_run("git", "init", "--quiet", cwd=root)
    for name in names:
        file = root / f"{name}{folder}{end}"
        file.parent.mkdir(exist_ok=True)
        file.write_text(fault)
        check_run("git", "add", "--all", cwd=root)
        result = run(*command, cwd=root, **variables)
        assert result.returncode == 1, f"{file}\n{result.stdout}"
        assert re.search(rf"\.Failed\n- hook id: {hook}$", result.stdout, re.M), result.stdout
        assert "usage" not in result.stdout.lower(), result.stdout
        check_run("git", "rm", "-rfq", "--", str(file), cwd=root)
    assert not (root / "ran").exists()


# A folder, a line of its .gitignore file, and the equivalent line of .dockerignore.
IGNORED = [
    ("", "local.sqlite3", "**/local.sqlite3"),
    ("", "*.py[co]", "**/*.py[co]"),
    ("", "cache/", "**/cache"),
    ("", "/secrets", "secrets"),
    ("", "build/output/", "build/output"),
    ("", "**/*.key", "**/*.key"),
    ("", "!example.env", "!**/example.env"),
    ("src/my_service/", "*.log", "src/my_service/**/*.log"),
    ("src/my_service/", "/data/", "src/my_service/data"),
]


def test_linters_name_the_missing_lines_of_dockerignore(environment: Environment, project: Render) -> None:
    """Ignore files in git, add the lines that the check prints to .dockerignore, and check again."""
    root = project()
    check_run("git", "init", "--quiet", cwd=root)
    for folder, ignored, _ in IGNORED:
        with (root / folder / ".gitignore").open("a") as file:
            file.write(f"# A comment, and an empty line\n\n{ignored}\n")
    (root / "tests" / ".gitignore").write_text("*.tmp\n")  # .dockerignore covers the whole folder
    check_run("git", "add", "--all", cwd=root)
    command = ("pre-commit", "run", "--all-files", "dockerignore")
    variables = in_environment(environment("fastapi", "uvicorn"))
    result = run(*command, cwd=root, **variables)
    assert result.returncode == 1
    missing = re.findall(r"^Add this line to \.dockerignore, .*: (.*)$", result.stdout, re.M)
    assert sorted(missing) == sorted(listed for _, _, listed in IGNORED), result.stdout
    with (root / ".dockerignore").open("a") as file:
        file.writelines(f"{line}\n" for line in missing)
    check_run(*command, cwd=root, **variables)


@pytest.mark.parametrize(("framework", "server"), in_every_run([("fastapi", "uvicorn")], STACKS))
@pytest.mark.parametrize(
    "poetry", [["poetry"], ["uvx", "--quiet", "--from", locks.OLDEST_POETRY, "poetry"]], ids=["pinned", "2.3"]
)
def test_lock_matches_the_project(framework: str, server: str, poetry: list[str], render: Render) -> None:
    check_run(*poetry, "check", "--lock", cwd=render(framework=framework, server=server))


def test_lock_check_finds_a_changed_dependency(project: Render) -> None:
    folder = project()
    pyproject = folder / "pyproject.toml"
    pyproject.write_text(pyproject.read_text().replace("structlog (>=26.1.0", "structlog (>=26.0.0"))
    result = run("poetry", "check", "--lock", cwd=folder)
    assert result.returncode == 1
    assert "poetry lock" in result.stdout


def test_answers_do_not_change_the_dependencies(render: Render) -> None:
    lock = (render() / "poetry.lock").read_text()
    others: dict[str, str | int] = {
        "poetry_version": "2.3.0",
        "port": 9000,
        "ci": "none",
        "app_name": "other",
    }
    project = render(**others)
    assert (project / "poetry.lock").read_text() == lock
    check_run("poetry", "check", "--lock", cwd=project)


def test_poetry_is_asked_for_as_it_is_proven(project: Render) -> None:
    folder = project()
    requires = tomllib.loads((folder / "pyproject.toml").read_text())["tool"]["poetry"]["requires-poetry"]
    proven = SpecifierSet(requires)
    assert all(poetry in proven for poetry in POETRIES)
    assert "3.0.0" not in proven
    older = f"2.{Version(OLDEST_POETRY).minor - 1}.0"
    assert older not in proven
    result = run("uvx", "--quiet", "--from", f"poetry=={older}", "poetry", "check", cwd=folder)
    assert result.returncode == 1
    assert f"requires Poetry {requires}" in " ".join(result.stdout.split()), result.stdout
