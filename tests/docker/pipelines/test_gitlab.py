"""The pipeline of a project on GitLab: its jobs, run in their order."""

import json
import re
from collections.abc import Callable

import pytest
import yaml

from tests.support.pipelines import INSTALLING, check_labels, edit_source, inspect, rebuilt
from tests.support.runner import REGISTRY, Runner


def run_jobs(runner: Runner, folder: str, *jobs: str, **variables: str) -> str:
    """Run the scripts of jobs of a GitLab pipeline in this order, which must succeed, and return their output."""
    pipeline = yaml.safe_load(runner.check("cat", ".gitlab-ci.yml", cwd=folder))
    commit = runner.check("git", "rev-parse", "HEAD", cwd=folder).strip()
    predefined = {
        "CI_REGISTRY": REGISTRY,
        "CI_REGISTRY_IMAGE": f"{REGISTRY}/team/lab",
        "CI_REGISTRY_USER": "user",
        "CI_REGISTRY_PASSWORD": "password",
        "CI_PROJECT_URL": "https://gitlab.example.com/team/lab",
        "CI_DEFAULT_BRANCH": "main",
        "CI_COMMIT_REF_SLUG": "main",
        "CI_COMMIT_SHA": commit,
        "CI_PIPELINE_SOURCE": "push",
        "PIP_AUDIT_OSV_URL": f"http://{runner.address}:8099",
    } | variables

    def expand(variable: re.Match[str]) -> str:
        return predefined.get(variable[1], "")

    output = ""
    for job in jobs:
        settings = pipeline[pipeline[job].get("extends", "")] | pipeline[job]
        script = "\n".join(settings["script"])
        declared = pipeline["variables"] | settings.get("variables", {})
        own = {name: re.sub(r"\$(\w+)", expand, value) for name, value in declared.items() if "TLS" not in name}
        output += runner.check("sh", "-ec", script, cwd=folder, **own | predefined)
    return output


@pytest.fixture(scope="module")
def lab(project_on_runner: Callable[..., str]) -> str:
    """Return the folder of a project on GitLab."""
    return project_on_runner(app_name="lab", ci="gitlab")


@pytest.mark.slow
def test_pipeline_of_the_default_branch_pushes_the_tested_image(runner: Runner, lab: str) -> None:
    run_jobs(runner, lab, "build", "publish", ATTESTATIONS="off")
    tested = inspect(runner, "lab")["Id"]
    commit = runner.check("git", "rev-parse", "HEAD", cwd=lab).strip()
    assert runner.tags("team/lab") == {"edge", commit, f"{commit}-amd64"}
    assert runner.digest(f"{REGISTRY}/team/lab:edge") == tested
    check_labels(runner, f"{REGISTRY}/team/lab@{tested}", commit, "https://gitlab.example.com/team/lab")
    provenance = json.loads(runner.check("cat", "provenance.json", cwd=lab))
    assert provenance["buildDefinition"]["resolvedDependencies"][0]["digest"] == {"gitCommit": commit}


@pytest.mark.slow
def test_new_branch_starts_with_the_cache_of_the_default_branch(runner: Runner, lab: str) -> None:
    run_jobs(runner, lab, "build", "publish", ATTESTATIONS="off")
    before = runner.tags("team/lab")
    runner.check("git", "clean", "-fdq", cwd=lab)
    edit_source(runner, lab)
    output = run_jobs(runner, lab, "build", CI_COMMIT_REF_SLUG="a-branch", CI_PIPELINE_SOURCE="merge_request_event")
    assert "package" in rebuilt(output)
    assert not INSTALLING & rebuilt(output), rebuilt(output)
    assert runner.tags("team/lab") == before, "a merge request pushes nothing"


@pytest.mark.slow
def test_build_passes_without_access_to_the_cache(runner: Runner, lab: str) -> None:
    """A fork may have no registry, or no right to push to it."""
    for variables in (
        {},
        {"CI_REGISTRY_IMAGE": "localhost:1/lab", "CI_COMMIT_REF_SLUG": "x", "CI_DEFAULT_BRANCH": "x"},
    ):
        runner.check("docker", "image", "rm", "--force", "lab")
        runner.check("make", "images", cwd=lab, **variables)
        assert inspect(runner, "lab")["Id"]


# A stand-in for cosign. It logs its arguments.
COSIGN = """#!/bin/sh
echo "$*" >>/signed
"""


@pytest.mark.slow
def test_pipeline_signs_the_image_its_contents_and_its_provenance(runner: Runner, lab: str) -> None:
    runner.check("sh", "-ec", f"echo '{COSIGN}' >/usr/local/bin/cosign; chmod +x /usr/local/bin/cosign")
    run_jobs(runner, lab, "build", "publish")
    image = f"{REGISTRY}/team/lab@{inspect(runner, 'lab')['Id']}"
    assert runner.check("cat", "/signed").splitlines() == [
        f"sign --yes {image}",
        f"attest --yes --type cyclonedx --predicate sbom.cdx.json {image}",
        f"attest --yes --type slsaprovenance1 --predicate provenance.json {image}",
    ]
