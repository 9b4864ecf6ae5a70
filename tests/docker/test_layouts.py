"""The package in the images has the files of the wheel that `poetry build` makes in the checkout."""

import json
import re
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.commands import ROOT, check_run, commit
from tests.support.docker import PROCESS, REPOSITORY, check_build
from tests.support.projects import Render
from tests.support.template import HOST_PYTHON

# Prints the files of the installed project, as its RECORD lists them, relative to the environment.
INSTALLED = (
    "import importlib.metadata as m, json, os, sys; "
    "print(json.dumps([os.path.relpath(f.locate(), sys.prefix) for f in m.files('my-service')]))"
)
# The files that an installer adds to those of a wheel, and RECORD, which lists them.
ADDED = re.compile(r"\.dist-info/(RECORD|INSTALLER|REQUESTED|direct_url\.json|uv_\w+\.json)$|\.pyc$")


def write(root: Path, *names: str) -> None:
    """Create files with some content, and their folders."""
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(f"# {name}\n")


def edit_pyproject(root: Path, old: str, new: str) -> None:
    """Replace a text that occurs once in pyproject.toml."""
    pyproject = root / "pyproject.toml"
    text = pyproject.read_text()
    assert text.count(old) == 1, old
    pyproject.write_text(text.replace(old, new))


def add_packages(root: Path, *packages: str) -> None:
    """Add entries to `packages`."""
    own = '{ include = "my_service", from = "src" }'
    edit_pyproject(root, own, ", ".join([own, *packages]))


def use_license_files(root: Path) -> None:
    write(root, "LICENSE", "LICENSES/MIT.txt")
    edit_pyproject(root, 'readme = "README.md"\n', 'readme = "README.md"\nlicense = {file = "LICENSE"}\n')


def use_several_readmes(root: Path) -> None:
    write(root, "docs/history.md")
    edit_pyproject(root, 'readme = "README.md"\n', 'dynamic = ["readme"]\n')
    edit_pyproject(root, "[tool.poetry]\n", '[tool.poetry]\nreadme = ["README.md", "docs/history.md"]\n')


def add_a_second_package(root: Path) -> None:
    write(root, "src/shared/__init__.py", "src/shared/prices.json")
    add_packages(root, '{ include = "shared", from = "src" }')


def add_packages_elsewhere(root: Path) -> None:
    write(root, "acme/tools/__init__.py", "libs/single.py", "workers/__init__.py")
    add_packages(
        root, '{ include = "acme/tools" }', '{ include = "single.py", from = "libs" }', '{ include = "workers" }'
    )


def use_a_flat_layout(root: Path) -> None:
    shutil.move(root / "src" / "my_service", root / "my_service")
    edit_pyproject(root, '{ include = "my_service", from = "src" }', '{ include = "my_service" }')


def add_data(root: Path) -> None:
    write(root, "src/my_service/data/prices.json", "src/my_service/data/größe.txt", "src/my_service/py.typed")
    write(root, "src/my_service/tests/data.csv", "src/my_service/docs/Makefile")


def include_and_exclude(root: Path) -> None:
    write(root, "config/default.toml", "docs/guide.md", "src/my_service/private/key.txt")
    included = (
        '{ path = "config/*.toml", format = ["sdist", "wheel"] }',
        '{ path = "docs/guide.md", format = "wheel" }',
    )
    lines = f'include = [{", ".join(included)}]\nexclude = ["src/my_service/private"]\n'
    edit_pyproject(root, "[tool.poetry]\n", f"[tool.poetry]\n{lines}")


def add_scripts(root: Path) -> None:
    write(root, "bin/migrate.sh")
    scripts = '[project.scripts]\nserve = "my_service.app:main"\n\n'
    file = '[tool.poetry.scripts]\nmigrate = { reference = "bin/migrate.sh", type = "file" }\n\n'
    edit_pyproject(root, "\n\n[dependency-groups]\n", f"\n\n{scripts}[dependency-groups]\n")
    edit_pyproject(root, "[tool.uv]\n", f"{file}[tool.uv]\n")


def use_a_build_script(root: Path) -> None:
    (root / "build.py").write_text(
        "from pathlib import Path\n\nPath('src/my_service/generated.txt').write_text(Path('VERSION').read_text())\n"
    )
    write(root, "VERSION")
    script = '[tool.poetry.build]\nscript = "build.py"\ngenerate-setup-file = false\n\n'
    edit_pyproject(root, "[tool.uv]\n", f"{script}[tool.uv]\n")
    include = '[tool.poetry]\ninclude = [{ path = "src/my_service/generated.txt", format = ["wheel"] }]\n'
    edit_pyproject(root, "[tool.poetry]\n", include)


def ignore_files(root: Path) -> None:
    write(root, "src/my_service/.env", "src/my_service/.venv/lib/x.py", "src/my_service/dist/old.whl")
    write(root, "src/my_service/local.sqlite3", "src/my_service/cache/x.json", "src/my_service/keys/a.pem")
    for file, line in ((".gitignore", "*.sqlite3"), (".dockerignore", "**/*.sqlite3"), (".gitignore", "cache/")):
        with (root / file).open("a") as text:
            text.write(f"{line}\n")
    with (root / ".dockerignore").open("a") as text:
        text.write("**/cache\nsrc/my_service/keys/**/*.pem\n")
    (root / "src" / "my_service" / "keys" / ".gitignore").write_text("*.pem\n")


def combine_layouts(root: Path) -> None:
    """Use all layouts that do not exclude each other."""
    for layout in TOGETHER:
        layout(root)


TOGETHER: list[Callable[[Path], None]] = [
    use_license_files,
    use_several_readmes,
    add_a_second_package,
    add_packages_elsewhere,
    add_data,
    include_and_exclude,
    add_scripts,
]


def use_the_starter(root: Path) -> None:
    """Leave the project as it was rendered."""


EVERY_RUN = [use_the_starter, combine_layouts, use_a_flat_layout, use_a_build_script, ignore_files]
IN_PRODUCTION = [*EVERY_RUN, *(pytest.param(layout, marks=pytest.mark.slow) for layout in TOGETHER)]


@pytest.mark.parametrize("layout", IN_PRODUCTION, ids=lambda layout: layout.__name__)
def test_image_has_the_files_of_the_wheel(layout: Callable[[Path], None], project: Render, tmp_path: Path) -> None:
    root = project(python_version=HOST_PYTHON)
    layout(root)
    commit(root, "the project")
    check_run("poetry", "build", "--format=wheel", f"--output={tmp_path / 'dist'}", cwd=root)
    (wheel,) = (tmp_path / "dist").glob("*.whl")
    library = f"lib/python{HOST_PYTHON}/site-packages"
    expected = set()
    for name in zipfile.ZipFile(wheel).namelist():
        script = re.fullmatch(r"[^/]+\.data/scripts/(.+)", name)
        expected.add(f"bin/{script[1]}" if script else f"{library}/{name}")
    if layout in (add_scripts, combine_layouts):
        expected.add("bin/serve")  # generated from the wheel's entry_points.txt
    tag = f"{REPOSITORY}:layout-{PROCESS}"
    check_build(root, tag)
    installed = json.loads(check_run("docker", "run", "--rm", tag, "python", "-c", INSTALLED, cwd=ROOT))
    assert {name for name in installed if not ADDED.search(name)} == {n for n in expected if not ADDED.search(n)}


# The modules of each layout that Python can import.
IMPORTED: dict[Callable[[Path], None], list[str]] = {
    add_a_second_package: ["my_service", "shared"],
    add_packages_elsewhere: ["my_service", "acme.tools", "single", "workers"],
    use_a_flat_layout: ["my_service"],
}


IN_DEVELOPMENT = [
    add_packages_elsewhere,
    *(pytest.param(layout, marks=pytest.mark.slow) for layout in (add_a_second_package, use_a_flat_layout)),
]


@pytest.mark.parametrize("layout", IN_DEVELOPMENT, ids=lambda layout: layout.__name__)
def test_development_imports_what_production_imports(layout: Callable[[Path], None], project: Render) -> None:
    root = project()
    layout(root)
    tag = f"{REPOSITORY}:layout-{PROCESS}"
    check_build(root, tag, "--target=development")
    program = f"import {', '.join(IMPORTED[layout])}; print(my_service.__file__)"
    mounted = ("--rm", f"--volume={root}:/app:ro", tag, "python", "-c", program)
    assert check_run("docker", "run", *mounted, cwd=ROOT).startswith("/app/")
