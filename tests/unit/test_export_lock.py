"""The functions of the script that exports a lock."""

from typing import Any

import pytest

from tests.support.export_lock import ENVIRONMENTS, export_lock, installing


def test_export_joins_the_markers_of_the_groups_that_are_installed() -> None:
    package: dict[str, Any] = {
        "name": "p",
        "version": "1",
        "files": [{"file": "p.whl", "hash": "sha256:00"}],
        "groups": ["a", "b", "c"],
        "markers": {"a": "sys_platform == 'win32'", "b": "python_version < '3.12' or os_name == 'nt'"},
    }
    lock = {"package": [package]}
    assert export_lock.requirements(lock, {"a"}) == ["p==1 ; (sys_platform == 'win32') --hash=sha256:00"]
    both = "(sys_platform == 'win32') or (python_version < '3.12' or os_name == 'nt')"
    assert export_lock.requirements(lock, {"a", "b"}) == [f"p==1 ; {both} --hash=sha256:00"]
    assert export_lock.requirements(lock, {"a", "b", "c"}) == ["p==1 --hash=sha256:00"]
    assert export_lock.requirements(lock) == ["p==1 --hash=sha256:00"]
    assert export_lock.requirements(lock, {"main"}) == []


@pytest.mark.parametrize(
    ("extras", "platforms"),
    [(set[str](), set[str]()), ({"a"}, {"win32"}), ({"b-c"}, {"linux"}), ({"a", "b-c"}, {"win32", "linux"})],
)
def test_extra_installs_a_package_where_its_own_marker_says(extras: set[str], platforms: set[str]) -> None:
    marker = "extra == 'a' and sys_platform == 'win32' or extra == \"b-c\" and sys_platform == 'linux'"
    numbers = installing(export_lock.marker({"markers": marker}, {"main"}, extras))
    assert {ENVIRONMENTS[number]["sys_platform"] for number in numbers} == platforms
