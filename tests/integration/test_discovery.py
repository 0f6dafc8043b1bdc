"""Discovery and OpenAPI of workspaces on a real shard, asked by the real kubectl."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio

from proxy.discovery.catalog import groups_of
from proxy.discovery.crds import Shapes
from proxy.discovery.shard import CRDS, NEGOTIATED
from proxy.discovery.view import AGGREGATED, View
from proxy.kube.client import Client, Object
from proxy.kube.errors import StatusError
from proxy.mapping.names import NATIVE_GROUPS
from proxy.mapping.registrations import STORED_GROUP
from proxy.shard.control_plane import ControlPlane
from tests.integration.discovery_front import Front, Place
from tests.integration.eventually import eventually

EVERYWHERE = """\
configmaps events limitranges namespaces resourcequotas secrets serviceaccounts
customresourcedefinitions.apiextensions.k8s.io
selfsubjectreviews.authentication.k8s.io tokenreviews.authentication.k8s.io
localsubjectaccessreviews.authorization.k8s.io selfsubjectaccessreviews.authorization.k8s.io
selfsubjectrulesreviews.authorization.k8s.io subjectaccessreviews.authorization.k8s.io
leases.coordination.k8s.io events.events.k8s.io
clusterrolebindings.rbac.authorization.k8s.io clusterroles.rbac.authorization.k8s.io
rolebindings.rbac.authorization.k8s.io roles.rbac.authorization.k8s.io
"""
UNIVERSAL = """
apiresourceimports.apiresource.kcp.dev negotiatedapiresources.apiresource.kcp.dev
placements.workload.kcp.dev workloadclusters.workload.kcp.dev
"""
TREE = "clusterworkspaces.tenancy.kcp.dev clusterworkspacetypes.tenancy.kcp.dev workspaces.tenancy.kcp.dev "
SHARDS = "clusterworkspaceshards.tenancy.kcp.dev workspacemoves.tenancy.kcp.dev"

PLACES = {
    "one": Place("kdiscover"),
    "two": Place("kdiscovei"),
    "org": Place("kdiscovef", "Organization"),
    "team": Place("kdiscoveg", "Team"),
    "root": Place("kdiscoveh", "Root"),
    "empty": Place("kdiscovej"),
}
ONE, TWO, EMPTY = PLACES["one"], PLACES["two"], PLACES["empty"]
SOON = 5.0
"""Seconds for what takes milliseconds on an idle machine."""


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def client(shard: ControlPlane) -> AsyncIterator[Client]:
    async with shard.client() as client:
        yield client


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def front(client: Client) -> AsyncIterator[Front]:
    async with Front(client, *PLACES.values()) as front:
        yield front


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path


def crd(place: Place, plural: str, kind: str, field: str, *, group: str = "example.com", **more: Any) -> Object:
    """A CRD as it lies on the shard; ``field`` is what its schema has in spec."""
    properties = {"spec": {"type": "object", "properties": {field: {"type": "integer", "description": f"the {field}"}}}}
    version: Object = {
        "name": "v1",
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "schema": {
            "openAPIV3Schema": {
                "type": "object",
                "description": f"{kind} of a test.",
                "properties": properties | {"status": {"type": "object"}},
            }
        },
    }
    names = {"plural": plural, "singular": kind.lower(), "kind": kind, "listKind": f"{kind}List"}
    spec = {"group": place.prefix + group, "scope": "Namespaced", "names": names, "versions": [version]}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{place.prefix}{group}"},
        "spec": spec | more,
    }


async def until(condition: Callable[[], bool | Awaitable[bool]], within: float = SOON) -> float:
    """Seconds until ``condition`` holds; fails after ``within``."""
    began = time.monotonic()
    while True:
        holds = condition()
        if holds if isinstance(holds, bool) else await holds:
            return time.monotonic() - began
        assert time.monotonic() - began < within, "it never came true"
        await asyncio.sleep(0.005)


def established(found: Object) -> bool:
    conditions = (found.get("status") or {}).get("conditions") or ()
    return any(item["type"] == "Established" and item["status"] == "True" for item in conditions)


async def get(front: Front, place: Place, path: str, accept: str = "application/json", **headers: str) -> Any:
    """Status, headers and body of an answer, undecoded."""
    async with (
        aiohttp.ClientSession(auto_decompress=False) as session,
        session.get(
            front.url(place) + path, headers={"Accept": accept, "Accept-Encoding": "identity", **headers}
        ) as response,
    ):
        return response.status, response.headers, await response.read()


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def widgets(front: Front, client: Client) -> None:
    """The same kind in two workspaces, with different schemas."""
    for place, field in ((ONE, "size"), (TWO, "colour")):
        await client.create(CRDS, crd(place, "widgets", "Widget", field))
    for place in (ONE, TWO):
        await until(lambda place=place: ("example.com", "v1", "widgets") in front.discovery.view(place).shown)  # type: ignore[misc]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("empty", EVERYWHERE + UNIVERSAL),
        ("org", EVERYWHERE + TREE),
        ("team", EVERYWHERE + TREE),
        ("root", EVERYWHERE + TREE + SHARDS),
    ],
)
async def test_api_resources_by_type(front: Front, home: Path, name: str, expected: str) -> None:
    code, out, err = await front.kubectl(PLACES[name], "api-resources", "-o", "name", home=home)
    assert (code, err) == (0, "")
    assert set(out.split()) == set(expected.split())


async def test_missing_type_as_the_blog_prints_it(front: Front, home: Path) -> None:
    code, _, err = await front.kubectl(EMPTY, "get", "deployments", home=home)
    assert (code, err) == (1, 'error: the server doesn\'t have a resource type "deployments"\n')


@pytest.mark.usefixtures("widgets")
async def test_same_kind_with_two_schemas(front: Front, home: Path) -> None:
    for place, field, other in ((ONE, "size", "colour"), (TWO, "colour", "size")):
        for form in ("plaintext", "plaintext-openapiv2"):
            code, out, err = await front.kubectl(
                place, "explain", "widgets", "--recursive", "--output", form, home=home
            )
            assert (code, err) == (0, "")
            assert "Widget of a test." in out
            assert f"{field}\t<integer>" in out
            assert f"{other}\t" not in out
    code, _, err = await front.kubectl(EMPTY, "explain", "widgets", home=home)
    assert (code, err) == (1, 'the server doesn\'t have a resource type "widgets"\n')


@pytest.mark.usefixtures("widgets")
async def test_validation_knows_the_workspaces_schema(front: Front, home: Path) -> None:
    await front.kubectl(ONE, "create", "namespace", "default", home=home)
    good = "apiVersion: example.com/v1\nkind: Widget\nmetadata: {name: w, namespace: default}\nspec: {size: 1}\n"

    async def apply(manifest: str, *args: str) -> tuple[int, str]:
        code, out, err = await front.kubectl(ONE, *(args or ("apply",)), "-f", "-", home=home, stdin=manifest)
        return code, out + err

    deadline = time.monotonic() + 15  # the shard's admission gets to know a new type a few seconds late
    while (answer := await apply(good)) != (0, "widget.example.com/w created\n"):
        assert "are available" in answer[1], answer
        assert time.monotonic() < deadline, answer
        await asyncio.sleep(0.2)
    assert await apply(good.replace("size: 1", "size: 2")) == (0, "widget.example.com/w configured\n")
    code, said = await apply(good.replace("size: 1", "colour: 2").replace("name: w", "name: x"), "create")
    assert code == 1
    assert 'unknown field "spec.colour"' in said
    code, said = await apply(good.replace("size: 1", "colour: 2"), "apply", "--validate=strict", "--server-side")
    assert code == 1
    assert ".spec.colour" in said


@pytest.mark.usefixtures("widgets")
async def test_nothing_names_the_workspace_on_the_shard_or_another_one(front: Front, client: Client) -> None:
    await client.create(CRDS, crd(TWO, "secretplans", "SecretPlan", "x", group="hidden.org"))
    await until(lambda: ("hidden.org", "v1", "secretplans") in front.discovery.view(TWO).shown)
    index = json.loads((await get(front, ONE, "/openapi/v3"))[2])["paths"]
    assert "apis/example.com/v1" in index
    paths = ["/", "/api", "/apis", "/api/v1", "/apis/example.com", "/apis/example.com/v1", "/openapi/v2", "/openapi/v3"]
    paths += [found["serverRelativeURL"] for found in index.values()]
    for path in paths:
        for accept in ("application/json", f"{AGGREGATED},application/json"):
            status, _, body = await get(front, ONE, path, accept)
            assert status == 200, path
            text = body.lower()
            assert not [place.token for place in PLACES.values() if place.token.encode() in text], path
            assert b"secretplan" not in text
            assert b"hidden.org" not in text
            assert b"internal.kcp.dev" not in text
    protobuf = "application/com.github.proto-openapi.spec.v2@v1.0+protobuf"
    status, headers, body = await get(front, ONE, "/openapi/v2", protobuf)
    assert (status, headers["Content-Type"]) == (200, protobuf.replace("@", "."))
    assert b"Widget of a test." in body
    assert b"kdiscove" not in body.lower()
    assert b"secretplan" not in body.lower()


@pytest.mark.usefixtures("widgets")
@pytest.mark.parametrize(
    "path",
    [
        "/apis/apps", "/apis/apps/v1", "/apis/internal.kcp.dev", "/apis/hidden.org/v1",
        "/apis/kdiscover-example.com/v1", "/apis/kdiscovei-example.com/v1", "/openapi/v3/apis/apps/v1",
        "/openapi/v3/apis/kdiscovei-example.com/v1", "/openapi/v3/apis/hidden.org/v1", "/openapi/v3/version",
        "/openapi/v3/", "/openapi/v3/api/v1/", "/openapi/v2/",
    ],
)  # fmt: skip
async def test_what_is_not_there(front: Front, path: str) -> None:
    status, headers, body = await get(front, ONE, path)
    if path.startswith("/openapi/v3"):  # kube-openapi says no word about it
        assert (status, body) == (404, b"")
    else:
        assert (status, body) == (404, b"404 page not found\n")
        assert headers["Content-Type"].startswith("text/plain")


@pytest.mark.parametrize("path", ["/api/v2", "/apis/rbac.authorization.k8s.io/v9"])
async def test_a_version_that_a_group_does_not_have(front: Front, path: str) -> None:
    status, _, body = await get(front, ONE, path)
    assert (status, json.loads(body)["message"]) == (404, "the server could not find the requested resource")


async def test_crd_is_shown_and_gone_at_once(front: Front, client: Client, home: Path) -> None:
    made = crd(ONE, "gadgets", "Gadget", "x", group="soon.org")
    name = made["metadata"]["name"]
    await client.create(CRDS, made)

    async def is_established() -> bool:
        return established(await client.get(CRDS, name))

    await until(is_established)
    took = await until(lambda: ("soon.org", "v1", "gadgets") in front.discovery.view(ONE).shown)
    print(f"shown {took * 1000:.0f} ms after the shard said so")
    code, out, _ = await front.kubectl(ONE, "api-resources", "--api-group=soon.org", "--no-headers", home=home)
    assert (code, out.split()) == (0, ["gadgets", "soon.org/v1", "true", "Gadget"])
    await client.delete(CRDS, name)
    await until(lambda: not front.discovery.group_version_exists(ONE, "soon.org", "v1"))
    code, out, _ = await front.kubectl(ONE, "api-resources", "--api-group=soon.org", "--no-headers", home=home)
    assert (code, out) == (0, "")


async def test_read_your_writes(front: Front, client: Client) -> None:
    """A resource that was made a moment ago, through another worker, is not denied."""
    for number in range(5):
        plural = f"things{number}"
        await client.create(CRDS, crd(ONE, plural, f"Thing{number}", "x", group="fresh.org"))
        await front.discovery.refresh(ONE, "fresh.org", "v1", plural)
        assert front.discovery.serves(ONE, "fresh.org", "v1", plural)
        assert not front.discovery.serves(TWO, "fresh.org", "v1", plural)


async def test_refresh_of_what_does_not_exist_is_quick(front: Front) -> None:
    began = time.monotonic()
    await front.discovery.refresh(EMPTY, "nowhere.org", "v1", "things")
    await front.discovery.refresh(EMPTY, "apps", "v1", "deployments")
    await front.discovery.refresh(EMPTY, "storage.k8s.io", "v1", "storageclasses")
    assert time.monotonic() - began < 2  # mostly some hundredths; nothing is waited for
    assert not front.discovery.serves(EMPTY, "apps", "v1", "deployments")


async def negotiated(client: Client, place: Place, plural: str, version: str, group: str, *, published: bool) -> Object:
    """What the import controller makes, and its condition."""
    made = await client.create(
        NEGOTIATED,
        {
            "apiVersion": NEGOTIATED.api_version,
            "kind": "NegotiatedAPIResource",
            "metadata": {"name": f"{place.prefix}{plural}.{version}.{group or 'core'}"},
            "spec": {
                "groupVersion": {"group": group, "version": version},
                "scope": "Namespaced",
                "plural": plural,
                "kind": plural.capitalize(),
            },
        },
    )
    return await publish(client, made["metadata"]["name"], published)


async def publish(client: Client, name: str, published: bool) -> Object:
    condition = {
        "type": "Published",
        "status": "True" if published else "False",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    }
    return await client.patch(NEGOTIATED, name, {"status": {"conditions": [condition]}}, subresource="status")


async def test_import_is_shown_while_it_is_published(front: Front, client: Client, home: Path) -> None:
    key = ("apps", "v1", "deployments")
    made = await negotiated(client, TWO, "deployments", "v1", "apps", published=False)
    await front.discovery.refresh(TWO, *key)
    assert not front.discovery.serves(TWO, *key)
    await publish(client, made["metadata"]["name"], True)
    took = await until(lambda: front.discovery.serves(TWO, *key))
    print(f"shown {took * 1000:.0f} ms after the shard said so")
    assert not front.discovery.serves(ONE, *key)
    code, out, _ = await front.kubectl(TWO, "api-resources", "--api-group=apps", "--no-headers", home=home)
    assert (code, out.split()) == (0, ["deployments", "deploy", "apps/v1", "true", "Deployment"])
    subresources = json.loads((await get(front, TWO, "/apis/apps/v1"))[2])["resources"]
    assert [resource["name"] for resource in subresources] == [
        "deployments", "deployments/scale", "deployments/status",
    ]  # fmt: skip
    code, out, _ = await front.kubectl(TWO, "explain", "deployments.spec.replicas", home=home)
    assert code == 0
    assert "Number of desired pods" in out
    schemas = json.loads((await get(front, TWO, "/openapi/v3/apis/apps/v1"))[2])["components"]["schemas"]
    assert "io.k8s.api.apps.v1.Deployment" in schemas
    assert "io.k8s.api.apps.v1.DaemonSet" not in schemas
    await client.delete(NEGOTIATED, made["metadata"]["name"])
    await until(lambda: not front.discovery.serves(TWO, *key))


async def test_import_right_after_it_was_published(front: Front, client: Client) -> None:
    made = await negotiated(client, TWO, "jobs", "v1", "batch", published=True)
    await front.discovery.refresh(TWO, "batch", "v1", "jobs")
    assert front.discovery.serves(TWO, "batch", "v1", "jobs")
    await client.delete(NEGOTIATED, made["metadata"]["name"])


@pytest.mark.parametrize(
    ("group", "version", "plural"),
    [
        ("admissionregistration.k8s.io", "v1", "validatingwebhookconfigurations"),
        ("flowcontrol.apiserver.k8s.io", "v1", "flowschemas"),
        ("apiregistration.k8s.io", "v1", "apiservices"),
        ("networking.k8s.io", "v1", "servicecidrs"),
        ("internal.kcp.dev", "v1alpha1", "logicalclusters"),
        ("", "v1", "nodes"),
    ],
)
async def test_forged_import_opens_nothing(front: Front, client: Client, group: str, version: str, plural: str) -> None:
    made = await negotiated(client, ONE, plural, version, group, published=True)
    name = made["metadata"]["name"]
    await until(lambda: name in front.discovery._shards["a"].catalog.holdings[ONE.token].imports)
    assert not front.discovery.serves(ONE, group, version, plural)
    await client.delete(NEGOTIATED, name)


@pytest.mark.usefixtures("widgets")
async def test_schema_change_is_told(front: Front, client: Client, home: Path) -> None:
    async def index() -> str:
        paths = json.loads((await get(front, EMPTY, "/openapi/v3"))[2])["paths"]
        return str(paths["apis/change.org/v1"]["serverRelativeURL"])

    made = await client.create(CRDS, crd(EMPTY, "changes", "Change", "before", group="change.org"))
    name = made["metadata"]["name"]
    await until(lambda: ("change.org", "v1", "changes") in front.discovery.view(EMPTY).shown)
    code, out, _ = await front.kubectl(EMPTY, "explain", "changes.spec", home=home)
    assert (code, "before" in out, "after" in out) == (0, True, False)
    hash_before = await index()
    await client.patch(CRDS, name, {"metadata": {"annotations": {"a": "b"}}})
    await asyncio.sleep(0.2)
    assert await index() == hash_before, "what is not shown does not change the hash"
    changed = crd(EMPTY, "changes", "Change", "after", group="change.org")["spec"]["versions"]
    await client.patch(CRDS, name, {"spec": {"versions": changed}})

    async def is_told() -> bool:
        return await index() != hash_before

    await until(is_told)

    async def is_explained() -> bool:
        code, out, _ = await front.kubectl(EMPTY, "explain", "changes.spec", home=home)
        return code == 0 and "after" in out and "before" not in out

    await until(is_explained, within=10)
    await client.delete(CRDS, name)


async def test_older_discovery_is_the_shards_own(client: Client) -> None:
    """Everything of the shard, rendered here from aggregated discovery, against its own older documents."""
    # CRDs of other tests may be on their way in or out, and the shard's documents follow one after the other.
    assert await eventually(lambda: older_documents_compared(client), AssertionError, StatusError, timeout=30) > 40


async def older_documents_compared(client: Client) -> int:
    """How many there are; raises AssertionError at the first difference."""
    documents = [await client.request("GET", path, accept=AGGREGATED) for path in ("/api", "/apis")]
    view = View(groups_of(documents))
    compared = 0
    for path in view.paths():
        if path == "/api":
            continue  # holds the shard's address
        theirs = await client.request("GET", path)
        found = view.get(path, "application/json")
        assert found is not None
        mine = json.loads(found.body)
        for resource in theirs.get("resources") or ():
            resource.pop("storageVersionHash", None)
        if "resources" in theirs:
            kept = {resource["name"] for resource in mine["resources"]}
            gone = {resource["name"] for resource in theirs["resources"]} - kept
            assert all("/" in name for name in gone), gone
            theirs["resources"] = sorted((r for r in theirs["resources"] if r["name"] in kept), key=lambda r: r["name"])
            mine["resources"].sort(key=lambda resource: resource["name"])
        if "groups" in theirs:  # its two forms differ in the order of CRDs' groups
            theirs["groups"].sort(key=lambda group: group["name"])
            mine["groups"].sort(key=lambda group: group["name"])
        assert mine == theirs, path
        compared += 1
    return compared


async def test_crds_are_shown_as_the_shard_shows_them(client: Client, front: Front) -> None:
    """Our entries of CRDs against the shard's aggregated discovery of the same CRDs."""
    made = crd(ONE, "alikes", "Alike", "x", group="alike.org", scope="Cluster")
    made["spec"]["names"] |= {"shortNames": ["ak"], "categories": ["all", "kcp"]}
    scale = {"specReplicasPath": ".spec.x", "statusReplicasPath": ".status.x"}
    alpha = json.loads(json.dumps(made["spec"]["versions"][0])) | {"name": "v1alpha1", "storage": False}
    made["spec"]["versions"][0]["subresources"]["scale"] = scale
    made["spec"]["versions"].append(alpha)
    await client.create(CRDS, made)
    name, group = made["metadata"]["name"], made["spec"]["group"]
    await until(lambda: ("alike.org", "v1", "alikes") in front.discovery.view(ONE).shown)

    async def theirs() -> Any:
        listed = await client.request("GET", "/apis", accept=AGGREGATED)
        return next((item for item in listed["items"] if item["metadata"]["name"] == group), None)

    async def is_listed() -> bool:
        return await theirs() is not None

    await until(is_listed)
    listed = json.loads((await get(front, ONE, "/apis", AGGREGATED))[2])
    mine = next(item for item in listed["items"] if item["metadata"]["name"] == "alike.org")
    assert mine == json.loads(json.dumps(await theirs()).replace(ONE.prefix, ""))
    token, shape = Shapes().of(await client.get(CRDS, name))
    assert (token, shape.cluster_scoped) == (ONE.token, True)
    await client.delete(CRDS, name)


async def test_version_2_is_the_shards_own(client: Client, front: Front) -> None:
    """Definitions made from version 3 against those that the shard makes itself."""
    theirs = await client.request("GET", "/openapi/v2", timeout=60)
    status, _, body = await get(front, EMPTY, "/openapi/v2")
    mine = json.loads(body)
    assert status == 200
    assert len(mine["definitions"]) > 60
    assert mine["securityDefinitions"] == theirs["securityDefinitions"]
    assert mine["info"] == theirs["info"]
    kinds = "x-kubernetes-group-version-kind"
    for name, definition in mine["definitions"].items():
        expected = dict(theirs["definitions"][name])
        if name.startswith("io.k8s.apimachinery."):  # speaks of kinds of all groups
            definition.pop(kinds, None)
            expected.pop(kinds, None)
        assert definition == expected, name
    parameters = {f"#/parameters/{name}": value for name, value in theirs["parameters"].items()}

    def plain(items: list[Any]) -> list[str]:
        return sorted(json.dumps(parameters.get(item.get("$ref", ""), item), sort_keys=True) for item in items)

    for path, item in mine["paths"].items():
        for method, operation in item.items():
            expected = theirs["paths"][path][method]
            if method == "parameters":
                assert plain(operation) == plain(expected), path
                continue
            assert plain(operation.get("parameters", [])) == plain(expected.get("parameters", [])), path
            for key in ("responses", "operationId", "tags", "description", kinds):
                assert operation.get(key) == expected.get(key), (path, method, key)


async def test_openapi_is_of_served_resources_alone(front: Front) -> None:
    body = json.loads((await get(front, EMPTY, "/openapi/v3/api/v1"))[2])
    text = "\n".join(body["paths"])
    assert "/configmaps" in text
    assert "/pods" not in text
    assert "/nodes" not in text
    assert "io.k8s.api.core.v1.PodSpec" not in body["components"]["schemas"]
    assert "securitySchemes" in body["components"]


async def test_etags_and_compression(front: Front) -> None:
    for path in ("/apis", "/api/v1", "/version", "/openapi/v3", "/openapi/v2", "/openapi/v3/api/v1"):
        status, headers, body = await get(front, EMPTY, path, **{"Accept-Encoding": "gzip"})
        assert status == 200, path
        assert headers.get("Content-Encoding") == ("gzip" if body[:2] == b"\x1f\x8b" else None), path
        etag = headers["Etag"]
        status, _, body = await get(front, EMPTY, path, **{"If-None-Match": etag})
        assert (status, body) == (304, b""), path


async def test_only_a_settled_document_under_its_hash_is_immutable(front: Front) -> None:
    index = json.loads((await get(front, EMPTY, "/openapi/v3"))[2])["paths"]
    named = index["api/v1"]["serverRelativeURL"]
    assert (await get(front, EMPTY, named))[1]["Cache-Control"].startswith("private, immutable")
    stale = named.partition("=")[0] + "=0123"
    assert (await get(front, EMPTY, stale))[1]["Cache-Control"] == "no-cache, private"


async def test_version_is_the_shards(front: Front, client: Client, home: Path) -> None:
    _, _, body = await get(front, EMPTY, "/version")
    assert json.loads(body) == await client.request("GET", "/version")
    code, out, _ = await front.kubectl(EMPTY, "version", "-o", "json", home=home)
    assert code == 0
    assert json.loads(out)["serverVersion"] == json.loads(body)


@pytest.mark.parametrize("path", ["/apis", "/version", "/openapi/v2", "/", "/apis/coordination.k8s.io/v1"])
async def test_discovery_is_for_reading(front: Front, path: str) -> None:
    async with aiohttp.ClientSession() as session, session.post(front.url(EMPTY) + path, json={}) as response:
        assert response.status == 405
        assert (await response.json())["reason"] == "MethodNotAllowed"


async def test_old_kubectl_without_aggregated_discovery(front: Front) -> None:
    status, headers, body = await get(front, EMPTY, "/apis", "application/json, */*")
    assert (status, headers["Content-Type"]) == (200, "application/json")
    assert json.loads(body)["kind"] == "APIGroupList"


async def test_conflicting_names_stay_out_until_they_are_accepted(front: Front, client: Client) -> None:
    first = crd(EMPTY, "clashes", "Clash", "x", group="clash.org")
    second = crd(EMPTY, "others", "Clash", "x", group="clash.org")
    await client.create(CRDS, first)
    await until(lambda: ("clash.org", "v1", "clashes") in front.discovery.view(EMPTY).shown)
    await client.create(CRDS, second)
    await front.discovery.refresh(EMPTY, "clash.org", "v1", "others")
    assert ("clash.org", "v1", "others") not in front.discovery.view(EMPTY).shown
    await client.delete(CRDS, first["metadata"]["name"])
    await until(lambda: ("clash.org", "v1", "others") in front.discovery.view(EMPTY).shown, within=10)
    await client.delete(CRDS, second["metadata"]["name"])
    with pytest.raises(StatusError):
        await until_gone(client, second["metadata"]["name"])
    await until(lambda: not front.discovery.group_version_exists(EMPTY, "clash.org", "v1"))


async def until_gone(client: Client, name: str) -> None:
    for _ in range(200):
        await client.get(CRDS, name)
        await asyncio.sleep(0.02)


async def test_shard_speaks_of_no_group_that_the_mapping_does_not_know(client: Client) -> None:
    """A native group that is missing in NATIVE_GROUPS would be taken for a workspace's own."""
    listed = await client.request("GET", "/apis", accept=AGGREGATED)
    groups = {item["metadata"]["name"] for item in listed["items"]}
    own = {group for group in groups if "." not in group or group.endswith((".k8s.io", "kcp.dev"))}
    private = {group for group in own if group.startswith("k") and "-" in group}
    assert own - private - NATIVE_GROUPS <= {"internal.kcp.dev", STORED_GROUP}
