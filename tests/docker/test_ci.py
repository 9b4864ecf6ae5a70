"""The steps of CI on a machine without a registry, as a person runs them to reproduce a failure."""

import json
import re
from collections.abc import Callable

import pytest

from tests.support.docker import inspect
from tests.support.made import Made
from tests.support.matrix import slow
from tests.support.template import STACKS


@pytest.mark.parametrize(("framework", "server"), slow(*STACKS))
def test_steps_of_ci_pass_on_this_machine(framework: str, server: str, made: Callable[..., Made]) -> None:
    project = made(framework=framework, server=server, ci="gitlab")
    output = project.check_make("images", "smoke", "size", "check-size")
    assert re.search(r"/health/ready responded with: HTTP/1\.\d 200 OK", output)
    assert json.loads((project.folder / "ci" / "size.json").read_text())["total"] > 50e6
    assert project.changed_files() == ["ci/size.json"]
    labels = inspect("image", project.name)["Config"]["Labels"]
    assert labels["org.opencontainers.image.version"] == "0.1.0"


@pytest.mark.slow
def test_smoke_finds_a_fault_of_production(made: Callable[..., Made]) -> None:
    """The application imports a package that only the development image installs."""
    project = made()
    app = project.package / "app.py"
    app.write_text(app.read_text().replace("import structlog\n", "import pytest\nimport structlog\n", 1))
    project.check_make("images")
    output = project.fail_make("smoke")
    assert "No module named 'pytest'" in output
    assert "The service does not respond to /health with 200." in output
