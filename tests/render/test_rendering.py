"""The rendered files: their names, that each one parses, and that none contains Jinja syntax."""

import itertools
import re
import tomllib
from pathlib import Path

import pytest
import yaml

from tests.support.nginx import NGINX
from tests.support.projects import PARSERS, Render, texts
from tests.support.template import CHOICES, HAZARDS, LESSONS, SERVERS, STACKS, TRUSTING, VARIABLES
from tools.questionnaire import versions

PYTHONS = (CHOICES["python_version"][0], CHOICES["python_version"][-1])
COMBINATIONS = [
    *((*stack, *others, False) for stack in STACKS for others in itertools.product(PYTHONS, CHOICES["ci"])),
    *((*stack, versions()["python"], "github", True) for stack in STACKS),
]
# Each stack without and with the optional parts, each CI, and the oldest and the newest Python.
EVERY_RUN = [
    *((*stack, PYTHONS[number % 2], CHOICES["ci"][number % 3], False) for number, stack in enumerate(STACKS)),
    *((*stack, versions()["python"], "github", True) for stack in STACKS),
]
RENDERED = [
    pytest.param(case, id="-".join(map(str, case)), marks=[] if case in EVERY_RUN else pytest.mark.slow)
    for case in COMBINATIONS
]

FILES = {
    ".copier-answers.yml",
    ".dockerignore",
    ".editorconfig",
    ".env.example",
    ".gitattributes",
    ".gitignore",
    ".pre-commit-config.yaml",
    ".vscode/launch.json",
    "Dockerfile",
    "Makefile",
    "README.md",
    "docker/build-secrets.yml",
    "docker/doctor.sh",
    "docker/export_lock.py",
    "docker/healthcheck.py",
    "docker-compose.override.yml",
    "docker-compose.yml",
    "docs/dependencies.md",
    "docs/deploy.md",
    "docs/platforms.md",
    "docs/template-updates.md",
    "entrypoint.sh",
    "poetry.lock",
    "pyproject.toml",
    "src/my_service/__init__.py",
    "src/my_service/access_log.py",
    "src/my_service/app.py",
    "src/my_service/logs.py",
    "src/my_service/settings.py",
    "tests/conftest.py",
    "tests/test_app.py",
    "tests/test_logs.py",
    "tests/test_settings.py",
}
FILES_OF_SERVER = {"gunicorn": {"gunicorn.conf.py"}, "uvicorn": set[str](), "granian": set[str]()}
STEPS_OF_CI = {
    "ci/audit.py",
    "ci/build.sh",
    "ci/cache.yml",
    "ci/copier-settings.yml",
    "ci/exceptions.toml",
    "ci/labels.yml",
    "ci/publish.sh",
    "ci/rebuild.sh",
    "ci/size.py",
    "ci/smoke.sh",
    "ci/targets.mk",
    "ci/template_update.sh",
}
FILES_OF_CI = {
    "github": STEPS_OF_CI | {".github/workflows/ci.yml", ".github/workflows/weekly.yml", ".github/renovate.json"},
    "gitlab": STEPS_OF_CI | {".gitlab-ci.yml", ".gitlab/renovate.json"},
    "none": set[str](),
}
FILES_OF_DEVCONTAINER = {
    ".devcontainer/devcontainer.json",
    ".devcontainer/docker-compose.yml",
    ".devcontainer/hand_over_ids.sh",
}
FILES_OF_KUBERNETES = {
    "deploy/kubernetes/base/autoscaler.yaml",
    "deploy/kubernetes/base/deployment.yaml",
    "deploy/kubernetes/base/disruption-budget.yaml",
    "deploy/kubernetes/base/kustomization.yaml",
    "deploy/kubernetes/base/network-policy.yaml",
    "deploy/kubernetes/base/service-account.yaml",
    "deploy/kubernetes/base/service.yaml",
    "deploy/kubernetes/overlays/production/kustomization.yaml",
    "deploy/kubernetes/overlays/staging/kustomization.yaml",
}
FILES_OF_WORKSHOP = {
    "workshop/.gitignore",
    "workshop/02-layers/Dockerfile.dockerignore",
    "workshop/02-layers/solution/Dockerfile.dockerignore",
    "workshop/05-stages/solution/wheel.Dockerfile",
    "workshop/11-ci/build.sh",
    "workshop/11-ci/solution/build.sh",
    "workshop/README.md",
    "workshop/bench/README.md",
    "workshop/bench/bench.py",
    "workshop/bench/builder.py",
    "workshop/bench/packages.txt",
    "workshop/bench/project.py",
    "workshop/bench/report.py",
    "workshop/bench/uv/.gitignore",
    "workshop/bench/uv/Dockerfile",
    "workshop/bench/uv/Dockerfile.dockerignore",
    "workshop/check/__main__.py",
    "workshop/check/attempt.py",
    "workshop/check/ci.py",
    "workshop/check/copies.py",
    "workshop/check/engine.py",
    "workshop/check/facts.py",
    "workshop/check/goals.py",
    "workshop/check/lessons.py",
    "workshop/check/pictures.py",
    "workshop/check/prepare.py",
    "workshop/check/progress.py",
    "workshop/prepare/Dockerfile",
    "workshop/prepare/Dockerfile.dockerignore",
    "workshop/prepare/index.py",
    "workshop/reference.json",
    "workshop/ruff.toml",
    "workshop/teaching.md",
    *(f"workshop/{lesson}/README.md" for lesson in LESSONS),
    *(f"workshop/{lesson}/Dockerfile" for lesson in LESSONS if lesson != "11-ci"),
    *(f"workshop/{lesson}/solution/Dockerfile" for lesson in LESSONS[:11]),
}


@pytest.fixture(scope="module", params=RENDERED)
def rendered(request: pytest.FixtureRequest, render: Render) -> tuple[set[str], dict[str, str]]:
    """Return the names of the expected files and the files of a rendered project, for each combination."""
    framework, server, python_version, ci, parts = request.param
    project = render(
        framework=framework,
        server=server,
        python_version=python_version,
        ci=ci,
        include_devcontainer=parts,
        include_kubernetes=parts,
        include_workshop=parts,
    )
    files = FILES | FILES_OF_SERVER[server] | FILES_OF_CI[ci]
    of_parts = FILES_OF_DEVCONTAINER | FILES_OF_KUBERNETES | FILES_OF_WORKSHOP
    return files | (of_parts if parts else set()), texts(project)


def test_files_are_exactly_those_expected(rendered: tuple[set[str], dict[str, str]]) -> None:
    expected, files = rendered
    assert set(files) == expected


def test_files_parse(rendered: tuple[set[str], dict[str, str]]) -> None:
    for name, text in rendered[1].items():
        if parse := PARSERS.get(Path(name).suffix):
            assert parse(text) is not False, name


def test_files_hold_no_jinja(rendered: tuple[set[str], dict[str, str]]) -> None:
    for name, text in rendered[1].items():
        # Expressions of GitHub, and formats of Docker.
        others = re.sub(r"\$\{\{.*?\}\}|\{{2,4}(end|((json|index|join|if) )?\..*?)\}{2,4}", "", text)
        assert not re.search(r"\{%|%\}|\{\{|\}\}|\{#|#\}", others), name


def test_files_are_tidy(rendered: tuple[set[str], dict[str, str]]) -> None:
    for name, text in rendered[1].items():
        assert text.endswith("\n"), name
        assert not text.endswith("\n\n"), name
        assert not text.startswith("\n"), name
        assert "\r" not in text, name
        assert not re.search(r"[ \t]\n", text), name
        blank_lines = r"\n{4,}" if name.endswith(".py") else r"\n{3,}"
        assert not re.search(blank_lines, text), name


def test_rendering_again_gives_the_same_bytes(render: Render, project: Render) -> None:
    assert texts(render()) == texts(project())


def test_empty_description_leaves_no_gap(render: Render) -> None:
    without, described = (
        (render(app_description=description) / "README.md").read_text() for description in ("", "What it does")
    )
    assert described.startswith("# my-service\n\nWhat it does\n\n")
    assert without == described.replace("\nWhat it does\n", "", 1)


@pytest.mark.parametrize("framework", CHOICES["framework"])
def test_description_survives_every_quoting(framework: str, render: Render) -> None:
    description = HAZARDS + "\nsecond line"
    files = texts(render(framework=framework, app_description=description))
    assert tomllib.loads(files["pyproject.toml"])["project"]["description"] == description.replace("\n", " ")
    assert yaml.safe_load(files[".copier-answers.yml"])["app_description"] == description
    assert files["README.md"].startswith(f"# my-service\n\n{description}\n\n")


def test_author_reaches_the_metadata(render: Render) -> None:
    files = texts(render(author_name="Zoë O'Neill", author_email="zoe@example.com"))
    project = tomllib.loads(files["pyproject.toml"])["project"]
    assert project["authors"] == [{"name": "Zoë O'Neill", "email": "zoe@example.com"}]
    assert tomllib.loads(texts(render())["pyproject.toml"])["project"]["authors"] == []


def test_longest_name_becomes_package_and_image(render: Render) -> None:
    name = "-".join(["long"] * 12) + "-name"
    project = render(app_name=name)
    assert len(name) == 64
    assert (project / "src" / name.replace("-", "_") / "app.py").exists()
    production = yaml.safe_load((project / "docker-compose.yml").read_text())["services"]["production"]
    assert production["image"] == f"${{IMAGE:-{name}}}"


@pytest.mark.parametrize(("framework", "server"), STACKS)
def test_few_steps_mount_secrets(framework: str, server: str, render: Render) -> None:
    dockerfile = render(framework=framework, server=server, include_devcontainer=True) / "Dockerfile"
    text = re.sub(r"^\s*#.*\n", "", dockerfile.read_text(), flags=re.M).replace("\\\n", " ")
    steps = [line for line in text.splitlines() if line.startswith("RUN ")]
    assert len(steps) > 8
    assert 1 <= len([step for step in steps if "--mount=type=secret" in step]) <= 4


@pytest.mark.parametrize(("framework", "server"), SERVERS)
def test_every_variable_is_explained(framework: str, server: str, render: Render) -> None:
    project = render(framework=framework, server=server)
    settings = (project / "src" / "my_service" / "settings.py").read_text()
    for variable in VARIABLES:
        is_setting = variable != "MAX_REQUESTS" or server == "gunicorn"
        assert (f"\n    {variable.lower()}: " in settings) is is_setting, variable
        is_described = is_setting and (variable != "FORWARDED_ALLOW_IPS" or (framework, server) in TRUSTING)
        assert (f"\n#{variable}=" in (project / ".env.example").read_text()) is is_described, variable


@pytest.mark.parametrize(("framework", "server"), STACKS)
def test_documentation_has_the_tested_settings(framework: str, server: str, render: Render) -> None:
    documentation = (render(framework=framework, server=server) / "docs" / "deploy.md").read_text()
    for line in NGINX.splitlines():
        if "proxy_set_header" in line:
            assert (line.strip() in documentation) is ((framework, server) in TRUSTING), line
