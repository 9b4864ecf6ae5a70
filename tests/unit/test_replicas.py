"""The benchmark of replicas: how it reads the output of wrk, and the tables that it writes."""

import re

import pytest

from tools import replicas
from tools.measuring import parse

WRK = """Running 6s test @ http://bench-replicas-nginx:8002/
  1 threads and 64 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency    88.91ms   33.75ms 880.00ms   94.27%
    Req/Sec   198.30     72.98   450.00     90.00%
  Latency Distribution
     50%   88.91ms
     75%  182.13ms
     90%  303.33ms
     99%  {p99}
  1191 requests in 6.01s, 280.21KB read
Requests/sec:    198.17
Transfer/sec:     46.63KB
"""
RESULTS: replicas.Results = {
    "about": "Measured in a test.",
    "cpus": 2,
    "loads": {
        "flask, gunicorn": {
            "1": [(400.0, 110.0), (500.0, 90.0), (450.0, 100.0)],
            "2": [(900.0, 95.0), (880.0, 99.0), (910.0, 97.0)],
            "4": [(1100.0, 180.0), (1000.0, 200.0), (1125.0, 190.0)],
        }
    },
    "memory": {"flask, gunicorn": [[50.0, 50.5, 50.5, 50.4, 50.6], [51.0, 51.0, 51.0, 51.0, 50.5]]},
}


@pytest.mark.parametrize(("p99", "milliseconds"), [("912.00us", 0.912), ("640.10ms", 640.1), ("1.31s", 1310)])
def test_output_of_wrk_is_read_in_any_unit(p99: str, milliseconds: float) -> None:
    assert parse(WRK.format(p99=p99)) == pytest.approx((198.17, milliseconds))


@pytest.mark.parametrize(
    "problem", ["  Socket errors: connect 0, read 0, write 0, timeout 1", "  Non-2xx or 3xx responses: 12"]
)
def test_failed_requests_end_the_measurement(problem: str) -> None:
    with pytest.raises(SystemExit, match=problem.strip()):
        parse(f"{WRK.format(p99='1.31s')}{problem}\n")


def test_nginx_has_a_port_for_each_number_of_replicas() -> None:
    servers = replicas.nginx_conf().split("upstream ")[1:]
    found = {int(re.findall(r"listen (\d+);", text)[0]): len(re.findall(r"server \S+:8000;", text)) for text in servers}
    assert found == {8001: 1, 8002: 2, 8004: 4}


def table(heading: str) -> list[list[str]]:
    """Return the cells of the table with this text in its heading, without the heading."""
    lines = replicas.section(RESULTS).splitlines()
    (start,) = (number for number, line in enumerate(lines) if heading in line)
    rows = lines[start + 2 : lines.index("", start)]
    return [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]


def test_table_of_the_loads_has_medians_spreads_and_the_share_of_a_replica() -> None:
    assert table("requests/s") == [
        ["flask, gunicorn", "1", "450 (400 to 500)", "450", "100 (90 to 110)"],
        ["flask, gunicorn", "2", "900 (880 to 910)", "450", "97 (95 to 99)"],
        ["flask, gunicorn", "4", "1100 (1000 to 1125)", "275", "190 (180 to 200)"],
    ]


def test_table_of_the_memory_has_the_growth_of_each_replica() -> None:
    assert table("growth") == [
        ["flask, gunicorn", "1", "50.0", "50.5", "50.5", "50.4", "50.6", "+0.6", "+0.1"],
        ["flask, gunicorn", "2", "51.0", "51.0", "51.0", "51.0", "50.5", "-0.5", "-0.5"],
    ]


def test_sentences_compare_the_replicas_with_one_and_name_the_knee() -> None:
    sentences = replicas.scaling("flask, gunicorn", RESULTS["loads"]["flask, gunicorn"])
    assert re.findall(r"(\d) replicas handle ([\d.]+) times", sentences) == [("2", "2.0"), ("4", "2.4")]
    assert re.findall(r"knee is at (\d): with (\d), each handles (\d+)%", sentences) == [("2", "4", "61")]


def test_sentences_name_no_knee_if_there_is_none() -> None:
    loads = {str(count): [(400.0 * count, 10.0)] for count in replicas.COUNTS}
    assert "knee" not in replicas.scaling("flask, gunicorn", loads)


@pytest.mark.parametrize(("cpus", "is_limited"), [(2, True), (3, True), (4, False), (16, False)])
def test_sentence_names_the_machine_as_the_limit_only_if_it_is(cpus: int, is_limited: bool) -> None:
    assert ("limit of the machine" in replicas.limits(cpus)) is is_limited
