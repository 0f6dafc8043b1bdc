"""Service accounts: tokens asked for, bound, reviewed, and used where an in-cluster client would use them."""

from __future__ import annotations

import base64
import json
from functools import partial
from typing import Any

import aiohttp

from proxy.kube.client import Resource
from proxy.kube.errors import StatusError
from tests.clients import same
from tests.e2e.workspaces.installation import SECRETS, Installation
from tests.e2e.workspaces.twins import DEFAULT, RBAC, Answer, Api, Twins
from tests.integration.eventually import eventually

REVIEWS = "/apis/authentication.k8s.io/v1/tokenreviews"


def claims(token: str) -> Any:
    part = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


async def token_of(api: Api, account: str, **spec: Any) -> Any:
    path = f"{DEFAULT}/serviceaccounts/{account}/token"
    return await api.must(
        "POST", path, {"kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1", "spec": spec}
    )


async def test_requests_and_reviews(twins: Twins) -> None:
    async def scenario(api: Api) -> Any:
        await api.must("POST", f"{DEFAULT}/serviceaccounts", {"metadata": {"name": "tokens"}})
        secret = await api.must("POST", f"{DEFAULT}/secrets", {"metadata": {"name": "tokens"}})
        bound = {"kind": "Secret", "apiVersion": "v1", "name": "tokens", "uid": secret["metadata"]["uid"]}
        made = [
            await token_of(api, "tokens"),
            await token_of(api, "tokens", audiences=["a", "https://b"], expirationSeconds=700),
            await token_of(api, "tokens", boundObjectRef=bound, expirationSeconds=601),
        ]
        seen: list[Any] = []
        for request in made:
            held = claims(request["status"]["token"])
            seen.append((request["spec"], request["metadata"], held["exp"] - held["iat"]))
            for audiences in (None, ["a"], ["a", "c"], ["https://b"], ["c"], ["https://kubernetes.default.svc"]):
                spec = {"token": request["status"]["token"]} | ({"audiences": audiences} if audiences else {})
                review = await api.must("POST", REVIEWS, {"spec": spec})
                status = review["status"]
                for key in ("authentication.kubernetes.io/credential-id",):
                    status.get("user", {}).get("extra", {}).pop(key, None)
                status.pop("error", None)
                seen.append((audiences, status))
        said = [
            (await api.ask("POST", f"{DEFAULT}/serviceaccounts/tokens/token", body)).said
            for body in (
                {"spec": {"expirationSeconds": 5}},
                {"spec": {"boundObjectRef": {"kind": "Secret", "apiVersion": "v1", "name": "none"}}},
                {"spec": {"boundObjectRef": {"kind": "ConfigMap", "apiVersion": "v1", "name": "none"}}},
            )
        ]
        said.append((await api.ask("POST", f"{DEFAULT}/serviceaccounts/none/token", {"spec": {}})).said)
        bad = await api.must("POST", REVIEWS, {"spec": {"token": "nonsense"}})
        seen.append(bad["status"].get("authenticated"))
        # What a token is bound to takes it along.
        await api.must("DELETE", f"{DEFAULT}/secrets/tokens")
        spec = {"spec": {"token": made[2]["status"]["token"]}}
        after = await api.until(
            "POST", REVIEWS, spec, wanted=lambda answer: not answer.json["status"].get("authenticated"), within=40
        )
        seen.append(after.status)
        await api.must("DELETE", f"{DEFAULT}/serviceaccounts/tokens")
        return same.obj(seen), said

    await twins.same(scenario)


async def test_tokens_of_another_workspace_are_nothing(kcp: Installation) -> None:
    one, other = await kcp.fresh(), await kcp.fresh()
    account = Resource("", "v1", "serviceaccounts")
    await eventually(lambda: kcp.client(one).get(account, "default", "default"), StatusError)  # a controller makes it
    made = await kcp.kubectl(one, "create", "token", "default")
    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": made.out.strip()}}
    for path, good in ((one, True), (other, False)):
        answer = await kcp.client(path).request("POST", REVIEWS, body=review)
        assert answer["status"].get("authenticated", False) is good, answer
        assert good or "user" not in answer["status"] or not answer["status"]["user"]


async def test_the_token_says_who_may_do_what(twins: Twins) -> None:
    async def scenario(api: Api) -> Any:
        await api.must("POST", f"{DEFAULT}/serviceaccounts", {"metadata": {"name": "worker"}})
        rules = [{"apiGroups": [""], "resources": ["configmaps"], "verbs": ["get", "list"]}]
        await api.must("POST", f"{RBAC}/namespaces/default/roles", {"metadata": {"name": "worker"}, "rules": rules})
        subject = {"kind": "ServiceAccount", "name": "worker", "namespace": "default"}
        role = {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "worker"}
        binding = {"metadata": {"name": "worker"}, "subjects": [subject], "roleRef": role}
        await api.must("POST", f"{RBAC}/namespaces/default/rolebindings", binding)
        token = (await token_of(api, "worker"))["status"]["token"]

        async def listed() -> Answer:
            return await api.ask("GET", f"{DEFAULT}/configmaps", token=token)

        async def allowed() -> bool:
            return (await listed()).status == 200

        await eventually(allowed)
        asked = [("GET", f"{DEFAULT}/secrets"), ("POST", f"{DEFAULT}/configmaps"), ("GET", "/api/v1/configmaps"),
                 ("GET", f"{DEFAULT}/configmaps?watch=1&fieldSelector=metadata.name%3Dx"), ("GET", "/metrics/x"),
                 ("DELETE", f"{DEFAULT}/configmaps"), ("PATCH", f"{DEFAULT}/configmaps/x"),
                 ("POST", f"{DEFAULT}/serviceaccounts/worker/token"), ("GET", "/apis/some.group/v1/things"),
                 ("GET", f"{RBAC}/clusterroles/view"), ("PUT", "/api/v1/namespaces/default/status")]  # fmt: skip
        said = [
            answer.said if answer.status >= 400 and answer.body.startswith(b"{") else answer.status
            for answer in [
                await api.ask(method, path, {} if method in ("POST", "PATCH", "PUT") else None, token=token)
                for method, path in asked
                if "watch" not in path
            ]
        ]
        self = await api.must("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", {}, token=token)
        info = self["status"]["userInfo"]
        info["extra"] = sorted(info["extra"])
        reviews = "/apis/authorization.k8s.io/v1/"
        can = [
            (await api.must("POST", f"{reviews}{kind}", {"spec": spec}, token=token))["status"]
            for kind, spec in (
                (
                    "selfsubjectaccessreviews",
                    {"resourceAttributes": {"verb": "list", "resource": "configmaps", "namespace": "default"}},
                ),
                (
                    "selfsubjectaccessreviews",
                    {"resourceAttributes": {"verb": "list", "resource": "secrets", "namespace": "default"}},
                ),
                ("selfsubjectaccessreviews", {"nonResourceAttributes": {"verb": "get", "path": "/api"}}),
                ("selfsubjectrulesreviews", {"namespace": "default"}),
            )
        ]
        about = {"user": "system:serviceaccount:default:worker", "groups": ["system:authenticated"]}
        for namespace, name in (("default", "x"), ("kube-public", "")):
            spec = {
                **about,
                "resourceAttributes": {"verb": "get", "resource": "configmaps", "namespace": namespace, "name": name},
            }
            can.append((await api.must("POST", f"{reviews}subjectaccessreviews", {"spec": spec}))["status"])
        local = f"{reviews}namespaces/default/localsubjectaccessreviews"
        spec = {**about, "resourceAttributes": {"verb": "get", "resource": "configmaps", "namespace": "default"}}
        can.append((await api.must("POST", local, {"metadata": {"namespace": "default"}, "spec": spec}))["status"])
        said.append((await api.ask("POST", local, {"spec": {**spec, "resourceAttributes": {"namespace": "b"}}})).said)
        for path in ("roles/worker", "rolebindings/worker"):
            await api.must("DELETE", f"{RBAC}/namespaces/default/{path}")
        await api.must("DELETE", f"{DEFAULT}/serviceaccounts/worker")
        [rules] = [status for status in can if "nonResourceRules" in status]
        urls = {url for rule in rules["nonResourceRules"] for url in rule["nonResourceURLs"]}
        # Where a shard says who issues its tokens is nothing to a workspace.
        rules["nonResourceRules"] = sorted(url for url in urls if "openid" not in url)
        return said, same.obj(info), can

    await twins.same(scenario)


def account_secret(name: str, account: str, **data: str) -> dict[str, Any]:
    meta = {"name": name, "annotations": {"kubernetes.io/service-account.name": account}}
    return {"metadata": meta, "type": "kubernetes.io/service-account-token", "data": data}


async def test_secrets_with_tokens_that_stay(twins: Twins) -> None:
    """Filled by a controller, good as long as they and their account are there."""

    async def scenario(api: Api) -> Any:
        secrets, accounts = f"{DEFAULT}/secrets", f"{DEFAULT}/serviceaccounts"
        for name in ("keeper", "leaver"):
            await api.must("POST", accounts, {"metadata": {"name": name}})
        said = [
            (await api.ask("POST", secrets, {"metadata": {"name": "t"}, "type": account_secret("t", "x")["type"]})).said
        ]

        def filled(answer: Answer) -> bool:
            return answer.status == 200 and "token" in (answer.json.get("data") or {})

        tokens: dict[str, str] = {}
        seen: list[Any] = []
        for name, account in (("t-keeper", "keeper"), ("t-leaver", "leaver"), ("t-deleted", "keeper")):
            await api.must("POST", secrets, account_secret(name, account))
            found = (await api.until("GET", f"{secrets}/{name}", wanted=filled)).json
            data = {key: base64.b64decode(value).decode() for key, value in found["data"].items()}
            tokens[name] = data.pop("token")
            authority = await api.must("GET", f"{DEFAULT}/configmaps/kube-root-ca.crt")
            assert data["ca.crt"] == authority["data"]["ca.crt"]
            seen.append((data, found["type"], sorted(found["metadata"]["annotations"])))

        async def whoami(name: str) -> Answer:
            return await api.ask("POST", "/apis/authentication.k8s.io/v1/selfsubjectreviews", {}, token=tokens[name])

        for name in tokens:
            info = (await whoami(name)).json["status"]["userInfo"]
            seen.append((info["username"], info["groups"]))
        # Nobody is named: it goes. What a user wrote stays; what is missing beside it is filled in.
        await api.must("POST", secrets, account_secret("t-nobody", "nobody"))
        await api.must("POST", secrets, account_secret("t-own", "keeper", token="b3du"))
        own = await api.until("GET", f"{secrets}/t-own", wanted=lambda answer: "ca.crt" in answer.json["data"])
        seen.append((own.json["data"]["token"], base64.b64decode(own.json["data"]["namespace"])))
        await api.must("DELETE", f"{accounts}/leaver")
        await api.must("DELETE", f"{secrets}/t-deleted")
        for name in ("t-leaver", "t-nobody"):
            gone = await api.until("GET", f"{secrets}/{name}", wanted=lambda answer: answer.status == 404)
            said.append(gone.said)

        async def refused(name: str) -> bool:
            return (await whoami(name)).status == 401

        for name in ("t-leaver", "t-deleted"):
            await eventually(partial(refused, name), timeout=40, interval=0.3)
        seen.append((await whoami("t-keeper")).status)
        await api.must("DELETE", f"{accounts}/keeper")
        await api.until("GET", f"{secrets}/t-keeper", wanted=lambda answer: answer.status == 404)
        return same.obj(seen), said

    await twins.same(scenario)


async def test_tokens_that_stay_open_their_workspace_alone(kcp: Installation) -> None:
    one, other = await kcp.fresh(), await kcp.fresh()
    client = kcp.client(one)
    await client.create(SECRETS, account_secret("legacy", "default"), "default")

    async def filled() -> str:
        return str((await client.get(SECRETS, "legacy", "default")).get("data", {}).get("token", ""))

    token = base64.b64decode(await eventually(filled)).decode()

    async def status(url: str) -> int:
        async with (
            aiohttp.ClientSession() as session,
            session.post(
                f"{url}/apis/authentication.k8s.io/v1/selfsubjectreviews",
                json={},
                headers={"Authorization": f"Bearer {token}"},
                ssl=False,
            ) as answer,
        ):
            return answer.status

    assert await status(f"{kcp.url}/clusters/{one}") == 201
    assert await status(kcp.url) == 201  # in-cluster configuration names no workspace
    assert await status(f"{kcp.url}/clusters/{other}") == 401
    assert await status(f"{kcp.url}/clusters/root") == 401
    assert await status(kcp.shard.connection.server) == 401
