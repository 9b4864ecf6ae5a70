"""PostgreSQL: migrations that several containers apply at the same time, and the smoke test of CI with a database."""

import subprocess
from collections.abc import Callable

import pytest

from tests.support.recipes import RecipeProject

MIGRATE = (
    "docker",
    "compose",
    "run",
    "--rm",
    "--no-deps",
    "--no-TTY",
    "production",
    "python",
    "-m",
    "my_service.migrate",
)


@pytest.mark.slow
def test_each_migration_is_applied_once_and_ci_has_the_database(
    new_project: Callable[[str, str], RecipeProject],
) -> None:
    project = new_project("postgresql", "fastapi")
    project.follow()
    project.run("docker", "compose", "down", "--volumes")
    project.run("docker", "compose", "up", "--detach", "--wait", "database")
    project.check_make("images")
    replicas = [
        subprocess.Popen(MIGRATE, cwd=project.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for _ in range(3)
    ]
    outputs = [replica.communicate(timeout=120)[0] for replica in replicas]
    assert [replica.returncode for replica in replicas] == [0, 0, 0], outputs
    versions = [*(project.folder / "src" / "my_service" / "migrations" / "versions").glob("*.py")]
    assert sum(output.count("Running upgrade") for output in outputs) == len(versions) == 2, outputs
    assert "passed" in project.check_make("smoke")
