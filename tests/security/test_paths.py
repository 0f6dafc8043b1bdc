"""Paths, from the victim's own address to every way of writing one that a server could read differently."""

from __future__ import annotations

import re

import pytest

from tests.security.ground import VICTIM, Ground

SECRET = "/api/v1/namespaces/vault/secrets/key"
TRIES = (
    # The victim's things under the attacker's address, as the shard names them.
    "/api/v1/namespaces/{p}vault/secrets/key",
    "/api/v1/namespaces/{p}vault/secrets",
    "/api/v1/namespaces/{p}vault",
    "/apis/bank.example.com/v1/jewels",
    "/apis/{p}bank.example.com/v1/jewels",
    "/apis/{p}bank.example.com/v1/namespaces/{p}vault/jewels/crown",
    "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/jewels.{p}bank.example.com",
    "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/jewels.bank.example.com",
    "/apis/rbac.authorization.k8s.io/v1/clusterroles/{p}teller",
    "/apis/internal.kcp.dev/v1alpha1/logicalclusters",
    "/apis/internal.kcp.dev/v1alpha1/logicalclusters/{t}",
    # What is the shard's own.
    "/api/v1/namespaces/kube-system/secrets",
    "/api/v1/namespaces/kube-system/configmaps/extension-apiserver-authentication",
    "/api/v1/nodes",
    "/api/v1/componentstatuses",
    "/apis/apiregistration.k8s.io/v1/apiservices",
    "/apis/admissionregistration.k8s.io/v1/mutatingadmissionpolicies/workspace-label.kcp.dev",
    "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies/nodes.kcp.dev",
    "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/mutate.admission.kcp.dev",
    "/apis/flowcontrol.apiserver.k8s.io/v1/flowschemas",
    "/apis/certificates.k8s.io/v1/certificatesigningrequests",
    "/apis/storage.k8s.io/v1/storageclasses",
    "/apis/rbac.authorization.k8s.io/v1/clusterroles/system:node",
    "/metrics",
    "/logs",
    "/debug/pprof/",
    "/configz",
    "/statusz",
    "/flagz",
    "/debug/api_priority_and_fairness/dump_requests",
    # Ways out of the own address.
    "/../{v}" + SECRET,
    "/..%2f{v}" + SECRET,
    "/%2e%2e/{v}" + SECRET,
    "/.%2e/{v}" + SECRET,
    "/./../{v}" + SECRET,
    "/api/v1/namespaces/..%2F..%2F..%2F..%2F{v}" + SECRET,
    "/api/v1/namespaces/default/../{p}vault/secrets/key",
    "/api/v1/namespaces/default/%2e%2e/{p}vault/secrets/key",
    "/api/v1/namespaces/default%2f..%2f{p}vault/secrets/key",
    "/api/v1/namespaces/default%252f..%252f{p}vault/secrets/key",
    "/api/v1/namespaces/default/secrets/..%2f..%2f{p}vault%2fsecrets%2fkey",
    "/api/v1/namespaces/default/secrets/%2e%2e",
    "/api/v1/namespaces/default/secrets/key;namespace={p}vault",
    "/api/v1/namespaces/default;x=/{p}vault/secrets/key",
    "/api/v1/namespaces/default\\..\\{p}vault/secrets/key",
    "/api/v1/namespaces/default%5c..%5c{p}vault/secrets/key",
    "/api/v1/namespaces/%00/secrets",
    "/api/v1/namespaces/default%00/secrets/key",
    "/api/v1/namespaces/%ff%fe/secrets",
    "/api/v1/namespaces/%c0%ae%c0%ae/%c0%ae%c0%ae/{v}" + SECRET,
    "/api/v1/namespaces/" + "%2e%2e%2f" * 200 + "x/secrets",
    "/api/v1/namespaces/" + "n" * 9000 + "/secrets",
    "//clusters/{v}" + SECRET,
    "/clusters/{v}" + SECRET,
    "/api/v1//namespaces/{p}vault/secrets",
    "/api//v1/namespaces/{p}vault/secrets",
    "/API/v1/namespaces/{p}vault/secrets",
    "/api/v1/watch/namespaces/{p}vault/secrets?timeoutSeconds=1",
    "/api/v1/proxy/namespaces/{p}vault/services/x",
    "/api/v1/namespaces/{p}vault/services/x/proxy/",
    "/api/v1/namespaces/{p}vault/pods/x/exec",
    "/api/v1/namespaces/*/secrets",
    "/api/v1/namespaces/-/secrets",
    "/api/v1/namespaces//secrets",
    "/apis/%2e%2e/api/v1/namespaces/{p}vault/secrets/key",
    "/apis/{p}bank.example.com%2fv1%2fjewels/v1/jewels",
    "/openapi/v3/apis/bank.example.com/v1",
    "/openapi/v3/apis/{p}bank.example.com/v1",
)


def filled(ground: Ground, path: str, prefix: str | None = None, victim: str = VICTIM) -> str:
    return path.format(p=prefix or ground.prefix, t=(prefix or ground.prefix)[:-1], v=victim)


@pytest.mark.parametrize("path", TRIES)
async def test_a_path_leads_nowhere(ground: Ground, path: str) -> None:
    """And whether the victim exists makes no difference to what is said."""
    for method in ("GET", "HEAD", "DELETE"):
        answer = await ground.ask(method, filled(ground, path))
        # A namespace that does not exist has nothing in it.
        nothing = answer.status == 200 and (method == "HEAD" or answer.body == b"" or b'"items":[]' in answer.body)
        assert 400 <= answer.status < 500 or nothing, (method, answer)
        nobody = await ground.ask(method, filled(ground, path, "kzzzzzzzz-", "root:victims:none"))
        assert (answer.status, _plain(ground, answer.body)) == (nobody.status, _plain(ground, nobody.body)), method


def _plain(ground: Ground, body: bytes) -> bytes:
    body = re.sub(rb'"resourceVersion":"\d+"', b"", body)
    body = re.sub(rb"kzzzzzzzz|" + ground.token.encode(), b"TOKEN", body)
    return body.replace(b"root:victims:none", b"VICTIM").replace(VICTIM.encode(), b"VICTIM")


@pytest.mark.parametrize(
    "workspace",
    [
        VICTIM,
        "root:victims",
        "root",
        "root%3Avictims%3Abank",
        "root:victims:bank:",
        ":root:victims:bank",
        "{t}",
        "root:raiders:den:..:..:victims:bank",
        "root:raiders:den/../root:victims:bank",
        "root::victims:bank",
        "ROOT:victims:bank",
        "root:victims:bank%00",
        "root:victims:bank%2f",
        "root:victims:*",
        "*",
        "root:victims:bank%20",
    ],
)
async def test_another_workspace_cannot_be_entered(ground: Ground, workspace: str) -> None:
    for token in (ground.raider, "mallory-token"):
        answer = await ground.ask("GET", SECRET, workspace=filled(ground, workspace), token=token)
        assert answer.status in (400, 401, 403, 404), answer
    for path in ("/api", "/apis", "/openapi/v2", "/openapi/v3", "/version", "/", "/api/v1/namespaces?watch=true"):
        answer = await ground.ask("GET", path, workspace=filled(ground, workspace))
        assert answer.status in (400, 403, 404), answer


async def test_refusals_do_not_tell_what_exists(ground: Ground) -> None:
    """Neither workspaces nor anything in them, by any verb."""
    for method, path in (("GET", SECRET), ("GET", "/api"), ("POST", "/api/v1/namespaces"), ("DELETE", SECRET)):
        body = {"metadata": {"name": "x"}} if method == "POST" else None
        there = await ground.ask(method, path, body, workspace=VICTIM)
        nowhere = await ground.ask(method, path, body, workspace="root:victims:none")
        assert there.status == nowhere.status == 403
        assert there.body.replace(b"bank", b"none") == nowhere.body


async def test_methods_that_no_api_has(ground: Ground) -> None:
    for method in ("TRACE", "CONNECT", "PROPFIND", "COPY", "MOVE", "LINK", "PURGE", "OPTIONS"):
        head = f"{method} /clusters/{VICTIM}{SECRET} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer mallory-token\r\n\r\n"
        said = await ground.raw(head.encode(), timeout=1)
        assert re.match(rb"HTTP/1\.1 4\d\d ", said), (method, said)
