"""Functions that several tests of pipelines share: they edit and inspect a project on the machine of the pipelines."""

import json
import re
from typing import Any

from tests.support.docker import rebuilt_steps
from tests.support.runner import BASE, Runner

LABEL = "org.opencontainers.image"
# The stages that install something, which no edit of the code may run again.
INSTALLING = {"dependencies", "development", "tools", "uv"}


def edit_source(runner: Runner, folder: str) -> str:
    """Commit an edit of the code, on a machine without any build, and return the commit."""
    runner.forget_builds()
    runner.check("sh", "-ec", "sed -i 's/a web service/an edited web service/' src/*/__init__.py", cwd=folder)
    return runner.commit(folder, "feat: an edit")


def rebuilt(output: str) -> set[str]:
    """Return the `RUN` steps that the builds of a pipeline ran, by stage. Each build numbers its steps from 1."""
    lines = re.sub(r"(?m)^\[CI/.*?\]\s+\| ", "", output)  # the prefix of act
    return set().union(*map(rebuilt_steps, lines.split("#1 [internal] load local bake definitions")))


def inspect(runner: Runner, image: str) -> Any:
    """Return the details of an image in the engine of the machine."""
    return json.loads(runner.check("docker", "image", "inspect", image))[0]


def check_labels(runner: Runner, image: str, commit: str, source: str) -> None:
    """Check the labels of the image that a project pushed."""
    labels = inspect(runner, image)["Config"]["Labels"]
    assert labels[f"{LABEL}.revision"] == commit
    assert labels[f"{LABEL}.source"] == source
    assert labels[f"{LABEL}.base.name"] == BASE
    assert labels[f"{LABEL}.base.digest"] == runner.digest(BASE)
    assert re.match(r"\d{4}-\d\d-\d\dT", labels[f"{LABEL}.created"])
    served = "import json, urllib.request as r; print(json.load(r.urlopen('http://localhost:8000/health'))['version'])"
    container = runner.check("docker", "run", "--detach", image).strip()
    runner.check("sh", "-c", f"until docker exec {container} python /usr/local/bin/healthcheck.py; do sleep 0.3; done")
    assert runner.check("docker", "exec", container, "python", "-c", served).strip() == labels[f"{LABEL}.version"]
    runner.check("docker", "rm", "--force", container)
