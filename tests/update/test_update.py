"""`copier update` with Copier itself: it applies every change of the template, and keeps all edits and the lock."""

import shutil
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.answers import valid_answers
from tests.support.commands import ROOT, check_run, commit, run
from tests.support.files import replace
from tests.support.matrix import in_every_run, slow
from tests.support.projects import NOT_THE_TEMPLATE, Environment, copy_checkout, in_environment
from tests.support.template import CHOICES, DEFAULTS, HAZARDS, HOST_PYTHON, PAIRS, STACKS
from tests.support.updates import (
    EDITS,
    NEW_LOCK,
    OURS,
    PACKAGE,
    TAGS,
    THEIRS,
    Edit,
    add_files,
    change_the_ci_job,
    change_the_dockerfile,
    change_the_makefile,
    change_the_readme,
    change_the_settings,
    changes,
    check_advice,
    copy,
    delete_starter_files,
    edit_everything,
    files,
    improve,
    refusal,
    update,
    write_code,
)

COMBINATIONS = [(*stack, ci) for stack, ci in product(STACKS, CHOICES["ci"])]
# One combination. The tests with generated answers and with new answers cover others.
EVERY_RUN = [("flask", "gunicorn", "gitlab")]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a template with two versions. 1.0.0 is the checkout. 1.1.0 changes every file and adds one."""
    folder = tmp_path_factory.mktemp("versions") / "template"
    copy_checkout(folder, without=NOT_THE_TEMPLATE)
    commit(folder, "first release", tag="1.0.0")
    improve(folder, "improved")
    (folder / "template" / "NEWS.md").write_text("New in 1.1.0\n")
    commit(folder, "second release", tag="1.1.0")
    return folder


# --- edits of teams --------------------------------------------------------------------------------------------------


ALL_EDITS = [*EDITS, delete_starter_files]


# --- properties ------------------------------------------------------------------------------------------------------


def check_update(
    template: Path, tmp_path: Path, edits: Sequence[Edit], old: dict[str, Any], new: dict[str, Any] | None = None
) -> None:
    """Check that an update, with or without new answers, equals a fresh copy with the edits, and keeps the lock."""
    new = new or {}
    project = copy(template, "1.0.0", tmp_path / "project", **old)
    fresh = copy(template, "1.1.0", tmp_path / "fresh", **old | new)
    lock = (project / "poetry.lock").read_bytes()
    for folder in (project, fresh):
        for edit in edits:
            edit(folder)
    commit(project, "our own work")
    said = update(project, **new)
    shutil.copy(project / "poetry.lock", fresh)
    assert files(project) == files(fresh)
    assert (project / "poetry.lock").read_bytes() == lock
    check_advice(project, said)


@pytest.mark.parametrize(("framework", "server", "ci"), in_every_run(EVERY_RUN, COMBINATIONS))
def test_update_is_a_fresh_copy_with_every_edit(
    framework: str, server: str, ci: str, template: Path, tmp_path: Path
) -> None:
    texts = {"app_description": f"{HAZARDS} \u3000\n\n\ufeff{'long ' * 80}", "author_name": "Zoë\xa0O'Neill \u200d🐍 "}
    check_update(template, tmp_path, [edit_everything], texts | {"framework": framework, "server": server, "ci": ci})
    commit(tmp_path / "project", "updated")
    update(tmp_path / "project")
    assert changes(tmp_path / "project") == [], "a second update changed files"
    assert texts.items() <= yaml.safe_load((tmp_path / "project" / ".copier-answers.yml").read_text()).items()


def test_update_to_the_other_framework_keeps_what_was_written(template: Path, tmp_path: Path) -> None:
    project = copy(template, "1.0.0", tmp_path / "project", framework="flask")
    edit_everything(project)
    commit(project, "our own work")
    update(project, framework="fastapi", server=DEFAULTS["fastapi"])
    conflicts = [line[3:] for line in changes(project) if line.startswith("UU")]
    assert conflicts == ["src/my_service/app.py", "tests/test_app.py"]
    app = (project / PACKAGE / "app.py").read_text()
    assert "EDITED = True" in app
    assert "FastAPI" in app
    assert "EDITED = True" in (project / PACKAGE / "settings.py").read_text()


# In every run, test_update_is_a_fresh_copy_with_every_edit makes all edits except delete_starter_files at once.
@pytest.mark.parametrize(
    "edit",
    slow(*((edit,) for edit in ALL_EDITS)),
    ids=lambda edit: edit.__name__,
)
def test_update_keeps_each_edit(edit: Edit, template: Path, tmp_path: Path) -> None:
    check_update(template, tmp_path, [edit], {})


NEW_ANSWERS = [
    {"python_version": "3.12"},
    {"server": "granian"},
    {"ci": "none"},
    {"include_devcontainer": "true", "include_kubernetes": "true", "include_workshop": "true"},
    {"poetry_version": "2.4.0", "port": "9000", "user_uid": "1234", "app_description": 'Sells "things" for $5'},
]
# All of them together, and one by one with `-m slow`.
ALL_NEW_ANSWERS = {question: answer for new in NEW_ANSWERS for question, answer in new.items()}


@pytest.mark.parametrize(
    ("framework", "new"),
    in_every_run([("fastapi", ALL_NEW_ANSWERS)], product(CHOICES["framework"], [ALL_NEW_ANSWERS, *NEW_ANSWERS])),
    ids=lambda value: "-".join(value) if isinstance(value, dict) else value,
)
def test_update_with_new_answers_keeps_the_edits(
    framework: str, new: dict[str, str], template: Path, tmp_path: Path
) -> None:
    edits = [write_code, add_files, change_the_makefile, change_the_dockerfile, change_the_readme]
    check_update(template, tmp_path, edits, {"framework": framework}, new)


# For each edit, the answers that change the same lines, adjacent lines or the whole file.
SAME_LINES: dict[Edit, set[str]] = {
    write_code: {"framework"},
    change_the_settings: {"framework", "server", "app_description"},
    change_the_ci_job: {"ci"},
    change_the_readme: {"app_description"},
}


@given(old=valid_answers, new=valid_answers, edits=st.sets(st.sampled_from(ALL_EDITS)))
@settings(max_examples=settings().max_examples // 10)
def test_update_between_generated_answers_keeps_the_edits(
    template: Path, old: dict[str, Any], new: dict[str, Any], edits: set[Edit]
) -> None:
    old, new = old | {"app_name": "my-service"}, new | {"app_name": "my-service"}
    changed = {question for question in old if old[question] != new[question]}
    apart = [edit for edit in ALL_EDITS if edit in edits and not changed & SAME_LINES.get(edit, set())]
    with TemporaryDirectory() as folder:
        check_update(template, Path(folder), apart, old, new)


@pytest.mark.slow
@pytest.mark.parametrize("framework", CHOICES["framework"])
def test_update_to_the_other_framework_is_a_fresh_copy(framework: str, template: Path, tmp_path: Path) -> None:
    other = next(name for name in CHOICES["framework"] if name != framework)
    new = {"framework": other, "server": DEFAULTS[other]}
    check_update(template, tmp_path, [add_files, change_the_makefile], {"framework": framework}, new)


@pytest.mark.slow  # test_update_is_a_fresh_copy_with_every_edit also updates a second time
def test_update_without_a_new_version_changes_nothing(template: Path, tmp_path: Path) -> None:
    description = "{{ braces }}, ${X} and 'quotes'"
    project = copy(template, "1.1.0", tmp_path / "project", app_description=description, include_devcontainer="true")
    commit(project, "start from the template")
    assert NEW_LOCK not in update(project)
    assert changes(project) == []


def test_a_package_that_was_renamed_stays_so(template: Path, tmp_path: Path) -> None:
    project = copy(template, "1.0.0", tmp_path / "project")
    check_run("git", "init", "--quiet", cwd=project)
    (project / PACKAGE).rename(project / "src" / "shop")
    for name, text in files(project).items():
        if name not in {".copier-answers.yml", "poetry.lock"}:
            (project / name).write_text(text.replace("my_service", "shop"))
    commit(project, "another name")
    before = files(project)
    said = update(project)
    after = files(project)
    assert not (project / PACKAGE).exists()
    assert "The package is not in src/my_service: its modules were not updated." in said
    assert {name: text for name, text in after.items() if name.startswith("src/")} == {
        name: text for name, text in before.items() if name.startswith("src/")
    }
    for name in ("Dockerfile", "pyproject.toml", "docker-compose.yml"):
        assert after[name] == "# improved\n" + before[name]


# --- conflicts -------------------------------------------------------------------------------------------------------


def test_conflict_stands_in_the_lines_that_both_changed_and_is_not_committed(
    released: Path, tmp_path: Path, environment: Environment
) -> None:
    project = copy(released, "1.0.0", tmp_path / "project")
    edit_everything(project)
    commit(project, "our own work")
    dockerfile = released / "template" / "Dockerfile.jinja"
    replace(dockerfile, "--interval=10s", "--interval=20s")
    replace(dockerfile, "UV_LINK_MODE=copy", "UV_LINK_MODE=hardlink")
    commit(released, "second release", tag="1.1.0")

    said = update(project)

    assert changes(project) == [" M .copier-answers.yml", "UU Dockerfile"]
    assert said.rstrip().endswith("Conflicts: choose between the lines that are marked in Dockerfile.")
    text = (project / "Dockerfile").read_text()
    assert (text.count(OURS), text.count(THEIRS)) == (1, 1)
    conflict = text[text.index(OURS) : text.index(THEIRS)].splitlines()
    assert [line[:31] for line in conflict] == [
        OURS,
        "HEALTHCHECK --interval=15s --ti",
        "=======",
        "HEALTHCHECK --interval=20s --ti",
    ]
    assert 'ARG RUNTIME_PACKAGES="libpq5"' in text
    assert "UV_LINK_MODE=hardlink" in text
    variables = in_environment(environment("fastapi", "uvicorn"))
    check_run("git", "add", "--all", cwd=project)
    result = run("pre-commit", "run", "conflict-markers", "--all-files", cwd=project, **variables)
    assert result.returncode == 1
    assert "Dockerfile" in result.stdout


@pytest.mark.slow
def test_line_endings_of_windows_widen_no_conflict(template: Path, tmp_path: Path) -> None:
    project = copy(template, "1.0.0", tmp_path / "project")
    check_run("git", "init", "--quiet", cwd=project)
    check_run("git", "config", "core.autocrlf", "true", cwd=project)
    commit(project, "start from the template")
    check_run("git", "rm", "-r", "--quiet", ".", cwd=project)
    check_run("git", "reset", "--hard", "--quiet", cwd=project)
    text = (project / "Dockerfile").read_text()
    (project / "Dockerfile").write_text(f"# ours\n{text}")
    commit(project, "our own work")
    update(project)
    assert (project / "Dockerfile").read_text() == f"{OURS}\n# ours\n=======\n# improved\n{THEIRS}\n{text}"


@pytest.mark.parametrize("options", slow((("--conflict=rej",),), ((),)), ids=["rej", "diff3"])
def test_last_lines_name_what_was_not_merged(options: tuple[str, ...], template: Path, tmp_path: Path) -> None:
    project = copy(template, "1.0.0", tmp_path / "project")
    pyproject = project / "pyproject.toml"
    pyproject.write_text(f"# ours\n{pyproject.read_text()}")
    commit(project, "our own work")
    check_run("git", "config", "merge.conflictStyle", "diff3", cwd=project)
    said = check_run("copier", "update", "--trust", "--defaults", *options, cwd=project)
    assert "my-service is at version 1.1.0 of the template: git status shows what came." in said
    assert (
        "Rejected: apply pyproject.toml.rej by hand" if options else "lines that are marked in pyproject.toml."
    ) in said
    assert NEW_LOCK not in said


# --- the lock --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("framework", "server"), in_every_run(PAIRS[:1], PAIRS))
def test_new_dependencies_ask_for_a_new_lock(framework: str, server: str, released: Path, tmp_path: Path) -> None:
    stack = {"framework": framework, "server": server, "python_version": HOST_PYTHON}
    project = copy(released, "1.0.0", tmp_path / "project", **stack)
    check_run("git", "init", "--quiet", cwd=project)
    check_run("poetry", "add", "--lock", "cowsay", cwd=project)
    commit(project, "our own dependency")
    before = files(project)
    (released / "locks" / f"{framework}-{server}-{HOST_PYTHON}.lock").write_text("renewed by the template\n")
    commit(released, "another lock", tag="1.1.0")
    check_advice(project, update(project))
    assert files(project) | {".copier-answers.yml": ""} == before | {".copier-answers.yml": ""}

    commit(project, "updated")
    for last in ("structlog (>=26.", "uvloop (>=0."):
        replace(released / "template" / "pyproject.toml.jinja", last, f"{last}0")
    commit(released, "other dependencies, the last one among them", tag="1.2.0")
    said = update(project)
    assert said.rstrip().endswith("poetry.lock does not match pyproject.toml: run make lock.")
    assert (project / "poetry.lock").read_text() == before["poetry.lock"]
    assert "cowsay" in (project / "pyproject.toml").read_text()
    check_advice(project, said)


@pytest.mark.slow  # the update with all new answers also changes the Python version
def test_update_to_another_python_asks_for_a_new_lock(released: Path, tmp_path: Path) -> None:
    project = copy(released, "1.0.0", tmp_path / "project")
    commit(project, "start from the template")
    lock = (project / "poetry.lock").read_bytes()
    said = update(project, python_version="3.15")
    assert said.rstrip().endswith("poetry.lock does not match pyproject.toml: run make lock.")
    assert 'requires-python = ">=3.15,<3.16"' in (project / "pyproject.toml").read_text()
    assert (project / "poetry.lock").read_bytes() == lock
    check_advice(project, said)


@pytest.mark.slow
def test_conflict_in_the_dependencies_is_named(released: Path, tmp_path: Path) -> None:
    project = copy(released, "1.0.0", tmp_path / "project")
    replace(project / "pyproject.toml", "structlog (>=26.1.0", "structlog (>=26.0.1")
    commit(project, "our own version")
    replace(released / "template" / "pyproject.toml.jinja", "structlog (>=26.1.0", "structlog (>=26.0.0")
    commit(released, "another version", tag="1.1.0")
    said = update(project)
    assert "Conflicts: choose between the lines that are marked in pyproject.toml.\n" in said
    assert NEW_LOCK in said


# --- answers of an existing project ----------------------------------------------------------------------------------


def test_choice_that_is_gone_is_asked_for_and_not_replaced(released: Path, tmp_path: Path) -> None:
    project = copy(released, "1.0.0", tmp_path / "project", python_version="3.11")
    commit(project, "start from the template")
    replace(released / "data" / "facts.yml", '["3.11", ', "[")
    commit(released, "without Python 3.11", tag="1.1.0")
    assert refusal(project) == (
        "python_version must be one of 3.12, 3.13, 3.14, 3.15, not '3.11' (did you mean '3.15'?): "
        "give another answer, as in copier update --trust --data python_version=…"
    )


@pytest.mark.slow  # Copier itself does this
def test_question_that_is_gone_is_forgotten(released: Path, tmp_path: Path) -> None:
    replace(released / "data" / "facts.yml", "    framework: [", "    team: [red, blue]\n    framework: [")
    question = "\nteam:\n  type: str\n  choices: [red, blue]\n  default: red\n\nport:\n"
    replace(released / "copier.yml", "\nport:\n", question)
    commit(released, "a question", tag="1.1.0")
    project = copy(released, "1.1.0", tmp_path / "project", team="blue")
    commit(project, "start from the template")
    check_run("git", "revert", "--no-edit", "HEAD", cwd=released)
    check_run("git", "tag", "1.2.0", cwd=released)
    assert yaml.safe_load((project / ".copier-answers.yml").read_text())["team"] == "blue"
    update(project)
    assert "team" not in yaml.safe_load((project / ".copier-answers.yml").read_text())
    assert changes(project) == [" M .copier-answers.yml"]


@pytest.mark.slow  # unit tests of `app_name` cover the rule
def test_name_that_the_template_took_stays_with_who_has_it(released: Path, tmp_path: Path) -> None:
    project = copy(released, "1.0.0", tmp_path / "project", app_name="orders")
    commit(project, "start from the template")
    replace(released / "data" / "reserved_names.json", "[\n", '[\n  "orders",\n')
    commit(released, "a dependency called orders", tag="1.1.0")
    update(project)
    assert yaml.safe_load((project / ".copier-answers.yml").read_text())["app_name"] == "orders"
    assert changes(project) == [" M .copier-answers.yml"]
    commit(project, "updated")
    update(project, app_name="orders")
    assert changes(project) == []
    check_run("copier", "update", "--trust", "--defaults", "--vcs-ref=HEAD", cwd=project)
    fresh = run("copier", "copy", "--trust", "--defaults", "--data=app_name=orders", str(released), "x", cwd=tmp_path)
    assert "app_name must not be 'orders'" in fresh.stdout, "a new project cannot have this name"


@pytest.mark.slow  # unit tests of `app_name` cover the rule
def test_project_is_not_renamed_by_an_answer(template: Path, tmp_path: Path) -> None:
    project = copy(template, "1.0.0", tmp_path / "project")
    commit(project, "start from the template")
    assert refusal(project, app_name="orders") == (
        "app_name must stay 'my-service' in an existing project, not become 'orders': "
        "its code would remain in the old package."
    )


@pytest.mark.slow  # unit tests of `app_name` cover the rule
@pytest.mark.parametrize("damaged", ["My Shop!", "null"])
def test_project_is_not_renamed_by_damaged_answers(damaged: str, template: Path, tmp_path: Path) -> None:
    project = copy(template, "1.0.0", tmp_path / "project", app_name="shop")
    replace(project / ".copier-answers.yml", "app_name: shop\n", f"app_name: {damaged}\n")
    commit(project, "an edit by hand")
    message = refusal(project)
    assert message.startswith("app_name "), message
    assert message.endswith("from git."), message


@pytest.mark.slow  # a unit test covers more values
def test_damaged_list_of_own_files_is_refused(template: Path, tmp_path: Path) -> None:
    project = copy(template, "1.0.0", tmp_path / "project")
    replace(project / ".copier-answers.yml", "own_files: []\n", "own_files: 5\n")
    commit(project, "an edit by hand")
    assert refusal(project) == "own_files must be a list of files, not 5: restore .copier-answers.yml from git."


# --- releases of this repository -------------------------------------------------------------------------------------


@pytest.fixture
def history(tmp_path: Path) -> Path:
    """Return a clone of this repository with its history, and with the checkout as version 9999.0."""
    clone = tmp_path / "history"
    check_run("git", "clone", "--quiet", str(ROOT), str(clone), cwd=tmp_path)
    check_run("git", "rm", "-r", "--quiet", ".", cwd=clone)
    copy_checkout(clone)
    commit(clone, "the checkout", tag="9999.0")
    return clone


@pytest.mark.skipif(not TAGS, reason="nothing has been released")
@pytest.mark.parametrize(("framework", "server"), PAIRS)
@pytest.mark.parametrize("tag", TAGS)
def test_update_from_each_release_merges(tag: str, framework: str, server: str, history: Path, tmp_path: Path) -> None:
    project = copy(history, tag, tmp_path / "project", framework=framework, server=server)
    fresh = copy(history, "9999.0", tmp_path / "fresh", framework=framework, server=server)
    commit(project, "start from the template")
    said = update(project, version="9999.0")
    shutil.copy(project / "poetry.lock", fresh)
    assert files(project) == files(fresh)
    check_advice(project, said)
