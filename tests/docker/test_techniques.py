"""The techniques that the benchmark of the workshop compares: each builds an image that serves."""

import itertools

import pytest

from tests.support.commands import ROOT, check_run, run
from tests.support.docker import PLUGINS, PROCESS, check_build, container
from tests.support.projects import Render
from tests.support.template import CHOICES, TECHNIQUES

TAG = f"technique-test:{PROCESS}"
# The other tests build the project's own image.
CASES = list(itertools.product([name for name in TECHNIQUES if name != "project"], CHOICES["framework"]))


@pytest.mark.slow
@pytest.mark.parametrize(("name", "framework"), CASES)
def test_technique_builds_and_serves(name: str, framework: str, project: Render) -> None:
    folder, file = project(framework=framework, include_workshop=True), f"--file={TECHNIQUES[name]}"
    if name == "uv":
        check_run("docker", "build", file, "--target=lock", "--output=workshop/bench/uv", ".", cwd=folder)
    try:
        check_build(folder, TAG, file, f"--build-arg=POETRY_PLUGINS={PLUGINS}")
        with container(TAG) as service:
            assert service.get("/health").json() == {"status": "ok", "version": "0.1.0"}
            assert service.get("/").json()["name"] == "my-service"
    finally:
        run("docker", "image", "rm", "--force", TAG, cwd=ROOT)
