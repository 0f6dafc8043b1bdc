"""The audit log of a running kcp: who did what in which workspace, whichever worker was asked."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import stat
import threading
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import aiohttp
import pytest
import yaml

from proxy.binaries import find
from proxy.kube.client import Client, Resource
from proxy.kube.config import Connection, load_kubeconfig
from proxy.kube.errors import StatusError
from tests.integration.eventually import eventually
from tests.integration.kcp_process import Kcp, children, run_kcp

CONFIGMAPS = Resource("", "v1", "configmaps")
SECRETS = Resource("", "v1", "secrets")
POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "rules": [
        {"level": "None", "users": ["system:anonymous"], "nonResourceURLs": ["/readyz"]},
        {"level": "None", "resources": [{"group": "", "resources": ["configmaps"], "resourceNames": ["quiet"]}]},
        {
            "level": "RequestResponse",
            "resources": [{"group": "", "resources": ["configmaps", "secrets"]}],
            "omitManagedFields": True,
        },
        {"level": "Metadata", "omitStages": ["RequestReceived"]},
    ],
}

Event = dict[str, Any]


class Hook(BaseHTTPRequestHandler):
    """A server that collects events; refuses the first batch, as one that is just being restarted."""

    received: ClassVar[list[Event]]
    refusals: ClassVar[list[int]]

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        if not self.refusals:
            self.refusals.append(503)
            self.send_response(503)
        else:
            assert (body["kind"], body["apiVersion"]) == ("EventList", "audit.k8s.io/v1")
            self.received.extend(body["items"])
            self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        pass


@pytest.fixture(scope="module")
def hook() -> Iterator[tuple[str, list[Event]]]:
    class Handler(Hook):
        received: ClassVar[list[Event]] = []
        refusals: ClassVar[list[int]] = []

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/events?from=kcp", Handler.received
        server.shutdown()


@pytest.fixture(scope="module")
async def kcp(tmp_path_factory: pytest.TempPathFactory, hook: tuple[str, list[Event]]) -> AsyncIterator[Kcp]:
    folder = tmp_path_factory.mktemp("audit")
    (folder / "policy.yaml").write_text(yaml.safe_dump(POLICY))
    (folder / "hook.yaml").write_text(
        yaml.safe_dump(
            {
                "clusters": [{"name": "hook", "cluster": {"server": hook[0]}}],
                "contexts": [{"name": "hook", "context": {"cluster": "hook"}}],
                "current-context": "hook",
            }
        )
    )
    options = ["--workers", "2", "--audit-policy-file", str(folder / "policy.yaml")]
    options += ["--audit-log-path", str(folder / "logs" / "audit.log")]
    options += ["--audit-webhook-config-file", str(folder / "hook.yaml")]
    async with Kcp(folder / "root", *options) as running:
        yield running


@asynccontextmanager
async def asking(kcp: Kcp, path: str, audit_id: str) -> AsyncIterator[aiohttp.ClientResponse]:
    """A GET whose answer is seen with its headers."""
    connection = load_kubeconfig(kcp.kubeconfig)
    headers = {"Audit-Id": audit_id, "Authorization": f"Bearer {connection.token}"}
    tls = connection.ssl_context() or False
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"{connection.server}{path}", headers=headers, ssl=tls) as response,
    ):
        yield response


def log_of(kcp: Kcp) -> Path:
    return kcp.root.parent / "logs" / "audit.log"


def events(kcp: Kcp, **wanted: str) -> list[Event]:
    """Those of an audit id or another plain field."""
    found = [json.loads(line) for line in log_of(kcp).read_text().splitlines()]
    return [event for event in found if all(event.get(key) == value for key, value in wanted.items())]


async def logged(kcp: Kcp, count: int, **wanted: str) -> list[Event]:
    async def there() -> bool:
        return len(events(kcp, **wanted)) >= count

    await eventually(there)
    await asyncio.sleep(0.1)  # that no more come
    found = events(kcp, **wanted)
    assert len(found) == count, found
    return found


async def test_an_object_is_made(kcp: Kcp) -> None:
    body = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"k": "v"}}
    async with Client(load_kubeconfig(kcp.kubeconfig)) as client:
        await client.request("POST", "/api/v1/namespaces/default/configmaps", body=body, headers={"Audit-Id": "made"})
    received, complete = await logged(kcp, 2, auditID="made")
    assert [event["stage"] for event in (received, complete)] == ["RequestReceived", "ResponseComplete"]
    assert "responseStatus" not in received
    times = (complete.pop("requestReceivedTimestamp"), complete.pop("stageTimestamp"))
    assert times[0] < times[1]
    answer = complete.pop("responseObject")
    assert (answer["kind"], answer["metadata"]["namespace"], answer["data"]) == ("ConfigMap", "default", {"k": "v"})
    assert "managedFields" not in answer["metadata"]
    assert complete == {
        "kind": "Event",
        "apiVersion": "audit.k8s.io/v1",
        "level": "RequestResponse",
        "auditID": "made",
        "stage": "ResponseComplete",
        "requestURI": "/clusters/root:default/api/v1/namespaces/default/configmaps",
        "verb": "create",
        "user": {"username": "admin", "uid": "admin", "groups": ["system:masters", "system:authenticated"]},
        "sourceIPs": ["127.0.0.1"],
        "userAgent": "kcp",
        "objectRef": {"resource": "configmaps", "namespace": "default", "name": "a", "apiVersion": "v1"},
        "responseStatus": {"metadata": {}, "code": 201},
        "requestObject": body,
        "annotations": {
            "tenancy.kcp.dev/workspace": "root:default",
            "authorization.k8s.io/decision": "allow",
        },
    }


async def test_the_shard_is_told_the_same_id(kcp: Kcp) -> None:
    """Its own audit log, if it has one, can be read beside this one."""
    async with asking(kcp, "/api/v1/namespaces/default/configmaps/none", "asked") as response:
        assert response.headers["audit-id"] == "asked"


async def test_refusals_tell_who_and_why(kcp: Kcp) -> None:
    admin = load_kubeconfig(kcp.kubeconfig)
    path = "/api/v1/namespaces/default/configmaps/x"
    for name, connection, headers in (
        ("anonymous", replace(admin, token=None), {}),
        ("wrong", replace(admin, token="wrong"), {}),
        ("bob", admin, {"Impersonate-User": "bob"}),
        ("nowhere", replace(admin, token=None, server=f"{admin.server}:nowhere"), {}),
    ):
        async with Client(connection) as client:
            with pytest.raises(StatusError):
                await client.request("GET", path, headers={"Audit-Id": name, **headers})
    expected = {
        "anonymous": (403, "system:anonymous", "forbid"),
        "wrong": (401, None, None),
        "bob": (403, "admin", "forbid"),
        "nowhere": (403, "system:anonymous", "forbid"),
    }
    for name, (code, user, decision) in expected.items():
        _, event = await logged(kcp, 2, auditID=name)
        assert event["responseStatus"]["code"] == code
        assert event["responseStatus"]["reason"] == {401: "Unauthorized", 403: "Forbidden"}[code]
        assert event["user"].get("username") == user
        assert event.get("annotations", {}).get("authorization.k8s.io/decision") == decision
        assert event["objectRef"]["name"] == "x"
        assert event.get("impersonatedUser", {}).get("username") == ("bob" if name == "bob" else None)


async def test_secrets_stay_out_of_it(kcp: Kcp) -> None:
    async with Client(load_kubeconfig(kcp.kubeconfig)) as client:
        body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "stringData": {"k": "not-for-you"}}
        path = "/api/v1/namespaces/default/secrets"
        await client.request("POST", path, body=body, headers={"Audit-Id": "secret"})
        await client.request("GET", path, headers={"Audit-Id": "secrets"})
        path = "/api/v1/namespaces/default/serviceaccounts/default/token"
        body = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "spec": {"audiences": []}}
        answer = await eventually(lambda: client.request("POST", path, body=body), StatusError)  # a controller makes it
        token = answer["status"]["token"]
    _, event = await logged(kcp, 2, auditID="secret")
    assert (event["objectRef"]["name"], event["responseStatus"]["code"]) == ("s", 201)
    assert event["annotations"]["audit.kcp.dev/left-out"] == "secret"
    await logged(kcp, 2, auditID="secrets")
    text = log_of(kcp).read_text()
    for hidden in ("not-for-you", token, load_kubeconfig(kcp.kubeconfig).token or "-"):
        assert hidden not in text


async def test_a_watch_has_two_ends(kcp: Kcp) -> None:
    path = "/api/v1/namespaces/default/configmaps?watch=true&timeoutSeconds=1"
    async with asking(kcp, path, "watch") as response:
        await logged(kcp, 2, auditID="watch")
        await response.read()
    found = await logged(kcp, 3, auditID="watch")
    assert [event["stage"] for event in found] == ["RequestReceived", "ResponseStarted", "ResponseComplete"]
    assert {event["verb"] for event in found} == {"watch"}


async def test_rules_that_say_no(kcp: Kcp) -> None:
    async with Client(load_kubeconfig(kcp.kubeconfig)) as client:
        for name in ("quiet", "loud"):
            with pytest.raises(StatusError):
                await client.request("GET", f"/api/v1/namespaces/default/configmaps/{name}", headers={"Audit-Id": name})
    await logged(kcp, 2, auditID="loud")
    assert events(kcp, auditID="quiet") == []


async def test_kubectl_and_protobuf(kcp: Kcp) -> None:
    process = await asyncio.create_subprocess_exec(
        find("kubectl"), "--kubeconfig", kcp.kubeconfig, "create", "configmap", "packed", "--from-literal=a=b"
    )
    assert await process.wait() == 0

    def of_it() -> list[Event]:
        return [event for event in events(kcp, verb="create") if event["objectRef"].get("name") == "packed"]

    async def there() -> bool:
        return len(of_it()) == 1

    await eventually(there)
    [event] = of_it()
    assert event["responseObject"]["data"] == {"a": "b"}
    assert event["annotations"]["audit.kcp.dev/left-out"].endswith("protobuf")


async def test_the_webhook_gets_the_same(kcp: Kcp, hook: tuple[str, list[Event]]) -> None:
    async def all_there() -> bool:
        return len(hook[1]) >= len(events(kcp)) > 20

    await eventually(all_there)
    assert {json.dumps(event) for event in hook[1]} == {json.dumps(event) for event in events(kcp)}


async def test_a_killed_worker_tears_no_line(kcp: Kcp) -> None:
    workers = [pid for pid, command in children(kcp.pid).items() if "proxy.server.worker" in command]
    done = 0

    async def ask(connection: Connection) -> None:
        nonlocal done
        async with Client(connection) as client:
            while done < 400:
                try:
                    await client.request("GET", "/api/v1/namespaces/default/configmaps/loud")
                except StatusError as error:
                    if error.code != 404:  # cut by the kill
                        await asyncio.sleep(0.05)
                        continue
                done += 1

    async with asyncio.TaskGroup() as group:
        for _ in range(8):
            group.create_task(ask(load_kubeconfig(kcp.kubeconfig)))
        await asyncio.sleep(0.2)
        os.kill(workers[0], signal.SIGKILL)
    assert len(events(kcp, verb="get")) > 400  # each line is one
    assert stat.S_IMODE(log_of(kcp).stat().st_mode) == 0o600


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--audit-policy-file", "POLICY"), "needs --audit-log-path or --audit-webhook-config-file"),
        (("--audit-policy-file", "BAD", "--audit-log-path", "a.log"), "rule 1: level 'All' is none of None, Metadata"),
        (("--audit-log-path", "/proc/none/a.log"), "--audit-log-path /proc/none/a.log: No such file or directory"),
        (("--audit-log-path", "/dev/null"), "--audit-log-path /dev/null: a file is wanted"),
        (("--audit-webhook-config-file", "BAD"), "no context is set as current-context"),
    ],
)
async def test_wrong_options_are_one_line(tmp_path: Path, options: tuple[str, ...], message: str) -> None:
    (tmp_path / "bad.yaml").write_text(yaml.safe_dump({**POLICY, "rules": [{"level": "All"}]}))
    (tmp_path / "policy.yaml").write_text(yaml.safe_dump(POLICY))
    files = {"POLICY": str(tmp_path / "policy.yaml"), "BAD": str(tmp_path / "bad.yaml"), "a.log": str(tmp_path / "a")}
    given = [files.get(option, option) for option in options]
    code, _, errors = await run_kcp("start", "--root-directory", str(tmp_path / "root"), *given)
    assert code == 1
    assert message in errors
    assert errors.count("\n") == 1
