"""Mistakes at the front door, through all of kcp: each gets a Status that names the thing, and nothing is lost."""

from __future__ import annotations

import json
import os
import signal
import time
from typing import Any

import pytest

from proxy.kube.errors import StatusError
from tests.e2e.workspaces.installation import CONFIGMAPS, NAMESPACES, WORKSPACES, Installation
from tests.integration.kcp_process import Kcp, children

JSON = {"Content-Type": "application/json"}


async def status_of(kcp: Installation, method: str, path: str, **options: Any) -> dict[str, Any]:
    """The Status in the answer, checked to be one."""
    code, headers, body = await kcp.raw(method, path, **options)
    assert headers.get("content-type", "").startswith("application/json"), (code, headers, body[:200])
    status: dict[str, Any] = json.loads(body)
    assert (status["kind"], status["status"], status["code"]) == ("Status", "Failure", code), status
    assert status["message"]
    assert "Traceback" not in status["message"]
    return status


async def test_a_workspace_that_does_not_exist(kcp: Installation) -> None:
    status = await status_of(kcp, "GET", "/clusters/root:nobody/api/v1/namespaces")
    assert status["code"] in (403, 404)
    assert "root:nobody" in status["message"]


async def test_a_path_without_a_workspace(kcp: Installation) -> None:
    status = await status_of(kcp, "GET", "/clusters/")
    assert status["code"] in (400, 403, 404)


async def test_a_resource_that_is_not_there(kcp: Installation) -> None:
    """The same answers as of a kube-apiserver that lacks the type, or the whole group."""
    path = await kcp.fresh()
    for resource in ("/api/v1/pods", "/apis/coordination.k8s.io/v1/nothing"):
        status = await status_of(kcp, "GET", f"/clusters/{path}{resource}")
        assert (status["code"], status["reason"]) == (404, "NotFound")
        assert status["message"] == "the server could not find the requested resource"
    for resource in ("/apis/apps/v1/deployments", "/apis/nothing.example.com/v1/things"):
        code, _, body = await kcp.raw("GET", f"/clusters/{path}{resource}")
        assert (code, body) == (404, b"404 page not found\n")


@pytest.mark.parametrize(
    ("name", "says"),
    [("Upper", "Upper"), ("-dash", "-dash"), ("a" * 32, "31"), ("root", "root"), ("system", "system"), ("x", "x")],
)
async def test_a_workspace_name_that_cannot_be(kcp: Installation, name: str, says: str) -> None:
    body = {"apiVersion": WORKSPACES.api_version, "kind": "Workspace", "metadata": {"name": name}}
    with pytest.raises(StatusError) as caught:
        await kcp.client("root:tests").create(WORKSPACES, {**body, "spec": {"type": "Universal"}})
    assert (caught.value.code, caught.value.reason) == (422, "Invalid")
    assert says in caught.value.message


async def test_a_workspace_name_that_is_taken(kcp: Installation) -> None:
    name = (await kcp.fresh()).rpartition(":")[2]
    body = {"apiVersion": WORKSPACES.api_version, "kind": "Workspace", "metadata": {"name": name}}
    with pytest.raises(StatusError) as caught:
        await kcp.client("root:tests").create(WORKSPACES, {**body, "spec": {"type": "Universal"}})
    assert caught.value.code == 409
    assert caught.value.message == f'workspaces.tenancy.kcp.dev "{name}" already exists'


async def test_the_type_of_a_workspace_stays(kcp: Installation) -> None:
    name = (await kcp.fresh()).rpartition(":")[2]
    with pytest.raises(StatusError) as caught:
        await kcp.client("root:tests").patch(WORKSPACES, name, {"spec": {"type": "Team"}})
    assert caught.value.code == 422
    assert "type" in caught.value.message


async def test_a_namespace_name_that_is_too_long_here(kcp: Installation) -> None:
    client = kcp.client(await kcp.fresh())
    with pytest.raises(StatusError) as caught:
        await client.create(NAMESPACES, {"metadata": {"name": "n" * 54}})
    assert (caught.value.code, caught.value.reason) == (422, "Invalid")
    assert "53" in caught.value.message
    await client.create(NAMESPACES, {"metadata": {"name": "n" * 53}})
    assert (await client.get(NAMESPACES, "n" * 53))["metadata"]["name"] == "n" * 53


@pytest.mark.parametrize(
    ("content_type", "body", "codes"),
    [
        ("application/json", b'{"kind": "ConfigMap", ', {400}),
        ("application/json", b"[1, 2]", {400}),
        ("application/json", b"\xff\xfe", {400}),
        ("application/json", b"", {400}),
        ("application/yaml", b"a: [b", {400}),
        ("application/vnd.kubernetes.protobuf", b"k8s\x00\xff\xff\xff\xff", {400}),
        ("application/vnd.kubernetes.protobuf", b"no magic number", {400}),
        ("text/plain", b"hello", {415}),
        ("application/x-www-form-urlencoded", b"a=b", {415}),
    ],
)
async def test_a_body_that_is_not_understood(
    kcp: Installation, content_type: str, body: bytes, codes: set[int]
) -> None:
    path = f"/clusters/{await kcp.fresh()}/api/v1/namespaces/default/configmaps"
    status = await status_of(kcp, "POST", path, body=body, headers={"Content-Type": content_type})
    assert status["code"] in codes, status


async def test_a_patch_of_an_unknown_kind(kcp: Installation) -> None:
    path = f"/clusters/{await kcp.fresh()}/api/v1/namespaces/default/configmaps/kube-root-ca.crt"
    status = await status_of(kcp, "PATCH", path, body=b"{}", headers=JSON)
    assert (status["code"], status["reason"]) == (415, "UnsupportedMediaType")


async def test_a_body_over_the_limit(kcp: Installation) -> None:
    path = await kcp.fresh()
    large = {"metadata": {"name": "large"}, "data": {"k": "x" * (4 * 2**20)}}
    status = await status_of(
        kcp,
        "POST",
        f"/clusters/{path}/api/v1/namespaces/default/configmaps",
        body=json.dumps(large).encode(),
        headers=JSON,
    )
    assert (status["code"], status["reason"]) == (413, "RequestEntityTooLarge")
    with pytest.raises(StatusError, match="not found"):
        await kcp.client(path).get(CONFIGMAPS, "large", "default")


@pytest.mark.parametrize(
    "tail",
    [
        "/api/v1/namespaces/../../../../root/api/v1/namespaces",
        "/api/v1/namespaces/%2e%2e/%2e%2e/configmaps",
        "/api/v1//namespaces",
        "//api/v1/namespaces",
        "/api/v1/namespaces/default%2Fconfigmaps",
        "/api/v1/namespaces/default/configmaps/a;b",
        "/api/v1/namespaces/" + "n" * 3000,
        "/api/v1/namespaces/default/configmaps/..",
        "/api/v1/namespaces/%00",
    ],
)
async def test_a_path_that_tries_something(kcp: Installation, tail: str) -> None:
    """Nothing of it reaches another workspace; it may be an object that does not exist."""
    path = await kcp.fresh()
    status = await status_of(kcp, "GET", f"/clusters/{path}{tail}")
    assert status["code"] in (400, 403, 404, 414), status


async def test_a_user_without_rights(kcp: Installation) -> None:
    path = await kcp.fresh()
    with pytest.raises(StatusError) as caught:
        await kcp.client(path, "bob-token").list(CONFIGMAPS, "default")
    assert caught.value.code == 403
    assert caught.value.message == (
        'configmaps is forbidden: User "bob" cannot list resource "configmaps" in API group "" '
        f'in the namespace "default": "{path}" workspace access not permitted'
    )


async def test_a_token_that_has_expired(kcp: Installation) -> None:
    path = await kcp.fresh()
    for token in ("not-a-token", "eyJhbGciOiJub25lIn0.eyJleHAiOjF9."):
        status = await status_of(kcp, "GET", f"/clusters/{path}/api/v1/namespaces", token=token)
        assert (status["code"], status["reason"]) == (401, "Unauthorized")


async def test_a_shard_that_is_down(kcp: Installation, kcp_process: Kcp) -> None:
    """503 with Retry-After while it is away; back by itself, with everything that was in it."""
    path = await kcp.fresh()
    client = kcp.client(path)
    await client.create(CONFIGMAPS, {"metadata": {"name": "before"}, "data": {"k": "v"}}, "default")
    (victim,) = [pid for pid, line in children(kcp_process.pid).items() if "kube-apiserver" in line]
    os.kill(victim, signal.SIGKILL)
    started, seen = time.monotonic(), []
    url = f"/clusters/{path}/api/v1/namespaces/default/configmaps/before"
    while time.monotonic() - started < 60:
        code, headers, body = await kcp.raw("GET", url)
        seen.append(code)
        if code == 200:
            break
        assert code == 503, body
        assert int(headers["retry-after"]) >= 1
        assert json.loads(body)["reason"] == "ServiceUnavailable"
    assert seen[-1] == 200
    assert 503 in seen
    assert await kcp.fresh()  # custom resources are there again as soon as native ones are
