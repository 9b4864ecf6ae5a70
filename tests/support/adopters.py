"""Small projects with different layouts that move in, and a function to follow the steps that Copier prints."""

import atexit
import re
import shutil
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import mkdtemp

import yaml
from copier import run_copy

from tests.support.commands import check_run, commit, printed


def application(framework: str, returned: str = "'hello'", imports: str = "", name: str = "app") -> str:
    """Return the code of a module with an application, whose route `/hello` returns the value of an expression."""
    name_of_class, argument, decorator = {
        "fastapi": ("FastAPI", "", f"{name}.get"),
        "flask": ("Flask", "__name__", f"{name}.route"),
    }[framework]
    first = f"{imports}\nfrom {framework} import {name_of_class}\n\n{name} = {name_of_class}({argument})\n\n\n"
    return f"{first}@{decorator}('/hello')\ndef hello():\n    return {returned}\n"


FACTORY = """\
from flask import Flask


def create_app({}):
    app = Flask(__name__)

    @app.route("/hello")
    def hello():
        return "hello"

    return app
"""
PAGES = (
    "from flask import Blueprint\n\npages = Blueprint('pages', __name__)\n\n\n"
    "@pages.route('/hello')\ndef hello():\n    return 'hello'\n"
)
# The image of a service that replaces a database. `make clean` removes it.
PEER = "adopters-peer"
BUILD = '\n[build-system]\nrequires = ["poetry-core"]\nbuild-backend = "poetry.core.masonry.api"\n'


def poetry_1(*dependencies: str, python: str = "^3.11", more: str = "") -> str:
    """Return the pyproject.toml of a project in the form of Poetry 1."""
    lines = "\n".join([f'python = "{python}"', *dependencies])
    about = 'name = "my-shop"\nversion = "1.0.0"\ndescription = ""\nauthors = []\n'
    return f"[tool.poetry]\n{about}{more}\n[tool.poetry.dependencies]\n{lines}\n{BUILD}"


def poetry_2(*dependencies: str, python: str = ">=3.11", more: str = "") -> str:
    """Return the pyproject.toml of a project in the form of Poetry 2 (PEP 621)."""
    about = f'name = "my-shop"\nversion = "1.0.0"\nrequires-python = "{python}"\n'
    return f"[project]\n{about}dependencies = {list(dependencies)}\n{more}{BUILD}".replace("'", '"')


@dataclass(frozen=True)
class Adopter:
    """A project that moves in.

    Attributes:
        files: Its files, by path.
        app_import: The import string of its application.
        text: The text that its route `/hello` responds with.
        is_locked: Whether it has a lock.
        values: The values of the variables that its code reads.
    """

    files: dict[str, str]
    app_import: str
    text: str = "hello"
    is_locked: bool = False
    values: dict[str, str] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Write the project to a folder, lock it if it has a lock, and commit it."""
        for name, text in self.files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        if self.is_locked:
            check_run("poetry", "lock", "--quiet", cwd=folder)
        commit(folder, "our own project")


ADOPTERS = {
    "flat module, Poetry 1": Adopter(
        {"pyproject.toml": poetry_1('fastapi = "*"'), "main.py": application("fastapi")}, "main:app"
    ),
    "factory in src, Poetry 2": Adopter(
        {"pyproject.toml": poetry_2("flask"), "src/my_shop/__init__.py": FACTORY.format("")}, "my_shop:create_app()"
    ),
    "package of another name": Adopter(
        {
            "pyproject.toml": poetry_1('fastapi = "*"', more='packages = [{ include = "store" }]\n'),
            "store/__init__.py": "",
            "store/api/__init__.py": "",
            "store/api/main.py": application("fastapi", name="application"),
        },
        "store.api.main:application",
    ),
    "blueprint only": Adopter(
        {
            "pyproject.toml": poetry_2("flask"),
            "pages.py": PAGES,
            "wsgi.py": "from flask import Flask\nfrom pages import pages\n\n"
            "app = Flask(__name__)\napp.register_blueprint(pages)\n",
        },
        "wsgi:app",
    ),
    "blueprint and factory": Adopter(
        {
            "pyproject.toml": poetry_2("flask"),
            "src/my_shop/pages.py": PAGES,
            "src/my_shop/__init__.py": "from flask import Flask\nfrom my_shop.pages import pages\n\n\n"
            "def create_app():\n    app = Flask(__name__)\n    app.register_blueprint(pages)\n    return app\n",
        },
        "my_shop:create_app()",
    ),
    "application where the starter would be": Adopter(
        {
            "pyproject.toml": poetry_1('fastapi = "*"'),
            "my_shop/__init__.py": "",
            "my_shop/app.py": application("fastapi"),
        },
        "my_shop.app:app",
    ),
    "undeclared second package": Adopter(
        {
            "pyproject.toml": poetry_1('flask = "*"', more='packages = [{ include = "shop" }]\n'),
            "shop/__init__.py": "",
            "shop/app.py": application("flask", "greeting", "from shared import greeting"),
            "shared/__init__.py": "greeting = 'shared'\n",
        },
        "shop.app:app",
        "shared",
    ),
    "no package mode, namespace": Adopter(
        {
            "pyproject.toml": poetry_2("fastapi", more="[tool.poetry]\npackage-mode = false\n"),
            "app/main.py": application("fastapi", "NAME", "from app.names import NAME"),
            "app/names.py": "NAME = 'names'\n",
        },
        "app.main:app",
        "names",
    ),
    "package called src": Adopter(
        {
            "pyproject.toml": poetry_1('fastapi = "*"'),
            "src/__init__.py": "",
            "src/greetings.py": "greeting = 'hi'\n",
            "src/server.py": application("fastapi", "greeting", "from src.greetings import greeting"),
        },
        "src.server:app",
        "hi",
    ),
    "own Dockerfile and Makefile": Adopter(
        {
            "pyproject.toml": poetry_2("flask", "gunicorn>=20"),
            "Dockerfile": "FROM python:3.13\nRUN apt-get update && apt-get install -y --no-install-recommends \\\n"
            "    file make\nCOPY . .\nCMD gunicorn --bind 0.0.0.0:80 backend.web:site\n",
            "Makefile": "up:\n\techo ours\n",
            "backend/__init__.py": "",
            "backend/other.py": application("flask"),
            "backend/web.py": application("flask", "which('file')", "from shutil import which", name="site"),
        },
        "backend.web:site",
        "/usr/bin/file",
    ),
    "own Compose file, variables": Adopter(
        {
            "pyproject.toml": poetry_1('fastapi = "*"', 'pydantic-settings = "*"'),
            "compose.yaml": "services:\n  web:\n    build: .\n    ports: [80:80]\n\n  peer:\n"
            f"    image: {PEER}\n    command: [python, -m, http.server]\n    volumes: [data:/data]\n\n"
            "volumes:\n  data:\n",
            "api/config.py": "from pydantic_settings import BaseSettings\n\n\n"
            "class Settings(BaseSettings):\n    model_config = {'env_prefix': 'SHOP_'}\n    name: str\n"
            "    size: int = 1\n",
            "api/main.py": application(
                "fastapi", "os.environ['GREETING'] + Settings().name", "import os\nfrom config import Settings"
            ),
        },
        "main:app",
        "hello shop",
        values={"GREETING": '"hello "', "SHOP_NAME": "shop"},
    ),
    "static files and templates": Adopter(
        {
            "pyproject.toml": poetry_1('flask = "*"'),
            "app.py": application(
                "flask",
                "render_template('page.html') + Path('static/a.txt').read_text()",
                "from pathlib import Path\nfrom flask import render_template",
            ),
            "templates/page.html": "page ",
            "static/a.txt": "static",
        },
        "app:app",
        "page static",
    ),
    "migrations and metadata": Adopter(
        {
            "pyproject.toml": poetry_2("fastapi", more='[project.scripts]\ngreet = "my_shop.main:hello"\n'),
            "src/my_shop/__init__.py": "",
            "src/my_shop/main.py": application(
                "fastapi", "open('alembic.ini').read() + version('my-shop')", "from importlib.metadata import version"
            ),
            "alembic.ini": "[alembic] ",
        },
        "my_shop.main:app",
        "[alembic] 1.0.0",
    ),
    "older pins": Adopter(
        {
            "pyproject.toml": poetry_1(
                'flask = "~2.2"', 'werkzeug = "~2.2"', 'gunicorn = "^20.1"', python=">=3.9,<3.13"
            ),
            "app/__init__.py": FACTORY.format("config"),
            "run.py": "from app import create_app\n\napp = create_app(None)\n\n"
            "if __name__ == '__main__':\n    app.run()\n",
        },
        "run:app",
        is_locked=True,
    ),
    "range with ||": Adopter(
        {
            "pyproject.toml": poetry_1('fastapi = "*"', python="~3.12 || ~3.13"),
            "my_shop.py": application("fastapi"),
        },
        "my_shop:app",
    ),
    "own .dockerignore and entrypoint": Adopter(
        {
            "pyproject.toml": poetry_2("flask", python=">=3.11,<3.13", more='readme = "README.md"\n'),
            ".dockerignore": "*.md\npoetry.lock\ndocker\n",
            ".gitignore": "poetry.lock\n# secrets\n*.sqlite3\n/secret.txt\nvar/log/\n",
            "entrypoint.sh": "#!/bin/sh\nexit 1\n",
            "README.md": "# Shop\n",
            "my_shop/__init__.py": "",
            "my_shop/app.py": application("flask", "str(Path('secret.txt').exists())", "from pathlib import Path"),
        },
        "my_shop.app:app",
        "False",
    ),
}


CODE = '"""Sells things."""\n\n\ndef price() -> int:\n    return 42\n'
TEST = "from my_shop.prices import price\n\n\ndef test_price() -> None:\n    assert price() == 42\n"


@cache
def made_with_poetry(framework: str) -> Path:
    """Return a project created by `poetry new`, with a framework and a lock. Tests must not change it."""
    folder = Path(mkdtemp())
    atexit.register(shutil.rmtree, folder)
    check_run("poetry", "new", "--no-interaction", "--quiet", "my-shop", cwd=folder)
    check_run("poetry", "add", "--lock", "--quiet", framework, cwd=folder / "my-shop")
    return folder / "my-shop"


def new_with_poetry(folder: Path, framework: str) -> Path:
    """Create a project with Poetry, add code and a test, commit it, and return its folder."""
    project = folder / "my-shop"
    shutil.copytree(made_with_poetry(framework), project)
    (project / "src" / "my_shop" / "prices.py").write_text(CODE)
    (project / "tests" / "test_prices.py").write_text(TEST)
    (project / "README.md").write_text("# Our shop\n")
    (project / ".gitignore").write_text("*.log\n")
    commit(project, "our own project")
    return project


def move_in(project: Path, template: Path, answers_file: str | None = None, **answers: str) -> str:
    """Copy the template into a project without questions, and return what Copier printed."""
    with printed() as text:
        run_copy(str(template), project, answers, answers_file=answers_file, defaults=True, overwrite=True, unsafe=True)
    return text.getvalue()


def advised(said: str) -> list[tuple[str, str]]:
    """Return the packages and the group of each `make add` that Copier prints. The group may be empty."""
    return re.findall(r'^ +make add PKG="(.*?)"(?: GROUP=(\w+))?$', said, re.MULTILINE)


def printed_steps(said: str) -> list[str]:
    """Return the steps that Copier printed, without the comments after `#`."""
    block = said.partition("Remaining steps, in this order:\n\n")[2]
    lines = [line.strip() for line in block.splitlines() if line.startswith("    ")]
    return [line.partition("  # ")[0] for line in lines]


def follow(step: str, project: Path, values: Mapping[str, str], **env: str) -> None:
    """Follow one of the printed steps: run its command, or make its edit.

    Args:
        step: The step.
        project: The project that moved in.
        values: The values of the variables of its code.
        env: Variables for a command.
    """
    named = re.match(r"([\w./-]+): (?:set|add) (.*)", step)
    if not named:
        check_run("sh", "-ec", step, cwd=project, **env)
        return
    file, what = project / named[1], named[2]
    text = file.read_text() if file.exists() else ""
    if file.suffix == ".py":
        in_function, _, line = what.rpartition("() ")
        before_return = rf"\g<1>{line}\n\g<1>\g<2>"
        text = re.sub(r"(?m)^( +)(return app)$", before_return, text) if in_function else f"{text}{what}\n"
    elif file.name == ".env":
        text += "".join(f"{name}={values[name]}\n" for name in what.split(", "))
    elif file.name.startswith("docker-compose"):
        names, old = re.findall(r"the services (.*) of (\S+), and their volumes", what)[0]
        theirs = yaml.safe_load((project / old).read_text())
        block = yaml.safe_dump({name: theirs["services"][name] for name in names.split(", ")})
        services = re.sub("(?m)^", "  ", block)
        volumes = "".join(f"  {name}:\n" for name in theirs.get("volumes", ()))
        text = text.replace("\nvolumes:\n", f"\n{services.rstrip()}\n\nvolumes:\n{volumes}", 1)
    else:
        for key, value in re.findall(r"([\w-]+) ?= ?(\"[^\"]*\"|\S+)", what):
            pattern, new = rf"(?m)^((?:ENV |ARG )?{key} ?= ?).*$", rf"\g<1>{value}"
            text, count = re.subn(pattern, new, text)
            assert count == 1, f"{step}: {count} lines of {named[1]}"
    file.write_text(text)
