"""Headers, and bytes that two parsers could read as different requests."""

from __future__ import annotations

import pytest

from tests.security.ground import DEN, VICTIM, Ground

SECRET = "/api/v1/namespaces/vault/secrets/key"
AUTH = "Authorization: Bearer mallory-token\r\n"


@pytest.mark.parametrize(
    "headers",
    [
        {"X_Remote_User": "admin", "X_Remote_Group": "system:masters"},
        {"X-Remote-User": "{p}victim", "X-Remote-Group": "{p}system:authenticated"},
        {"X-Remote-Extra-Scopes": "all", "X-Remote-Uid": "0"},
        {"Impersonate-User": "victim"},
        {"Impersonate-User": "{p}victim"},
        {"Impersonate-User": "admin"},
        {"Impersonate-User": "system:admin", "Impersonate-Group": "system:masters"},
        {"Impersonate-User": "system:serviceaccount:default:robot"},
        {"Impersonate-User": "system:serviceaccount:{p}default:robot"},
        {"Impersonate-User": "system:apiserver", "Impersonate-Extra-Authentication.kubernetes.io%2Fpod-name": "x"},
        {"Impersonate-User": "system:node:x", "Impersonate-Group": "system:nodes"},
        {"Impersonate-User": "system:kube-controller-manager"},
        {"Impersonate-Uid": "1"},
        {"Impersonate-": "x"},
        {"Forwarded": "for=127.0.0.1;host=shard", "X-Forwarded-For": "127.0.0.1", "X-Forwarded-Host": "shard"},
        {"X-Original-URL": "/clusters/{v}/api/v1/secrets", "X-Rewrite-URL": "/clusters/{v}/api/v1/secrets"},
        {"X-HTTP-Method-Override": "DELETE"},
        {"X-Kubernetes-Cluster": "{v}", "X-Kcp-Cluster": "{v}"},
        {"Connection": "authorization, x-remote-user", "X-Remote-User": "admin"},
        {"Host": "{v}"},
        {"Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "eA=="},
        {"Upgrade": "SPDY/3.1", "Connection": "Upgrade"},
        {"Upgrade": "h2c", "Connection": "Upgrade, HTTP2-Settings"},
        {"Accept": "*/*, application/vnd.kubernetes.protobuf;type=watch"},
        {"Accept": "application/cbor"},
        {"Accept-Encoding": "gzip, deflate, br, zstd"},
        {"Range": "bytes=0-10"},
        {"If-None-Match": "*"},
        {"Content-Encoding": "gzip"},
        {"Te": "trailers"},
        {"Audit-Id": "{t}"},
        {"Traceparent": "00-{t}"},
        {"User-Agent": "x" * 60000},
        {"Cookie": "a=b"},
        {"Proxy-Authorization": "Basic eDp5"},
    ],
)
async def test_headers_make_nobody_else(ground: Ground, headers: dict[str, str]) -> None:
    """At the victim's address they open nothing; at home they show what is the attacker's alone."""
    sent = {
        name.replace("-", "_"): value.format(p=ground.prefix, t=ground.token, v=VICTIM)
        for name, value in headers.items()
    }
    for token in ("mallory-token", ground.raider, None):
        there = await ground.ask("GET", SECRET, workspace=VICTIM, token=token, **sent)
        assert there.status in (400, 401, 403, 406, 417, 431), there
    for path in ("/api/v1/secrets", "/api/v1/namespaces", "/apis/rbac.authorization.k8s.io/v1/clusterroles"):
        home = await ground.ask("GET", path, **sent)
        for word in (b'"vault"', b'"key"', b"kube-public", b"extension-apiserver"):
            assert word not in home.body, home
    for path in (f"/api/v1/namespaces/{ground.prefix}vault/secrets/key", "/api/v1/namespaces/kube-system"):
        assert (await ground.ask("GET", path, **sent)).status in (400, 403, 404, 406, 431)


def two(first: str, second: str) -> bytes:
    return (first + second).replace("\n", "\r\n").encode()


INNER = f"GET /clusters/{VICTIM}{SECRET} HTTP/1.1\nHost: x\nX-Remote-User: admin\nX-Remote-Group: system:masters\n\n"
POST = f"POST /clusters/{DEN}/api/v1/namespaces/default/configmaps HTTP/1.1\nHost: x\n{AUTH}".replace("\r", "")


@pytest.mark.parametrize(
    "data",
    [
        two(f"{POST}Content-Length: 0\nContent-Length: {len(INNER)}\n\n", INNER),
        two(f"{POST}Content-Length: 4, 4\n\n", "{}\n\n" + INNER),
        two(f"{POST}Content-Length: 3\nTransfer-Encoding: chunked\n\n", "0\n\n" + INNER),
        two(f"{POST}Transfer-Encoding: chunked\nContent-Length: 3\n\n", "0\n\n" + INNER),
        two(f"{POST}Transfer-Encoding: chunked, identity\n\n", "0\n\n" + INNER),
        two(f"{POST}Transfer-Encoding: xchunked\n\n", "0\n\n" + INNER),
        two(f"{POST}Transfer-Encoding : chunked\n\n", "0\n\n" + INNER),
        two(f"{POST}Transfer-Encoding:\tchunked\n\n", "0\n\n" + INNER),
        two(f"{POST}Transfer-Encoding: chunked\nTransfer-Encoding: identity\n\n", "0\n\n" + INNER),
        two(f"{POST}X: y\n Transfer-Encoding: chunked\n\n", "0\n\n" + INNER),
        two(f"{POST}Content-Length: +4\n\n", "{}\n\n" + INNER),
        two(f"{POST}Content-Length: 0x4\n\n", "{}\n\n" + INNER),
        two(f"{POST}Content-Length: -1\n\n", INNER),
        two(f"{POST}Content-Length: 99999999999999999999999\n\n", INNER),
        two(f"{POST}Transfer-Encoding: chunked\n\n", "fffffffffffffffff\n" + INNER),
        two(f"{POST}Transfer-Encoding: chunked\n\n", "0\nX-Remote-User: admin\n\n" + INNER),
        two(f"{POST}Transfer-Encoding: chunked\n\n", "2;x={}\n".format("a" * 70000) + "{}\n0\n\n" + INNER),
        two(f"{POST}Expect: 100-continue\nContent-Length: 2\n\n", "{}" + INNER),
        two(f"{POST}Expect: 200-ok\n\n", INNER),
        two(f"GET /clusters/{DEN}/api HTTP/1.1\nHost: x\nHost: y\n{AUTH}\n".replace("\r", ""), INNER),
        two(f"GET /clusters/{DEN}/api HTTP/1.1\n{AUTH}\n".replace("\r", ""), INNER),
        two(f"GET /clusters/{DEN}/api HTTP/1.1\nHost: x\nA\0B: c\n\n", INNER),
        two(f"GET /clusters/{DEN}/api HTTP/1.1\nHost: x\nA: b\rX-Remote-User: admin\n\n", INNER),
        two(f"GET /clusters/{DEN}/api\tHTTP/1.1\nHost: x\n\n", INNER),
        two(f"GET /clusters/{DEN}/api HTTP/1.1 HTTP/1.0\nHost: x\n\n", INNER),
        two("GET /clusters/" + DEN + "/api HTTP/9.9\nHost: x\n\n", INNER),
        two(f"GET /clusters/{DEN}/api HTTP/1.0\n\n", INNER),
        two(f"GET https://shard/clusters/{VICTIM}{SECRET} HTTP/1.1\nHost: x\n{AUTH}\n".replace("\r", ""), ""),
        two(f"GET clusters/{VICTIM}{SECRET} HTTP/1.1\nHost: x\n{AUTH}\n".replace("\r", ""), ""),
        two(f"GET * HTTP/1.1\nHost: x\n{AUTH}\n".replace("\r", ""), ""),
        two(f"GET /clusters/{DEN}/api#/../{VICTIM}{SECRET} HTTP/1.1\nHost: x\n{AUTH}\n".replace("\r", ""), ""),
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"\0" * 4096,
        b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"GET / HTTP/1.1\nHost: x\n\n" + INNER.encode(),
    ],
)
async def test_no_request_hides_in_another(ground: Ground, data: bytes) -> None:
    """The inner one, which claims to be an administrator, is refused, or never read; nothing of the victim is said."""
    said = await ground.raw(data, timeout=1.5)
    for part in said.split(b"HTTP/1.1 ")[1:]:
        assert not part.startswith(b"200") or b'"kind":"APIVersions"' in part or b"APIGroupDiscoveryList" in part, said
    assert b'"Secret"' not in said
    assert b"admin" not in said.replace(b"sec-admin", b"")


async def test_pipelined_requests_are_answered_each_as_its_own(ground: Ground) -> None:
    """Identity does not stick to a connection."""
    own = f"GET /clusters/{DEN}/api/v1/namespaces/default HTTP/1.1\r\nHost: x\r\n{AUTH}\r\n"
    other = f"GET /clusters/{VICTIM}{SECRET} HTTP/1.1\r\nHost: x\r\n\r\n"
    last = f"GET /clusters/{VICTIM}{SECRET} HTTP/1.1\r\nHost: x\r\n{AUTH}Connection: close\r\n\r\n"
    said = await ground.raw((own + other + own + last).encode())
    assert [part[:3] for part in said.split(b"HTTP/1.1 ")[1:]] == [b"200", b"403", b"200", b"403"]


async def test_a_bomb_in_a_compressed_body_is_not_opened(ground: Ground) -> None:
    import gzip

    bomb = gzip.compress(b'{"metadata":{"name":"x"},"data":{"k":"' + b"0" * 50_000_000 + b'"}}')
    answer = await ground.ask("POST", "/api/v1/namespaces/default/configmaps", bomb, Content_Encoding="gzip")
    assert answer.status == 415
