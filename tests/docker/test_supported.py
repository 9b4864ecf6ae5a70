"""Every Python with every Poetry, built and served: a part of the matrix in each run, the whole matrix every week."""

import pytest

from tests.support.commands import ROOT, check_run
from tests.support.docker import HARDENED, REPOSITORY, check_build, container
from tests.support.matrix import in_every_run
from tests.support.projects import Render
from tests.support.template import CHOICES, POETRIES, STACKS
from tools.questionnaire import versions

MATRIX = [
    (python, poetry, *STACKS[(row + column) % len(STACKS)])
    for row, python in enumerate(CHOICES["python_version"])
    for column, poetry in enumerate(POETRIES)
]
# In every run, the oldest, the default and the newest Python, and each Poetry once; the rest every week.
PYTHONS = sorted({CHOICES["python_version"][0], versions()["python"], CHOICES["python_version"][-1]})
EVERY_RUN = [
    CHOICES["python_version"].index(python) * len(POETRIES) + column % len(POETRIES)
    for column, python in enumerate(PYTHONS)
]


def test_every_run_proves_each_poetry() -> None:
    proven = [MATRIX[number] for number in EVERY_RUN]
    assert [python for python, *_ in proven] == PYTHONS
    assert {poetry for _, poetry, *_ in proven} == set(POETRIES)
    assert {framework for _, _, framework, _ in proven} == set(CHOICES["framework"])


@pytest.mark.parametrize(
    ("python_version", "poetry_version", "framework", "server"),
    in_every_run([MATRIX[number] for number in EVERY_RUN], MATRIX),
)
def test_python_and_poetry_build_and_serve(
    python_version: str, poetry_version: str, framework: str, server: str, render: Render
) -> None:
    answers = {"framework": framework, "server": server}
    project = render(python_version=python_version, poetry_version=poetry_version, **answers)
    names = {target: f"{REPOSITORY}:{target}-{python_version}" for target in ("production", "development", "poetry")}
    for target, name in names.items():
        check_build(project, name, f"--target={target}")
    with container(names["production"], *HARDENED) as service:
        assert service.get("/health").json()["status"] == "ok"
        running = service.execute("python", "-c", "import sys; print(*sys.version_info[:2], sep='.', end='')")
        assert running == python_version
        assert service.stop()[0] == 0
    mount = f"--volume={project}:/app:ro"
    check_run("docker", "run", "--rm", mount, names["development"], "pytest", "-p", "no:cacheprovider", cwd=ROOT)
    version = check_run("docker", "run", "--rm", names["poetry"], "--version", cwd=ROOT)
    assert f"version {poetry_version})" in version
    check_run("docker", "run", "--rm", mount, names["poetry"], "check", "--lock", cwd=ROOT)
    check_run("docker", "image", "rm", "--force", *names.values(), cwd=ROOT)
