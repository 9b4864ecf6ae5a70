"""The pipeline of a project on GitLab: its jobs, run in their order."""

import json
import re
import time
from collections.abc import Callable

import yaml

from tests.support.docker import rebuilt_steps
from tests.support.pipelines import INSTALLING, check_labels, edit_source, inspect
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


def test_gitlab_pipeline_pushes_the_tested_image_and_caches_in_the_registry(
    runner: Runner, project_on_runner: Callable[..., str]
) -> None:
    lab = project_on_runner(app_name="lab", ci="gitlab")
    start = time.monotonic()
    run_jobs(runner, lab, "build", "publish", ATTESTATIONS="off")
    cold = time.monotonic() - start
    tested = inspect(runner, "lab")["Id"]
    commit = runner.check("git", "rev-parse", "HEAD", cwd=lab).strip()
    assert runner.tags("team/lab") == {"edge", commit, f"{commit}-amd64"}
    assert runner.digest(f"{REGISTRY}/team/lab:edge") == tested
    check_labels(runner, f"{REGISTRY}/team/lab@{tested}", commit, "https://gitlab.example.com/team/lab")
    provenance = json.loads(runner.check("cat", "provenance.json", cwd=lab))
    assert provenance["buildDefinition"]["resolvedDependencies"][0]["digest"] == {"gitCommit": commit}
    runner.check("git", "clean", "-fdq", cwd=lab)

    edit_source(runner, lab)
    start = time.monotonic()
    output = run_jobs(runner, lab, "build", CI_COMMIT_REF_SLUG="a-branch", CI_PIPELINE_SOURCE="merge_request_event")
    assert not INSTALLING & rebuilt_steps(output), "the default branch's cache"
    assert time.monotonic() - start < cold
    assert runner.digest(f"{REGISTRY}/team/lab:edge") == tested, "a merge request pushes nothing"
