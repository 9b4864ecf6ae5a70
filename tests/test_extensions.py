"""The extension's functions, without rendering anything."""

import ast
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from jinja2 import Environment
from jinja2.exceptions import UndefinedError

from extensions import answers, destination, quoting
from tests.commands import ROOT

HAZARDS = "say \"hi\" \\ {{ app_name }} {% raw %} ${HOME} `id` 'x' # 🐍\ttab <b>&amp;"


@pytest.mark.parametrize(
    ("name", "normalized"),
    [("My.App", "my-app"), ("a__b", "a-b"), ("Friendly-._.-Bard", "friendly-bard"), ("plain", "plain")],
)
def test_normalize_name_follows_pep_503(name: str, normalized: str) -> None:
    assert answers.normalize_name(name) == normalized


def test_package_name_is_an_identifier() -> None:
    assert answers.package_name("my-own-service") == "my_own_service"


@pytest.mark.parametrize("name", ["my-service", "a", "a1", "x2-3y", "a" * 64, "match", "type", "shop"])
def test_app_name_takes_valid_names(name: str) -> None:
    assert answers.app_name_error(name) == ""


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("", "must start with a lower-case letter"),
        ("My App", "try 'my-app'"),
        ("MyApp", "try 'myapp'"),
        ("my_app", "try 'my-app'"),
        ("my--app", "try 'my-app'"),
        ("app_", "try 'app'"),
        ("-app", "try 'app'"),
        ("1st", "must start with a lower-case letter"),
        ("größe", "hold only lower-case letters"),
        ("a\n", "hold only lower-case letters"),
        ("a" * 65, "at most 64 characters, not 65"),
        ("class", "keyword of Python"),
        ("json", "standard library"),
        ("annotationlib", "standard library"),
        ("cgi", "standard library"),
        ("test", "taken for a test"),
        ("test-app", "taken for a test"),
        ("flask", "installs a package of that name"),
        ("pydantic-core", "installs a package of that name"),
        ("yaml", "installs a package of that name"),
        ("python", "Docker images"),
        (None, "must start with a lower-case letter, "),
    ],
)
def test_app_name_states_the_broken_rule(name: object, reason: str) -> None:
    error = answers.app_name_error(name)
    assert error.startswith("app_name must ")
    assert error.endswith(".")
    assert "\n" not in error
    if name is not None:
        assert reason in error


@pytest.mark.parametrize(
    ("rule", "good", "bad"),
    [
        (
            answers.poetry_version_error,
            ["2.3.0", "2.5.1", "2.10.0"],
            ["1.8.5", "2", "2.5", "2.2.9", "latest", "", "2.3.0b1", "3.0.0", "2.05.1"],
        ),
        (
            answers.port_error,
            [1024, 8000, "8000", 65535],
            [0, 80, 1023, 65536, 70000, "abc", "", -1, "8000.0", None, True],
        ),
        (answers.user_uid_error, [1, "1000", 2**31 - 1], [0, -1, 2**31, "me", "", "0", None]),
        (answers.user_gid_error, [1, 20, 2**31 - 1], [0, -1, 2**31, "me", "", "00", None]),
        (answers.include_devcontainer_error, [True, False, "true", "No", "0"], ["maybe", "", 2, None]),
        (answers.include_workshop_error, [True, False, "true", "No", "0"], ["maybe", "", 2, None]),
        (
            answers.author_email_error,
            ["", "ada@example.com", "a.b+c@sub.example.org"],
            ["ada", "ada@", "@example.com", "a b@example.com", "Ada <ada@example.com>", "a@b@c"],
        ),
        (
            answers.author_name_error,
            ["", "Ada Lovelace", "Jürgen O'Neill", "王小明"],
            ["Lovelace, Ada", "A <a@b>", "a\nb"],
        ),
        (answers.app_description_error, ["", HAZARDS, "two\nlines"], ["bell \x07", "nul \x00", "return \r"]),
    ],
)
def test_rule_tells_good_from_bad(rule: Callable[[object], str], good: list[object], bad: list[object]) -> None:
    question = rule.__name__.removesuffix("_error")
    assert [answer for answer in good if rule(answer)] == []
    for answer in bad:
        error = rule(answer)
        assert error.startswith(f"{question} must "), answer
        assert error.endswith("."), answer
        assert "\n" not in error, answer


def test_choice_names_the_choices_and_the_nearest() -> None:
    error = answers.choice_error("framework", "flaks", ["flask", "fastapi"])
    assert error == "framework must be one of flask, fastapi, not 'flaks' (did you mean 'flask'?)."
    assert answers.choice_error("framework", "flask", ["flask", "fastapi"]) == ""


def test_refuse_bad_answers_raises_what_copier_reports_plainly() -> None:
    choices = {"framework": ["flask", "fastapi"]}
    good = {"framework": "flask", "port": "8000", "no_question": object()}
    assert answers.refuse_bad_answers(good, choices) == ""
    with pytest.raises(UndefinedError, match=r"^port must be a whole number from 1024 to 65535, not '80'"):
        answers.refuse_bad_answers(good | {"port": "80"}, choices)
    with pytest.raises(UndefinedError, match=r"^app_description must be one value, not None\.$"):
        answers.refuse_bad_answers({"app_description": None}, choices)
    with pytest.raises(UndefinedError, match=r"^framework must be one of"):
        answers.refuse_bad_answers({"framework": "django"}, choices)


@pytest.mark.parametrize("text", ["", "plain", HAZARDS, "two\nlines", "\x7f\x01", "\U0001f40d"])
def test_toml_string_survives_a_parser(text: str) -> None:
    assert tomllib.loads(f"x = {quoting.toml_string(text)}") == {"x": text}


@pytest.mark.parametrize(
    ("name", "email", "author"),
    [
        ("", "", None),
        ("Ada", "", {"name": "Ada"}),
        ("", "ada@example.com", {"email": "ada@example.com"}),
        ("Ada", "ada@example.com", {"name": "Ada", "email": "ada@example.com"}),
    ],
)
def test_toml_author_holds_what_is_given(name: str, email: str, author: dict[str, str] | None) -> None:
    authors = tomllib.loads(f"x = [{quoting.toml_author(name, email)}]")["x"]
    assert authors == ([author] if author else [])


def test_dockerfile_string_escapes_what_docker_expands() -> None:
    assert quoting.dockerfile_string('a "b" \\ $c') == r'"a \"b\" "\\" \$c"'
    assert quoting.dockerfile_string("two\nlines") == '"two lines"'


@pytest.mark.parametrize(
    ("pyproject", "name"),
    [
        ('[project]\nname = "My.Shop_2"\n', "my-shop-2"),
        ('[tool.poetry]\nname = "old"\n', "old"),
        ("[tool.poetry]\npackage-mode = false\n", "fallback"),
        ("no TOML at all", "fallback"),
    ],
)
def test_project_that_moves_in_has_its_own_name(pyproject: str, name: str, tmp_path: Path) -> None:
    assert not destination.is_moving_in(tmp_path)
    assert destination.own_name(tmp_path, "fallback") == "fallback"
    (tmp_path / "pyproject.toml").write_text(pyproject)
    assert destination.is_moving_in(tmp_path)
    assert destination.own_name(tmp_path, "fallback") == name
    (tmp_path / ".copier-answers.yml").write_text("app_name: other\n")
    assert not destination.is_moving_in(tmp_path)
    assert destination.own_name(tmp_path, "fallback") == "fallback"


@pytest.mark.parametrize("recorded", ["app_name: yes-sir\n", "port: 1\napp_name: 'yes-sir'\n"])
def test_project_keeps_its_name(recorded: str, tmp_path: Path) -> None:
    assert destination.app_rename_error("anything", tmp_path) == ""
    (tmp_path / ".copier-answers.yml").write_text(recorded)
    assert destination.app_rename_error("yes-sir", tmp_path) == ""
    assert destination.app_rename_error("no", tmp_path).startswith("app_name must stay 'yes-sir'")
    with pytest.raises(UndefinedError, match="must stay 'yes-sir'"):
        destination.refuse_rename("no", tmp_path)
    assert destination.refuse_rename("", tmp_path) == ""


def test_lock_advice_names_what_is_wrong(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "a"\ndependencies = ["b"]\n')
    assert "asks for other packages" in destination.lock_advice(tmp_path)
    (tmp_path / "pyproject.toml").write_text("<<<<<<< before updating\n")
    assert "has conflicts" in destination.lock_advice(tmp_path)


def test_missing_requirements_leave_out_what_is_named_in_any_form(tmp_path: Path) -> None:
    ours = """
        [project]
        dependencies = ["Flask (>=3,<4)", "a-b[c] (>=1)", "d>=1", "e", "new (>=2,<3)"]
        [dependency-groups]
        dev = ["pytest (>=9)", "ruff (>=1)"]
    """
    theirs = """
        [project]
        dependencies = ["flask>2", "A_B"]
        [dependency-groups]
        test = ["pytest", { include-group = "lint" }]
        [tool.poetry.dependencies]
        d = "*"
        [tool.poetry.group.any.dependencies]
        e = "*"
    """
    (tmp_path / "pyproject.toml").write_text(theirs)
    assert destination.missing_requirements(ours, tmp_path) == "new>=2,<3"
    assert destination.missing_requirements(ours, tmp_path, "dev") == "ruff>=1"


@pytest.mark.parametrize("module", [answers, destination, quoting])
def test_extension_imports_only_the_standard_library_and_jinja(module: object) -> None:
    tree = ast.parse((ROOT / "extensions" / f"{str(vars(module)['__name__']).rpartition('.')[2]}.py").read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in imported} <= sys.stdlib_module_names | {"jinja2"}


def test_extension_registers_its_filters() -> None:
    environment = Environment(extensions=[answers.AnswersExtension, quoting.QuotingExtension])  # noqa: S701 # no HTML
    assert environment.from_string("{{ 'my-app' | package_name }} {{ 'x' | toml_string }}").render() == 'my_app "x"'
    assert environment.from_string("{{ 80 | port_error }}").render().startswith("port must be")
