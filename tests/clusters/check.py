"""What a real node has to be able to do, tried one after the other with kubectl."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from proxy.binaries import find
from proxy.shard.addresses import free_port
from tests.clusters.cluster import PhysicalCluster
from tests.clusters.errors import ClusterError
from tests.images import REVERSEWORDS

NAMESPACE = "check"
PYTHON = "/usr/local/bin/python3"
TOKEN = "/var/run/secrets/kubernetes.io/serviceaccount/token"


async def check(cluster: PhysicalCluster, say: Callable[[str], None]) -> None:
    """Deploys, talks, looks, breaks and deletes. Raises ClusterError at the first thing that fails."""
    if not cluster.up:
        raise ClusterError(f"cluster {cluster.name} is not up")
    checker = Checker(cluster)
    try:
        for title, step in checker.steps():
            started = time.monotonic()
            detail = await step()
            say(f"{title:<28} ok  {time.monotonic() - started:5.1f} s  {detail.partition(chr(10))[0]}".rstrip())
    finally:
        await checker.kubectl("delete", "namespace", NAMESPACE, "--ignore-not-found", "--wait=false")


class Checker:
    """The steps, sharing what the first ones found."""

    def __init__(self, cluster: PhysicalCluster) -> None:
        self._cluster = cluster
        self._spec = cluster.spec
        self._pod = ""
        self._pod_address = ""
        self._service = ""

    def steps(self) -> list[tuple[str, Callable[[], Any]]]:
        first = [("deployment of 2", self.deploy)]
        last = [("a deleted pod is replaced", self.replace), ("delete", self.delete)]
        if self._spec.runtime == "kwok":
            return first + last
        return [
            *first,
            ("logs", self.logs),
            ("exec", self.execute),
            ("exec with input", self.execute_with_input),
            ("port-forward", self.forward),
            ("pod to pod", self.pod_to_pod),
            ("pod to service", self.pod_to_service),
            ("pod to its API server", self.pod_to_api),
            ("pod to an allowed port", self.allowed_port),
            ("pod to any other port", self.other_port),
            ("pod to the outside", self.outside),
            ("API server to pod", self.api_to_pod),
            ("statistics of the kubelet", self.statistics),
            *last,
        ]

    async def kubectl(self, *arguments: str, stdin: str = "") -> str:
        process = await asyncio.create_subprocess_exec(
            find("kubectl"),
            f"--kubeconfig={self._cluster.kubeconfig}",
            *arguments,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        output, errors = await asyncio.wait_for(process.communicate(stdin.encode()), 90)
        if process.returncode:
            raise ClusterError(f"kubectl {' '.join(arguments)}: {(errors or output).decode().strip()}")
        return output.decode().strip()

    async def python(self, code: str) -> str:
        """Run in the first pod."""
        return await self.kubectl("exec", "-n", NAMESPACE, self._pod, "--", PYTHON, "-c", code)

    async def fetch(self, url: str, **headers: str) -> str:
        """GET from inside the first pod; the answer's body, or ``refused: <why>``."""
        return await self.python(
            "import ssl, urllib.request as u\n"
            f"request = u.Request({url!r}, headers={headers!r})\n"
            f"if {url.startswith('https')}: request.add_header('Authorization', 'Bearer ' + open({TOKEN!r}).read())\n"
            "context = ssl._create_unverified_context()\n"
            "try: print(u.urlopen(request, timeout=5, context=context).read().decode())\n"
            "except OSError as error: print('refused:', error)"
        )

    async def deploy(self) -> str:
        with contextlib.suppress(ClusterError):
            await self.kubectl("create", "namespace", NAMESPACE)
        await self.kubectl("apply", "-f", "-", stdin=json.dumps(_manifest()))
        await self.kubectl("-n", NAMESPACE, "rollout", "status", "deployment/words", "--timeout=80s")
        pods = json.loads(await self.kubectl("-n", NAMESPACE, "get", "pods", "-o", "json"))["items"]
        self._pod, self._pod_address = pods[0]["metadata"]["name"], pods[1]["status"]["podIP"]
        service = json.loads(await self.kubectl("-n", NAMESPACE, "get", "service", "words", "-o", "json"))
        self._service = service["spec"]["clusterIP"]
        return f"{len(pods)} pods ready"

    async def logs(self) -> str:
        return _has(await self.kubectl("-n", NAMESPACE, "logs", self._pod), "reversewords on port 8080")

    async def execute(self) -> str:
        return _has(await self.python("import socket; print(socket.gethostname())"), self._pod)

    async def execute_with_input(self) -> str:
        code = "import sys; print(sys.stdin.read().upper())"
        command = ["exec", "-i", "-n", NAMESPACE, self._pod, "--", PYTHON, "-c", code]
        return _has(await self.kubectl(*command, stdin="piped"), "PIPED")

    async def forward(self) -> str:
        async with self._forwarding() as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /?words=port+forward HTTP/1.0\r\n\r\n")
            answer = (await asyncio.wait_for(reader.read(), 10)).decode()
            writer.close()
            return _has(answer, "forward port").splitlines()[-1]

    async def pod_to_pod(self) -> str:
        return _has(await self.fetch(f"http://{self._pod_address}:8080/?words=to+pod"), "pod to")

    async def pod_to_service(self) -> str:
        return _has(await self.fetch(f"http://{self._service}/?words=to+service"), "service to")

    async def pod_to_api(self) -> str:
        return (
            _has(await self.fetch("https://10.233.0.1/version"), "gitVersion").split('"gitVersion": ')[1].split(",")[0]
        )

    async def allowed_port(self) -> str:
        port = self._spec.ports[0]
        with contextlib.suppress(OSError):  # something may be listening there: all the better
            async with await _server(self._spec.gateway, port):
                return _has(await self.fetch(f"http://{self._spec.gateway}:{port}/"), "hello")
        answer = await self.fetch(f"http://{self._spec.gateway}:{port}/")
        if "refused: <urlopen error" in answer:
            raise ClusterError(f"port {port}: {answer}")
        return "a server answers there"

    async def other_port(self) -> str:
        async with await _server(self._spec.gateway, 0) as server:
            port = server.sockets[0].getsockname()[1]
            return _has(await self.fetch(f"http://{self._spec.gateway}:{port}/"), "Connection refused")

    async def outside(self) -> str:
        return _has(await self.fetch("http://192.0.2.1:9/"), "Network is unreachable")

    async def api_to_pod(self) -> str:
        path = f"/api/v1/namespaces/{NAMESPACE}/pods/{self._pod}:8080/proxy/?words=by+proxy"
        return _has(await self.kubectl("get", "--raw", path), "proxy by")

    async def statistics(self) -> str:
        raw = await self.kubectl("get", "--raw", f"/api/v1/nodes/{self._spec.node}/proxy/stats/summary")
        pods = json.loads(raw)["pods"]
        if not pods:
            raise ClusterError("the kubelet has no statistics of pods")
        used = sum(
            each.get("memory", {}).get("workingSetBytes", 0) for pod in pods for each in pod.get("containers", ())
        )
        return f"{len(pods)} pods, {used >> 20} MiB"

    async def replace(self) -> str:
        await self.kubectl("-n", NAMESPACE, "delete", "pod", self._pod, "--wait=false")
        await self.kubectl("-n", NAMESPACE, "rollout", "status", "deployment/words", "--timeout=60s")
        return ""

    async def delete(self) -> str:
        await self.kubectl("delete", "namespace", NAMESPACE, "--timeout=80s")
        return ""

    @contextlib.asynccontextmanager
    async def _forwarding(self) -> AsyncIterator[int]:
        port = free_port()
        process = await asyncio.create_subprocess_exec(
            find("kubectl"),
            f"--kubeconfig={self._cluster.kubeconfig}",
            *("-n", NAMESPACE, "port-forward", self._pod, f"{port}:8080"),
            stdout=asyncio.subprocess.PIPE,
        )
        try:
            assert process.stdout is not None
            await asyncio.wait_for(process.stdout.readline(), 20)
            yield port
        finally:
            process.terminate()
            await process.wait()


async def _server(address: str, port: int) -> asyncio.Server:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.0 200 OK\r\n\r\nhello\n")
        writer.close()

    return await asyncio.start_server(answer, address, port)


def _has(text: str, expected: str) -> str:
    if expected not in text:
        raise ClusterError(f"expected {expected!r}, got {text!r}")
    return text


def _manifest() -> dict[str, Any]:
    labels = {"app": "words"}
    container = {
        "name": "words",
        "image": REVERSEWORDS,
        "ports": [{"containerPort": 8080}],
        "readinessProbe": {"httpGet": {"path": "/healthz", "port": 8080}, "periodSeconds": 1},
        "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"cpu": "500m", "memory": "64Mi"}},
    }
    metadata = {"name": "words", "namespace": NAMESPACE}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {**metadata, "labels": labels},
        "spec": {
            "replicas": 2,
            "selector": {"matchLabels": labels},
            "template": {
                "metadata": {"labels": labels},
                "spec": {"terminationGracePeriodSeconds": 1, "containers": [container]},
            },
        },
    }
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": metadata,
        "spec": {"selector": labels, "ports": [{"port": 80, "targetPort": 8080}]},
    }
    return {"apiVersion": "v1", "kind": "List", "items": [deployment, service]}
