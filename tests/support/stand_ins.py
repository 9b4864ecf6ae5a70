"""Servers that the recipes name, such as PostgreSQL: their official images, or stand-ins from Debian packages.

A stand-in has the name, the user, the variables and the paths of the official image. It is built only on a machine that
has no image of this name and cannot pull it.
"""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.commands import ROOT, run
from tests.support.docker import check_build
from tools.questionnaire import base_image

INSTALL = f"""
FROM {base_image()}
RUN apt-get update -qq && apt-get install -qq --yes --no-install-recommends """

# A new database with the user, the password and the name from the official image's variables, then the server.
START_POSTGRES = """#!/bin/sh
set -eu
export PATH="$(echo /usr/lib/postgresql/*/bin):$PATH" PGDATA=/var/lib/postgresql/data
user=${POSTGRES_USER:-postgres}
if [ "$(id -u)" = 0 ]; then
    chown postgres:postgres /var/lib/postgresql
    exec setpriv --reuid=postgres --regid=postgres --clear-groups "$0" "$@"
fi
if [ ! -s "$PGDATA/PG_VERSION" ]; then
    if [ -z "${POSTGRES_PASSWORD_FILE:-}${POSTGRES_PASSWORD:-}" ]; then
        echo "Error: Database is uninitialized and superuser password is not specified." >&2
        exit 1
    fi
    if [ -n "${POSTGRES_PASSWORD_FILE:-}" ]; then POSTGRES_PASSWORD=$(cat "$POSTGRES_PASSWORD_FILE"); fi
    printf %s "$POSTGRES_PASSWORD" >/tmp/password
    initdb --username="$user" --pwfile=/tmp/password --auth-host=scram-sha-256 --auth-local=trust >/dev/null
    rm /tmp/password
    echo "host all all all scram-sha-256" >>"$PGDATA/pg_hba.conf"
    database=${POSTGRES_DB:-$user}
    pg_ctl --wait --options="-c listen_addresses=''" start >/dev/null
    [ "$database" = postgres ] || createdb --username="$user" "$database"
    pg_ctl --wait stop >/dev/null
fi
exec "$@" -c listen_addresses='*' -c unix_socket_directories=/var/run/postgresql
"""

# The Dockerfile of each stand-in, by the name of the image. The files that it copies are in FILES.
DOCKERFILES = {
    "postgres:18": f"""{INSTALL}postgresql && install --directory --owner=postgres --group=postgres /var/run/postgresql
COPY --chmod=0755 start-postgres /usr/local/bin/
ENTRYPOINT ["start-postgres"]
CMD ["postgres"]
ENV PATH=/usr/lib/postgresql/17/bin:$PATH
STOPSIGNAL SIGINT
""",
    "prom/prometheus:v3.13.2": f"""{INSTALL}prometheus \\
    && install --directory --owner=nobody --group=nogroup /prometheus
USER nobody
VOLUME /prometheus
WORKDIR /prometheus
ENTRYPOINT ["prometheus"]
CMD ["--config.file=/etc/prometheus/prometheus.yml", "--storage.tsdb.path=/prometheus"]
EXPOSE 9090
""",
}
FILES = {"start-postgres": START_POSTGRES}


@contextmanager
def servers(text: str) -> Iterator[None]:
    """Provide the images that a text names, and remove the stand-ins afterwards."""
    built = []
    for name, dockerfile in DOCKERFILES.items():
        if name not in text or any(
            run("docker", *get, name, cwd=ROOT).returncode == 0 for get in (["image", "inspect"], ["pull"])
        ):
            continue
        with tempfile.TemporaryDirectory() as folder:
            for file, content in {"Dockerfile": dockerfile, **FILES}.items():
                (Path(folder) / file).write_text(content)
            check_build(Path(folder), name)
        built.append(name)
    try:
        yield
    finally:
        if built:
            run("docker", "image", "rm", "--force", *built, cwd=ROOT)
