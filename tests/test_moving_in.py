"""A Poetry project that was not created from the template moves in: its files stay, and the missing files are added."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.commands import ROOT, check_run, commit, run
from tests.conftest import CHOICES
from tests.test_update import NEW_LOCK, changes, check_advice, files, improve, refusal, replace, update

TEST = "from my_shop.prices import price\n\n\ndef test_price() -> None:\n    assert price() == 42\n"
CODE = '"""Sells things."""\n\n\ndef price() -> int:\n    return 42\n'


def new_with_poetry(folder: Path, framework: str) -> Path:
    """Make a project as Poetry makes it, with code, a test, a dependency and a lock, and return its folder."""
    check_run("poetry", "new", "--no-interaction", "--quiet", "my-shop", cwd=folder)
    project = folder / "my-shop"
    (project / "src" / "my_shop" / "prices.py").write_text(CODE)
    (project / "tests" / "test_prices.py").write_text(TEST)
    (project / "README.md").write_text("# Our shop\n")
    (project / ".gitignore").write_text("*.log\n")
    check_run("poetry", "add", "--lock", "--quiet", framework, cwd=project)
    commit(project, "our own project")
    return project


def move_in(project: Path, template: Path | str, *options: str) -> str:
    """Copy the template into a project, as README says, and return what Copier said."""
    return check_run("copier", "copy", "--trust", "--defaults", *options, str(template), ".", cwd=project)


def advised(said: str) -> list[tuple[str, str]]:
    """Return the packages, and the group if there is one, of each `make add` that Copier advises."""
    return re.findall(r'^ +make add PKG="(.*?)"(?: GROUP=(\w+))?$', said, re.MULTILINE)


def kept(said: str) -> list[str]:
    """Return the files that Copier says it left as they are."""
    (files,) = re.findall(r"keeps as they are:\n\n +(.*)\n", said)
    return str(files).split()


@pytest.mark.parametrize("framework", CHOICES["framework"])
def test_existing_files_stay_and_missing_files_are_added(framework: str, released: Path, tmp_path: Path) -> None:
    project = new_with_poetry(tmp_path, framework)
    before = files(project)
    said = move_in(project, released, f"--data=framework={framework}")
    after = files(project)
    assert before.items() <= after.items()
    assert {line[:2] for line in changes(project)} == {"??"}
    assert {"Dockerfile", "docker-compose.yml", "entrypoint.sh", "Makefile", ".dockerignore"} <= set(after) - set(
        before
    )
    assert {name for name in after if name.startswith("tests/")} == {"tests/__init__.py", "tests/test_prices.py"}
    assert yaml.safe_load(after[".copier-answers.yml"])["app_name"] == "my-shop"
    assert "my_shop.app:" in (after["gunicorn.conf.py"] if framework == "flask" else after["Dockerfile"])
    check_run("poetry", "check", "--lock", cwd=project)
    check_advice(project, "")
    own = [".gitignore", "README.md", "poetry.lock", "pyproject.toml", "src/my_shop/__init__.py", "tests"]
    assert kept(said) == yaml.safe_load(after[".copier-answers.yml"])["own_files"] == own


def test_message_names_what_is_missing_and_nothing_else(released: Path, tmp_path: Path) -> None:
    project = new_with_poetry(tmp_path, "flask")
    said = move_in(project, released, "--data=framework=flask")
    (service, _), (tools, _) = advised(said)
    assert [entry.partition(">")[0] for entry in service.split()] == ["gunicorn", "pydantic-settings", "structlog"]
    assert {"pytest", "ruff", "mypy", "pre-commit"} <= {entry.partition(">")[0] for entry in tools.split()}
    assert "requires-python" not in said
    assert "make lock" not in said


def test_python_that_the_image_does_not_have_is_named(released: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    pyproject = '[project]\nname = "my-shop"\nversion = "1"\nrequires-python = ">=3.11,<3.14"\n'
    (project / "pyproject.toml").write_text(pyproject)
    commit(project, "our own project")
    step = 'pyproject.toml: set requires-python = ">=3.14,<3.15", as in the image; it is >=3.11,<3.14'
    said = move_in(project, released)
    assert f"    {step}\n" in said
    assert (project / "pyproject.toml").read_text() == pyproject
    commit(project, "moved in")
    assert f"Left from moving in: {step}\n" in update(project)
    assert "requires-python" not in update(project, python_version="3.13")


def test_project_that_moved_in_is_updated_except_for_its_own_files(released: Path, tmp_path: Path) -> None:
    project = new_with_poetry(tmp_path, "fastapi")
    move_in(project, released)
    commit(project, "moved in")
    before = files(project)
    improve(released, "improved")
    replace(released / "template" / "pyproject.toml.jinja", "line-length = 100", "line-length = 99")
    commit(released, "second release", tag="1.1.0")
    said = update(project)
    after = files(project)
    assert "Conflicts" not in said
    own = yaml.safe_load(after[".copier-answers.yml"])["own_files"]
    assert {name: after[name] for name in before if name in own or name.startswith("tests/")} == {
        name: before[name] for name in before if name in own or name.startswith("tests/")
    }
    for name in ("Makefile", "Dockerfile", "src/my_shop/logs.py"):
        assert after[name] == "# improved\n" + before[name]
    assert set(after) == set(before)
    assert "Left from moving in: make add PKG=" in said
    assert NEW_LOCK not in said


def test_second_copy_keeps_what_the_project_had(released: Path, tmp_path: Path) -> None:
    project = new_with_poetry(tmp_path, "flask")
    move_in(project, released)
    commit(project, "moved in, and forgot the framework")
    before = files(project)
    said = move_in(project, released, "--data=framework=flask", "--data=server=gunicorn", "--overwrite")
    after = files(project)
    assert kept(said)
    for name in ("pyproject.toml", "README.md", "poetry.lock", ".gitignore", "tests/test_prices.py"):
        assert after[name] == before[name]
    assert "tests/test_app.py" not in after
    assert "Flask" in after["src/my_shop/app.py"]


LEGACY = """\
[tool.poetry]
name = "My.Old_Shop"
version = "1.0"
description = ""
authors = []

[tool.poetry.dependencies]
python = ">=3.11"
structlog = ">=24"

[tool.poetry.group.dev.dependencies]
pytest = "*"
"""


def test_project_of_poetry_1_moves_in(released: Path, tmp_path: Path) -> None:
    project = tmp_path / "old"
    project.mkdir()
    (project / "pyproject.toml").write_text(LEGACY)
    (project / "Makefile").write_text("all:\n\techo ours\n")
    (project / "my_old_shop").mkdir()
    (project / "my_old_shop" / "__init__.py").touch()
    check_run("poetry", "lock", cwd=project)
    commit(project, "our own project")
    before = files(project)
    said = move_in(project, released)
    after = files(project)
    assert before.items() <= after.items()
    assert yaml.safe_load(after[".copier-answers.yml"])["app_name"] == "my-old-shop"
    service, tools = re.findall(r"^ +poetry add --lock (.*)$", said, re.MULTILINE)
    assert "structlog" not in service
    assert "pytest>" not in tools
    assert "Makefile" in kept(said), "so the commands are Poetry's"
    step = "move your package to src/my_old_shop"
    assert step in said
    commit(project, "moved in")
    said = update(project)
    assert step in said
    check_advice(project, said)
    check_run("git", "mv", "--force", "my_old_shop/__init__.py", "src/my_old_shop/__init__.py", cwd=project)
    commit(project, "moved the package")
    assert step not in update(project)


FLAT = """\
[tool.poetry]
name = "my-shop"
version = "1.0"
description = ""
authors = []
packages = [{ include = "shop" }]

[tool.poetry.dependencies]
python = ">=3.14,<3.15"
"""
APP = """\
from fastapi import FastAPI

application = FastAPI()


@application.get("/")
def index() -> str:
    return "hi"
"""


def test_steps_name_the_packages_the_application_and_the_health_check(released: Path, tmp_path: Path) -> None:
    project = tmp_path / "flat"
    (project / "shop").mkdir(parents=True)
    (project / "pyproject.toml").write_text(FLAT)
    (project / "shop" / "__init__.py").touch()
    (project / "shop" / "main.py").write_text(APP)
    commit(project, "our own project")
    said = move_in(project, released)
    entry = '{ include = "my_shop", from = "src" }'
    assert f"pyproject.toml: add {entry} to packages in [tool.poetry]; the images install it" in said
    assert "src/my_shop/app.py: replace it with an import of your application, as app; it is in shop/main.py" in said
    health = "let your application respond to /health with 200, or change HEALTH_PATH in the Dockerfile"
    assert health in said
    replace(project / "pyproject.toml", '{ include = "shop" }', f'{{ include = "shop" }}, {entry}')
    (project / "src" / "my_shop" / "app.py").write_text("from shop.main import application as app\n")
    commit(project, "followed the steps")
    said = update(project)
    assert "to packages" not in said
    assert "app.py" not in said
    assert health in said
    replace(project / "Dockerfile", "ENV HEALTH_PATH=/health", "ENV HEALTH_PATH=/")
    commit(project, "another path")
    assert health not in update(project)


def test_steps_name_own_files_that_make_up_needs(released: Path, tmp_path: Path) -> None:
    project = new_with_poetry(tmp_path, "fastapi")
    (project / "Dockerfile").write_text("FROM scratch\n")
    settings = project / "src" / "my_shop" / "settings.py"
    settings.write_text("DEBUG = True\n")
    commit(project, "our own files")
    said = move_in(project, released)
    assert "Dockerfile: yours has no stage development" in said
    assert "src/my_shop/settings.py: add the class Settings" in said
    assert "my_shop.settings" not in (project / "entrypoint.sh").read_text(), "it would run a module that is not ours"
    settings.write_text("class Settings: ...\n")
    replace(project / "Dockerfile", "FROM scratch", "FROM scratch AS development")
    commit(project, "followed the steps")
    said = update(project)
    assert "Dockerfile: yours" not in said
    assert "class Settings" not in said


def test_project_without_a_package_of_its_own_gets_no_step_about_packages(released: Path, tmp_path: Path) -> None:
    said = move_in(new_with_poetry(tmp_path, "fastapi"), released)
    assert "packages =" not in said
    assert "move your package" not in said
    assert "respond to /health" not in said


def test_project_whose_name_no_service_can_have_is_refused(released: Path, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "json"\nversion = "1"\n')
    command = ("copier", "copy", "--trust", "--defaults", "--quiet", str(released), ".")
    result = run(*command, cwd=tmp_path)
    assert result.returncode == 1
    assert "app_name must not be 'json': its package would hide a module" in result.stdout
    assert not (tmp_path / "Dockerfile").exists()


def test_own_compose_file_keeps_its_meaning(released: Path, tmp_path: Path) -> None:
    project = new_with_poetry(tmp_path, "fastapi")
    (project / "compose.yaml").write_text("services: {}\n")
    said = move_in(project, released)
    assert not [name for name in files(project) if name.startswith("docker-compose")]
    assert "compose.yaml" in kept(said)
    assert not [name for name in kept(said) if name.startswith("docker-compose")], "it has none to keep"
    assert advised(said) == [], "the Makefile's targets have no services to run in"
    assert re.search(r"^ +poetry add --lock ", said, re.MULTILINE)
    assert "add the services of the template's Compose files to yours" in said


def test_own_renovate_settings_keep_the_templates_out(released: Path, tmp_path: Path) -> None:
    project = new_with_poetry(tmp_path, "fastapi")
    (project / "renovate.json").write_text("{}\n")
    said = move_in(project, released)
    assert ".github/renovate.json" not in files(project)
    assert "renovate.json" in kept(said)
    assert ".github/renovate.json" not in kept(said)


def test_own_makefile_of_any_name_keeps_the_templates_out(released: Path, tmp_path: Path) -> None:
    project = new_with_poetry(tmp_path, "fastapi")
    (project / "GNUmakefile").write_text("all:\n\techo ours\n")
    said = move_in(project, released)
    assert "Makefile" not in files(project)
    assert advised(said) == []


def test_broken_pyproject_stops_an_update_before_it_changes_anything(released: Path, tmp_path: Path) -> None:
    project = new_with_poetry(tmp_path, "fastapi")
    move_in(project, released)
    with (project / "pyproject.toml").open("a") as pyproject:
        pyproject.write("[broken\n")
    commit(project, "moved in")
    improve(released, "improved")
    commit(released, "second release", tag="1.1.0")
    assert refusal(project).startswith("pyproject.toml must be readable as TOML, but is not: ")


def test_answers_of_another_template_are_left_alone(released: Path, tmp_path: Path) -> None:
    project = new_with_poetry(tmp_path, "fastapi")
    (project / ".copier-answers.yml").write_text("_src_path: gh:another/template\nframework: django\n")
    commit(project, "from another template")
    before = files(project)
    command = ("copier", "copy", "--trust", "--defaults", "--quiet")
    result = run(*command, str(released), ".", cwd=project)
    assert result.returncode == 1
    assert "holds another's: add --answers-file .copier-answers.docker.yml" in result.stdout
    assert changes(project) == []
    check_run(*command, "--answers-file=.copier-answers.docker.yml", str(released), ".", cwd=project)
    assert before.items() <= files(project).items()
    assert yaml.safe_load(files(project)[".copier-answers.docker.yml"])["app_name"] == "my-shop"


def test_own_files_can_be_compared_as_the_readme_says(released: Path, tmp_path: Path) -> None:
    project = new_with_poetry(tmp_path, "fastapi")
    move_in(project, released)
    readme = (ROOT / "README.md").read_text()
    (command,) = re.findall(
        r"^uvx --with copier-template-extensions (copier copy .*--data-file .*)$", readme, re.MULTILINE
    )
    fresh = tmp_path / "fresh"
    check_run("sh", "-c", command.replace("/tmp/fresh", str(fresh)), cwd=project, TEMPLATE=str(released))
    expected = tomllib.loads((fresh / "pyproject.toml").read_text())["project"]
    assert expected["name"] == "my-shop"
    assert (fresh / "tests" / "test_app.py").exists()
    same = run("diff", "-q", "Dockerfile", str(fresh / "Dockerfile"), cwd=project)
    assert same.returncode == 0


@pytest.mark.parametrize("holds_a_project", [True, False])
def test_copy_over_a_project_of_the_template_is_no_moving_in(
    holds_a_project: bool, released: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    if holds_a_project:
        move_in(folder, released)
    (folder / "Makefile").write_text("edited\n")
    said = move_in(folder, released, "--overwrite")
    assert "is ready in" in said
    assert (folder / "Makefile").read_text() != "edited\n"
    assert (folder / "tests" / "test_app.py").exists()
