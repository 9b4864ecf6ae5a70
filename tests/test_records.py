"""What the production container logs: one record an event, with all that belongs to it, and nothing twice."""

import re
import socket
from datetime import datetime, timedelta

import pytest

from tests.conftest import CHOICES, STACKS, Image
from tests.docker import container
from tests.trial import records

pytestmark = pytest.mark.docker

HEX = r"[0-9a-f]{32}"


@pytest.mark.parametrize(("framework", "server"), STACKS)
def test_json_has_one_object_a_record(framework: str, server: str, image: Image) -> None:
    name = image(on_trial=True, framework=framework, server=server)
    with container(name, "--env=LOG_FORMAT=json") as service:
        service.get("/health")
        service.get("/log?text=two%0Alines", headers={"X-Request-ID": "mine-1"})
        service.get("/boom", headers={"X-Request-ID": "mine-2"})
        service.get("/no-such-path", headers={"X-Request-ID": "mine-3"})
        assert service.stop()[0] == 0
        log = records(service.logs())
    for record in log:
        assert {"level", "logger", "message", "time"} <= record.keys(), record
        assert datetime.fromisoformat(str(record["time"])).utcoffset() == timedelta(0)
    assert {record["logger"] for record in log} >= {"my_service.app", "my_service.access_log"}
    by_request = {number: [r for r in log if r.get("request_id") == f"mine-{number}"] for number in (1, 2, 3)}

    said, asked = by_request[1]
    assert (said["message"], said["text"], said["level"]) == ("said", "two\nlines", "info")
    assert (asked["message"], asked["status"]) == ("GET /log", 200)
    assert float(str(asked["duration_ms"])) >= 0
    assert re.fullmatch(r"[\d.]+", str(asked["client"]))

    assert sorted(str(record["level"]) for record in by_request[2]) == ["error", "info"]
    failure = next(record for record in by_request[2] if record["level"] == "error")
    assert str(failure["exception"]).startswith("Traceback (most recent call last):")
    assert str(failure["exception"]).endswith("RuntimeError: planted")
    assert sum("planted" in str(record) for record in log) == 1

    assert [(record["message"], record["status"]) for record in by_request[3]] == [("GET /no-such-path", 404)]
    assert not [record for record in log if "/health" in str(record)]


@pytest.mark.parametrize(("framework", "server"), STACKS)
def test_text_has_one_line_a_record(framework: str, server: str, image: Image) -> None:
    with container(image(on_trial=True, framework=framework, server=server)) as service:
        service.get("/health")
        service.get("/log?text=%0A2026-01-01T00:00:00Z%20%5Binfo%5D%20forged%1B%5B31m")
        service.get("/%0A2026-01-01T00:00:00Z%20%5Binfo%5D%20forged")
        service.get("/boom")
        assert service.stop()[0] == 0
        log = service.logs()
    lines = log.splitlines()
    start = lines.index("    Traceback (most recent call last):")
    end = lines.index("    RuntimeError: planted")
    assert all(line.startswith("    ") for line in lines[start : end + 1])
    for line in lines[:start] + lines[end + 1 :]:
        assert re.match(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z \[(info|error)\] .* \[[\w.]+\]", line), line
    assert not [line for line in lines if line.startswith("2026-01-01")]
    assert "\x1b" not in log
    assert log.count("Traceback") == log.count("RuntimeError: planted") == 1
    assert log.count("GET /boom") == 1


@pytest.mark.parametrize(("framework", "server"), STACKS)
def test_answers_carry_the_identifier_of_the_request(framework: str, server: str, image: Image) -> None:
    with container(image(on_trial=True, framework=framework, server=server)) as service:
        for path in ("/", "/health", "/no-such-path", "/boom"):
            assert (
                service.get(path, headers={"X-Request-ID": "from-a-proxy"}).headers["x-request-id"] == "from-a-proxy"
            ), path
            assert re.fullmatch(HEX, service.get(path).headers["x-request-id"]), path
        for bad in ("a b", "a" * 129, "é".encode().decode("latin-1"), '"', "[info]"):
            assert re.fullmatch(HEX, service.get(headers={"X-Request-ID": bad}).headers["x-request-id"]), bad
        assert len({service.get().headers["x-request-id"] for _ in range(20)}) == 20


@pytest.mark.parametrize(("framework", "server"), STACKS)
def test_level_leaves_out_what_is_below_it(framework: str, server: str, image: Image) -> None:
    name = image(on_trial=True, framework=framework, server=server)
    with container(name, "--env=LOG_LEVEL=ERROR", "--env=LOG_FORMAT=JSON") as service:
        service.get("/log?text=a")
        service.get("/boom")
        assert service.stop()[0] == 0
        assert [record["level"] for record in records(service.logs())] == ["error"]


@pytest.mark.parametrize(("framework", "server"), STACKS)
def test_identifier_is_on_its_own_records_alone(framework: str, server: str, image: Image) -> None:
    name = image(on_trial=True, framework=framework, server=server)
    with container(name, "--env=LOG_FORMAT=json", "--env=WEB_CONCURRENCY=1") as service:
        service.get("/health")
        for _ in range(3):
            service.get("/who", headers={"X-Request-ID": "mine"})
            with socket.create_connection(("127.0.0.1", service.port)) as connection:
                connection.sendall(b"GARBAGE\r\n\r\n")
                connection.recv(100)
        assert service.stop()[0] == 0
        marked = [record for record in records(service.logs()) if "request_id" in record]
    assert [(record["message"], record["request_id"]) for record in marked] == [("GET /who", "mine")] * 3


@pytest.mark.parametrize("server", CHOICES["server"])
def test_every_500_has_its_cause(server: str, image: Image) -> None:
    name = image(on_trial=True, framework="fastapi", server=server)
    with container(name, "--env=LOG_FORMAT=json") as service:
        assert service.get("/cancel", headers={"X-Request-ID": "mine"}).status == 500
        assert service.stop()[0] == 0
        log = [record for record in records(service.logs()) if record.get("request_id") == "mine"]
    assert [record["level"] for record in log] == ["info", "error"]
    assert "CancelledError" in str(log[1]["exception"])
