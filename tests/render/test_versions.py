"""Each version is in one place, Renovate updates it, and a new Python version needs only one line and its locks."""

import json
import os
import re
import sys
import tomllib
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
import yaml
from copier import run_copy

from tests.support.commands import ROOT, check_run, run
from tests.support.matrix import in_every_run
from tests.support.projects import PARSERS, Render, texts
from tests.support.servers import images
from tests.support.template import CHOICES, COPIER_YML, STACKS
from tools import locks
from tools.questionnaire import base_image, versions

OWN = ROOT / ".github" / "renovate.json"
OF_PROJECTS = ROOT / "template" / "{% if ci != 'none' %}.{{ ci }}{% endif %}" / "renovate.json"
TEMPLATE = [path for path in (ROOT / "template").rglob("*") if path.is_file() and "poetry.lock" not in path.name]
RECIPES = [str(page.relative_to(ROOT)) for page in sorted((ROOT / "docs" / "recipes").glob("*.md"))]
# Files that contain versions without pinning them.
EXAMPLES = {
    "dependencies.md.jinja": {"0.14.4", "1.2.3"},
    "deploy.md.jinja": {"1.0.0", "1.2.3"},
    "platforms.md.jinja": {"1.0.0", "1.1.0"},
    "publish.sh.jinja": {"1.2.3"},
    "launch.json": {"0.2.0"},
}


def renovate(path: Path) -> dict[str, Any]:
    """Return a configuration of Renovate."""
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def found_by_renovate() -> dict[str, str]:
    """Return the version of each dependency that the template's custom Renovate managers find, each once."""
    found: dict[str, str] = {}
    for manager in renovate(OWN)["customManagers"]:
        patterns = [re.compile(pattern.strip("/")) for pattern in manager["managerFilePatterns"]]
        files = ("data/versions.yml", "template/pyproject.toml.jinja", *RECIPES)
        named = [file for file in files if any(pattern.search(file) for pattern in patterns)]
        assert named, manager
        for path, match_string in ((path, string) for path in named for string in manager["matchStrings"]):
            for match in re.finditer(match_string.replace("(?<", "(?P<"), (ROOT / path).read_text()):
                name = match["depName"].rpartition("/")[2]
                assert name not in found, f"{name} is in two places"
                found[name] = match["currentValue"]
    return found


def test_renovate_raises_every_pin_and_every_dependency(render: Render) -> None:
    found = found_by_renovate()
    pins = versions()
    assert {name.replace("_", "-"): version for name, version in pins.items()}.items() <= found.items()
    assert found["poetry"] == versions()["poetry"]
    assert found["python"] == versions()["python"]
    for image in images("".join((ROOT / page).read_text(encoding="utf-8") for page in RECIPES)):
        name, _, version = image.rpartition("/")[2].partition(":")
        assert found[name] == version
    wanted = set()
    for framework, server in STACKS:
        pyproject = tomllib.loads((render(framework=framework, server=server) / "pyproject.toml").read_text())
        wanted |= {*pyproject["project"]["dependencies"], *pyproject["dependency-groups"]["dev"]}
    assert {f"{name} ({found[name]})" for name in (entry.partition(" ")[0] for entry in wanted)} == wanted


def test_renovate_of_a_project_changes_the_lock_alone() -> None:
    config = renovate(OF_PROJECTS)
    assert (config["enabledManagers"], config["rangeStrategy"]) == (["poetry"], "in-range-only")
    assert "/poetry.lock" in COPIER_YML["_skip_if_exists"], "an update must not change the file that Renovate changes"


@pytest.mark.parametrize("path", [OWN, OF_PROJECTS], ids=["template", "project"])
def test_renovate_is_configured_as_its_schema_says(path: Path) -> None:
    check_run("check-jsonschema", "--builtin-schema", "vendor.renovate", str(path), cwd=ROOT)


def test_renovate_covers_every_workflow_and_script_with_pins() -> None:
    config = renovate(OWN)
    for manager, sign in (("github-actions", r"uses: .*@[0-9a-f]{40}"), ("pep723", "# /// script")):
        (pattern,) = (pattern.strip("/") for pattern in config[manager]["managerFilePatterns"])
        pinned = [path for path in TEMPLATE if re.search(sign, path.read_text())]
        assert pinned
        for path in pinned:
            assert re.search(pattern, str(path.relative_to(ROOT))), path


@pytest.mark.parametrize("prefix", ["", "major-"])
def test_locks_are_made_for_what_renovate_raises_of_the_projects(prefix: str) -> None:
    """Renovate uses a separate branch for major versions.

    Source: https://docs.renovatebot.com/configuration-options/#separatemajorminor
    """
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "locks.yml").read_text())
    slugs = [rule["groupSlug"] for rule in renovate(OWN)["packageRules"]]
    assert len(slugs) == 2
    for slug in slugs:
        branch = f"renovate/{prefix}{slug}"
        assert any(fnmatch(branch, pattern) for pattern in workflow[True]["push"]["branches"]), branch


def test_files_of_the_template_pin_nothing_by_themselves() -> None:
    number = re.compile(r"(?<![\d.])\d+\.\d+\.\d+(?![\d.]*\d)")
    for path in TEMPLATE:
        if path.name in {"pyproject.toml.jinja", "bench.py"}:
            continue
        text = re.sub(r"uses: .*|.*(?:\d+\.){3}\d+.*", "", path.read_text())
        assert set(number.findall(text)) <= EXAMPLES.get(path.name, set()), path


def test_base_image_is_one_value() -> None:
    codename = versions()["debian"]
    holding = {str(path.relative_to(ROOT)) for path in TEMPLATE if codename in path.read_text()}
    assert holding == set()


def test_documents_name_no_newest_python() -> None:
    newest = CHOICES["python_version"][-1]
    pages = [str(path.relative_to(ROOT)) for path in (ROOT / "docs").glob("*.md")]
    for name in ("README.md", "CONTRIBUTING.md", *pages, "copier.yml", "data/facts.yml", ".ci/run"):
        text = re.sub(r"<!-- (\w+) -->.*<!-- /\1 -->", "", (ROOT / name).read_text(), flags=re.DOTALL)
        assert text.count(newest) == (name == "data/facts.yml"), name


# --- a new Python ----------------------------------------------------------------------------------------------------


def with_python(template: Path, version: str) -> None:
    """Add a version of Python to the choices of a template."""
    facts = template / "data" / "facts.yml"
    newest = CHOICES["python_version"][-1]
    text = facts.read_text()
    assert text.count(f'"{newest}"]') == 1
    facts.write_text(text.replace(f'"{newest}"]', f'"{newest}", "{version}"]'))


def add_empty_locks(template: Path, version: str) -> None:
    """Add the locks of a version of Python, as `make locks` does before it resolves them."""
    for framework, server in STACKS:
        (template / locks.shipped_lock(framework, server, version).relative_to(ROOT)).touch()


@pytest.mark.parametrize(("framework", "server"), in_every_run([("fastapi", "uvicorn")], STACKS))
def test_new_python_is_one_line_and_its_locks(
    framework: str, server: str, template_clone: Path, tmp_path: Path
) -> None:
    with_python(template_clone, "3.16")
    assert len(check_run("git", "diff", "--unified=0", "--", ".", cwd=template_clone).splitlines()) == 7
    add_empty_locks(template_clone, "3.16")
    answers = {"framework": framework, "server": server, "python_version": "3.16", "include_workshop": True}
    project = tmp_path / "project"
    run_copy(str(template_clone), project, data=answers, vcs_ref="HEAD", defaults=True, unsafe=True, quiet=True)
    files = texts(project)
    for name, text in files.items():
        PARSERS.get(Path(name).suffix, str)(text)
    assert f"ARG PYTHON_IMAGE={base_image('3.16')}\n" in files["Dockerfile"]
    pyproject = tomllib.loads(files["pyproject.toml"])
    tools = pyproject["tool"]
    assert (tools["ruff"]["target-version"], tools["mypy"]["python_version"]) == ("py316", "3.16")
    assert pyproject["project"]["requires-python"] == ">=3.16,<3.17"
    (project / "poetry.lock").unlink()
    check_run("poetry", "check", cwd=project)
    check_run("hadolint", "Dockerfile", cwd=project)


def test_tests_take_the_versions_from_the_questionnaire(template_clone: Path) -> None:
    with_python(template_clone, "3.16")
    matrix = "tests/docker/test_supported.py"
    listed = check_run("pytest", "--collect-only", "-q", "-n0", matrix, "-m", "", cwd=template_clone)
    assert "[3.16-" in listed


# A stand-in for a program, which writes its arguments to a file and fails.
RECORDING = "#!/bin/sh\necho \"$0 $*\" >>'{}'\nexit 1\n"


def test_ci_takes_the_versions_from_the_questionnaire(template_clone: Path, tmp_path: Path) -> None:
    """Run the CI script with stand-ins for make, Docker and the program that provides an engine."""
    with_python(template_clone, "3.16")
    log = tmp_path / "log"
    (template_clone / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / "shared" / "docker").mkdir(parents=True)
    (tmp_path / "bin").mkdir()
    scripts = {
        template_clone / ".venv" / "bin" / "python": f'#!/bin/sh\nexec {sys.executable} "$@"\n',
        tmp_path / "shared" / "docker" / "engine": RECORDING.format(log),
        tmp_path / "bin" / "docker": RECORDING.format(log),
    }
    for program, script in scripts.items():
        program.write_text(script)
        program.chmod(0o755)
    (tmp_path / "bin" / "make").symlink_to("/bin/true")
    path = f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}"
    assert run("bash", template_clone / ".ci" / "run", cwd=tmp_path, PATH=path).returncode == 1
    versions = [*CHOICES["python_version"], "3.16"]
    docker, engine = (line.partition(" ")[2] for line in log.read_text().splitlines())
    assert docker.split() == ["image", "inspect", *map(base_image, versions)]
    assert engine.split() == ["up", *versions]
