"""Webhooks of one workspace are nobody else's business, and nobody finds a way in by them."""

from __future__ import annotations

import asyncio
import base64
import json
import time
from dataclasses import replace

import orjson
import pytest

from proxy.admission import tickets
from proxy.auth.identity import User
from proxy.auth.whoami import user_info
from proxy.kube.client import Client, Resource
from proxy.kube.config import load_kubeconfig
from proxy.kube.errors import StatusError
from proxy.mapping.token import LABEL
from proxy.tenancy.api import WORKSPACES
from proxy.tenancy.asked import read_key
from proxy.tenancy.index import LOGICAL_CLUSTERS
from tests.integration.admission.conftest import fresh
from tests.integration.admission.side import CONFIG_MAPS, MUTATING, VALIDATING, Object, Said, Side, rule
from tests.integration.admission.webhook_server import WebhookServer, raw
from tests.integration.eventually import eventually
from tests.integration.kcp_process import Kcp

EVERYTHING = rule("*", "*/*")
SECRETS = Resource("", "v1", "secrets")
ACCOUNTS = Resource("", "v1", "serviceaccounts")
NAMESPACES = Resource("", "v1", "namespaces", namespaced=False)
TICKET = tickets.EXTRA.decode()


def hook(server: WebhookServer, path: str, *rules: Object, **more: object) -> Object:
    return {
        "name": f"{path.replace('/', '.')}.example.com",
        "admissionReviewVersions": ["v1"],
        "sideEffects": "None",
        "clientConfig": server.config(path),
        "rules": list(rules) or [EVERYTHING],
    } | more


def shard(kcp: Kcp) -> Client:
    """With full rights."""
    return Client(load_kubeconfig(kcp.root / "shard" / "admin.kubeconfig"))


async def token_of(kcp: Kcp, side: Side) -> str:
    async with shard(kcp) as client:
        for item in (await client.list(LOGICAL_CLUSTERS))["items"]:
            if item["spec"]["path"].endswith(f":{side.name}"):
                return str(item["metadata"]["name"])
    raise AssertionError(side.name)


async def ask(kcp: Kcp, path: str, body: object, **more: str) -> Said:
    """The endpoint itself, as nobody."""
    connection = load_kubeconfig(kcp.kubeconfig, "system:admin")
    async with Client(replace(connection, token=None)) as client:
        return await Side("nobody", client).send("POST", path, body, **more)


def review(token: str, ticket: str, **request: object) -> Object:
    resource = {"group": "", "version": "v1", "resource": "configmaps"}
    asked: Object = {
        "uid": "1", "kind": {"group": "", "version": "v1", "kind": "ConfigMap"}, "resource": resource,
        "name": "a", "namespace": f"{token}-default", "operation": "CREATE",
        "userInfo": {"username": "x", "extra": {TICKET: [ticket]}},
        "object": {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a", "namespace": f"{token}-default"}},
        "oldObject": None, "dryRun": False, "options": None,
    }  # fmt: skip
    return {"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": {**asked, **request}}


async def test_each_workspace_has_its_own_rules(kcp: Kcp, server: WebhookServer) -> None:
    """Opposite ones, at once; a third has none, and the shard's own objects know of nothing."""
    async with fresh(kcp) as one, fresh(kcp) as two, fresh(kcp) as three:
        only = {"matchLabels": {"a": "b"}}
        await one.install(VALIDATING, "rules", [hook(server, "deny/one", rule("", "configmaps"), objectSelector=only)])
        await two.install(VALIDATING, "rules", [hook(server, "deny/two", rule("", "secrets"), objectSelector=only)])
        await one.install(MUTATING, "labels", [hook(server, "label/one", rule("", "secrets"), objectSelector=only)])
        await two.install(MUTATING, "labels", [hook(server, "label/two", rule("", "configmaps"), objectSelector=only)])
        server.bodies.clear()
        server.asked.clear()

        async def both(side: Side) -> list[Said]:
            obj = {"metadata": {"name": "thing", "labels": {"a": "b"}}}
            return [await side.create(resource, obj, "default") for resource in (CONFIG_MAPS, SECRETS)]

        first, second, third = await asyncio.gather(both(one), both(two), both(three))
        assert [said.code for said in first] == [403, 201]
        assert [said.code for said in second] == [201, 403]
        assert [said.code for said in third] == [201, 201]
        assert first[1].body["metadata"]["labels"] == {"a": "b", "one": "x"}
        assert second[0].body["metadata"]["labels"] == {"a": "b", "two": "x"}
        assert third[0].body["metadata"]["labels"] == {"a": "b"}
        assert first[0].body["message"] == 'admission webhook "deny.one.example.com" denied the request: not here'
        assert set(server.asked) == {"deny/one", "deny/two", "label/one", "label/two"}
        for path, asked in server.asked.items():
            for request in asked:
                assert request["userInfo"] == {
                    "username": "admin", "uid": "admin", "groups": ["system:masters", "system:authenticated"],
                }, path  # fmt: skip
        tokens = [(await token_of(kcp, side)).encode() for side in (one, two, three)]
        for body in server.bodies:
            assert not any(token in body for token in tokens)
            assert b"0.kcp.dev" not in body
            assert b"0kcp" not in body
            assert tickets.EXTRA not in body
        async with shard(kcp) as client:
            found = [await client.list(replace(kind)) for kind in (MUTATING, VALIDATING)]
            assert [[item["metadata"]["name"] for item in kind["items"]] for kind in found] == [
                ["mutate.admission.kcp.dev"], ["validate.admission.kcp.dev"],
            ]  # fmt: skip
            obj = {"metadata": {"name": "of-the-shard", "labels": {"a": "b"}}}
            await client.create(CONFIG_MAPS, obj, "default")
            await client.delete(CONFIG_MAPS, "of-the-shard", "default")


async def test_who_blocks_everything_blocks_nobody_else(kcp: Kcp, server: WebhookServer) -> None:
    """Not even the end of the workspace, or what controllers make in it."""
    async with fresh(kcp) as side:
        await side.create(CONFIG_MAPS, {"metadata": {"name": "before"}}, "default")
        nobody = {**server.config("x"), "url": "https://127.0.0.1:9/"}
        block = [hook(server, "blocked", clientConfig=nobody)]
        await side.install(VALIDATING, "block", block)
        said = await side.create(CONFIG_MAPS, {"metadata": {"name": "a"}}, "default")
        assert said.code == 500
        assert "connection refused" in said.body["message"]
        said = await side.send("DELETE", CONFIG_MAPS.path("default", "before"))
        assert said.code == 500
        await kcp.make_workspace("root:tests", f"x{side.name[1:]}")  # others go on
        async with kcp.client("root:tests") as parent:
            await parent.delete(WORKSPACES, side.name)

            async def gone() -> bool:
                return await parent.find(WORKSPACES, side.name) is None

            await eventually(gone)
        async with shard(kcp) as client:
            assert side.name not in json.dumps(await client.list(LOGICAL_CLUSTERS))


async def test_configurations_can_always_be_taken_away(kcp: Kcp, server: WebhookServer) -> None:
    """As in a cluster, no webhook is asked about them."""
    async with fresh(kcp) as side:
        await side.install(VALIDATING, "block", [hook(server, "deny")])
        await side.install(MUTATING, "block", [hook(server, "deny")])
        await side.client.delete(MUTATING, "block")
        await side.remove(VALIDATING, "block")


async def test_users_are_who_they_are_in_the_workspace(kcp: Kcp, server: WebhookServer) -> None:
    async with fresh(kcp) as side:
        account = {"metadata": {"name": "robot"}}
        await side.client.create(ACCOUNTS, account, "default")
        binding = {
            "metadata": {"name": "robot"},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": "cluster-admin"},
            "subjects": [{"kind": "ServiceAccount", "name": "robot", "namespace": "default"}],
        }
        await side.client.create(Resource("rbac.authorization.k8s.io", "v1", "clusterrolebindings", False), binding)
        await side.install(VALIDATING, "look", [hook(server, "allow/who", rule("", "configmaps"))])
        server.asked.clear()
        request: Object = {"spec": {"audiences": []}}
        path = ACCOUNTS.path("default", "robot", "token")
        token = (await side.client.request("POST", path, body=request))["status"]["token"]
        connection = replace(side.client.connection, token=token)
        async with Client(connection) as client:
            robot = Side("robot", client)

            async def made() -> bool:
                return (await robot.create(CONFIG_MAPS, {"metadata": {"name": "a"}}, "default")).code == 201

            await eventually(made)
            forged = {f"Impersonate-Extra-{TICKET}": "x", "Impersonate-User": "robin", "Impersonate-Group": "g"}
            client._headers.update(forged)
            await robot.create(CONFIG_MAPS, {"metadata": {"name": "b"}}, "default")
        infos = [request["userInfo"] for request in server.asked["allow/who"] if request["name"] in ("a", "b")]
        assert infos[0]["username"] == "system:serviceaccount:default:robot"
        assert infos[0]["groups"] == [
            "system:serviceaccounts", "system:serviceaccounts:default", "system:authenticated",
        ]  # fmt: skip
        assert all("k" + "8" not in json.dumps(info) for info in infos)
        for info in infos[1:]:
            assert info["username"] == "robin"
            assert info["groups"] == ["g", "system:authenticated"]


async def test_only_shards_are_answered(kcp: Kcp, server: WebhookServer) -> None:
    """Made-up tickets, one of another workspace, one that is too old, none at all."""
    async with fresh(kcp) as one, fresh(kcp) as two, shard(kcp) as client:
        await one.install(VALIDATING, "look", [hook(server, "allow/asked", rule("", "configmaps"))])
        await two.install(VALIDATING, "look", [hook(server, "allow/asked", rule("", "configmaps"))])
        mine, others = await token_of(kcp, one), await token_of(kcp, two)
        key = await read_key(client)
        info = user_info(User("somebody", ("g",)))
        good = tickets.sign(key, tickets.Ticket(mine, info)).decode()
        payload, _, mac = good.partition(".")
        said = orjson.loads(base64.urlsafe_b64decode(payload))

        def altered(**changes: object) -> str:
            return base64.urlsafe_b64encode(orjson.dumps({**said, **changes})).decode() + "." + mac

        old = {**said, "at": time.time() - 2 * tickets.GOOD_FOR}
        old_payload = base64.urlsafe_b64encode(orjson.dumps(old))
        refused = [
            "", "x", ".", "e30=.", payload, f"{payload}.", f"{payload}.{mac[:-4]}", altered(workspace=others),
            altered(user={"username": "other"}), altered(at=said["at"] + 1),
            (old_payload + b"." + tickets._mac(key, old_payload)).decode(),
            tickets.sign(b"guessed", tickets.Ticket(mine, info)).decode(),
        ]  # fmt: skip
        server.asked.clear()
        for path in ("/admission/validate", "/admission/mutate"):
            for ticket in refused:
                assert (await ask(kcp, path, review(mine, ticket))).code == 403, ticket
            assert (await ask(kcp, path, {})).code == 403
            assert (await ask(kcp, path, review(others, good))).code == 403  # of another workspace
            assert (await ask(kcp, path, b"nothing")).code == 403
        assert (await ask(kcp, "/admission/other", review(mine, good))).code in (401, 403)
        assert "allow/asked" not in server.asked
        assert (await ask(kcp, "/admission/validate", review(mine, good))).code == 200
        assert server.asked["allow/asked"][0]["userInfo"] == {"username": "somebody", "groups": ["g"]}


async def test_tickets_are_seen_by_nobody(kcp: Kcp, server: WebhookServer) -> None:
    async with fresh(kcp) as side:
        await side.install(VALIDATING, "look", [hook(server, "allow")])
        review_path = "/apis/authentication.k8s.io/v1/selfsubjectreviews"
        said = await side.send("POST", review_path, {"kind": "SelfSubjectReview"})
        assert said.code == 201
        assert "ticket" not in json.dumps(said.body)
        errors = await side.create(CONFIG_MAPS, {"metadata": {"name": "UPPER"}}, "default")
        assert errors.code == 422
        assert "ticket" not in json.dumps(errors.body)


@pytest.mark.parametrize("path", ["redirect", raw({"op": "add", "path": "/metadata/labels", "value": {LABEL: "k"}})])
async def test_answers_that_lead_elsewhere(kcp: Kcp, server: WebhookServer, path: str) -> None:
    """Redirects are not followed, and nobody gives an object to another workspace."""
    async with fresh(kcp) as side:
        only = {"matchLabels": {"a": "b"}}
        bad = hook(server, path, rule("", "configmaps"), name="bad.example.com", objectSelector=only)
        await side.install(MUTATING, "bad", [bad])
        server.asked.clear()
        said = await side.create(CONFIG_MAPS, {"metadata": {"name": "a", "labels": {"a": "b"}}}, "default")
        assert said.code in (422, 500)
        assert "allow" not in server.asked


async def test_what_cannot_be_had_is_said(kcp: Kcp, server: WebhookServer) -> None:
    async with fresh(kcp) as side:
        service = {"service": {"name": "x", "namespace": "default"}, "caBundle": server.bundle}
        obj = {
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
            "metadata": {"name": "a"}, "webhooks": [hook(server, "allow", clientConfig=service)],
        }  # fmt: skip
        with pytest.raises(StatusError, match="services of a workspace have no endpoints") as caught:
            await side.client.create(VALIDATING, obj)
        assert caught.value.code == 422
        assert caught.value.causes[0]["field"] == "webhooks[0].clientConfig.service"
        assert (await side.client.list(VALIDATING))["items"] == []


async def test_large_objects_are_asked_about(kcp: Kcp, server: WebhookServer) -> None:
    """A question about an update holds two of them, in JSON, where a quotation mark takes two bytes."""
    async with fresh(kcp) as side:
        await side.install(MUTATING, "label", [hook(server, "label/large", rule("", "configmaps"))])
        obj = {"metadata": {"name": "large"}, "data": {"a": '"' * 1_000_000}}
        assert (await side.create(CONFIG_MAPS, obj, "default")).code == 201
        for letter in "cd":
            changed = obj | {"data": {"a": letter + '"' * 1_000_000}}
            said = await side.send("PUT", CONFIG_MAPS.path("default", "large"), changed)
            assert said.code == 200
        assert said.body["metadata"]["labels"] == {"large": "x"}
