"""The facts that the extensions find in a project that moves in, and the steps that they print."""

import os
from pathlib import Path
from typing import Any

import pytest

from extensions.adopting import read_project
from extensions.advice import moving_in_steps
from extensions.destination import files_in_the_way, import_root
from tests.support.adopters import FACTORY, application, poetry_1, poetry_2
from tests.support.commands import check_run, time_limit
from tests.support.files import NO_FILES
from tests.support.template import CHOICES

FASTAPI, FLASK, CREATE_APP = application("fastapi"), application("flask"), FACTORY.format("")


def write(folder: Path, files: dict[str, str]) -> None:
    """Write files to a folder."""
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def read(folder: Path, files: dict[str, str], pyproject: str = "") -> dict[str, Any]:
    """Return the facts about a project with these files."""
    write(folder, {"pyproject.toml": pyproject or poetry_2(), **files})
    return read_project(folder, CHOICES["python_version"], "3.14")


@pytest.mark.parametrize(
    ("files", "app_import", "root"),
    [
        ({"main.py": FASTAPI}, "main:app", "."),
        ({"src/shop/main.py": FASTAPI, "src/shop/__init__.py": ""}, "shop.main:app", "src"),
        ({"src/shop/main.py": FASTAPI + "\nimport shop.x\n", "src/shop/x.py": ""}, "shop.main:app", "src"),
        ({"backend/app/main.py": "import app.x\n" + FASTAPI, "backend/app/x.py": ""}, "app.main:app", "backend"),
        ({"app/main.py": "import x\n" + FASTAPI, "app/x.py": ""}, "main:app", "app"),
        ({"app/main.py": "from .x import y\n" + FASTAPI, "app/x.py": "y = 1\n"}, "app.main:app", "."),
        ({"shop/__init__.py": CREATE_APP}, "shop:create_app()", "."),
        (
            {"shop/__init__.py": CREATE_APP, "wsgi.py": "from shop import create_app\napp = create_app()\n"},
            "wsgi:app",
            ".",
        ),
        ({"shop.py": FACTORY.format("config"), "run.py": "import shop\nsite = shop.create_app({})\n"}, "run:site", "."),
        ({"shop.py": FACTORY.format("config=None")}, "shop:create_app()", "."),
        ({"shop.py": FACTORY.format("config")}, "", "src"),
        ({"shop.py": "import flask\napp: flask.Flask = flask.Flask(__name__)\n"}, "shop:app", "."),
        ({"a.py": FLASK, "script.py": FLASK + "\napp.run()\n"}, "a:app", "."),
        ({"tests/app.py": FLASK, "env/pyvenv.cfg": "", "env/lib/app.py": FLASK, ".x/app.py": FLASK}, "", "src"),
        ({"broken.py": "print 'x'\n", "good.py": FLASK}, "good:app", "."),
        ({"a.py": FASTAPI, "b.py": FASTAPI, "Procfile": "web: uvicorn b:app --port 80\n"}, "b:app", "."),
        ({"a.py": FASTAPI, "b.py": FASTAPI, "Dockerfile": 'CMD ["uvicorn", "b:app"]\n'}, "b:app", "."),
        (
            {"x/app.py": FLASK, "x/b.py": FLASK, "start.sh": "exec gunicorn -w 4 -b 0.0.0.0:80 x.b:app\n"},
            "x.b:app",
            ".",
        ),
        ({"api.py": FASTAPI.replace("app", "api"), "main.py": "import api\n" + FASTAPI}, "main:app", "."),
    ],
)
def test_application_is_found(files: dict[str, str], app_import: str, root: str, tmp_path: Path) -> None:
    project = read(tmp_path, files)
    assert (project["app_import"], project["root"]) == (app_import, root)


def test_what_cannot_be_read_is_skipped(tmp_path: Path) -> None:
    for kind, make in NO_FILES.items():
        for name in (f"{kind}.py", f"Dockerfile.{kind}", f"README.{kind}", f"{kind}.old"):
            make(tmp_path / name)
        (tmp_path / f"of {kind}").mkdir()
        make(tmp_path / f"of {kind}" / ".gitignore")
    os.mkfifo(tmp_path / "poetry.lock")
    code = {
        "good.py": FLASK,
        "chain.py": f"x = {' + '.join(['y'] * 50_000)}\n",
        "deep.py": f"x = {'-' * 50_000}1\n",
        "brackets.py": f"x = {'[' * 50_000}{']' * 50_000}\n",
        "long.py": f"import {'x' * 300}\n" + FLASK,
    }
    with time_limit(60):
        facts = read(tmp_path, code, poetry_2("flask"))
        assert facts["app_import"] == "good:app"
        assert moving_in_steps(context(tmp_path, facts), [])


@pytest.mark.parametrize("text", ["uvicorn ", "uvicorn a:", "apt install ", "FROM "])
def test_long_lines_are_read_in_linear_time(text: str, tmp_path: Path) -> None:
    files = {
        "Dockerfile": text * 100_000,
        "main.py": f"class {'Settings' * 50_000}(Settings, {'Settings' * 50_000}): x\n",
    }
    with time_limit(30):
        assert read(tmp_path, files, f'[project]\nrequires-python = "{"=" * 100_000}"\n')["app_import"] == ""


@pytest.mark.parametrize("value", ["5", '""', "[5]", "[[1]]", "{ a = 5 }", "true"])
@pytest.mark.parametrize(
    "name",
    [
        *("project", "project.dependencies", "project.name", "dependency-groups", "dependency-groups.dev"),
        *("tool.poetry.dependencies", "tool.poetry.group", "tool.poetry.group.dev", "build-system.build-backend"),
    ],
)
def test_value_of_another_type_is_skipped(name: str, value: str, tmp_path: Path) -> None:
    lock = f"package = {value}\n"
    facts = read(tmp_path, {"main.py": FASTAPI, "poetry.lock": lock}, f"{name} = {value}\n")
    assert facts["app_import"] == "main:app"


def test_application_that_is_named_is_imported_from_where_it_is(tmp_path: Path) -> None:
    project = read(tmp_path, {"main.py": FASTAPI, "back/shop/web.py": "", "back/other/__init__.py": ""})
    assert import_root("main:app", project, tmp_path) == "."
    assert import_root("shop.web:site", project, tmp_path) == "back"
    assert import_root("other:site", project, tmp_path) == "back"
    assert import_root("shop.missing:site", project, tmp_path) == ""
    assert import_root("main:app", {}, tmp_path) == "", "a new project has no import root"


@pytest.mark.parametrize(
    ("pyproject", "files", "framework"),
    [
        (poetry_1('flask = "*"'), {}, "flask"),
        (poetry_2("Flask[async]>=2"), {}, "flask"),
        (poetry_2("fastapi", "flask"), {"main.py": FLASK}, "flask"),
        (poetry_1(more="[tool.poetry.group.web.dependencies]\nfastapi = '*'\n[tool.poetry.x]\n"), {}, "fastapi"),
        (poetry_2(), {}, ""),
    ],
)
def test_framework_is_that_of_the_application_or_a_dependency(
    pyproject: str, files: dict[str, str], framework: str, tmp_path: Path
) -> None:
    assert read(tmp_path, files, pyproject)["framework"] == framework


WHEELS = """
[[package]]
name = "{}"
version = "1.2.3"
files = [{{ file = "a-1.2.3-{}-linux_x86_64.whl" }}, {{ file = "a-1.2.3.tar.gz" }}]
"""


@pytest.mark.parametrize(
    ("python", "files", "expected", "narrower"),
    [
        (">=3.11", {}, "3.14", False),
        (">=3.11,<3.13", {}, "3.12", False),
        ("^3.9", {}, "3.14", True),
        ("^3.12", {}, "3.14", False),
        ("~3.12", {}, "3.12", False),
        ("3.12.*", {}, "3.12", False),
        ("==3.13.2", {}, "3.13", False),
        ("~3.11 || ~3.13", {}, "3.13", True),
        (">=3.11,!=3.14.*", {}, "3.13", False),
        (">=3.15", {}, "3.15", False),
        ("3.8.10", {}, "3.11", False),
        (">=3.11", {".python-version": "3.12.4\n"}, "3.12", False),
        (">=3.11", {".python-version": "3.8\n", "Dockerfile": "FROM docker.io/python:3.13-slim AS x\n"}, "3.13", False),
        ("^3.10", {"Dockerfile": "FROM python:3.10-slim\n"}, "3.11", True),
        (">=3.11", {"poetry.lock": WHEELS.format("a", "cp312-cp312") + WHEELS.format("b", "py3-none")}, "3.12", False),
        (">=3.11", {"poetry.lock": WHEELS.format("a", "cp38-abi3")}, "3.14", False),
        (">=3.11", {"poetry.lock": WHEELS.format("a", "cp39-cp39")}, "3.11", False),
        (">=3.11", {"poetry.lock": '[metadata.files]\na = [{ file = "a-1-cp311-cp311-x.whl" }]\n'}, "3.11", False),
    ],
)
def test_python_is_the_newest_that_the_project_supports(
    python: str, files: dict[str, str], expected: str, narrower: bool, tmp_path: Path
) -> None:
    for number, pyproject in enumerate((poetry_1(python=python), poetry_2(python=python))):
        project = read(tmp_path / str(number), files, pyproject)
        assert (project["python_version"], project["allows_older"]) == (expected, narrower)


@pytest.mark.parametrize(
    ("pyproject", "files", "is_package"),
    [
        (poetry_2(), {"my_shop/__init__.py": ""}, True),
        (poetry_2(), {"src/my_shop/__init__.py": ""}, True),
        (poetry_1(), {"my_shop.py": ""}, True),
        (poetry_1(more='packages = [{ include = "x" }]\n'), {"x/__init__.py": ""}, True),
        (poetry_2(), {"main.py": ""}, False),
        (poetry_1(more="package-mode = false\n"), {"my_shop.py": ""}, False),
        ('[project]\nname = "my-shop"\n', {"my_shop.py": ""}, False),
    ],
)
def test_package_is_installed_if_poetry_finds_it(
    pyproject: str, files: dict[str, str], is_package: bool, tmp_path: Path
) -> None:
    assert read(tmp_path, files, pyproject)["is_package"] is is_package


SETTINGS = '''
import os
a = os.environ["A"] + os.getenv("B", "") + os.getenv("C") + os.environ.get("D")
os.environ["E"] = "1"
once, again = os.getenv("I", "x"), os.environ["I"]


class Settings(BaseSettings):
    """Read from variables.

    Example: an example
    """

    f: str
    g: int = 1


class Mail(BaseSettings):
    model_config = SettingsConfigDict(env_prefix="MAIL_")
    host: str = Field(..., min_length=3)
    port: int = Field(gt=0)
    user: str = Field(default="me")
    secret: str = Field("x", min_length=1)
'''


def test_variables_are_those_that_the_code_reads(tmp_path: Path) -> None:
    project = read(tmp_path, {"main.py": SETTINGS, "docs/conf.py": "import os\nos.environ['READTHEDOCS']\n"})
    needed = ["A", "C", "D", "F", "I", "MAIL_HOST", "MAIL_PORT"]
    assert project["required"] == needed
    assert project["variables"] == sorted([*needed, "B", "G", "MAIL_SECRET", "MAIL_USER"])


def test_version_from_git_is_a_variable_of_the_build(tmp_path: Path) -> None:
    build = '[build-system]\nrequires = []\nbuild-backend = "poetry_dynamic_versioning.backend"\n'
    project = read(tmp_path, {"main.py": FASTAPI}, build)
    assert (project["required"], project["variables"]) == (["POETRY_DYNAMIC_VERSIONING_BYPASS"], [])


def test_system_packages_are_those_of_the_own_dockerfile(tmp_path: Path) -> None:
    docker = "RUN apt-get update && apt-get install -y --no-install-recommends \\\n    gcc libpq-dev \\\n    file\n"
    project = read(tmp_path, {"Dockerfile": docker + "RUN apt install -qq tini && true\n"})
    assert project["system_packages"] == ["gcc", "libpq-dev", "file", "tini"]


@pytest.mark.parametrize(
    ("code", "step"),
    [
        ("app = FastAPI()\n", "Dockerfile: set HEALTH_PATH=/openapi.json"),
        ('app = FastAPI(openapi_url="/v1/openapi.json")\n', "Dockerfile: set HEALTH_PATH=/docs"),
        ("app = FastAPI(openapi_url=None, docs_url=None)\n", 'main.py: add app.add_api_route("/health", lambda: "")'),
        ('app = FastAPI()\n@app.get("/health")\ndef health(): ...\n', ""),
        (
            'app = FastAPI()\nrouter = APIRouter(prefix="/api")\n@router.get("/health")\ndef health(): ...\n',
            "Dockerfile: set HEALTH_PATH=/openapi.json",
        ),
    ],
)
def test_health_path_is_one_that_responds(code: str, step: str, tmp_path: Path) -> None:
    files = {"main.py": f"from fastapi import APIRouter, FastAPI\n{code}", "Dockerfile": DOCKERFILE.format("/health")}
    left = steps(tmp_path, files, poetry_2("fastapi", "uvicorn", "pytest", python=">=3.14,<3.15"))
    assert [one.partition("  # ")[0] for one in left if "ealth" in one] == ([step] if step else [])


def test_nested_ignored_files_stay_out_of_the_images(tmp_path: Path) -> None:
    ignored = {".gitignore": "/venv\n", "front/.gitignore": "dist/\n/.env\n!dist/keep\n", "venv/.gitignore": "x\n"}
    files = {".dockerignore": "**/.venv\nworkshop\n", "workshop/.gitignore": "out\n", "cache/.gitignore": "*\n"}
    (step, *_) = steps(tmp_path, ignored | files, poetry_2())
    check_run("sh", "-ec", step, cwd=tmp_path)
    added = (tmp_path / ".dockerignore").read_text().partition("workshop\n")[2]
    assert added == "venv\nfront/**/dist\nfront/.env\n!front/dist/keep\n"
    assert not steps(tmp_path, {}, poetry_2())[0].startswith("sed")


OURS = """
    [project]
    requires-python = ">=3.14,<3.15"
    dependencies = ["uvicorn (>=0.54.0,<0.55.0)", "structlog (>=26)"]
    [dependency-groups]
    dev = ["mypy (>=1)", "pytest (>=9)"]
"""


# The lines of the template's Dockerfile that the steps change.
DOCKERFILE = 'ARG RUNTIME_PACKAGES=""\nARG BUILD_PACKAGES=""\nENV HEALTH_PATH={}\nFROM base AS production\n'


def context(folder: Path, project: dict[str, Any]) -> dict[str, Any]:
    """Return the values that the steps of a project with these facts depend on."""
    values = {"_copier_conf": {"dst_path": folder}, "project": project, "required": OURS, "server": "uvicorn"}
    return {**values, "recopy": "copier recopy", "has_starter": False}


def steps(
    folder: Path, files: dict[str, str], pyproject: str, own: tuple[str, ...] = (), starter: bool = False
) -> list[str]:
    """Return the remaining steps after a project with these files has moved in."""
    project = read(folder, files, pyproject)
    in_the_way = files_in_the_way(["pyproject.toml", *own], folder)
    return moving_in_steps({**context(folder, project), "has_starter": starter}, in_the_way)


def test_steps_are_those_that_are_left(tmp_path: Path) -> None:
    files = {
        "main.py": FASTAPI,
        "Dockerfile": DOCKERFILE.format("/health"),
        ".gitignore": "x/\n",
    }
    left = steps(tmp_path, files, poetry_1('fastapi = "*"', python="^3.9"))
    assert [step.partition("  # ")[0] for step in left][1:] == [
        'pyproject.toml: set python = ">=3.14,<3.15"',
        'make add PKG="uvicorn>=0.54.0,<0.55.0"',
        'make add PKG="pytest>=9" GROUP=dev',
        "Dockerfile: set HEALTH_PATH=/openapi.json",
    ]
    write(tmp_path, {"Dockerfile": DOCKERFILE.format("/"), ".dockerignore": "**/.venv\n**/x\n"})
    dependencies = ('fastapi = "*"', 'uvicorn = "*"', 'pytest = "*"')
    assert steps(tmp_path, {}, poetry_1(*dependencies, python=">=3.14,<3.15")) == ["make lock"]


@pytest.mark.parametrize(("locked", "raised"), [("0.30.1", True), ("0.54.0", False), ("0.54.1", False), ("1.0", False)])
def test_server_that_is_too_old_is_raised(locked: str, raised: bool, tmp_path: Path) -> None:
    lock = WHEELS.format("uvicorn", "py3-none").replace("1.2.3", locked) + '[metadata]\nlock-version = "2.1"\n'
    files = {"poetry.lock": lock, "main.py": FASTAPI, "Dockerfile": DOCKERFILE.format("/")}
    left = steps(tmp_path, files, poetry_2("fastapi", "uvicorn", "pytest", python=">=3.14,<3.15"))
    command = f'make add PKG="uvicorn>=0.54.0,<0.55.0"  # raises uvicorn from {locked}'
    assert left == [command if raised else "make lock"]


def test_settings_of_another_server_are_not_in_the_way(tmp_path: Path) -> None:
    files = {"main.py": FASTAPI, "gunicorn.conf.py": "workers = 2\n", "Makefile": "all:\n"}
    left = steps(tmp_path, files, poetry_2("fastapi"), own=("Makefile", "gunicorn.conf.py"))
    assert left[0].startswith("mv Makefile Makefile.old && copier recopy")


def test_package_without_a_wheel_for_the_python_is_upgraded(tmp_path: Path) -> None:
    lock = WHEELS.format("a", "cp39-cp39") + WHEELS.format("b", "cp39-cp39").replace("a-1.2.3.tar.gz", "b-none-any.whl")
    files = {"poetry.lock": lock + WHEELS.format("c", "cp314-cp314"), "main.py": FASTAPI}
    left = steps(tmp_path, files, poetry_2("fastapi", "uvicorn", "pytest", python=">=3.14,<3.15"))
    assert "make upgrade  # no wheel of a is for the Python of the image" in left


def test_lock_that_poetry_cannot_read_is_removed_first(tmp_path: Path) -> None:
    files = {"poetry.lock": '[[package]]\nname = "a"\nversion = "1"\n[metadata]\n', "main.py": FASTAPI}
    left = steps(tmp_path, files, poetry_2("fastapi", python=">=3.14,<3.15"))
    commands = [" ".join(step.split()[:2]) for step in left]
    assert commands[:3] == ["rm poetry.lock", "make add", "make add"], left


def test_lock_that_git_ignores_is_kept(tmp_path: Path) -> None:
    write(tmp_path, {".dockerignore": "**/.venv\n"})
    (step, *_) = steps(tmp_path, {".gitignore": "x/\n/poetry.lock\n"}, poetry_2())
    check_run("sh", "-ec", step, cwd=tmp_path)
    assert (tmp_path / ".gitignore").read_text() == "x/\n"
    assert (tmp_path / ".dockerignore").read_text() == "**/.venv\n**/x\n"


def test_nothing_is_left_in_a_new_project(tmp_path: Path) -> None:
    assert moving_in_steps({"_copier_conf": {"dst_path": tmp_path}, "project": {}}, []) == []
