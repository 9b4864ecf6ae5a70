"""A stand-in for the kubelet, which probes and stops a container as a manifest says."""

import http.client
import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tests.support.commands import ROOT, check_run
from tests.support.docker import Container, ask
from tests.support.kubernetes import Objects, check_fields, pod_of


class Kubelet:
    """Probes and stops the container of a pod.

    Source: https://kubernetes.io/docs/concepts/workloads/pods/pod-lifecycle/
    """

    def __init__(self, service: Container, objects: Objects) -> None:
        """Take over a running container.

        Args:
            service: The container, with the port of the manifest published.
            objects: The rendered objects.
        """
        self.service = service
        (self._manifest,) = pod_of(objects)["containers"]

    def _probe(self, kind: str) -> dict[str, Any]:
        probe: dict[str, Any] = self._manifest[f"{kind}Probe"]
        check_fields(probe, "failureThreshold", "httpGet", "periodSeconds", "timeoutSeconds")
        check_fields(probe["httpGet"], "path", "port")
        return probe

    def probe(self, kind: str) -> int:
        """Send one probe. Return the status of the response, or 0 if there is none."""
        probe = self._probe(kind)
        try:
            return ask(self.service.port, probe["httpGet"]["path"], seconds=probe["timeoutSeconds"]).status
        except (OSError, http.client.HTTPException):
            return 0

    def start(self) -> None:
        """Wait until the startup probe succeeds. The other probes begin afterwards."""
        probe = self._probe("startup")
        for _ in range(probe["failureThreshold"]):
            time.sleep(probe["periodSeconds"])
            if self.probe("startup") == 200:
                return
        raise TimeoutError(f"the container would be restarted:\n{self.service.logs()}")

    def run_hook(self) -> list[int]:
        """Run the preStop hook to its end. Return the statuses of the readiness probes meanwhile."""
        command = self._manifest["lifecycle"]["preStop"]["exec"]["command"]
        statuses = []
        with ThreadPoolExecutor() as pool:
            hook = pool.submit(check_run, "docker", "exec", self.service.id, *command, cwd=ROOT)
            while not hook.done():
                time.sleep(self._probe("readiness")["periodSeconds"])
                if not hook.done():
                    statuses.append(self.probe("readiness"))
            hook.result()
        return statuses

    def is_removed(self, statuses: list[int]) -> bool:
        """Return whether these statuses of readiness probes, in a row, take the pod out of the Service."""
        threshold = self._probe("readiness")["failureThreshold"]
        return len(statuses) >= threshold and not any(200 <= status < 400 for status in statuses[-threshold:])
