"""The GitHub workflow of a project: the images that it pushes, their tags and labels, and the tags that it refuses."""

import json
import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.support.pipelines import INSTALLING, check_labels, edit_source, inspect, rebuilt
from tests.support.runner import REGISTRY, Runner


def seconds_of(step: str, output: str) -> float:
    """Return how long a step of a workflow took, in seconds, from the output of act."""
    minutes, seconds = re.findall(rf"Success - Main {step} \[(?:(\d+)m)?([\d.]+)s\]", output)[0]
    return 60 * int(minutes or 0) + float(seconds)


@pytest.mark.slow
def test_push_tags_the_tested_image(runner: Runner, hub: str) -> None:
    cold = runner.act("push", hub)
    assert cold.returncode == 0, cold.stdout
    commit = runner.check("git", "rev-parse", "HEAD", cwd=hub).strip()
    assert runner.tags("team/hub") == {"edge", commit, f"{commit}-amd64"}
    tested = inspect(runner, "hub")["Id"]
    assert runner.digest(f"{REGISTRY}/team/hub:edge") == tested
    check_labels(runner, f"{REGISTRY}/team/hub@{tested}", commit, "https://github.com/team/hub")
    attested = runner.check("cat", "/attested").splitlines()
    assert attested == [f"{REGISTRY}/team/hub@{tested} provenance", f"{REGISTRY}/team/hub@{tested} sbom.cdx.json"]
    sbom = json.loads(runner.check("cat", "/sbom.json"))
    assert sbom["bomFormat"] == "CycloneDX"
    names = {component["name"] for component in sbom["components"]}
    assert {"fastapi", "uvicorn", "hub", "libc6"} <= names
    assert not {"pytest", "poetry", "uv"} & names


@pytest.mark.slow
def test_next_push_installs_nothing_and_takes_half_as_long(
    runner: Runner, project_on_runner: Callable[..., str]
) -> None:
    folder = project_on_runner(app_name="again", ci="github")
    runner.forget_builds()
    runner.check("rm", "-rf", "/actcache")  # what other tests cached
    cold = runner.act("push", folder)
    assert cold.returncode == 0, cold.stdout
    commit = edit_source(runner, folder)
    warm = runner.act("push", folder)
    assert warm.returncode == 0, warm.stdout
    assert runner.digest(f"{REGISTRY}/team/again:edge") == runner.digest(f"{REGISTRY}/team/again:{commit}")
    assert rebuilt(cold.stdout) >= INSTALLING
    assert not INSTALLING & rebuilt(warm.stdout), rebuilt(warm.stdout)
    assert "package" in rebuilt(warm.stdout)
    assert seconds_of("make images", warm.stdout) <= 0.5 * seconds_of("make images", cold.stdout)


@pytest.mark.slow
def test_pull_request_pushes_nothing(runner: Runner, hub: str) -> None:
    before = runner.tags("team/hub")
    runner.check("sh", "-ec", "sed -i 's/web service/proposed service/' src/hub/__init__.py", cwd=hub)
    runner.commit(hub, "feat: a proposal")
    result = runner.act("pull_request", hub)
    assert result.returncode == 0, result.stdout
    assert runner.tags("team/hub") == before
    for skipped in ("make push", "docker login"):
        assert f"Run Main {skipped}" not in result.stdout


def manifests(runner: Runner, image: str) -> dict[str, str]:
    """Return the digests of the images for each architecture that a name in the registry has."""
    raw = json.loads(runner.check("docker", "buildx", "imagetools", "inspect", "--raw", image))
    return {manifest["platform"]["architecture"]: manifest["digest"] for manifest in raw["manifests"]}


def push_tag(runner: Runner, folder: str, tag: str) -> Any:
    """Push a tag, and run the workflow for it on amd64. The image for arm64 is an empty one."""
    runner.check("git", "tag", tag, cwd=folder)
    event = {"ref": f"refs/tags/{tag}"}
    runner.check("sh", "-c", f"echo '{json.dumps(event)}' >/event.json")
    return runner.act("push", folder, "--eventpath=/event.json", "--matrix=platform:amd64")


@pytest.mark.slow
def test_tag_publishes_a_release_for_two_platforms(runner: Runner, hub: str) -> None:
    refused = push_tag(runner, hub, "9.9.9")
    assert refused.returncode != 0
    assert "The tag is 9.9.9, but pyproject.toml has version 0.1.0: change one of them." in refused.stdout
    commit = runner.check("git", "rev-parse", "HEAD", cwd=hub).strip()
    arm64 = f"{REGISTRY}/team/hub:{commit}-arm64"
    runner.check("sh", "-ec", "mkdir -p /empty; printf 'FROM scratch\nCOPY . /\n' >/empty/Dockerfile")
    runner.check("docker", "build", "--quiet", "--platform=linux/arm64", f"--tag={arm64}", "/empty")
    runner.check("docker", "push", "--quiet", arm64)
    result = push_tag(runner, hub, "0.1.0")
    assert result.returncode == 0, result.stdout
    assert {"0.1.0", "0.1", "latest"} <= runner.tags("team/hub")
    assert "9.9.9" not in runner.tags("team/hub")
    published = manifests(runner, f"{REGISTRY}/team/hub:latest")
    assert {"amd64", "arm64"} <= set(published)
    assert published["amd64"] == manifests(runner, f"{REGISTRY}/team/hub@{inspect(runner, 'hub')['Id']}")["amd64"]
