"""The benchmark of the workshop: it measures the techniques, and cleans up."""

import json
import os
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pexpect
import pytest

from tests.support.commands import ROOT, check_run, commit, run
from tests.support.docker import PLUGINS
from tests.support.projects import Render
from tests.support.workshop import bench


def cache_records() -> set[str]:
    """Return the IDs of the records in the engine's build cache."""
    return set(re.findall(r"^ID:\s+(\w+)", check_run("docker", "buildx", "du", "--verbose", cwd=ROOT), re.M))


def left_behind() -> list[str]:
    """Return the containers, images, volumes and builders of a benchmark."""
    return [
        *check_run("docker", "container", "ls", "--all", "--quiet", "--filter=label=bench", cwd=ROOT).split(),
        *check_run("docker", "image", "ls", "--all", "--quiet", "--filter=label=bench", cwd=ROOT).split(),
        *check_run("docker", "volume", "ls", "--quiet", "--filter=name=^bench-", cwd=ROOT).split(),
        *[line for line in check_run("docker", "buildx", "ls", cwd=ROOT).splitlines() if line.startswith("bench-")],
    ]


@pytest.mark.slow
def test_bench_measures_reports_and_cleans_up(project: Render, tmp_path: Path) -> None:
    folder = project(include_workshop=True)
    commit(folder, "before the benchmark")
    before = cache_records()
    arguments = ("--repeat=1", "--only", "05-stages-wheel", "uv", "project", "--yes", f"--output={tmp_path / 'out'}")
    output = check_run("make", "bench", f"ARGS={' '.join(arguments)}", cwd=folder, POETRY_PLUGINS=PLUGINS)
    assert re.search(r"^ *project +\d", output, re.M), output
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    cases = ["cold", "no change", "source edit", "version bump", "linter edit", "new dependency"]
    for measured in results["techniques"].values():
        assert list(measured["ran"]) == cases
        assert measured["ran"]["no change"] == []
        assert set(measured["median"]) == {*cases, "size", "layers", "start"}
        assert all(value > 0 for value in measured["median"].values())
        assert [len(measured["values"][name]) for name in (*cases, "start")] == [1] * 6 + [3]
    own = results["techniques"]["project"]
    for case in ("version bump", "linter edit"):
        assert own["ran"][case] == ["package 1/1", "requirements 2/2"]
    assert own["ran"]["source edit"] == ["package 1/1"]
    assert own["ran"]["new dependency"] == ["dependencies 2/2", "package 1/1", "requirements 2/2"]
    assert own["median"]["version bump"] < own["median"]["cold"] / 2
    heading, ruler, *lines = (tmp_path / "out" / "results.md").read_text().splitlines()[2:]
    assert heading.count("|") == ruler.count("|") == 11
    assert [line.split("|")[1].strip() for line in lines] == [
        "05-stages-wheel",
        "uv",
        "project",
        "to the best article",
        "to uv",
    ]
    assert ET.parse(tmp_path / "out" / "results.svg").getroot().tag.endswith("svg")  # noqa: S314 # it is our own
    assert left_behind() == []
    assert cache_records() <= before
    assert check_run("git", "status", "--porcelain", "--ignored", cwd=folder) == ""


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["start", "cold"])
def test_bench_interrupted_leaves_nothing_behind(moment: str, project: Render) -> None:
    folder = project(include_workshop=True)
    commit(folder, "before the benchmark")
    before = cache_records()
    pty_process = pexpect.spawn(
        "uv",
        [*map(str, bench(folder, "--repeat=1", "--only", "project", "--yes")[1:])],
        env=os.environ | {"POETRY_PLUGINS": PLUGINS},
        timeout=180,
        encoding="utf-8",
    )
    pty_process.expect(f"project: {moment}")
    pty_process.sendintr()
    pty_process.expect(pexpect.EOF)
    pty_process.close()
    assert pty_process.exitstatus == 130
    assert "Traceback" not in str(pty_process.before)
    assert left_behind() == []
    assert cache_records() <= before
    assert check_run("git", "status", "--porcelain", "--ignored", cwd=folder) == ""


@pytest.mark.slow
def test_bench_asks_before_it_shares_a_builder(render: Render) -> None:
    result = run(*bench(render(include_workshop=True), "--only", "project", "--repeat=1"), cwd=ROOT)
    shares = "the engine's is shared" in " ".join(result.stdout.split())
    if shares:
        assert result.stdout.splitlines()[-1] == "Nothing was built; --yes agrees in advance."
    assert result.returncode == (1 if shares else 0), result.stdout
    assert left_behind() == []
