"""The extension's functions, without rendering anything."""

import ast
import hashlib
import json
import sys
import tomllib
from collections.abc import Callable, Sequence
from pathlib import Path, PurePath

import pytest
from jinja2 import Environment
from jinja2.exceptions import UndefinedError

from extensions import adopting, advice, answers, destination, quoting
from tests.support.commands import ROOT
from tests.support.template import HAZARDS


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


ANSWERS = PurePath(".copier-answers.yml")


@pytest.mark.parametrize(
    ("pyproject", "name"),
    [
        ('[project]\nname = "My.Shop_2"\n', "my-shop-2"),
        ('[tool.poetry]\nname = "old"\n', "old"),
        ("[tool.poetry]\npackage-mode = false\n", "fallback"),
        ("project = 1\n[tool]\npoetry = 2\n", "fallback"),
        ("[project]\nname = 5\n", "fallback"),
    ],
)
def test_project_that_moves_in_has_its_own_name(pyproject: str, name: str, tmp_path: Path) -> None:
    assert not destination.is_moving_in(tmp_path, ANSWERS)
    assert destination.own_name(tmp_path, ANSWERS, "fallback") == "fallback"
    (tmp_path / "pyproject.toml").write_text(pyproject)
    assert destination.is_moving_in(tmp_path, ANSWERS)
    assert destination.own_name(tmp_path, ANSWERS, "fallback") == name
    (tmp_path / ANSWERS).write_text("app_name: other\n")
    assert not destination.is_moving_in(tmp_path, ANSWERS)
    assert destination.own_name(tmp_path, ANSWERS, "fallback") == "other"


@pytest.mark.parametrize("content", [b"no TOML at all", b'\xef\xbb\xbf[project]\nname = "a"\n', b'name = "\xe9"\n'])
def test_pyproject_that_cannot_be_read_is_refused_in_one_sentence(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_bytes(content)
    with pytest.raises(UndefinedError, match=r"\Apyproject\.toml must be readable as TOML, but is not: [^\n]+\.\Z"):
        destination.own_name(tmp_path, ANSWERS, "fallback")
    assert steps_of_an_update(tmp_path)[0].endswith("run make lock.")


def test_answers_of_another_template_are_not_written_over(tmp_path: Path) -> None:
    assert destination.refuse_unfit_folder(tmp_path, ANSWERS, True) == ""
    (tmp_path / ANSWERS).write_text("app_name: other\npoetry_version: 2.5.1\nuser_uid: 1000\n")
    assert destination.refuse_unfit_folder(tmp_path, ANSWERS, True) == ""
    (tmp_path / ANSWERS).write_text("_src_path: gh:another/template\napp_name: other\n")
    with pytest.raises(UndefinedError, match=r"holds another's: add --answers-file"):
        destination.refuse_unfit_folder(tmp_path, ANSWERS, True)


@pytest.mark.parametrize("recorded", ["app_name: yes-sir\n", "port: 1\napp_name: 'yes-sir'\n"])
def test_project_keeps_its_name(recorded: str, tmp_path: Path) -> None:
    assert destination.app_rename_error("anything", tmp_path, ANSWERS) == ""
    assert not destination.is_settled("yes-sir", tmp_path, ANSWERS)
    (tmp_path / ANSWERS).write_text(recorded)
    assert destination.is_settled("yes-sir", tmp_path, ANSWERS)
    assert not destination.is_settled("no", tmp_path, ANSWERS)
    assert destination.app_rename_error("yes-sir", tmp_path, ANSWERS) == ""
    assert destination.app_rename_error("no", tmp_path, ANSWERS).startswith("app_name must stay 'yes-sir'")
    assert destination.unsettled({"app_name": "yes-sir", "port": 1}, tmp_path, ANSWERS) == {"port": 1}
    with pytest.raises(UndefinedError, match="must stay 'yes-sir'"):
        destination.unsettled({"app_name": "no"}, tmp_path, ANSWERS)


def test_own_files_are_those_that_the_template_has_too(tmp_path: Path) -> None:
    for name in ("pyproject.toml", "LICENSE", "compose.yaml", "src/my_shop/app.py", "src/my_shop/prices.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "makefile").touch()
    assert destination.own_files(tmp_path, ANSWERS, "my_shop") == [
        "Makefile",
        "compose.yaml",
        "docker-compose.override.yml",
        "docker-compose.yml",
        "makefile",
        "pyproject.toml",
        "src/my_shop/app.py",
        "tests",
    ]
    (tmp_path / ANSWERS).write_text("app_name: my-shop\n")
    assert destination.own_files(tmp_path, ANSWERS, "my_shop") == []


CONFLICT = "<<<<<<< before updating\n{}\n=======\n{}\n>>>>>>> after updating\n"


def steps_of_an_update(folder: Path, package_name: str = "a", own: Sequence[str] = ()) -> list[str]:
    """Return the steps that are left in a project of the template."""
    return advice.update_steps(folder, destination.template_files(package_name), package_name, own)


def test_advice_names_what_is_left_to_do(tmp_path: Path) -> None:
    (tmp_path / "src" / "a").mkdir(parents=True)
    (tmp_path / "src" / "a" / "__init__.py").touch()
    pyproject = '[project]\nname = "a"\n{}dependencies = ["b"]\n'
    (tmp_path / "pyproject.toml").write_text(pyproject.format(""))
    stale = "poetry.lock does not match pyproject.toml: run make lock."
    assert steps_of_an_update(tmp_path) == [stale]
    content_hash = hashlib.sha256(
        json.dumps({"project": {"dependencies": ["b"]}, "tool": {"poetry": {}}}, sort_keys=True).encode()
    ).hexdigest()
    (tmp_path / "poetry.lock").write_text(f'content-hash = "{content_hash}"\n')
    assert steps_of_an_update(tmp_path) == []
    (tmp_path / "pyproject.toml").write_text(pyproject.format(CONFLICT.format('version = "1"', 'version = "2"')))
    (tmp_path / "Makefile").write_text(CONFLICT.format("a", "b"))
    marked = "Conflicts: choose between the lines that are marked in Makefile, pyproject.toml."
    assert steps_of_an_update(tmp_path) == [marked], "either side has the same dependencies"
    (tmp_path / "pyproject.toml").write_text(CONFLICT.format('project = {name = "a"}', "") + "x = 1\n")
    assert steps_of_an_update(tmp_path) == [marked, stale]
    assert steps_of_an_update(tmp_path, own=["pyproject.toml"]) == [marked], "its lock is a step of moving in"
    assert "is not in src/b" in steps_of_an_update(tmp_path, "b")[-1]
    (tmp_path / "pyproject.toml").write_text("project = 5\n")
    assert steps_of_an_update(tmp_path)[-1] == stale
    (tmp_path / "pyproject.toml").write_text(CONFLICT.format('project = {name = "a"}', "") + "x = 1\n")
    (tmp_path / "Makefile").write_text(CONFLICT.format("a", "b").replace("before updating", "ours"))
    (tmp_path / "Dockerfile.rej").touch()
    assert steps_of_an_update(tmp_path)[:2] == [
        "Conflicts: choose between the lines that are marked in pyproject.toml.",
        "Rejected: apply Dockerfile.rej by hand, then delete what you have applied.",
    ]


def test_conflict_in_the_style_of_diff3_has_two_sides_too(tmp_path: Path) -> None:
    (tmp_path / "src" / "a").mkdir(parents=True)
    (tmp_path / "src" / "a" / "__init__.py").touch()
    sides = CONFLICT.format("line-length = 1\n||||||| last update\nline-length = 2", "line-length = 3")
    (tmp_path / "pyproject.toml").write_text("[project]\ndependencies = []\n\n[tool.ruff]\n" + sides)
    content_hash = hashlib.sha256(b'{"project": {"dependencies": []}, "tool": {"poetry": {}}}').hexdigest()
    (tmp_path / "poetry.lock").write_text(f'content-hash = "{content_hash}"\n')
    assert steps_of_an_update(tmp_path) == ["Conflicts: choose between the lines that are marked in pyproject.toml."]


@pytest.mark.parametrize("name", ["renovate.json", ".github/renovate.json5", ".gitlab/renovate.json", ".renovaterc"])
def test_configuration_of_renovate_in_any_place_stays_the_only_one(name: str, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").touch()
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).touch()
    own = {name, ".github/renovate.json", ".gitlab/renovate.json", "pyproject.toml", "tests"}
    assert destination.own_files(tmp_path, ANSWERS, "my_shop") == sorted(own)


SERVERS = {"flask": ["gunicorn", "granian"], "fastapi": ["uvicorn", "granian"]}


def refuse_unfit_server(given: dict[str, object], **known: object) -> str:
    """Call the filter as copier.yml does, with the answers that are known so far as its context."""
    environment = Environment(extensions=[answers.AnswersExtension])  # noqa: S701 # no HTML
    template = environment.from_string("{{ given | refuse_unfit_server(servers, 'fastapi') }}")
    return template.render(given=given, servers=SERVERS, **known)


@pytest.mark.parametrize(
    ("given", "known"),
    [
        ({}, {}),
        ({"server": "uvicorn"}, {}),
        ({"framework": "flask"}, {}),
        ({"framework": "flask", "server": "gunicorn"}, {}),
        ({"framework": "flask"}, {"server": "granian"}),
        ({"server": "gunicorn"}, {"framework": "flask"}),
        ({}, {"framework": "fastapi", "server": "granian"}),
        ({"framework": "django", "server": "uvicorn"}, {}),  # another rule refuses it
    ],
)
def test_server_that_fits_the_framework_is_taken(given: dict[str, object], known: dict[str, object]) -> None:
    assert refuse_unfit_server(given, **known) == ""


@pytest.mark.parametrize(
    ("given", "known", "framework", "server"),
    [
        ({"server": "gunicorn"}, {}, "fastapi", "gunicorn"),
        ({"framework": "flask", "server": "uvicorn"}, {}, "flask", "uvicorn"),
        ({"framework": "flask"}, {"server": "uvicorn"}, "flask", "uvicorn"),
        ({"server": "uvicorn"}, {"framework": "flask"}, "flask", "uvicorn"),
        ({}, {"framework": "fastapi", "server": "gunicorn"}, "fastapi", "gunicorn"),
    ],
)
def test_server_that_does_not_fit_the_framework_is_refused(
    given: dict[str, object], known: dict[str, object], framework: str, server: str
) -> None:
    servers = ", ".join(SERVERS[framework])
    with pytest.raises(UndefinedError) as refusal:
        refuse_unfit_server(given, **known)
    assert refusal.value.message == f"server must be one of {servers} with framework {framework}, not {server!r}."


@pytest.mark.parametrize("module", [adopting, advice, answers, destination, quoting])
def test_extension_imports_only_the_standard_library_and_jinja(module: object) -> None:
    tree = ast.parse((ROOT / "extensions" / f"{str(vars(module)['__name__']).rpartition('.')[2]}.py").read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in imported} <= sys.stdlib_module_names | {"jinja2"}


def test_extension_registers_its_filters() -> None:
    environment = Environment(extensions=[answers.AnswersExtension, quoting.QuotingExtension])  # noqa: S701 # no HTML
    assert environment.from_string("{{ 'my-app' | package_name }} {{ 'x' | toml_string }}").render() == 'my_app "x"'
    assert environment.from_string("{{ 80 | port_error }}").render().startswith("port must be")
