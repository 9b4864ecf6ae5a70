"""`make template-update`: the branch that it pushes, and the request that it opens or refreshes."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.support.commands import ROOT, check_run, commit
from tests.support.docker import PLUGINS
from tests.support.files import replace
from tests.support.matrix import slow
from tests.support.runner import Runner
from tests.support.updates import copy

BRANCH = "template-update"
TOKEN = "TEMPLATE_UPDATE_TOKEN"  # noqa: S105
# A stand-in for GitHub's program. It logs its arguments. A pull request is open if /gh.open exists.
GH = """#!/bin/sh
echo "$*" >>/gh.log
[ "$1 $2" != "pr view" ] || { [ -e /gh.open ] && echo OPEN; exit; }
while [ $# -gt 0 ]; do [ "$1" != --body-file ] || cp "$2" /gh.body; shift; done
"""
# A stand-in for GitLab's API. It logs each request. A merge request is open if /gh.open exists.
GITLAB = """
import http.server, os, urllib.parse

class Api(http.server.BaseHTTPRequestHandler):
    def respond(self):
        sent = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
        fields = dict(urllib.parse.parse_qsl(sent))
        with open("/gh.log", "a") as log:
            print(self.command, self.path, self.headers["PRIVATE-TOKEN"], fields.get("title", ""), file=log)
        if self.command != "GET":
            open("/gh.body", "w").write(fields["description"])
        body = b'[{"id":70,"iid":7}]' if os.path.exists("/gh.open") else b"[]"
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    do_GET = do_POST = do_PUT = respond

http.server.HTTPServer(("127.0.0.1", 8097), Api).serve_forever()
"""
VARIABLES = {
    "github": {"GITHUB_TOKEN": "short"},
    "gitlab": {
        TOKEN: "long",
        "CI_API_V4_URL": "http://127.0.0.1:8097/api/v4",
        "CI_PROJECT_ID": "1",
        "CI_PROJECT_URL": "/srv/origin",
        "CI_DEFAULT_BRANCH": "main",
    },
}
# Makes a project of the first release, on the machine. The second release changes the Dockerfile, a dependency and CI.
Start = Callable[[str], str]


@pytest.fixture
def start(runner: Runner, released: Path, tmp_path: Path) -> Start:
    """Return a function that makes a project of the first of two releases, and returns its folder on the machine."""

    def start_project(ci: str) -> str:
        project = copy(released, "1.0.0", tmp_path / "mine", ci=ci, app_name="mine")
        address = f"git://{runner.address}/template.git"
        for name in (".copier-answers.yml", "ci/copier-settings.yml"):
            replace(project / name, str(released), address)
        replace(released / "template" / "Dockerfile.jinja", "--interval=10s", "--interval=20s")
        replace(released / "template" / "pyproject.toml.jinja", "structlog (>=26.1.0", "structlog (>=26.0.0")
        workflow = released / "template" / "{% if ci == 'github' %}.github{% endif %}" / "workflows" / "weekly.yml"
        replace(workflow, "timeout-minutes: 90", "timeout-minutes: 91")
        (released / "CHANGELOG.md").write_text(
            "# Changelog\n\n## [Unreleased]\n\n## [1.1.0] - 2026-01-02\n\n### Added\n\n- Something new.\n\n"
            "## [1.0.0] - 2026-01-01\n\n### Added\n\n- Something old.\n"
        )
        commit(released, "second release", tag="1.1.0")
        runner.check("sh", "-c", "rm -rf /srv/* /projects/mine /gh.*; git init --quiet --bare /srv/origin.git")
        check_run("docker", "cp", str(released), f"{runner.id}:/srv/template.git", cwd=ROOT)
        runner.check("chown", "-R", "0:0", "/srv")
        (tmp_path / "gh").write_text(GH)
        (tmp_path / "gh").chmod(0o755)
        (tmp_path / "gitlab.py").write_text(GITLAB)
        check_run("docker", "cp", str(tmp_path / "gh"), f"{runner.id}:/usr/local/bin/gh", cwd=ROOT)
        check_run("docker", "cp", str(tmp_path / "gitlab.py"), f"{runner.id}:/gitlab.py", cwd=ROOT)
        runner.run("sh", "-c", "pkill -f /gitlab.py; python /gitlab.py >/dev/null 2>&1 & sleep 1")
        folder = runner.receive(project)
        runner.check("git", "remote", "set-url", "origin", "/srv/origin.git", cwd=folder)
        runner.check("git", "push", "--quiet", "origin", "main", cwd=folder)
        return folder

    return start_project


def edit_the_same_line(runner: Runner, folder: str) -> None:
    """Commit and push an edit of a line that the second release changes too."""
    runner.check("sed", "-i", "s/--interval=10s/--interval=15s/", "Dockerfile", cwd=folder)
    runner.commit(folder, "fix: our own interval")
    runner.check("git", "push", "--quiet", "origin", "main", cwd=folder)


def propose(runner: Runner, folder: str, ci: str, **variables: str) -> tuple[str, str, str]:
    """Run the job on a clean main branch; return the changed files, the log of the forge's program, and the text."""
    runner.check("sh", "-c", "rm -f /gh.log /gh.body; git checkout --quiet --force main; git clean -fdq", cwd=folder)
    runner.check("make", "template-update", cwd=folder, POETRY_PLUGINS=PLUGINS, **VARIABLES[ci], **variables)
    changed = runner.check("git", "diff", "--name-only", f"main..{BRANCH}", cwd="/srv/origin.git")
    return changed, runner.check("cat", "/gh.log"), runner.check("cat", "/gh.body")


def pushed(runner: Runner, name: str) -> str:
    """Return a file of the branch that was pushed."""
    return runner.check("git", "show", f"{BRANCH}:{name}", cwd="/srv/origin.git")


@pytest.mark.slow
def test_github_pull_request_has_the_update_and_leaves_workflows_to_a_token(runner: Runner, start: Start) -> None:
    folder = start("github")
    changed, log, text = propose(runner, folder, "github")
    assert changed.split() == [".copier-answers.yml", "Dockerfile", "poetry.lock", "pyproject.toml"]
    assert "_commit: 1.1.0\n" in pushed(runner, ".copier-answers.yml")
    assert "--interval=20s" in pushed(runner, "Dockerfile")
    runner.check("sh", "-ec", "git checkout --quiet template-update && python docker/export_lock.py /tmp/r", cwd=folder)
    title = "--title build: update the template to 1.1.0"
    assert re.search(rf"pr create --draft --head {BRANCH} {title} --body-file \S+\npr ready {BRANCH}\n\Z", log), log
    assert text.startswith("Updates the template from 1.0.0 to 1.1.0.")
    assert "+    timeout-minutes: 91\n" in text
    assert "## Changes of the template\n\n### [1.1.0] - 2026-01-02\n\n#### Added\n\n- Something new.\n" in text
    assert "Something old" not in text
    assert "## Conflicts" not in text

    runner.check("touch", "/gh.open")
    changed, log, text = propose(runner, folder, "github", **{TOKEN: "long"})
    assert ".github/workflows/weekly.yml" in changed.split()
    assert "## Not in this pull request" not in text
    assert f"pr edit {BRANCH} {title}" in log
    assert "pr create" not in log


@pytest.mark.slow
def test_conflict_makes_a_draft_that_names_it(runner: Runner, start: Start) -> None:
    folder = start("github")
    edit_the_same_line(runner, folder)
    _, log, text = propose(runner, folder, "github")
    assert log.endswith(f"pr ready {BRANCH} --undo\n")
    assert "## The lock" not in text
    assert "## Conflicts\n\nChoose between the marked lines in these files:\n\n- Dockerfile\n" in text
    assert "<<<<<<< before updating" in pushed(runner, "Dockerfile")


@pytest.mark.slow
def test_other_template_is_not_trusted_and_no_release_is_no_request(runner: Runner, start: Start) -> None:
    folder = start("github")
    runner.check("cp", "-r", "/srv/template.git", "/srv/other.git")
    runner.check("sed", "-i", "s/template.git/other.git/", ".copier-answers.yml", cwd=folder)
    runner.commit(folder, "another template")
    result = runner.run("make", "template-update", cwd=folder, **VARIABLES["github"])
    assert result.returncode != 0
    assert "Template uses potentially unsafe feature: jinja_extensions." in result.stdout
    runner.check("sh", "-ec", "git checkout --quiet main; git reset --quiet --hard HEAD~1", cwd=folder)
    runner.check("git", "tag", "--delete", "1.1.0", cwd="/srv/template.git")
    output = runner.check("make", "template-update", cwd=folder, **VARIABLES["github"])
    assert "The template has no newer release than 1.0.0." in output
    assert BRANCH not in runner.check("git", "branch", "--list", cwd="/srv/origin.git")


@pytest.mark.parametrize("conflict", slow((False,), (True,)))
def test_gitlab_merge_request_is_opened_and_refreshed(conflict: bool, runner: Runner, start: Start) -> None:
    folder = start("gitlab")
    if conflict:
        edit_the_same_line(runner, folder)
    title = f"{'Draft: ' if conflict else ''}build: update the template to 1.1.0"
    path = "/api/v4/projects/1/merge_requests"
    search = f"GET {path}?state=opened&source_branch={BRANCH} long \n"
    changed, log, text = propose(runner, folder, "gitlab")
    assert {"Dockerfile", "poetry.lock"} <= set(changed.split())
    assert log == f"{search}POST {path} long {title}\n"
    assert ("- Dockerfile\n" in text) is conflict
    assert "- Something new." in text
    runner.check("touch", "/gh.open")
    assert propose(runner, folder, "gitlab")[1] == f"{search}PUT {path}/7 long {title}\n"
