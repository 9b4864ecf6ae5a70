"""Tests that CI fails for a vulnerable package or a larger image, and builds a vulnerable release again."""

import json
import re

import pytest

from tests.support.runner import BASE, REGISTRY, Runner

PLANTED = 'sed -i \'/^name = "idna"/{n;s/.*/version = "3.6"/}\' poetry.lock'


@pytest.mark.slow
def test_audit_is_red_for_a_planted_pin_and_an_expired_exception(runner: Runner, hub: str) -> None:
    service = {"PIP_AUDIT_OSV_URL": f"http://{runner.address}:8099"}
    runner.check("make", "audit", cwd=hub, **service)
    runner.check("sh", "-ec", PLANTED, cwd=hub)
    try:
        red = runner.run("make", "audit", cwd=hub, **service)
        assert red.returncode != 0
        assert re.search(r"idna +3\.6 +GHSA-jjg7-2v4v-x38h +3\.7", red.stdout), red.stdout
        for expires, code in (("2099-01-01", 0), ("2020-01-01", 2)):
            exception = f'[[exception]]\nid = "GHSA-jjg7-2v4v-x38h"\nreason = "test"\nexpires = {expires}\n'
            runner.check("sh", "-c", f"echo '{exception}' >ci/exceptions.toml", cwd=hub)
            result = runner.run("make", "audit", cwd=hub, **service)
            assert result.returncode == code, result.stdout
        assert "GHSA-jjg7-2v4v-x38h expired on 2020-01-01: fix or renew it." in result.stdout
    finally:
        runner.check("git", "checkout", "--quiet", ".", cwd=hub)


@pytest.mark.slow
def test_growth_over_the_limit_is_red_and_named(runner: Runner, hub: str) -> None:
    runner.check("make", "images", "size", cwd=hub)
    assert json.loads(runner.check("cat", "ci/size.json", cwd=hub))["total"] > 50e6
    runner.check("make", "check-size", cwd=hub)
    smaller = r's/"total": ./"total": /; s/\("uvloop.*: \)[0-9]*/\11/'
    runner.check("sed", "-i", smaller, "ci/size.json", cwd=hub)
    red = runner.run("make", "check-size", cwd=hub)
    assert red.returncode != 0
    assert "The image has grown by more than 10 %:" in red.stdout
    assert re.search(r"\+\d+\.\d MB  uvloop", red.stdout)
    runner.check("rm", "ci/size.json", cwd=hub)


@pytest.mark.slow
def test_release_is_rebuilt_when_its_image_has_a_vulnerability_that_is_fixed(runner: Runner, hub: str) -> None:
    repository = f"{REGISTRY}/team/hub"
    environment = {"REPOSITORY": repository, "PLATFORMS": "amd64"}
    runner.check("sh", "-c", "git tag --delete 0.1.0; git tag 0.1.0", cwd=hub)
    runner.check("make", "images", "push", "publish", cwd=hub, TAG="0.1.0", **environment)
    before = runner.digest(f"{repository}:0.1.0")
    runner.check("make", "rebuild", cwd=hub, **environment)
    assert runner.digest(f"{repository}:0.1.0") == before
    # The new base image has no perl.
    remove = "RUN dpkg --purge --force-all perl-base && rm -f /usr/bin/perl*"
    runner.check("sh", "-ec", f"mkdir -p /base; printf 'FROM {BASE}\n{remove}\n' >/base/Dockerfile")
    runner.check("docker", "build", "--quiet", f"--tag={BASE}", "/base")
    runner.check("docker", "push", "--quiet", BASE)
    vulnerable = "docker run --rm --volume hub-trivy:/cache --entrypoint sh hub -c 'echo perl-base >/cache/vulnerable'"
    runner.check("sh", "-ec", vulnerable.replace("--entrypoint", "--user 0 --entrypoint"))
    output = runner.check("make", "rebuild", cwd=hub, **environment)
    assert "Building 0.1.0 again" in output
    assert runner.digest(f"{repository}:0.1.0") == runner.digest(f"{repository}:latest") != before
