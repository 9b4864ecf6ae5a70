"""Python packages that tests write, and checks of which modules an image has."""

from pathlib import Path

from tests.support.commands import ROOT, check_run

PROJECT = """
[project]
name = "{name}"
version = "{version}"
requires-python = ">=3.11"

[build-system]
requires = ["poetry-core"]
build-backend = "poetry.core.masonry.api"
"""


def python_project(folder: Path, name: str, version: str = "1.0.0") -> Path:
    """Write a project with one module, which contains its name. Return its folder."""
    package = folder / "src" / name.replace("-", "_")
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(f'NAME = "{name}"\n')
    (folder / "pyproject.toml").write_text(PROJECT.format(name=name, version=version))
    return folder


# Loads the application of `my-service`, and prints whether a module is loaded.
LOADED = """
import sys, my_service.app as module
getattr(module, "create_app", lambda: None)()
print(sys.argv[1] in sys.modules)
"""


def application_loads(image: str, module: str) -> bool:
    """Return whether the application in a production image of `my-service` loads a module."""
    printed = check_run("docker", "run", "--rm", image, "python", "-c", LOADED, module, cwd=ROOT)
    return printed.splitlines()[-1] == "True"


# Prints True or False for each module, and imports those that are found.
IMPORT = """
import importlib, importlib.util, sys
found = [importlib.util.find_spec(name) is not None for name in sys.argv[1:]]
for name, is_found in zip(sys.argv[1:], found):
    if is_found:
        importlib.import_module(name)
print(*found)
"""


def imports(docker: tuple[str, ...], *modules: str) -> dict[str, bool]:
    """Return which modules can be imported.

    Args:
        docker: The arguments of `docker run` or `docker exec` before the command.
        modules: The names of the modules.
    """
    printed = check_run("docker", *docker, "python", "-c", IMPORT, *modules, cwd=ROOT).splitlines()[-1].split()
    return {module: found == "True" for module, found in zip(modules, printed, strict=True)}
