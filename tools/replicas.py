"""Measure how the default stacks scale with replicas behind nginx, and whether their memory grows.

`make bench-replicas` runs this with the tools of `.venv`. Each replica is a container with half a CPU. This takes about
seven minutes, on a machine that should be idle otherwise.
"""

import json
import os
import re
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import product
from pathlib import Path
from typing import TypedDict

from tools.locks import ROOT
from tools.measuring import LOAD, build, build_server, docker, memory, parse
from tools.questionnaire import base_image, stacks

PAGE = ROOT / "docs" / "servers.md"
RESULTS = ROOT / "docs" / "benchmarks" / "replicas.json"
BLOCK = re.compile(r"(?<=<!-- replicas -->\n).*(?=<!-- /replicas -->)", re.DOTALL)
NAME = "bench-replicas"
COUNTS = (1, 2, 4)
ROUNDS = 3
WARM_UP_SECONDS = 2
SECONDS = 6
CONNECTIONS = 64
CPUS = 0.5
LIMITS = (f"--cpus={CPUS}", "--memory=256m", "--read-only", "--cap-drop=ALL", "--security-opt=no-new-privileges")
# Requests to each of two replicas, before its memory is read for the first time, and then between two readings.
WARM_UP_REQUESTS, STEP, STEPS = 20_000, 5000, 4
MEASURED = 2
# The knee is where each replica handles less than this share of the requests that a single replica handles.
KNEE = 0.8
# nginx serves the first replica on port 8001, the first two on 8002, and all four on 8004.
NGINX_CONF = """
worker_processes 1;
events { worker_connections 1024; }
http {
    access_log off;
%s
}
"""
SERVER = """
    upstream replicas-%(count)d { %(replicas)s keepalive 64; }
    server {
        listen 800%(count)d;
        location / {
            proxy_pass http://replicas-%(count)d;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_set_header Host $http_host;
        }
    }
"""
NGINX = f"""
FROM {base_image()}
RUN apt-get update -qq && apt-get install -qq --yes --no-install-recommends nginx-light
COPY nginx.conf /etc/nginx/nginx.conf
CMD ["nginx", "-g", "daemon off;"]
"""
# ab sends a number of requests, wrk sends requests for a time.
CLIENTS = f"{LOAD}RUN apt-get install -qq --yes --no-install-recommends apache2-utils\n"

# The responses per second and their p99 latency in milliseconds, of each round, by the number of replicas.
Loads = dict[str, list[tuple[float, float]]]
# The memory of each replica in MB, after the warm-up and after each step.
Memories = list[list[float]]


class Results(TypedDict):
    """The results of a measurement: its description, the number of CPUs, and the values by stack."""

    about: str
    cpus: int
    loads: dict[str, Loads]
    memory: dict[str, Memories]


def nginx_conf() -> str:
    """Return the configuration of nginx."""
    servers = (
        SERVER % {"count": count, "replicas": " ".join(f"server {NAME}-{number}:8000;" for number in range(count))}
        for count in COUNTS
    )
    return NGINX_CONF % "".join(servers)


@contextmanager
def running(tag: str, count: int) -> Iterator[list[str]]:
    """Run replicas of an image behind nginx, and yield the names of their containers when all are healthy."""
    names = [f"{NAME}-{number}" for number in range(count)]
    inside = ("run", "--detach", f"--network={NAME}")
    try:
        for name in names:
            docker(*inside, f"--name={name}", *LIMITS, tag)
        deadline = time.monotonic() + 60
        for name in names:
            while "healthy" not in docker("inspect", "--format={{.State.Health.Status}}", name).split():
                if time.monotonic() > deadline:
                    raise SystemExit(f"A replica is not healthy:\n{docker('logs', name)}")
                time.sleep(0.2)
        docker(*inside, f"--name={NAME}-nginx", f"{NAME}:nginx")
        time.sleep(1)
        yield names
    finally:
        docker("rm", "--force", f"{NAME}-client", f"{NAME}-nginx", *names)


def client(*command: str) -> str:
    """Run a command in the container of the clients, and return its output."""
    return docker("run", "--rm", f"--network={NAME}", f"--name={NAME}-client", f"{NAME}:clients", *command)


def load(count: int) -> tuple[float, float]:
    """Send requests to a number of replicas for some seconds, after a warm-up."""
    wrk = ("wrk", "-t1", f"-c{CONNECTIONS}", "--timeout=10s", "--latency", f"http://{NAME}-nginx:800{count}/")
    client(*wrk, f"-d{WARM_UP_SECONDS}s")
    return parse(client(*wrk, f"-d{SECONDS}s"))


def send(count: int, requests: int) -> None:
    """Send a number of requests to each of some replicas, for three minutes at most.

    Raises:
        SystemExit: Requests failed or took too long. The output of ab is the message.
    """
    # -t sets a number of requests too, so -n follows it.
    ab = ("ab", "-q", "-k", "-t180", f"-n{count * requests}", f"-c{CONNECTIONS}", f"http://{NAME}-nginx:800{count}/")
    output = client(*ab)
    wanted = (rf"^Complete requests: +{count * requests}$", r"^Failed requests: +0$")
    if not all(re.search(line, output, re.M) for line in wanted) or "Non-2xx" in output:
        raise SystemExit(f"Requests failed:\n{output}")


def measure_memory(tag: str) -> Memories:
    """Return the memory of some replicas, after the warm-up and after each step."""
    with running(tag, max(COUNTS)) as names:
        readings = []
        for requests in (WARM_UP_REQUESTS, *[STEP] * STEPS):
            print(f"memory of {tag}: {requests} requests", flush=True)
            send(MEASURED, requests)
            time.sleep(1)
            readings.append([memory(name) for name in names[:MEASURED]])
    return [list(of_replica) for of_replica in zip(*readings, strict=True)]


def spread(values: list[float], form: str) -> str:
    """Return the median of values, with the lowest and the highest one in brackets."""
    median, lowest, highest = (form.format(value) for value in (statistics.median(values), min(values), max(values)))
    return f"{median} ({lowest} to {highest})"


def medians(loads: Loads) -> dict[int, float]:
    """Return the median of the responses per second by the number of replicas."""
    return {int(count): statistics.median(requests for requests, _ in rounds) for count, rounds in loads.items()}


def scaling(stack: str, loads: Loads) -> str:
    """Return sentences that compare several replicas with one, and name the knee of the throughput if there is one."""
    (_, one), *others = medians(loads).items()
    factors = ", ".join(f"{count} replicas handle {requests / one:.1f} times" for count, requests in others)
    sentences = f"{stack}: {factors} as many requests as one."
    knee = 1
    for count, requests in others:
        share = requests / count / one
        if share < KNEE:
            return f"{sentences} The knee is at {knee}: with {count}, each handles {share:.0%} of what one handles."
        knee = count
    return sentences


def limits(cpus: int) -> str:
    """Return a sentence that says what limits the measurement on a machine with this number of CPUs."""
    used = max(COUNTS) * CPUS
    if cpus >= used + 2:
        return f"nginx and wrk have CPUs of their own: the replicas may use {used:g} of the {cpus} CPUs."
    return (
        f"{max(COUNTS)} replicas may use {used:g} CPUs, nginx and wrk another one each, and the machine has {cpus}. So "
        f"the figures of {max(COUNTS)} replicas show the limit of the machine, not that of the service."
    )


def load_table(results: dict[str, Loads]) -> list[str]:
    """Return a table of the responses per second and their latency, by stack and number of replicas."""
    lines = ["| | replicas | requests/s | per replica | p99, ms |", "| --- | ---: | ---: | ---: | ---: |"]
    for stack, loads in results.items():
        for count, rounds in loads.items():
            requests, p99 = ([values[position] for values in rounds] for position in (0, 1))
            per_replica = statistics.median(requests) / int(count)
            lines.append(
                f"| {stack} | {count} | {spread(requests, '{:.0f}')} | {per_replica:.0f} | {spread(p99, '{:.0f}')} |"
            )
    return lines


def memory_table(results: dict[str, Memories]) -> list[str]:
    """Return a table of the memory of each replica, by stack and number of requests."""
    counts = [WARM_UP_REQUESTS + STEP * step for step in range(STEPS + 1)]
    heading = " | ".join(f"MB after {count:,} requests" if count == counts[0] else f"{count:,}" for count in counts)
    lines = [
        f"| | replica | {heading} | growth, MB | of that after {counts[STEPS // 2]:,} |",
        f"| --- | ---: |{' ---: |' * (len(counts) + 2)}",
    ]
    for stack, replicas in results.items():
        for number, readings in enumerate(replicas, 1):
            values = " | ".join(f"{reading:.1f}" for reading in readings)
            growth = " | ".join(f"{readings[-1] - readings[position]:+.1f}" for position in (0, STEPS // 2))
            lines.append(f"| {stack} | {number} | {values} | {growth} |")
    return lines


def section(results: Results) -> str:
    """Return the lines of docs/servers.md about the results."""
    loads = results["loads"]
    sentences = " ".join([*(scaling(stack, of_stack) for stack, of_stack in loads.items()), limits(results["cpus"])])
    lines = [results["about"], "", *load_table(loads), "", sentences, "", *memory_table(results["memory"])]
    return "\n".join(["", *lines, ""]) + "\n"


def measure(tags: dict[str, str]) -> Results:
    """Measure the images of the stacks, in interleaved rounds, and return the results."""
    loads: dict[str, Loads] = {stack: {str(count): [] for count in COUNTS} for stack in tags}
    for number, (stack, tag) in product(range(ROUNDS), tags.items()):
        print(f"round {number + 1}: {stack}", flush=True)
        with running(tag, max(COUNTS)):
            for count in COUNTS:
                loads[stack][str(count)].append(load(count))
    memories = {stack: measure_memory(tag) for stack, tag in tags.items()}
    cpus = os.cpu_count() or 1
    about = (
        f"Medians of {ROUNDS} interleaved rounds of {SECONDS} s on {time.strftime('%Y-%m-%d')}, with the lowest and "
        f"the highest one: replicas with {CPUS} CPU and 256 MB each, behind nginx, on {cpus} CPUs that they share with "
        f"nginx and wrk, {CONNECTIONS} connections, each request logged, {base_image()}, Docker "
        f"{docker('version', '--format={{.Server.Version}}').strip()}."
    )
    return {"about": about, "cpus": cpus, "loads": loads, "memory": memories}


def main() -> None:
    """Measure the default stacks; then update the documentation."""
    defaults = dict(reversed(stacks()))
    with tempfile.TemporaryDirectory() as created:
        folder = Path(created)
        tags = {
            f"{framework}, {server}": build(folder, f"{NAME}:{framework}", framework, server)
            for framework, server in sorted(defaults.items(), reverse=True)
        }
        build_server(folder / "clients", f"{NAME}:clients", CLIENTS)
        build_server(folder / "nginx", f"{NAME}:nginx", NGINX, {"nginx.conf": nginx_conf()})
    docker("network", "create", NAME)
    try:
        results = measure(tags)
    finally:
        docker("network", "rm", NAME)
        docker("image", "rm", "--force", f"{NAME}:clients", f"{NAME}:nginx", *tags.values())
    RESULTS.write_text(json.dumps(results, indent=2) + "\n")
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(BLOCK.sub(lambda _: section(results), text), encoding="utf-8")


if __name__ == "__main__":
    main()
