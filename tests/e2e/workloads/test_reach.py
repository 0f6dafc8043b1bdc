"""Into running workloads from the workspace, by nothing but connections that the syncer makes outwards."""

from __future__ import annotations

import asyncio
import hashlib
import os
import signal
from asyncio.subprocess import Process
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import pytest_asyncio

from proxy.binaries import find
from proxy.kube.client import Resource
from proxy.kube.errors import StatusError
from proxy.shard.addresses import free_port
from tests.e2e.ground import Ground
from tests.e2e.processes import processes
from tests.e2e.workloads.team import DEPLOYMENTS, PATIENCE, PODS, Team
from tests.e2e.workspaces.installation import Installation, Outcome
from tests.integration.eventually import eventually
from tests.integration.kcp_process import Kcp

NAMESPACE = "reach"
ACCOUNTS = Resource("", "v1", "serviceaccounts")
PYTHON = ("/usr/local/bin/python3", "-c")
MUCH = 20_000_000
"""Bytes: more than fits into all buffers on the way."""
SILENCE = 15
"""Seconds: longer than what is idle may be kept for."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def team(kcp: Installation, physical: Ground) -> AsyncIterator[Team]:
    """One that has asked for tunnels, with an application."""
    path = await kcp.create("root:telcops", "team-c")
    made = Team(kcp, path, physical.clusters[0], "south")
    await made.onboard("--tunnel", "--sync-up=events", "--sync-up=secrets")
    await made.namespace(NAMESPACE)
    await made.deploy(NAMESPACE)
    yield made
    await made.leave()
    await made.close()


async def kubectl(team: Team, *arguments: str, stdin: str | None = None, token: str | None = None) -> Outcome:
    return await team.kcp.kubectl(team.path, "-n", NAMESPACE, *arguments, stdin=stdin, token=token)


async def ran(team: Team, code: str, *, stdin: str | None = None) -> Outcome:
    """Python in the application's pod."""
    given = ["-i"] if stdin is not None else []
    return await kubectl(team, "exec", *given, "deploy/words", "--", *PYTHON, code, stdin=stdin)


@asynccontextmanager
async def going_on(team: Team, *arguments: str) -> AsyncIterator[Process]:
    """A kubectl that is spoken with; it has ended, or is killed, at the end of the block."""
    process = await asyncio.create_subprocess_exec(
        find("kubectl"),
        *("--kubeconfig", str(team.kcp.kubeconfig(team.path)), "-n", NAMESPACE, *arguments),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def heard(team: Team) -> bytes:
    """What a command that says much is heard to say.

    It ends once it has been heard, not when it has said all: a kubelet loses what is under way at the end of a command,
    asked directly as well (two of 18 commands, where it was given little of the CPU).
    """
    code = f"import sys; sys.stdout.write('x' * {MUCH}); sys.stdout.flush(); sys.stdin.read()"
    async with going_on(team, "exec", "-i", "deploy/words", "--", *PYTHON, code) as process, asyncio.timeout(PATIENCE):
        assert process.stdin is not None
        assert process.stdout is not None
        said = await process.stdout.readexactly(MUCH)
        process.stdin.close()
        said += await process.stdout.read()
        assert await process.wait() == 0
    return said


async def reaches(team: Team) -> None:
    """Wait until it works (again)."""

    async def works() -> bool:
        return (await ran(team, "print('here')")).out == "here\n"

    await eventually(works, timeout=PATIENCE, interval=0.5)


async def test_pods_are_shown(team: Team) -> None:
    """As many as there are, with the status that they have, and nothing to be changed in them."""
    await team.up.patch(DEPLOYMENTS, "words", {"spec": {"replicas": 2}}, NAMESPACE)

    async def shown(count: int) -> bool:
        listed = (await team.up.list(PODS, NAMESPACE, label_selector="app=words"))["items"]
        below = {pod["metadata"]["name"] for pod in await team.pods(NAMESPACE)}
        return {pod["metadata"]["name"] for pod in listed if pod["status"]["phase"] == "Running"} == below and len(
            listed
        ) == count

    await eventually(lambda: shown(2), StatusError, timeout=PATIENCE)
    await team.up.patch(DEPLOYMENTS, "words", {"spec": {"replicas": 1}}, NAMESPACE)
    await eventually(lambda: shown(1), StatusError, timeout=PATIENCE)
    name = (await team.up.list(PODS, NAMESPACE))["items"][0]["metadata"]["name"]
    refused = await kubectl(team, "label", "pod", name, "mine=yes")
    assert "only that cluster's syncer changes it" in refused.err, refused.text
    picture = (
        '{"apiVersion":"v1","kind":"Pod","metadata":{"name":"x","labels":{"workloads.kcp.dev/synced-up":"south"}},\
"spec":{"containers":[{"name":"x","image":"x"}]}}'
    )
    refused = await kubectl(team, "create", "-f", "-", stdin=picture)
    assert "only that cluster's syncer changes it" in refused.err, refused.text


async def test_events_and_secrets_are_shown(team: Team) -> None:
    """What the cluster tells of a pod; what an operator there has made for the workspace."""
    pod = (await team.pods(NAMESPACE))[0]["metadata"]

    async def told() -> bool:
        said = (await kubectl(team, "describe", "pod", pod["name"])).out
        return f"Successfully assigned {NAMESPACE}/{pod['name']}" in said

    await eventually(told, timeout=PATIENCE, interval=0.5)
    meta = {"name": "made-below", "labels": {"workloads.kcp.dev/sync-up": "true"}}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "stringData": {"password": "x"}}
    secrets = Resource("", "v1", "secrets")
    await team.down.create(secrets, secret, pod["namespace"])
    await eventually(lambda: team.up.get(secrets, "made-below", NAMESPACE), StatusError, timeout=PATIENCE)
    await team.down.delete(secrets, "made-below", pod["namespace"])


@pytest.mark.usefixtures("real_nodes")
async def test_logs_and_commands(team: Team) -> None:
    await reaches(team)
    logs = await kubectl(team, "logs", "deploy/words")
    assert "reversewords on port 8080\n" in logs.out, logs.text
    ended = await ran(team, "import sys; print('out'); print('err', file=sys.stderr); sys.exit(7)")
    assert (ended.out, ended.code) == ("out\n", 7)
    assert ended.err.startswith("err\n")
    said = "0123456789abcdef" * 100_000
    code = "import sys, hashlib; print(hashlib.sha256(sys.stdin.buffer.read()).hexdigest())"
    assert (await ran(team, code, stdin=said)).out.strip() == hashlib.sha256(said.encode()).hexdigest()
    assert await heard(team) == b"x" * MUCH


@pytest.mark.usefixtures("real_nodes")
async def test_logs_go_on(team: Team) -> None:
    """Line by line as they come, after a long silence as well, until the pod ends."""
    await reaches(team)
    async with going_on(team, "logs", "--follow", "--since=1s", "deploy/words") as process:
        assert process.stdout is not None
        for silence in (0, SILENCE):
            await asyncio.sleep(silence)
            word = f"after-{silence}"
            await ran(team, f"open('/proc/1/fd/1', 'w').write('{word}\\n')")
            async with asyncio.timeout(PATIENCE):
                while (await process.stdout.readline()).decode().strip() != word:
                    pass
        assert (await kubectl(team, "rollout", "restart", "deploy/words")).code == 0
        async with asyncio.timeout(PATIENCE):
            assert await process.wait() == 0


@pytest.mark.usefixtures("real_nodes")
async def test_copying(team: Team, tmp_path: Path) -> None:
    async def only() -> str:
        """The one pod, when no other one that is being replaced is shown any more."""
        shown = {pod["metadata"]["name"] for pod in (await team.up.list(PODS, NAMESPACE))["items"]}
        running = {pod["metadata"]["name"] for pod in await team.pods(NAMESPACE)}
        return shown.pop() if shown == running and len(shown) == 1 else ""

    pod = await eventually(only, StatusError, timeout=PATIENCE, interval=0.5)
    await reaches(team)
    content = os.urandom(MUCH // 4)
    (tmp_path / "there").write_bytes(content)
    there = await kubectl(team, "cp", str(tmp_path / "there"), f"{pod}:/tmp/copied")
    assert there.code == 0, there.text
    back = await kubectl(team, "cp", f"{pod}:/tmp/copied", str(tmp_path / "back"))
    assert back.code == 0, back.text
    assert (tmp_path / "back").read_bytes() == content


@pytest.mark.usefixtures("real_nodes")
async def test_older_protocols(team: Team, monkeypatch: pytest.MonkeyPatch) -> None:
    """SPDY, which kubectl spoke before WebSockets: nobody on the way reads either."""
    monkeypatch.setenv("KUBECTL_REMOTE_COMMAND_WEBSOCKETS", "false")
    monkeypatch.setenv("KUBECTL_PORT_FORWARD_WEBSOCKETS", "false")
    assert await heard(team) == b"x" * MUCH
    assert await reversed_words(team) == "c b a\n"


@pytest.mark.usefixtures("real_nodes")
async def test_port_forward(team: Team) -> None:
    assert await reversed_words(team) == "c b a\n"


async def reversed_words(team: Team) -> str:
    """What the application answers at a forwarded port."""
    port = free_port()
    async with going_on(team, "port-forward", "deploy/words", f"{port}:8080") as process, asyncio.timeout(PATIENCE):
        assert process.stdout is not None
        assert b"Forwarding from" in await process.stdout.readline()
        answers = []
        for _ in range(2):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            writer.write(b"GET /?words=a+b+c HTTP/1.1\r\nHost: words\r\nConnection: close\r\n\r\n")
            answers.append((await reader.read()).partition(b"\r\n\r\n")[2].decode())
            writer.close()
    assert answers[0] == answers[1]
    return answers[0]


@pytest.mark.usefixtures("real_nodes")
async def test_rights_are_the_workspaces(team: Team) -> None:
    """Who may view reads logs; commands and ports need ``create``, as on a cluster."""
    await team.up.create(ACCOUNTS, {"metadata": {"name": "viewer"}}, NAMESPACE)
    account = f"{NAMESPACE}:viewer"
    for arguments in (
        ("rolebinding", "views", "--clusterrole=view", f"--serviceaccount={account}"),
        ("role", "gets", "--verb=get", "--resource=pods/exec,pods/portforward"),
        ("rolebinding", "gets", "--role=gets", f"--serviceaccount={account}"),
    ):
        assert (await kubectl(team, "create", *arguments)).code == 0
    token = (await kubectl(team, "create", "token", "viewer")).out.strip()
    assert "reversewords" in (await kubectl(team, "logs", "deploy/words", token=token)).out
    refused = await kubectl(team, "exec", "deploy/words", "--", "true", token=token)
    assert 'cannot create resource "pods/exec"' in refused.err
    refused = await kubectl(team, "port-forward", "deploy/words", "8080", token=token)
    assert 'cannot create resource "pods/portforward"' in refused.err
    missing = await kubectl(team, "exec", "nothing", "--", "true")
    assert 'pods "nothing" not found' in missing.err
    other = await kubectl(team, "exec", "deploy/words", "--", "no-such-program")
    assert "no-such-program" in other.err
    outside = await team.kcp.kubectl(team.path, "-n", "kube-system", "logs", "kube-proxy")
    assert "not found" in outside.err


@pytest.mark.usefixtures("real_nodes")
async def test_whatever_dies_it_works_again(team: Team, kcp_process: Kcp) -> None:
    """Workers of the proxy, the syncer, a conversation under way."""
    code = "import time; print('on', flush=True); time.sleep(600)"
    async with going_on(team, "exec", "deploy/words", "--", *PYTHON, code) as process:
        assert process.stdout is not None
        assert await process.stdout.readline() == b"on\n"
        for pid in processes("proxy.server.worker", str(kcp_process.root)):
            os.kill(pid, signal.SIGKILL)
        async with asyncio.timeout(10):
            assert await process.wait() != 0, "it is told that it was broken off"
    await reaches(team)
    for pid in team.syncer_processes():
        os.kill(pid, signal.SIGKILL)
    await reaches(team)


async def test_a_cluster_that_is_away(team: Team) -> None:
    """The error says so, and comes in good time; pods stay to be seen."""
    where = team.syncer_namespace()
    await team.down.patch(DEPLOYMENTS, "kcp-syncer", {"spec": {"replicas": 0}}, where)

    async def gone() -> bool:
        return not (await team.down.list(PODS, where))["items"]

    await eventually(gone, timeout=PATIENCE)
    try:
        loop = asyncio.get_running_loop()
        began = loop.time()
        logs = await kubectl(team, "logs", "deploy/words")
        assert "cluster south cannot be reached: its syncer is away" in logs.err, logs.text
        assert loop.time() - began < 15
        assert "Running" in (await kubectl(team, "get", "pods")).out
    finally:
        await team.down.patch(DEPLOYMENTS, "kcp-syncer", {"spec": {"replicas": 1}}, where)
