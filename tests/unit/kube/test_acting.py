"""A client that acts as somebody else does so alone, over the same connections."""

from __future__ import annotations

from dataclasses import replace

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from proxy.kube.client import Client, Resource
from proxy.kube.config import Connection
from proxy.kube.errors import StatusError


def who(client: Client) -> tuple[list[str], list[str]]:
    headers = client._request_headers({"X": "y"})
    return headers.getall("Impersonate-User", []), headers.getall("Impersonate-Group", [])


def test_each_acts_as_one() -> None:
    client = Client(Connection("https://unused"), headers={"Impersonate-User": "before", "Impersonate-Group": "g"})
    other = client.acting_as("alice", ("dev", "ops"))
    assert who(other) == (["alice"], ["dev", "ops"])
    assert who(other.acting_as("bob", ())) == (["bob"], [])
    assert who(client) == (["before"], ["g"])


def test_they_are_at_the_same_server() -> None:
    client = Client(Connection("https://unused", token="old"))
    other = client.acting_as("alice", ())
    client.connection = replace(client.connection, token="new")
    assert other._request_headers(None)["Authorization"] == "Bearer new"


async def test_they_end_together() -> None:
    client = Client(Connection("http://unused"))
    other = client.acting_as("alice", ())
    session = other._open()
    assert client._open() is session
    await client.close()
    assert session.closed
    assert other._open() is not session
    await other.close()


@pytest.mark.parametrize(
    ("message", "code"),
    [
        ('pods is forbidden: User "alice" cannot list resource "pods" in API group "" at the cluster scope', 503),
        ('pods "x" is forbidden: exceeded quota', 403),
        ('pods is forbidden: User "bob" cannot list resource "pods"', 403),
    ],
)
async def test_who_is_refused_what_is_his_asks_too_early(message: str, code: int) -> None:
    async def refuse(request: web.Request) -> web.Response:
        status = {"kind": "Status", "code": 403, "reason": "Forbidden", "message": message}
        return web.json_response(status, status=403)

    app = web.Application()
    app.router.add_get("/{path:.*}", refuse)
    async with TestServer(app) as server, Client(Connection(str(server.make_url("")).rstrip("/"))) as client:
        for who, expected in ((client, 403), (client.acting_as("alice", ()), code)):
            with pytest.raises(StatusError) as caught:
                await who.request("GET", "/api/v1/pods")
            assert caught.value.code == expected
            with pytest.raises(StatusError) as caught:
                async for _ in who.watch(Resource("", "v1", "pods"), resource_version="1"):
                    pass
            assert caught.value.code == expected
