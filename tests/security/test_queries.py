"""Queries: selectors, continue tokens, versions, repeated and unknown keys."""

from __future__ import annotations

import base64
import itertools
import json
from urllib.parse import quote, urlencode

import orjson
import pytest

from tests.security.ground import CANARY, VICTIM, Ground

LISTS = (
    "/api/v1/namespaces",
    "/api/v1/secrets",
    "/api/v1/configmaps",
    "/api/v1/serviceaccounts",
    "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "/apis/rbac.authorization.k8s.io/v1/rolebindings",
    "/apis/apiextensions.k8s.io/v1/customresourcedefinitions",
    "/apis/coordination.k8s.io/v1/leases",
)
FORMS = (
    "application/json",
    "application/json;as=Table;v=v1;g=meta.k8s.io",
    "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
)
VERSIONS: tuple[object, ...] = (0, 1, "1", None, -2, 2**70, True, [], {})


def forged(start: str, rv: object = -1, version: str = "meta.k8s.io/v1") -> str:
    token = json.dumps({"v": version, "rv": rv, "start": start}).encode()
    return base64.urlsafe_b64encode(token).rstrip(b"=").decode()


def starts(ground: Ground) -> list[str]:
    p = ground.prefix
    return [
        "",
        "/",
        "k",
        p,
        f"{p}vault/key\0",
        f"/{p}vault/",
        f"{ground.den_token}-../{p}vault/key",
        "../",
        "\0",
        f"{ground.den_token}-/../../{p}vault",
        f"{ground.den_token}",
        f"{ground.den_token}.",
        ground.den_token[:-1],
        f"{ground.den_token}-\0",
        f"./{ground.den_token}-",
        "kube-system/",
        "a" * 5000,
    ]


@pytest.mark.parametrize("path", LISTS)
async def test_continue_tokens_made_by_hand(ground: Ground, path: str) -> None:
    tokens = [forged(start) for start in starts(ground)]
    tokens += [forged(f"{ground.den_token}-", rv) for rv in VERSIONS]
    tokens += [forged(f"{ground.den_token}-", version=v) for v in ("", "meta.k8s.io/v2", "\0")]
    tokens += ["x", "====", "%00", "e30", base64.urlsafe_b64encode(b"[]").decode(), "A" * 15000]
    for token, limit in itertools.product(tokens, ("", "&limit=500")):
        answer = await ground.ask("GET", f"{path}?continue={quote(token)}{limit}")
        assert answer.status in (200, 400, 410, 414), answer
        if answer.status == 200:
            assert _foreign(answer.body) == [], token


async def test_a_continue_token_of_the_victim_or_of_another_list(ground: Ground) -> None:
    first = await ground.kcp.client(VICTIM).request("GET", "/api/v1/configmaps?limit=1")
    stolen = first["metadata"]["continue"]
    for path in LISTS:
        answer = await ground.ask("GET", f"{path}?limit=500&continue={quote(stolen)}")
        assert answer.status in (200, 400, 410), answer
        assert answer.status != 200 or _foreign(answer.body) == []


def _foreign(body: bytes) -> list[str]:
    """Names in a list that the attacker's workspace does not have."""
    items = orjson.loads(body).get("items") or []
    names = [f"{item['metadata'].get('namespace', '')}/{item['metadata']['name']}" for item in items]
    words = ("/ledger", "/robot", "kube-public", "extension-apiserver", "/key")
    return [name for name in names if any(word in name for word in words)]


@pytest.mark.parametrize("accept", FORMS)
@pytest.mark.parametrize("path", LISTS)
async def test_selectors_reach_nobody_else(ground: Ground, path: str, accept: str) -> None:
    t, p = ground.token, ground.prefix
    labels = [
        f"0.kcp.dev/w={t}",
        f"0.kcp.dev/w in ({t},{ground.den_token})",
        "!0.kcp.dev/w",
        "0.kcp.dev/w",
        f"a!=b,0.kcp.dev/w={t}",
        f"kubernetes.io/metadata.name={p}vault",
        f"kubernetes.io/metadata.name in (x,{p}vault)",
        "kubernetes.io/metadata.name=vault",
        f"c={CANARY}"[:20],
        "a=b)",
        f"x notin (a),0.kcp.dev/w notin ({ground.den_token})",
        f"owner,0.kcp.dev/w={t}",
        "\0",
        f"a=b%2C0.kcp.dev/w={t}",
        "a in (b",
        f"a=b\n0.kcp.dev/w={t}",
    ]
    fields = [
        f"metadata.namespace={p}vault",
        f"metadata.namespace!={ground.den_token}-default",
        "metadata.namespace=vault",
        f"metadata.name={p}vault",
        "metadata.name=key",
        "metadata.name!=x",
        f"metadata.namespace=\\{p}vault",
        f"metadata.name=x,metadata.namespace={p}vault",
        "metadata.namespace=",
        "metadata.namespace==../vault",
    ]
    for key, values in (("labelSelector", labels), ("fieldSelector", fields)):
        for value in values:
            answer = await ground.ask("GET", f"{path}?{urlencode({key: value})}", accept=accept)
            assert answer.status in (200, 400, 406), (value, answer)
            _only_own(answer.body, accept, answer.status)


def _only_own(body: bytes, accept: str, status: int) -> None:
    if status != 200:
        return
    for word in (b"crown", b"kube-public"):
        assert word not in body, body[:500]
    if accept == "application/json":
        assert _foreign(body) == []


@pytest.mark.parametrize(
    "query",
    [
        "labelSelector=0.kcp.dev/w%3D{t}&labelSelector=a",
        "labelSelector=a&labelSelector=0.kcp.dev/w%3D{t}",
        "LabelSelector=0.kcp.dev/w%3D{t}",
        "labelselector=0.kcp.dev/w%3D{t}",
        "namespace={p}vault",
        "watch=false&watch=true",
        "fieldSelector=a%3Db&fieldSelector=metadata.namespace%3D{p}vault",
        "shardSelector=x",
        "resourceVersion=-1",
        "resourceVersion=1&resourceVersionMatch=Exact",
        "resourceVersion=99999999999",
        "resourceVersion={t}",
        "limit=-1",
        "limit=99999999999999999999",
        "limit=1&continue=",
        "pretty=true",
        "pretty=1&pretty=false",
        "export=true&exact=true",
        "fieldManager={p}x",
        "dryRun=All",
        "as={p}victim",
        "impersonate-user=victim",
        "includeUninitialized=true",
        "labelSelector=%00",
        "labelSelector=%FF",
        "a;b=c",
        "%",
        "&&&&=&=",
        "limit=1%20or%201",
        "timeoutSeconds=-1",
        "allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&watch=1&timeoutSeconds=1",
        "watch=1&timeoutSeconds=1&resourceVersion=1",
        "watch=1&timeoutSeconds=1&resourceVersion=0",
        "watch=1&timeoutSeconds=1&labelSelector=0.kcp.dev/w%3D{t}",
        "watch=1&timeoutSeconds=1&fieldSelector=metadata.name%3D{p}vault",
    ],
)
async def test_odd_queries(ground: Ground, query: str) -> None:
    for path in ("/api/v1/namespaces", "/api/v1/secrets", "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"):
        answer = await ground.ask("GET", f"{path}?{query.format(t=ground.token, p=ground.prefix)}")
        assert answer.status in (200, 400, 403, 410, 422, 504), answer
        assert b"kube-public" not in answer.body, answer.body[:500]


async def test_how_many_there_are_of_others_is_not_told(ground: Ground) -> None:
    """``remainingItemCount`` and resource versions of lists count a whole shard at a kube-apiserver."""
    for path in LISTS:
        for query in ("?limit=1", "?limit=1&resourceVersion=0", "?limit=2&labelSelector=a!%3Db"):
            answer = await ground.ask("GET", path + query)
            assert answer.status == 200, answer
            assert b"remainingItemCount" not in answer.body
