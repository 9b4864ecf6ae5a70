"""The first day of a real service: dependencies, a database with migrations, a second package, then an update."""

import os
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support.commands import check_run, commit, run
from tests.support.docker import PROCESS, build_server, free_port, get
from tests.support.files import edit
from tests.support.made import Made
from tests.support.template import CHOICES, DEFAULTS
from tests.support.updates import copy, improve, update
from tools.questionnaire import base_image

pytestmark = pytest.mark.slow

DATABASE = f"""
FROM {base_image()}
RUN apt-get update -qq && apt-get install -qq --yes --no-install-recommends postgresql
USER postgres
RUN cd /var/lib/postgresql && /usr/lib/postgresql/*/bin/initdb --auth=trust data \\
    && echo "host all all all trust" >>data/pg_hba.conf
CMD ["sh", "-c", "exec /usr/lib/postgresql/*/bin/postgres -D /var/lib/postgresql/data -k /tmp -h '*'"]
"""
SERVICE = """services:
  db:
    image: {image}
    healthcheck:
      test: pg_isready -h localhost
      interval: 1s
      retries: 30

"""
NEEDS = """    depends_on:
      db:
        condition: service_healthy
"""
PRICES = '''"""Prices, in the database."""

import httpx
import numpy as np
import sqlalchemy as sa
from shared.money import rounded

from {package}.settings import Settings

settings = Settings()
engine = sa.create_engine(settings.database_url)


def mean_price() -> float:
    """Return the mean of all prices."""
    with engine.connect() as connection:
        amounts = connection.execute(sa.text("select amount from prices")).scalars().all()
    return rounded(float(np.mean([float(amount) for amount in amounts])))


def own_status() -> int:
    """Return the status of this service, as a client sees it."""
    return httpx.get(f"http://127.0.0.1:{{settings.port}}/health").status_code


def check_database() -> None:
    """Raise an exception if the database does not respond."""
    with engine.connect() as connection:
        connection.execute(sa.text("select 1"))
'''
MONEY = '''"""Money."""


def rounded(amount: float) -> float:
    """Return an amount in cents."""
    return round(amount, 2)
'''
ROUTE = '''

@{decorator}("/mean")
def mean() -> dict[str, float]:
    """Return the mean price, and the status of the service."""
    return {{"mean": mean_price(), "status": own_status()}}
'''
SOCKET = '''

@app.websocket("/ws")
async def greet(websocket: WebSocket) -> None:
    """Send a greeting."""
    await websocket.accept()
    await websocket.send_text("hello")
    await websocket.close()
'''
TEST = """from {package}.prices import mean_price


def test_mean_of_the_prices() -> None:
    assert mean_price() == 42.5
"""
HANDSHAKE = (
    b"GET /ws HTTP/1.1\r\nHost: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)


@pytest.fixture
def database(tmp_path: Path) -> str:
    """Return the name of an image of PostgreSQL from Debian's packages. `make clean` removes it."""
    folder = tmp_path / "database"
    folder.mkdir()
    return build_server(folder, "postgresql", DATABASE)


@dataclass
class Day(Made):
    """A project of a released template, and the framework of its service."""

    framework: str

    def compose(self, *arguments: str) -> str:
        """Run Compose in the project, which must succeed, and return its output."""
        ids = {"APP_UID": str(os.getuid()), "APP_GID": str(os.getgid())}
        return check_run("docker", "compose", *arguments, cwd=self.folder, PORT=str(self.port), **ids)


@pytest.fixture
def day(request: pytest.FixtureRequest, released: Path, tmp_path: Path) -> Iterator[Day]:
    """Return a committed project of a released template. Its containers and images are removed when the test ends."""
    name = f"first-day-{request.param}-{PROCESS}"
    folder = copy(released, "1.0.0", tmp_path / name, app_name=name, framework=request.param)
    commit(folder, "start from the template")
    project = Day(folder, name, free_port(), request.param)
    yield project
    project.make("clean")


def write_service(day: Day, database: str) -> None:
    """Write the files of a team: a second package, a licence, a setting, a route, a check and a test."""
    package = day.package.name
    (day.folder / "LICENSE").write_text("Do what you like.\n")
    shared = day.folder / "src" / "shared"
    shared.mkdir()
    (shared / "__init__.py").write_text('"""What our services share."""\n')
    (shared / "money.py").write_text(MONEY)
    (shared / "py.typed").touch()
    edit(
        day.folder / "pyproject.toml",
        ('readme = "README.md"\n', 'readme = "README.md"\nlicense = {file = "LICENSE"}\n'),
        ('from = "src" }]', 'from = "src" }, { include = "shared", from = "src" }]'),
        ("line-length = 100\n", 'line-length = 100\nextend-exclude = ["migrations"]\n'),
    )
    edit(
        day.folder / "docker-compose.override.yml",
        ("services:\n", SERVICE.format(image=database)),
        (
            "    volumes:\n      - .:/app\n      - cache:/cache\n\n  # The same",
            f"{NEEDS}    volumes:\n      - .:/app\n      - cache:/cache\n\n  # The same",
        ),
        ("    profiles: [production]\n", f"    profiles: [production]\n{NEEDS}"),
    )
    (day.package / "prices.py").write_text(PRICES.format(package=package))
    setting = '    database_url: str = "postgresql+psycopg://postgres@db/postgres"\n'
    edit(day.package / "settings.py", ("    log_format:", f"{setting}    log_format:"))
    app = day.package / "app.py"
    imported = f"from {package}.prices import check_database, mean_price, own_status\n"
    edit(app, (f"from {package}.settings import", f"{imported}from {package}.settings import"))
    check = '    """Raise an exception if a dependency fails. Add a query of your database here."""\n'
    edit(app, (check, f"{check}    check_database()\n"))
    if day.framework == "fastapi":
        edit(app, ("import FastAPI, HTTPException\n", "import FastAPI, HTTPException, WebSocket\n"))
        app.write_text(app.read_text() + ROUTE.format(decorator="app.get") + SOCKET)
    else:
        route = ROUTE.format(decorator="routes.get")
        edit(app, ('\n\n@routes.get("/health")', f'{route}\n\n@routes.get("/health")'))
    (day.folder / "tests" / "test_prices.py").write_text(TEST.format(package=package))


def write_migrations(day: Day) -> None:
    """Let Alembic write its files in the container, then add a migration."""
    day.compose("run", "--rm", "-T", "app", "alembic", "init", "migrations")
    edit(
        day.folder / "migrations" / "env.py",
        (
            "target_metadata = None",
            f"from {day.package.name}.settings import Settings\n\ntarget_metadata = None\n"
            'config.set_main_option("sqlalchemy.url", Settings().database_url)',
        ),
    )
    day.compose("run", "--rm", "-T", "app", "alembic", "revision", "--message=prices")
    (revision,) = (day.folder / "migrations" / "versions").glob("*_prices.py")
    create = (
        '    op.execute("create table prices (amount numeric)")\n    op.execute("insert into prices values (40), (45)")'
    )
    revision.write_text(re.sub(r"(def upgrade.*?)    pass", rf"\1{create}", revision.read_text(), flags=re.DOTALL))
    copies = "COPY alembic.ini ./\nCOPY migrations migrations\n"
    edit(day.folder / "Dockerfile", ("COPY --from=package /opt/venv", f"{copies}COPY --from=package /opt/venv"))


def check_service(day: Day) -> None:
    """Check the service with its database, over HTTP and over a WebSocket."""
    assert get(day.port, "/mean").json() == {"mean": 42.5, "status": 200}
    assert get(day.port, "/health/ready").status == 200
    if day.framework == "fastapi":
        with socket.create_connection(("127.0.0.1", day.port), timeout=10) as client:
            client.sendall(HANDSHAKE)
            received = b""
            while b"hello" not in received and (block := client.recv(4096)):
                received += block
        assert received.startswith(b"HTTP/1.1 101 "), received
        assert b"hello" in received, received


@pytest.mark.parametrize("day", CHOICES["framework"], indirect=True)
def test_first_day_of_a_real_service(day: Day, database: str, released: Path) -> None:
    packages = "numpy sqlalchemy psycopg[binary] httpx alembic"
    if DEFAULTS[day.framework] == "uvicorn":
        readme = (day.folder / "README.md").read_text()
        (needed,) = re.findall(r"WebSockets: `make add PKG=(\w+)`", readme)
        packages += f" {needed}"
    day.check_make("add", f"PKG={packages}")
    write_service(day, database)
    day.check_make("lock")
    write_migrations(day)
    day.check_make("up")
    assert get(day.port, "/health/ready").status == 200, "the database responds"
    assert get(day.port, "/mean").status == 500, "the table is missing"
    day.compose("run", "--rm", "-T", "app", "alembic", "upgrade", "head")
    check_service(day)
    day.check_make("format")
    day.check_make("lint")
    assert "test_prices.py" in day.check_make("test", "ARGS=-v")
    owners = {path.stat().st_uid for path in day.folder.rglob("*")}
    assert owners == {day.folder.stat().st_uid}, "files from Alembic must belong to the caller"

    day.check_make("build")
    day.make("down")
    day.compose("run", "--rm", "-T", "production", "alembic", "upgrade", "head")
    server = day.run_in_terminal()
    try:
        check_service(day)
    finally:
        server.sendintr()
        server.expect("stopped" if day.framework == "fastapi" else "(?i)shutting down")
        server.wait()
    commit(day.folder, "our own work")
    improve(released, "improved")
    commit(released, "second release", tag="1.1.0")
    assert "Conflicts" not in update(day.folder)
    assert run("git", "grep", "-lE", "^<<<<<<<", cwd=day.folder).returncode == 1
    day.check_make("up")
    day.compose("run", "--rm", "-T", "app", "alembic", "upgrade", "head")
    check_service(day)
