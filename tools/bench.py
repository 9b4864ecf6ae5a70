"""Run the workshop's benchmark on a fresh project of each framework, and show the results in the README.

`make bench` runs this with the tools of `.venv`; what follows ARGS goes to the benchmark. It takes about half an hour.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tools.locks import ROOT, render
from tools.questionnaire import choices

RESULTS = ROOT / "benchmarks"
BLOCK = re.compile(r"(?<=<!-- benchmark -->\n).*(?=<!-- /benchmark -->)", re.DOTALL)


def bench(project: Path, output: Path, arguments: list[str]) -> None:
    """Run a project's benchmark.

    Args:
        project: The project.
        output: The folder that the results go to.
        arguments: More arguments for the benchmark.

    Raises:
        SystemExit: The benchmark failed, after it has said why.
    """
    uv = Path(sys.executable).with_name("uv")
    command: list[str | Path] = [uv, "run", "--quiet", "workshop/bench.py", f"--output={output}", *arguments]
    if code := subprocess.run(command, cwd=project, check=False).returncode:
        raise SystemExit(code)


def block(results: Path) -> str:
    """Return the README's lines about results that were written to a folder: of FastAPI, and of growth."""
    tables = [results.joinpath("fastapi", name).read_text(encoding="utf-8") for name in ("results.md", "growth.md")]
    chart = f"![The same as bars]({results.relative_to(ROOT)}/fastapi/results.svg)"
    return "\n".join(["", tables[0], chart, "", tables[1], ""])


def main() -> None:
    """Measure each framework, and how FastAPI's builds grow; then renew the README."""
    arguments = sys.argv[1:]
    with tempfile.TemporaryDirectory() as folder:
        for framework in choices()["framework"]:
            project = render(Path(folder) / framework, framework=framework, include_workshop=True)
            bench(project, RESULTS / framework, arguments)
        bench(Path(folder) / "fastapi", RESULTS / "fastapi", ["--growth", *arguments])
    readme = ROOT / "README.md"
    text = readme.read_text(encoding="utf-8")
    readme.write_text(BLOCK.sub(lambda _: block(RESULTS), text), encoding="utf-8")


if __name__ == "__main__":
    main()
