"""Facts of the template that several tests need: its questions, choices, versions and techniques."""

import sys

from packaging.version import Version

from extensions.answers import OLDEST_POETRY
from tests.support.commands import ROOT
from tools import questionnaire

COPIER_YML = questionnaire.read()
QUESTIONS = questionnaire.questions()
CHOICES = questionnaire.choices()
# Each framework with each server.
STACKS = questionnaire.stacks()
# Those that see the names of headers as they were sent, so that they can trust headers of a proxy.
TRUSTING = [stack for stack in STACKS if stack != ("flask", "granian")]
# The default server of each framework.
DEFAULTS = dict(reversed(STACKS))
# Each server with one framework.
SERVERS = list({server: (framework, server) for framework, server in STACKS}.values())
# Each framework once, with different servers, for tests that do not need every stack.
PAIRS = [("flask", "granian"), ("fastapi", "uvicorn")]
# Poetry on this machine locks and checks only projects that require the Python that runs it.
HOST_PYTHON = f"{sys.version_info.major}.{sys.version_info.minor}"
# The supported Poetry versions: the first release of each minor version, and the default.
NEWEST_POETRY = questionnaire.versions()["poetry"]
POETRIES = [
    *(f"2.{minor}.0" for minor in range(Version(OLDEST_POETRY).minor, Version(NEWEST_POETRY).minor)),
    NEWEST_POETRY,
]
# The number of hooks that pass on a new project: all except the one for rejected patches, which finds no file.
PASSING_HOOKS = (ROOT / "template" / ".pre-commit-config.yaml.jinja").read_text(encoding="utf-8").count("- id: ") - 1
# The lessons of the workshop.
LESSONS = [
    "00-set-up",
    "01-naive",
    "02-layers",
    "03-pins",
    "04-dependencies-first",
    "05-stages",
    "06-cache-mounts",
    "07-version-bump",
    "08-user",
    "09-process-1",
    "10-secrets",
    "11-ci",
    "12-this-project",
]
# The techniques that the benchmark measures, in its order, and the Dockerfile of each.
TECHNIQUES = {
    **{lesson: f"workshop/{lesson}/solution/Dockerfile" for lesson in LESSONS[:6]},
    "05-stages-wheel": "workshop/05-stages/solution/wheel.Dockerfile",
    **{lesson: f"workshop/{lesson}/solution/Dockerfile" for lesson in LESSONS[6:8]},
    "uv": "workshop/bench/uv/Dockerfile",
    "project": "Dockerfile",
}
# A text that reveals missing escapes in Jinja, shells, TOML, YAML, Dockerfiles and HTML.
HAZARDS = "say \"hi\" \\ {{ app_name }} {% raw %} ${HOME} `id` 'x' # 🐍\ttab <b>&amp;"
# The variables that every production container reads.
VARIABLES = [
    "PORT",
    "HOST",
    "WEB_CONCURRENCY",
    "LOG_LEVEL",
    "LOG_FORMAT",
    "FORWARDED_ALLOW_IPS",
    "GRACEFUL_TIMEOUT",
    "MAX_REQUESTS",
]
