"""RBAC, reviews, service accounts and their tokens."""

from __future__ import annotations

import base64
import json
from typing import Any

import orjson
import pytest

from proxy.kube.client import Client
from proxy.kube.config import Connection
from proxy.kube.errors import StatusError
from tests.security.ground import CANARY, DEN, RBAC, VICTIM, Ground

BINDINGS = f"/apis/{RBAC}/v1/clusterrolebindings"
ROLES = f"/apis/{RBAC}/v1/clusterroles"
SECRET = "/api/v1/namespaces/vault/secrets/key"


def subjects(ground: Ground) -> list[dict[str, str]]:
    p = ground.prefix
    users = [
        "mallory",
        "victim",
        f"{p}victim",
        "system:anonymous",
        "system:admin",
        "system:apiserver",
        "kcp-admin",
        "*",
        "admin",
    ]
    groups = [
        "system:authenticated",
        "system:unauthenticated",
        "system:masters",
        "system:serviceaccounts",
        "system:nodes",
        f"{p}x",
        "*",
    ]
    accounts = [
        ("robot", "default"),
        ("robot", f"{p}default"),
        ("generic-garbage-collector", "kube-system"),
        ("x", f"{p}vault"),
    ]
    return [
        *({"kind": "User", "apiGroup": RBAC, "name": name} for name in users),
        *({"kind": "Group", "apiGroup": RBAC, "name": name} for name in groups),
        *({"kind": "ServiceAccount", "namespace": namespace, "name": name} for name, namespace in accounts),
        {"kind": "User", "apiGroup": RBAC, "name": f"system:serviceaccount:{p}default:robot"},
        {"kind": "User", "apiGroup": "", "name": "victim"},
        {"kind": "Thing", "apiGroup": RBAC, "name": "x"},
    ]


async def test_whoever_is_bound_gets_nothing_elsewhere(ground: Ground) -> None:
    """Bindings of everybody to everything, in the attacker's workspace, give no right in another one."""
    roles = [
        "cluster-admin",
        "admin",
        "system:node",
        "system:kube-controller-manager",
        f"{ground.prefix}teller",
        "teller",
    ]
    for number, subject in enumerate(subjects(ground)):
        for role in roles:
            body = {
                "metadata": {"name": f"b-{number}-{role.replace(':', '-').replace(ground.token, 'x')}"},
                "subjects": [subject],
                "roleRef": {"apiGroup": RBAC, "kind": "ClusterRole", "name": role},
            }
            answer = await ground.ask("POST", BINDINGS, body)
            assert answer.status in (201, 400, 403, 404, 409, 422), answer
    for token in (None, "mallory-token", "victim-token", ground.raider):
        answer = await ground.ask("GET", SECRET, workspace=VICTIM, token=token)
        assert answer.status in (401, 403), answer
    assert (await ground.ask("GET", SECRET, workspace=VICTIM, token=ground.robot)).status == 403
    # Nor at the shard, nor in the parent.
    for place in ("root:raiders", "root", "root:victims"):
        assert (await ground.ask("GET", "/api/v1/namespaces", workspace=place)).status == 403


async def test_roles_of_everything_are_everything_of_ones_own(ground: Ground) -> None:
    every = {"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}
    urls = {"verbs": ["*"], "nonResourceURLs": ["*"]}
    rules = [
        every,
        urls,
        {**every, "resourceNames": [f"{ground.prefix}vault"]},
        {
            "verbs": ["impersonate", "escalate", "bind", "approve", "sign", "use"],
            "apiGroups": ["*"],
            "resources": ["*"],
        },
        {"verbs": ["access", "admin"], "apiGroups": ["tenancy.kcp.dev"], "resources": ["clusterworkspaces/content"]},
        {"verbs": ["*"], "apiGroups": [f"{ground.prefix}bank.example.com", "internal.kcp.dev"], "resources": ["*"]},
    ]
    for number, rule in enumerate(rules):
        for name in (f"r-{number}", "system:node", "system:aggregate-to-admin", "cluster-admin"):
            labels = {
                f"rbac.authorization.k8s.io/aggregate-to-{role}": "true"
                for role in ("admin", "edit", "view", "cluster-admin")
            }
            body = {"metadata": {"name": name, "labels": labels}, "rules": [rule]}
            answer = await ground.ask("POST", ROLES, body)
            assert answer.status in (201, 400, 403, 409, 422), answer
    selector = {"matchExpressions": [{"key": "kubernetes.io/bootstrapping", "operator": "Exists"}]}
    for wanted in (selector, {"matchLabels": {"0.kcp.dev/w": ground.token}}, {}, {"matchLabels": {"c": CANARY[:5]}}):
        body = {
            "metadata": {"generateName": "agg-"},
            "aggregationRule": {"clusterRoleSelectors": [wanted]},
            "rules": [],
        }
        answer = await ground.ask("POST", ROLES, body)
        assert answer.status in (201, 400, 422), answer
    for token in ("mallory-token", ground.raider):
        assert (await ground.ask("GET", SECRET, workspace=VICTIM, token=token)).status in (401, 403)
        for path in (f"/api/v1/namespaces/{ground.prefix}vault/secrets", "/api/v1/namespaces/kube-system/secrets/x"):
            answer = await ground.ask("GET", path, token=token)
            assert answer.status == 404 or orjson.loads(answer.body)["items"] == [], answer


@pytest.mark.parametrize("verb", ["get", "list", "delete", "impersonate", "*"])
async def test_reviews_tell_of_ones_own_workspace_alone(ground: Ground, verb: str) -> None:
    """Whoever is asked about, the answer is about the attacker's workspace: nobody of the victim's has rights there."""
    who: list[dict[str, Any]] = [
        {"user": "nobody"},
        {"user": f"{ground.prefix}victim"},
        {"user": "x", "groups": [f"{ground.prefix}system:masters"]},
        {"user": f"system:serviceaccount:{ground.prefix}default:robot"},
    ]
    for user in who:
        attributes = {"verb": verb, "resource": "secrets", "namespace": f"{ground.prefix}vault"}
        body = {"spec": {**user, "resourceAttributes": attributes}}
        answer = await ground.ask("POST", "/apis/authorization.k8s.io/v1/subjectaccessreviews", body)
        assert answer.status in (201, 400, 422), answer
    for resource, spec in (
        ("selfsubjectrulesreviews", {"namespace": f"{ground.prefix}vault"}),
        ("selfsubjectrulesreviews", {"namespace": "kube-system"}),
        (
            "selfsubjectaccessreviews",
            {"resourceAttributes": {"verb": verb, "resource": "secrets", "namespace": "kube-system"}},
        ),
        ("selfsubjectaccessreviews", {"nonResourceAttributes": {"verb": "get", "path": "/metrics"}}),
    ):
        answer = await ground.ask("POST", f"/apis/authorization.k8s.io/v1/{resource}", {"spec": spec})
        assert answer.status in (201, 400, 422), answer


async def test_tokens_of_the_victim_are_not_known_here(ground: Ground) -> None:
    """A TokenReview of the attacker's knows no foreign token, whatever audience is asked for."""
    p = ground.prefix
    tokens = [ground.robot, "victim-token", ground.kcp.admin_token]
    for token in tokens:
        for audiences in (
            None,
            [f"{p}https://kubernetes.default.svc"],
            ["https://kubernetes.default.svc"],
            ["", p],
            ["*"],
        ):
            spec = {"token": token} | ({"audiences": audiences} if audiences else {})
            answer = await ground.ask("POST", "/apis/authentication.k8s.io/v1/tokenreviews", {"spec": spec})
            assert answer.status in (201, 400, 422), answer
            if answer.status == 201:
                assert orjson.loads(answer.body)["status"].get("authenticated") is not True, answer


async def test_tokens_for_other_audiences_open_nothing(ground: Ground) -> None:
    """Neither at the shard, nor at the proxy's own addresses, nor at the victim's."""
    p = ground.prefix
    audiences = [
        "https://kubernetes.default.svc",
        "https://kubernetes.default.svc.cluster.local",
        "api",
        "kcp",
        "",
        f"{p}x",
        f"{p}https://kubernetes.default.svc",
    ]
    tokens = [ground.raider]
    for audience in audiences:
        body = {"spec": {"audiences": [audience], "expirationSeconds": 600}}
        answer = await ground.ask("POST", "/api/v1/namespaces/default/serviceaccounts/raider/token", body)
        assert answer.status in (201, 400, 422), answer
        if answer.status == 201:
            tokens.append(orjson.loads(answer.body)["status"]["token"])
    server = ground.kcp.shard.connection
    for token in [*tokens, ground.robot]:
        stranger = Client(Connection(server.server, ca_data=server.ca_data, token=token))
        try:
            with pytest.raises(StatusError) as refused:
                await stranger.request("GET", "/api/v1/namespaces")
            assert refused.value.code == 401
        finally:
            await stranger.close()
        for place in (VICTIM, "root", "root:raiders"):
            if token != ground.robot or place != VICTIM:
                assert (await ground.ask("GET", "/api", workspace=place, token=token)).status in (401, 403)
    # Without an address a token leads home, and home alone.
    home = await ground.ask("GET", "/api/v1/namespaces", workspace="", token=ground.raider)
    assert home.status == 200
    assert b"vault" not in home.body


def forged(token: str, **changes: Any) -> str:
    """A token whose claims were changed and whose signature was not."""
    head, claims, signature = token.split(".")
    decoded = json.loads(base64.urlsafe_b64decode(claims + "=" * (-len(claims) % 4)))
    decoded.update(changes)
    again = base64.urlsafe_b64encode(json.dumps(decoded).encode()).rstrip(b"=").decode()
    return f"{head}.{again}.{signature}"


async def test_forged_tokens(ground: Ground) -> None:
    p = ground.prefix
    none = base64.urlsafe_b64encode(b'{"alg":"none"}').rstrip(b"=").decode()
    claims = {"namespace": f"{p}default", "serviceaccount": {"name": "robot"}}
    for token in (
        forged(
            ground.raider, sub=f"system:serviceaccount:{p}default:robot", aud=[f"{p}https://kubernetes.default.svc"]
        ),
        forged(ground.raider, **{"kubernetes.io": claims}),
        forged(ground.robot, exp=2**40),
        f"{none}.{ground.robot.split('.')[1]}.",
        ground.robot[:-4] + "AAAA",
        ground.robot.rpartition(".")[0] + ".",
        "a" * 20000,
        "..",
        ". .",
        "\u00e9",
    ):
        for place in (VICTIM, DEN, ""):
            answer = await ground.ask("GET", SECRET, workspace=place, token=token)
            assert answer.status in (400, 401, 403, 431), answer


async def test_tokens_of_foreign_service_accounts_cannot_be_requested(ground: Ground) -> None:
    for account in (
        f"{ground.prefix}default/serviceaccounts/robot",
        "kube-system/serviceaccounts/generic-garbage-collector",
    ):
        answer = await ground.ask("POST", f"/api/v1/namespaces/{account}/token", {"spec": {}})
        assert answer.status in (403, 404, 422), answer
    secret = {
        "metadata": {"name": "legacy", "annotations": {"kubernetes.io/service-account.name": f"{ground.prefix}robot"}},
        "type": "kubernetes.io/service-account-token",
    }
    assert (await ground.ask("POST", "/api/v1/namespaces/default/secrets", secret)).status in (201, 403, 422)
