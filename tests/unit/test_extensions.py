"""The extension's functions, without rendering anything."""

import ast
import hashlib
import json
import re
import sys
import tomllib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from jinja2 import Environment
from jinja2.exceptions import UndefinedError

from extensions import adopting, advice, answers, destination, quoting, refusals
from tests.support.commands import ROOT, time_limit
from tests.support.files import NO_FILES
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
        ("größe", "have only lower-case letters"),
        ("a\n", "have only lower-case letters"),
        ("a" * 65, "at most 64 characters, not 65"),
        ("class", "keyword of Python"),
        ("json", "standard library"),
        ("annotationlib", "standard library"),
        ("cgi", "standard library"),
        ("test", "as a test"),
        ("test-app", "as a test"),
        ("flask", "installs a package of that name"),
        ("pydantic-core", "installs a package of that name"),
        ("yaml", "installs a package of that name"),
        ("python", "another Docker image"),
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
        (answers.RULES["user_uid"], [1, "1000", 2**31 - 1], [0, -1, 2**31, "me", "", "0", None]),
        (answers.RULES["user_gid"], [1, 20, 2**31 - 1], [0, -1, 2**31, "me", "", "00", None]),
        (answers.RULES["include_devcontainer"], [True, False, "true", "No", "0"], ["maybe", "", 2, None]),
        (answers.RULES["include_kubernetes"], [True, False, "true", "No", "0"], ["maybe", "", 2, None]),
        (answers.RULES["include_workshop"], [True, False, "true", "No", "0"], ["maybe", "", 2, None]),
        (
            answers.author_email_error,
            ["", "ada@example.com", "a.b+c@sub.example.org"],
            ["ada", "ada@", "@example.com", "a b@example.com", "Ada <ada@example.com>", "a@b@c"],
        ),
        (
            answers.author_name_error,
            ["", "Ada Lovelace", "Jürgen O'Neill", "王小明"],
            ["Lovelace, Ada", "A <a@b>", "a\nb", "a\tb", "a\x85b", "a\u2028b"],
        ),
        (
            answers.app_description_error,
            ["", HAZARDS, "two\nlines", "ü" * 512],
            ["bell \x07", "nul \x00", "return \r", "next line \x85", "separator \u2028", "paragraph \u2029", "x" * 513],
        ),
    ],
)
def test_rule_tells_good_from_bad(rule: Callable[[object], str], good: list[object], bad: list[object]) -> None:
    (question,) = (name for name, known in answers.RULES.items() if known is rule)
    assert [answer for answer in good if rule(answer)] == []
    for answer in bad:
        error = rule(answer)
        assert error.startswith(f"{question} must "), answer
        assert error.endswith("."), answer
        assert "\n" not in error, answer


@pytest.mark.parametrize(
    ("description", "answer"),
    [("Sells\x85things\n\u2028 online\x00", "Sells things online"), ("short 🐍", "short 🐍"), ("ü" * 600, "ü" * 512)],
)
def test_description_of_a_project_that_moves_in_becomes_valid(description: str, answer: str) -> None:
    assert answers.app_description_error(answers.valid_description(description)) == ""
    assert answers.valid_description(description) == answer


SERVERS = {"flask": ["gunicorn", "granian"], "fastapi": ["uvicorn", "granian"]}
ANSWERS = ".copier-answers.yml"
ENVIRONMENT = Environment(  # noqa: S701 # no HTML
    extensions=[
        adopting.AdoptingExtension,
        advice.AdviceExtension,
        answers.AnswersExtension,
        destination.DestinationExtension,
        quoting.QuotingExtension,
        refusals.RefusalsExtension,
    ]
)


def settings_of_copier(folder: Path, **changed: object) -> dict[str, Any]:
    """Return Copier's settings for a folder, in the form of `_copier_conf`."""
    settings = SimpleNamespace(defaults=changed.pop("settings", {}))
    conf = {"dst_path": folder, "answers_file": ANSWERS, "data": {}, "user_defaults": {}, "settings": settings}
    return {**conf, "defaults": True, "overwrite": False, **changed}


def refusal(folder: Path, known: Mapping[str, object] | None = None, **changed: object) -> str:
    """Return the error message about a folder or an answer, or an empty string.

    Args:
        folder: Where Copier writes to.
        known: The answers that a project has recorded.
        changed: Copier's settings that differ.
    """
    conf = settings_of_copier(folder, **changed)
    facts = destination.read_destination(conf)
    context = {
        "_copier_conf": conf,
        "answers_option": "",
        "choices": {"framework": [*SERVERS], "server": ["uvicorn", "gunicorn", "granian"]},
        "default_framework": "fastapi",
        "destination": facts,
        "project": adopting.read_project(folder, ["3.14"], "3.14") if facts["has_own_code"] else {},
        "servers": SERVERS,
    }
    try:
        ENVIRONMENT.from_string("{{ refuse_replaced_values() }}{{ refuse_bad_answers() }}").render(
            context | {**(known or {})}
        )
    except UndefinedError as error:
        return str(error.message)
    return ""


@pytest.mark.parametrize(
    ("data", "error"),
    [
        ({"framework": "flask", "port": "8000"}, ""),
        ({"framework": "flaks"}, "framework must be one of flask, fastapi, not 'flaks' (did you mean 'flask'?)."),
        ({"framework": "django"}, "framework must be one of flask, fastapi, not 'django'."),
        ({"port": "80"}, "port must be a whole number from 1024 to 65535, not '80'."),
        ({"app_description": None}, "app_description must be one value, not None."),
        ({"_folder_name": "x"}, "'_folder_name' is not a question of this template: did you mean author_name?"),
        ({"prot": 1}, "'prot' is not a question of this template: did you mean port?"),
        ({"app_import": "shop:app"}, "app_import must not be given for a new project, which gets its own application."),
    ],
)
def test_bad_answer_is_refused_in_one_sentence(data: dict[str, object], error: str, tmp_path: Path) -> None:
    assert refusal(tmp_path, data=data) == error


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
        ("[tool.poetry]\npackage-mode = false\n", ""),
        ("project = 1\n[tool]\npoetry = 2\n", ""),
        ("[project]\nname = 5\n", "5"),
    ],
)
def test_project_that_moves_in_has_its_own_name(pyproject: str, name: str, tmp_path: Path) -> None:
    conf = settings_of_copier(tmp_path)
    assert not destination.read_destination(conf)["has_own_code"]
    (tmp_path / "pyproject.toml").write_text(pyproject)
    assert destination.read_destination(conf)["moves_in"]
    assert adopting.read_project(tmp_path, ["3.14"], "3.14")["name"] == name
    (tmp_path / ANSWERS).write_text("app_name: other\n")
    facts = destination.read_destination(conf)
    assert (facts["moves_in"], facts["has_own_code"], facts["app_name"]) == (False, False, "other")
    (tmp_path / ANSWERS).write_text("app_name: other\nown_files:\n- Dockerfile\n- pyproject.toml\n")
    assert destination.read_destination(conf)["has_own_code"]


@pytest.mark.parametrize("content", [b"no TOML at all", b'\xef\xbb\xbf[project]\nname = "a"\n', b'name = "\xe9"\n'])
def test_pyproject_that_cannot_be_read_is_refused_in_one_sentence(content: bytes, tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_bytes(content)
    error = refusal(tmp_path)
    assert re.fullmatch(r"pyproject\.toml must be readable as TOML, but is not: [^\n]+\.", error)
    assert steps_of_an_update(tmp_path)[0].endswith("run make lock.")


@pytest.mark.parametrize("kind", NO_FILES)
@pytest.mark.parametrize("name", ["pyproject.toml", ANSWERS, "Dockerfile", "docs/dependencies.md"])
def test_what_cannot_be_read_is_refused(name: str, kind: str, tmp_path: Path) -> None:
    (tmp_path / name).parent.mkdir(exist_ok=True)
    NO_FILES[kind](tmp_path / name)
    reason = "have at most 5 MB" if kind == "huge file" else "be a file, and is not"
    with time_limit(10):
        assert refusal(tmp_path, overwrite=True) == f"{name} must {reason}: move it away."


def test_link_to_nothing_is_a_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").symlink_to("pyproject.toml")
    (tmp_path / "README.md").symlink_to("nothing")
    assert refusal(tmp_path).startswith("README.md, pyproject.toml must not exist yet: ")
    assert destination.own_files(tmp_path, "a") == ["README.md", "pyproject.toml", "tests"]


def test_pyproject_that_is_nested_too_deeply_is_refused(tmp_path: Path) -> None:
    (tmp_path / "pyproject.toml").write_text(f"x = {'[' * 5000}{']' * 5000}\n")
    error = refusal(tmp_path)
    assert re.fullmatch(r"pyproject\.toml must be readable as TOML, but is not: [^\n]+\.", error)
    assert steps_of_an_update(tmp_path)[0].endswith("run make lock.")


@pytest.mark.parametrize("folder", ["project", "copier._main.old_copy.x"])
@pytest.mark.parametrize(
    ("name", "value", "must"),
    [
        ("own_files", 5, "be a list of files, not 5"),
        ("own_files", "README.md", "be a list of files, not 'README.md'"),
        ("own_files", ["README.md", 5], "be a list of files, not ['README.md', 5]"),
        ("own_code", [], "be facts about the code, not []"),
        ("own_code", {"root": 5}, "be facts about the code, not {'root': 5}"),
        ("port", None, "be one value, not None"),
        ("app_description", ["a"], "be one value, not ['a']"),
    ],
)
def test_damaged_record_is_refused(name: str, value: object, must: str, folder: str, tmp_path: Path) -> None:
    """Use the folder of a project, and the one of the old version, which an update renders first."""
    assert refusal(tmp_path / folder, known={name: value}) == f"{name} must {must}: restore {ANSWERS} from git."


RECORDED = "app_name: other\npoetry_version: 2.5.1\nuser_uid: 1000\n"


def test_answers_of_another_template_are_not_written_over(tmp_path: Path) -> None:
    assert refusal(tmp_path) == ""
    (tmp_path / ANSWERS).write_text(RECORDED)
    assert refusal(tmp_path) == ""
    (tmp_path / ANSWERS).write_text("_src_path: gh:another/template\napp_name: other\n")
    assert "holds another's: add --answers-file" in refusal(tmp_path)


@pytest.mark.parametrize("name", ["My Shop!", "other extra", "5", "null", "no", "[other]", "''", "'-'"])
def test_damaged_name_is_not_replaced(name: str, tmp_path: Path) -> None:
    (tmp_path / ANSWERS).write_text(RECORDED.replace("other", name))
    message = f"app_name in {ANSWERS} must be the name of this project, and is not: restore it from git."
    assert refusal(tmp_path, known={"app_name": "my-service"}) == message
    assert refusal(tmp_path, data={"app_name": "other"}) == message


@pytest.mark.parametrize("name", ["other", "'other'", '"other"', "other # ours"])
def test_project_keeps_its_name(name: str, tmp_path: Path) -> None:
    assert refusal(tmp_path, data={"app_name": "json"}).startswith("app_name must not be 'json'")
    (tmp_path / ANSWERS).write_text(RECORDED.replace("other", name))
    assert refusal(tmp_path, data={"app_name": "other"}) == ""
    assert refusal(tmp_path, data={"app_name": "no"}).startswith("app_name must stay 'other' in an existing project")
    (tmp_path / ANSWERS).write_text(RECORDED.replace("other", "json"))
    assert refusal(tmp_path, data={"app_name": "json"}) == "", "a newer version reserves the name"
    for tricky in ("no-more", "'no'", "nobody"):
        (tmp_path / ANSWERS).write_text(RECORDED.replace("other", tricky))
        assert refusal(tmp_path, data={"app_name": tricky.strip("'")}) == ""


def test_own_files_are_those_that_the_template_has_too(tmp_path: Path) -> None:
    for name in ("pyproject.toml", "LICENSE", "compose.yaml", "src/my_shop/app.py", "src/my_shop/prices.py"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    (tmp_path / "makefile").touch()
    assert destination.own_files(tmp_path, "my_shop") == [
        "Makefile",
        "compose.yaml",
        "docker-compose.override.yml",
        "docker-compose.yml",
        "makefile",
        "pyproject.toml",
        "src/my_shop/app.py",
        "tests",
    ]


@pytest.mark.parametrize("start", ["", "<<<<<<< before updating\n||||||| last update\n=======\n"])
@pytest.mark.parametrize(
    "line",
    [
        "<<<<<<< before updating\n",
        "||||||| last update\n",
        "=======\n",
        "<<<<<<< before updating\n||||||| last update\n",
        "<<<<<<< before updating\n=======\n",
        "plain\n",
    ],
)
def test_conflicts_are_found_in_linear_time(start: str, line: str) -> None:
    text = start + line * (1_000_000 // len(line))
    with time_limit(10):
        assert advice.CONFLICT.sub(r"\1", text) == text


@pytest.mark.parametrize("ours", ["", "a\n", "a\nb\n"])
@pytest.mark.parametrize("original", ["", "||||||| last update\n", "||||||| last update\no\n"])
@pytest.mark.parametrize("theirs", ["", "c\n", "Title\n=======\n", "c\n||||||| d\n"])
def test_each_side_of_a_conflict_is_found(ours: str, original: str, theirs: str) -> None:
    one = f"<<<<<<< before updating\n{ours}{original}=======\n{theirs}>>>>>>> after updating\n"
    text = f"<<<<<<< before updating\nstray\n{one}between\n{one}\n"
    sides = [advice.CONFLICT.sub(side, text) for side in (r"\1", r"\2")]
    assert sides == [f"<<<<<<< before updating\nstray\n{side}between\n{side}\n" for side in (ours, theirs)]


CONFLICT = "<<<<<<< before updating\n{}\n=======\n{}\n>>>>>>> after updating\n"


def steps_of_an_update(folder: Path, package_name: str = "a", own: Sequence[str] = ()) -> list[str]:
    """Return the remaining steps after an update of a project."""
    context = {
        "_copier_conf": {"dst_path": folder},
        "package_name": package_name,
        "kept_files": own,
        "has_starter": True,
    }
    return advice.update_steps(context, destination.template_files(package_name))


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
    assert steps_of_an_update(tmp_path) == [marked], "both sides have the same dependencies"
    (tmp_path / "pyproject.toml").write_text(CONFLICT.format('project = {name = "a"}', "") + "x = 1\n")
    assert steps_of_an_update(tmp_path) == [marked, stale]
    assert steps_of_an_update(tmp_path, own=["pyproject.toml"]) == [marked], "moving in has its own step for the lock"
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
    assert destination.own_files(tmp_path, "my_shop") == sorted(own)


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
    ],
)
def test_server_that_fits_the_framework_is_taken(
    given: dict[str, object], known: dict[str, object], tmp_path: Path
) -> None:
    assert refusal(tmp_path, known, settings=given) == ""


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
    given: dict[str, object], known: dict[str, object], framework: str, server: str, tmp_path: Path
) -> None:
    servers = ", ".join(SERVERS[framework])
    assert (
        refusal(tmp_path, known, settings=given)
        == f"server must be one of {servers} with framework {framework}, not {server!r}."
    )


@pytest.mark.parametrize("module", [adopting, advice, answers, destination, quoting, refusals])
def test_extension_imports_only_the_standard_library_and_jinja(module: object) -> None:
    tree = ast.parse((ROOT / "extensions" / f"{str(vars(module)['__name__']).rpartition('.')[2]}.py").read_text())
    imported = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    imported |= {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert {name.partition(".")[0] for name in imported} <= sys.stdlib_module_names | {"jinja2"}


def test_extensions_register_what_templates_use() -> None:
    template = ENVIRONMENT.from_string("{{ 'my-app' | package_name }} {{ 'x' | toml_string }} {{ 80 | port_error }}")
    assert template.render().startswith('my_app "x" port must be')
