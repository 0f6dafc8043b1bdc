"""``kubectl kcp workload sync NAME --push FILE``: hands a cluster's kubeconfig over, so that kcp syncs it from outside.

With the user's own kubeconfig an account is made on the cluster that may do what syncing needs and no more; its
token is what the workspace gets. So programs that a kubeconfig runs for its credentials run here, where they belong.
"""

from __future__ import annotations

import base64
import time
from collections.abc import Mapping
from typing import Any

import click
import yaml

from proxy.cli.flags import Plain
from proxy.cli.kubeconfig import Kubeconfig, Stanza
from proxy.cli.overrides import ClientError, Overrides
from proxy.cli.rest import RestClient, segment
from proxy.kube.errors import StatusError
from proxy.push.untrusted import FILES, Refused, read

CLUSTERS = "/apis/workload.kcp.dev/v1alpha1/workloadclusters"
SECRET_TYPE, KEY = "workload.kcp.dev/kubeconfig", "kubeconfig"
ACCOUNT, TOKEN = "kcp-syncer", "kcp-syncer-push"
"""Service account on the cluster, and Secret with its token."""
TOKEN_WAIT = 10.0
"""Seconds for the cluster to put a token into the Secret; clusters that do not do that give one that ends."""
TOKEN_SECONDS = 365 * 24 * 3600
TAKEN_UP, READY = 15.0, 45.0
"""Seconds for a `kcp syncer` to say anything of the cluster, and for the cluster to be Ready."""
PATHS: Mapping[str, str] = {
    "Namespace": "/api/v1/namespaces",
    "ServiceAccount": "/api/v1/namespaces/{namespace}/serviceaccounts",
    "ClusterRole": "/apis/rbac.authorization.k8s.io/v1/clusterroles",
    "ClusterRoleBinding": "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings",
    "Secret": "/api/v1/namespaces/{namespace}/secrets",
}


def kubeconfig_with_account(file: str, context: str | None, manifest: str) -> str:
    """A kubeconfig for the cluster of ``file`` with a token of an account of its own, which ``manifest``, that of a
    syncer, tells the rights of. Raises click.ClickException, ClientError, KubeconfigError, StatusError."""
    config = Kubeconfig.load(file)
    client = RestClient.of(config, Overrides(kubeconfig=file, context=context))
    objects = {obj["kind"]: obj for obj in yaml.safe_load_all(manifest) if obj["kind"] in PATHS}
    namespace = objects["Namespace"]["metadata"]["name"]
    made = _apply(client, objects["Namespace"])
    # With the namespace goes all that was made here.
    owner = {"apiVersion": "v1", "kind": "Namespace", "name": namespace, "uid": made["metadata"]["uid"]}
    for kind in ("ServiceAccount", "ClusterRole", "ClusterRoleBinding"):
        objects[kind]["metadata"]["ownerReferences"] = [owner]
        _apply(client, objects[kind])
    cluster, _ = _stanzas(config, context)
    return _written(cluster, {"token": _token(client, namespace)}, namespace)


def kubeconfig_as_it_is(file: str, context: str | None) -> str:
    """The context, with the content of the files that it names. Raises click.ClickException, KubeconfigError."""
    cluster, user = _stanzas(Kubeconfig.load(file), context)
    return _written(cluster, user)


def check(text: str) -> None:
    """Raises click.ClickException for a kubeconfig that kcp would refuse."""
    try:
        read(text.encode(), lambda address: None)
    except Refused as error:
        raise click.ClickException(str(error)) from error


def store(client: RestClient, name: str, namespace: str, text: str) -> str:
    """Put the kubeconfig into the workspace, where few may read it, and where it goes with the WorkloadCluster; the
    Secret's version."""
    cluster = client.request("GET", f"{CLUSTERS}/{segment(name)}")["metadata"]
    owner = {"apiVersion": "workload.kcp.dev/v1alpha1", "kind": "WorkloadCluster", "name": name, "uid": cluster["uid"]}
    content: dict[str, Any] = {
        "metadata": {"name": f"{name}-kubeconfig", "ownerReferences": [owner]},
        "data": {KEY: base64.b64encode(text.encode()).decode()},
    }
    secret = {"apiVersion": "v1", "kind": "Secret", "type": SECRET_TYPE, **content}
    path = f"/api/v1/namespaces/{segment(namespace)}/secrets"
    try:
        found = client.request("POST", path, secret)
    except StatusError as error:
        if error.reason != "AlreadyExists":
            raise
        where = f"{path}/{segment(f'{name}-kubeconfig')}"
        there = client.request("GET", where)
        if there.get("type") != SECRET_TYPE:
            raise Plain(
                f"Secret {namespace}/{name}-kubeconfig is there and of another type: delete it first"
            ) from error
        found = client.request("PATCH", where, content, content_type="application/merge-patch+json")
    return str(found["metadata"]["resourceVersion"])


def hand_over(client: RestClient, name: str, push: dict[str, Any] | None) -> None:
    """Make kcp sync the WorkloadCluster, or with None end that: a syncer on the cluster takes over."""
    spec = {"spec": {"push": push}}
    client.request("PATCH", f"{CLUSTERS}/{segment(name)}", spec, content_type="application/merge-patch+json")


def wait(client: RestClient, name: str, version: str) -> None:
    """Until the cluster is Ready, with the Secret of that version. Raises click.ClickException where it cannot be."""
    began = time.monotonic()
    while True:
        status = client.request("GET", f"{CLUSTERS}/{segment(name)}").get("status") or {}
        conditions = {item["type"]: item for item in status.get("conditions") or ()}
        connected = conditions.get("Connected")
        waited = time.monotonic() - began
        if connected is not None and (status.get("push") or {}).get("secretVersion") == version:
            if connected["status"] != "True":
                raise click.ClickException(f"{connected.get('reason')}: {connected.get('message')}")
            if conditions.get("Ready", {}).get("status") == "True":
                click.echo(f'WorkloadCluster "{name}" is Ready.')
                return
            if waited > READY:
                click.echo(f'WorkloadCluster "{name}" is connected, and not Ready yet.', err=True)
                return
        elif waited > TAKEN_UP:
            message = "no kcp syncer has taken it up yet; the operator of kcp runs one: kcp syncer"
            click.echo(f'WorkloadCluster "{name}": {message}', err=True)
            return
        time.sleep(0.3)


def _stanzas(config: Kubeconfig, context: str | None) -> tuple[Stanza, Stanza]:
    """Cluster and user, without names of files."""
    name = context or config.current_context
    chosen = config.get("contexts", name)
    if chosen is None:
        raise ClientError(f"context {name!r} does not exist" if name else "no context is set in the kubeconfig")
    stanzas = config.get("clusters", chosen.get("cluster")), config.get("users", chosen.get("user"))
    return _flat(stanzas[0] or {}), _flat(stanzas[1] or {})


def _flat(stanza: Stanza) -> Stanza:
    flat = {key: value for key, value in stanza.items() if key not in FILES}
    for key in FILES & set(stanza):
        try:
            with open(stanza[key], "rb") as file:
                content = file.read()
        except OSError as error:
            raise click.ClickException(f"{stanza[key]}: {error.strerror}") from error
        if key == "tokenFile":
            flat.setdefault("token", content.decode("utf-8", "replace").strip())
        else:
            flat.setdefault(f"{key}-data", base64.b64encode(content).decode())
    return flat


def _written(cluster: Stanza, user: Stanza, namespace: str | None = None) -> str:
    context = {"cluster": "cluster", "user": "syncer", **({"namespace": namespace} if namespace else {})}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "cluster", "cluster": cluster}],
        "users": [{"name": "syncer", "user": user}],
        "contexts": [{"name": "push", "context": context}],
        "current-context": "push",
    }
    return yaml.safe_dump(config, sort_keys=False)


def _apply(client: RestClient, obj: dict[str, Any]) -> dict[str, Any]:
    meta = obj["metadata"]
    namespace = meta.get("namespace")
    path = PATHS[obj["kind"]].format(namespace=segment(namespace) if namespace else "")
    where = f"{path}/{segment(meta['name'])}?fieldManager=kubectl-kcp&force=true"
    made: dict[str, Any] = client.request("PATCH", where, obj, content_type="application/apply-patch+yaml")
    return made


def _token(client: RestClient, namespace: str) -> str:
    """Of the account in ``namespace`` of the cluster."""
    meta = {"name": TOKEN, "namespace": namespace, "annotations": {"kubernetes.io/service-account.name": ACCOUNT}}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": meta, "type": "kubernetes.io/service-account-token"}
    until = time.monotonic() + TOKEN_WAIT
    found = _apply(client, secret)
    path = PATHS["Secret"].format(namespace=segment(namespace))
    while time.monotonic() < until:
        token = (found.get("data") or {}).get("token")
        if token:
            return base64.b64decode(token).decode()
        time.sleep(0.2)
        found = client.request("GET", f"{path}/{TOKEN}")
    accounts = PATHS["ServiceAccount"].format(namespace=segment(namespace))
    request = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"expirationSeconds": TOKEN_SECONDS},
    }
    status = client.request("POST", f"{accounts}/{ACCOUNT}/token", request)["status"]
    click.echo(f"the cluster gives tokens that end: run this again before {status['expirationTimestamp']}", err=True)
    return str(status["token"])
