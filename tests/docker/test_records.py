"""The log of the production container: one entry for each event, with all of its fields and no duplicates."""

import re
import socket
from collections.abc import Mapping
from datetime import datetime, timedelta

import pytest

from tests.support.docker import Image, container
from tests.support.matrix import CONTAINER_STACKS, slow
from tests.support.template import STACKS, TRUSTING
from tests.support.trial import log_entries

HEX = r"[0-9a-f]{32}"
# Granian logs the traceback of an ASGI application as a part of the message.
WITH_EXCEPTION_IN_MESSAGE = ("fastapi", "granian")


def exception_of(entry: Mapping[str, object], framework: str, server: str) -> str:
    """Return the text of the exception in a JSON log entry."""
    if (framework, server) == WITH_EXCEPTION_IN_MESSAGE:
        return str(entry["message"]).removeprefix("Application callable raised an exception\n").rstrip()
    return str(entry["exception"])


@pytest.mark.parametrize("workers", [2, *slow((1,))])
@pytest.mark.parametrize(("framework", "server"), STACKS)
def test_json_log_has_one_object_per_line(framework: str, server: str, workers: int, image: Image) -> None:
    name = image(on_trial=True, framework=framework, server=server)
    with container(name, "--env=LOG_FORMAT=json", f"--env=WEB_CONCURRENCY={workers}") as service:
        service.get("/health")
        paths = ("/log?text=two%0Alines", "/boom", "/no-such-path")
        identifiers = [service.get(path).headers["x-request-id"] for path in paths]
        assert service.stop()[0] == 0
        log = log_entries(service.logs())
    for entry in log:
        assert {"level", "logger", "message", "time"} <= entry.keys(), entry
        assert datetime.fromisoformat(str(entry["time"])).utcoffset() == timedelta(0)
    assert {entry["logger"] for entry in log} >= {"my_service.app", "my_service.access_log"}
    by_request = [[entry for entry in log if entry.get("request_id") == identifier] for identifier in identifiers]

    said, requested = by_request[0]
    assert (said["message"], said["text"], said["level"]) == ("said", "two\nlines", "info")
    assert (requested["message"], requested["status"]) == ("GET /log", 200)
    assert float(str(requested["duration_ms"])) >= 0
    assert re.fullmatch(r"[\d.]+", str(requested["client"]))

    assert sorted(str(entry["level"]) for entry in by_request[1]) == ["error", "info"]
    failure = next(entry for entry in by_request[1] if entry["level"] == "error")
    assert exception_of(failure, framework, server).startswith("Traceback (most recent call last):")
    assert exception_of(failure, framework, server).endswith("RuntimeError: planted")
    assert sum("planted" in str(entry) for entry in log) == 1

    assert [(entry["message"], entry["status"]) for entry in by_request[2]] == [("GET /no-such-path", 404)]
    assert not [entry for entry in log if "/health" in str(entry)]


@pytest.mark.parametrize(("framework", "server"), CONTAINER_STACKS)
def test_text_log_has_one_line_per_entry(framework: str, server: str, image: Image) -> None:
    with container(image(on_trial=True, framework=framework, server=server)) as service:
        service.get("/health")
        service.get("/log?text=%0A2026-01-01T00:00:00Z%20%5Binfo%5D%20forged%1B%5B31m")
        service.get("/%0A2026-01-01T00:00:00Z%20%5Binfo%5D%20forged")
        service.get("/boom")
        assert service.stop()[0] == 0
        log = service.logs()
    lines = log.splitlines()
    if (framework, server) != WITH_EXCEPTION_IN_MESSAGE:
        start = lines.index("    Traceback (most recent call last):")
        end = lines.index("    RuntimeError: planted")
        assert all(line.startswith("    ") for line in lines[start : end + 1])
        del lines[start : end + 1]
    for line in lines:
        assert re.match(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z \[(info|error)\] .* \[[\w.]+\]", line), line
    assert not [line for line in lines if line.startswith("2026-01-01")]
    assert "\x1b" not in log
    assert log.count("Traceback") == log.count("RuntimeError: planted") == 1
    assert log.count("GET /boom") == 1


@pytest.mark.parametrize(("framework", "server"), CONTAINER_STACKS)
def test_responses_have_the_request_id(framework: str, server: str, image: Image) -> None:
    with container(image(on_trial=True, framework=framework, server=server)) as service:
        for path in ("/", "/health", "/no-such-path", "/boom"):
            given = service.get(path, headers={"X-Request-ID": "from-a-proxy"}).headers["x-request-id"]
            if (framework, server) in TRUSTING:
                assert given == "from-a-proxy", path
            else:
                assert re.fullmatch(HEX, given), path
            assert re.fullmatch(HEX, service.get(path).headers["x-request-id"]), path
        for bad in ("a b", "a" * 129, "é".encode().decode("latin-1"), '"', "[info]"):
            assert re.fullmatch(HEX, service.get(headers={"X-Request-ID": bad}).headers["x-request-id"]), bad
        assert len({service.get().headers["x-request-id"] for _ in range(20)}) == 20


@pytest.mark.parametrize(("framework", "server"), CONTAINER_STACKS)
def test_log_level_hides_lower_levels(framework: str, server: str, image: Image) -> None:
    name = image(on_trial=True, framework=framework, server=server)
    with container(name, "--env=LOG_LEVEL=ERROR", "--env=LOG_FORMAT=JSON") as service:
        service.get("/log?text=a")
        service.get("/boom")
        with socket.create_connection(("127.0.0.1", service.port)) as connection:
            connection.sendall(b"GARBAGE\r\n\r\n")
            connection.recv(100)
        assert service.stop()[0] == 0
        assert [entry["level"] for entry in log_entries(service.logs())] == ["error"]


@pytest.mark.parametrize(("framework", "server"), CONTAINER_STACKS)
def test_request_id_is_only_in_entries_of_its_request(framework: str, server: str, image: Image) -> None:
    name = image(on_trial=True, framework=framework, server=server)
    with container(name, "--env=LOG_FORMAT=json", "--env=WEB_CONCURRENCY=1") as service:
        service.get("/health")
        identifiers = []
        for _ in range(3):
            identifiers.append(service.get("/who").headers["x-request-id"])
            with socket.create_connection(("127.0.0.1", service.port)) as connection:
                connection.sendall(b"GARBAGE\r\n\r\n")
                connection.recv(100)
        assert service.stop()[0] == 0
        marked = [entry for entry in log_entries(service.logs()) if "request_id" in entry]
    assert [(entry["message"], entry["request_id"]) for entry in marked] == [("GET /who", name) for name in identifiers]


@pytest.mark.parametrize("server", [server for framework, server in STACKS if framework == "fastapi"])
def test_every_500_has_its_exception(server: str, image: Image) -> None:
    name = image(on_trial=True, framework="fastapi", server=server)
    with container(name, "--env=LOG_FORMAT=json") as service:
        assert service.get("/cancel", headers={"X-Request-ID": "mine"}).status == 500
        assert service.stop()[0] == 0
        log = [entry for entry in log_entries(service.logs()) if entry.get("request_id") == "mine"]
    assert [entry["level"] for entry in log] == ["info", "error"]
    assert "CancelledError" in exception_of(log[1], "fastapi", server)
