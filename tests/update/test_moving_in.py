"""A Poetry project that was not created from the template moves in: its files stay, and the missing files are added."""

import re
from pathlib import Path

import pytest
import yaml
from copier.errors import UserMessageError

from tests.support.adopters import (
    ADOPTERS,
    advised,
    application,
    follow,
    move_in,
    new_with_poetry,
    poetry_1,
    printed_steps,
)
from tests.support.commands import check_run, commit
from tests.support.files import replace
from tests.support.matrix import slow
from tests.support.updates import NEW_LOCK, changes, check_advice, files, improve, refusal, update

RECOPY = ("copier", "recopy", "--trust", "--defaults", "--overwrite")


def kept(said: str) -> list[str]:
    """Return the files that Copier lists as unchanged."""
    (files,) = re.findall(r"keeps as they are:\n\n +(.*)\n", said)
    return str(files).split()


@pytest.mark.parametrize("framework", ["fastapi", *slow(("flask",))])
def test_existing_files_stay_and_missing_files_are_added(framework: str, released: Path, tmp_path: Path) -> None:
    project = new_with_poetry(tmp_path, framework)
    before = files(project)
    said = move_in(project, released)
    after = files(project)
    assert yaml.safe_load(after[".copier-answers.yml"])["framework"] == framework, "read from the dependencies"
    assert before.items() <= after.items()
    assert {line[:2] for line in changes(project)} == {"??"}
    assert {"Dockerfile", "docker-compose.yml", "entrypoint.sh", "Makefile", ".dockerignore"} <= set(after) - set(
        before
    )
    assert {name for name in after if name.startswith("tests/")} == {"tests/__init__.py", "tests/test_prices.py"}
    assert yaml.safe_load(after[".copier-answers.yml"])["app_name"] == "my-shop"
    assert "my_shop.app:" in after["Dockerfile"]
    check_run("poetry", "check", "--lock", cwd=project)
    check_advice(project, "")
    own = [".gitignore", "README.md", "poetry.lock", "pyproject.toml", "src/my_shop/__init__.py", "tests"]
    assert kept(said) == yaml.safe_load(after[".copier-answers.yml"])["own_files"] == own


def test_message_names_what_is_missing_and_nothing_else(released: Path, tmp_path: Path) -> None:
    project = new_with_poetry(tmp_path, "flask")
    said = move_in(project, released)
    (service, _), (tools, _) = advised(said)
    assert [entry.partition(">")[0] for entry in service.split()] == ["gunicorn", "pydantic-settings", "structlog"]
    assert {"pytest", "pre-commit"} <= {entry.partition(">")[0] for entry in tools.split()}
    assert "ruff" not in tools, "the project keeps its own linters"
    assert "requires-python" not in said
    assert "make lock" not in said


def test_python_is_one_that_the_project_supports(released: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    project.mkdir()
    pyproject = '[project]\nname = "my-shop"\nversion = "1"\nrequires-python = ">=3.9,<3.14"\n'
    (project / "pyproject.toml").write_text(pyproject)
    commit(project, "our own project")
    said = move_in(project, released)
    assert (project / "pyproject.toml").read_text() == pyproject
    assert yaml.safe_load((project / ".copier-answers.yml").read_text())["python_version"] == "3.13"
    step = "pyproject.toml: set requires-python = \">=3.13,<3.14\"  # the Python of the image; it is '>=3.9,<3.14'"
    assert f"    {step}\n" in said
    commit(project, "moved in")
    assert f"Left from moving in: {step}\n" in update(project)
    replace(project / "pyproject.toml", ">=3.9", ">=3.12")
    commit(project, "followed the step")
    assert "requires-python" not in update(project)


def test_description_that_is_no_valid_answer_is_shortened(snapshot: Path, tmp_path: Path) -> None:
    description = f"Sells\\u0085things{' online' * 100}"
    pyproject = f'[project]\nname = "my-shop"\nversion = "1"\ndescription = "{description}"\n'
    (tmp_path / "pyproject.toml").write_text(pyproject)
    move_in(tmp_path, snapshot)
    recorded = yaml.safe_load((tmp_path / ".copier-answers.yml").read_text())["app_description"]
    assert recorded.startswith("Sells things online online")
    assert len(recorded) == 512
    assert (tmp_path / "pyproject.toml").read_text() == pyproject


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ("framework=fastapi", "framework must be flask, which this project uses, not 'fastapi'."),
        ("python_version=3.14", "python_version must be one of 3.11, 3.12: pyproject.toml has '^3.9,<3.13'."),
        (
            "app_import=shop.api:app",
            "app_import must name a module of this project, not 'shop.api:app': it has no shop.api.",
        ),
        ("app_import=wsgi", "app_import must be like shop.main:app, or shop:create_app() for a function, not 'wsgi'."),
    ],
)
def test_answer_that_contradicts_the_project_is_refused(
    answer: str, message: str, snapshot: Path, tmp_path: Path
) -> None:
    project = tmp_path / "project"
    project.mkdir()
    (project / "pyproject.toml").write_text(poetry_1('flask = "*"', python="^3.9,<3.13"))
    (project / "wsgi.py").write_text(application("flask"))
    before = files(project)
    question, _, given = answer.partition("=")
    with pytest.raises(UserMessageError, match=re.escape(message)):
        move_in(project, snapshot, **{question: given})
    assert files(project) == before


def test_application_can_be_named(released: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    ADOPTERS["package of another name"].write(project)
    (project / "backend" / "shop").mkdir(parents=True)
    (project / "backend" / "shop" / "web.py").write_text("site = object()\n")
    commit(project, "another application")
    assert "It serves store.api.main:application." in move_in(project, released)
    assert "/src" not in (project / "Dockerfile").read_text()
    said = check_run(*RECOPY, "--data=app_import=shop.web:site", cwd=project)
    assert "It serves shop.web:site." in said
    dockerfile = (project / "Dockerfile").read_text()
    assert "ENV UVICORN_APP=shop.web:site" in dockerfile
    assert dockerfile.count("ENV PYTHONPATH=/app/backend\n") == 2
    assert not (project / "src").exists()
    replace(project / "Dockerfile", "ENV HEALTH_PATH=/health", "ENV HEALTH_PATH=/hello")
    commit(project, "moved in")
    update(project, app_import="store.api.main:application")
    dockerfile = (project / "Dockerfile").read_text()
    assert "ENV UVICORN_APP=store.api.main:application" in dockerfile
    assert dockerfile.count("ENV PYTHONPATH=/app\n") == 2
    assert "ENV HEALTH_PATH=/hello" in dockerfile


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
    said = move_in(project, released, framework="flask", server="gunicorn")
    after = files(project)
    assert kept(said)
    for name in ("pyproject.toml", "README.md", "poetry.lock", ".gitignore", "tests/test_prices.py"):
        assert after[name] == before[name]
    assert "tests/test_app.py" not in after
    assert "Flask" in after["src/my_shop/app.py"]


def test_files_in_the_way_are_replaced_by_the_printed_command(released: Path, tmp_path: Path) -> None:
    project = new_with_poetry(tmp_path, "fastapi")
    own = {"Dockerfile": "FROM scratch\n", "makefile": "all:\n\techo ours\n", "compose.yaml": "services: {}\n"}
    for name, text in own.items():
        (project / name).write_text(text)
    commit(project, "our own files")
    said = move_in(project, released)
    assert not {"Makefile", "docker-compose.yml", "docker-compose.override.yml"} & set(files(project))
    assert set(own) <= set(kept(said))
    step = printed_steps(said)[0]
    assert step == (
        "mv Dockerfile Dockerfile.old && mv compose.yaml compose.yaml.old && mv makefile makefile.old"
        " && copier recopy --trust --defaults --overwrite"
    )
    commit(project, "moved in")
    assert f"Left from moving in: {step}" in update(project), "an update does not replace the project's own files"
    assert files(project).items() >= own.items()
    said = check_run("sh", "-ec", step, cwd=project)
    after = files(project)
    assert {f"{name}.old": text for name, text in own.items()}.items() <= after.items()
    assert " AS production" in after["Dockerfile"]
    assert {"Makefile", "docker-compose.yml", "docker-compose.override.yml"} <= set(after)
    assert "mv " not in said
    commit(project, "followed the step")
    improve(released, "improved")
    commit(released, "second release", tag="1.1.0")
    assert "mv " not in update(project)
    assert files(project)["Dockerfile"].startswith("# improved\n")


def test_steps_about_ignored_files_and_health_get_fewer(released: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    adopter = ADOPTERS["static files and templates"]
    adopter.write(project)
    (project / ".gitignore").write_text("# local\n*.log\n/data/\n!keep.log\nvar/run/\n!/a/b\n")
    commit(project, "ignored files")
    said = move_in(project, released)
    ignore, health = (step for step in printed_steps(said) if step.startswith(("sed", "Dockerfile")))
    assert health == "Dockerfile: set HEALTH_PATH=/hello"
    commit(project, "moved in")
    left = update(project)
    for step in (ignore, health):
        assert step in left
        follow(step, project, {})
    commit(project, "followed the steps")
    left = update(project)
    assert ignore not in left
    assert health not in left
    added = (project / ".dockerignore").read_text().partition("\nworkshop\n")[2]
    assert added == "**/*.log\ndata\n!**/keep.log\nvar/run\n!a/b\n"


def test_variables_reach_the_containers(released: Path, tmp_path: Path) -> None:
    """The Compose files pass on each variable that the code reads. The step names only those without a default."""
    project = tmp_path / "project"
    ADOPTERS["own Compose file, variables"].write(project)
    said = move_in(project, released)
    (step,) = (step for step in printed_steps(said) if step.startswith(".env"))
    assert step == ".env: set GREETING, SHOP_NAME"
    follow(printed_steps(said)[0], project, {})
    for name, service in (("docker-compose.yml", "production"), ("docker-compose.override.yml", "app")):
        environment = yaml.safe_load(files(project)[name])["services"][service]["environment"]
        assert {"GREETING": None, "SHOP_NAME": None, "SHOP_SIZE": None}.items() <= environment.items()


def test_project_whose_name_no_service_can_have_is_refused(snapshot: Path, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "json"\nversion = "1"\n')
    with pytest.raises(UserMessageError, match="app_name must not be 'json': its package would hide a module"):
        move_in(tmp_path, snapshot)
    assert not (tmp_path / "Dockerfile").exists()


def test_own_renovate_settings_keep_the_templates_out(released: Path, tmp_path: Path) -> None:
    project = new_with_poetry(tmp_path, "fastapi")
    (project / "renovate.json").write_text("{}\n")
    said = move_in(project, released)
    assert ".github/renovate.json" not in files(project)
    assert "renovate.json" in kept(said)
    assert ".github/renovate.json" not in kept(said)


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
    with pytest.raises(UserMessageError, match=r"holds another's: add --answers-file \.copier-answers\.docker\.yml"):
        move_in(project, released)
    assert changes(project) == []
    move_in(project, released, ".copier-answers.docker.yml")
    assert before.items() <= files(project).items()
    assert yaml.safe_load(files(project)[".copier-answers.docker.yml"])["app_name"] == "my-shop"


def test_printed_commands_name_the_answers_file(released: Path, tmp_path: Path) -> None:
    project = new_with_poetry(tmp_path, "fastapi")
    (project / "Dockerfile").write_text("FROM scratch\n")
    commit(project, "our own Dockerfile")
    said = move_in(project, released, ".copier-answers.docker.yml")
    step = printed_steps(said)[0]
    assert step.endswith(" --answers-file .copier-answers.docker.yml")
    check_run("sh", "-ec", step, cwd=project)
    assert " AS production" in (project / "Dockerfile").read_text()
    assert "Dockerfile" not in yaml.safe_load((project / ".copier-answers.docker.yml").read_text())["own_files"]


@pytest.mark.parametrize("holds_a_project", [True, False])
def test_copy_over_a_project_of_the_template_is_no_moving_in(
    holds_a_project: bool, released: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "project"
    folder.mkdir()
    if holds_a_project:
        move_in(folder, released)
    (folder / "Makefile").write_text("edited\n")
    said = move_in(folder, released)
    assert "is ready in" in said
    assert (folder / "Makefile").read_text() != "edited\n"
    assert (folder / "tests" / "test_app.py").exists()
