"""``kubectl kcp workload``: the physical clusters that run a workspace's workloads."""

from __future__ import annotations

import base64
import hashlib
import re
import string
from collections.abc import Sequence
from typing import Any

import click

from proxy.cli.clusters import cordon, drain, uncordon
from proxy.cli.flags import Plain, kubectl_flags
from proxy.cli.places import split
from proxy.cli.rest import RestClient, segment
from proxy.cli.session import Session
from proxy.cli.shared import shared
from proxy.cli.workload_status import status
from proxy.kube.errors import StatusError
from syncer.names import SHOWABLE, syncer_id

ALWAYS = ("configmaps", "deployments.apps", "secrets", "serviceaccounts")
"""Resources that are synced without being asked for."""
TUNNELLED = ("pods",)
"""Resources that are always, with a tunnel."""
REACHED = {"pods/log": ("get",), "pods/attach": ("create", "get"), "pods/exec": ("create", "get"),
           "pods/portforward": ("create", "get")}  # fmt: skip
"""What the syncer does through the tunnel, on the cluster."""
TOKEN_SECONDS = 24 * 3600
"""How long the token in the manifest is good: the syncer replaces it as soon as it runs."""
BELOW = ("create", "delete", "get", "list", "patch", "watch")
"""What the syncer does with what it syncs, on the cluster."""
CLUSTERS = "/apis/workload.kcp.dev/v1alpha1/workloadclusters"
RBAC = "/apis/rbac.authorization.k8s.io/v1"
_RESOURCE = re.compile(r"([a-z0-9-]+(\.[a-z0-9.-]+)?|\*)\Z")
_NAME = re.compile(r"[a-z0-9]([a-z0-9.-]*[a-z0-9])?\Z")


@click.group(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="""\b
Examples:
  kubectl kcp workload sync east --syncer-image IMAGE > syncer.yaml
  kubectl kcp workload sync west --push west.kubeconfig
  kubectl kcp workload status
  kubectl kcp workload drain east
  kubectl kcp workload uncordon east""",
)
def workload() -> None:
    """Manage the clusters that run a workspace's workloads."""


for command in (cordon, uncordon, drain, status):
    workload.add_command(command)


@workload.command(
    epilog="""\b
Examples:
  kubectl kcp workload sync east --syncer-image IMAGE > syncer.yaml
  kubectl --kubeconfig east.kubeconfig apply -f syncer.yaml
  kubectl kcp workload sync east --syncer-image IMAGE --resources services,ingresses.networking.k8s.io
  kubectl kcp workload sync east --syncer-image IMAGE --tunnel
\b
One syncer on the cluster for many workspaces, set up with the first, and without a restart for each further one:
  kubectl kcp workload sync east --shared --syncer-image IMAGE > syncer.yaml
  kubectl kcp workload sync east --shared > team-b.yaml
\b
Without anything of ours on the cluster, which kcp reaches from where it runs (kcp syncer):
  kubectl kcp workload sync west --push west.kubeconfig
  kubectl kcp workload sync west --push ~/.kube/config --push-context kind-west --on-removal delete""",
)
@click.argument("name")
@click.option("--syncer-image", metavar="IMAGE", help="Image of the syncer.")
@click.option(
    "--push",
    "physical",
    metavar="FILE",
    type=click.Path(exists=True, dir_okay=False),
    help="Kubeconfig of the cluster: kcp syncs it from outside, nothing is printed and nothing runs there. An account "
    "with the rights that syncing needs is made on the cluster, and the workspace gets its token.",
)
@click.option(
    "--shared",
    "is_shared",
    is_flag=True,
    help="Print what adds this workspace to the one syncer of the cluster that all workspaces share (namespace "
    "kcp-syncer); with --syncer-image, that syncer as well.",
)
@click.option("--push-context", metavar="NAME", help="Context of that kubeconfig (default: the current one).")
@click.option(
    "--push-as-is",
    is_flag=True,
    help="Hand that context itself over, with its own credentials and rights, and make no account.",
)
@click.option(
    "--resources",
    "more",
    multiple=True,
    metavar="RESOURCE",
    help="Further resources to sync (plural[.group]); may be repeated or a list with commas. '*' makes the workspace "
    "know all that the cluster serves; synced is what is named.",
)
@click.option(
    "--sync-up",
    multiple=True,
    type=click.Choice(SHOWABLE),
    help="Show in the workspace what the cluster's controllers make of its workloads: pods; events about what the "
    "workspace has; secrets and configmaps with label workloads.kcp.dev/sync-up=true there. May be repeated.",
)
@click.option(
    "--tunnel",
    is_flag=True,
    help="Show pods, and let who may by the workspace's RBAC reach into them: kubectl logs, exec, attach, port-forward "
    "and cp. The syncer gets these rights on the cluster; it connects to the workspace, never the other way.",
)
@click.option("--replicas", type=int, default=1, show_default=True, help="0 or 1 syncers.")
@click.option(
    "--kcp-namespace",
    default="default",
    show_default=True,
    help="Namespace of the syncer's service account in the workspace.",
)
@click.option(
    "--on-removal",
    type=click.Choice(["keep", "delete"]),
    default="keep",
    show_default=True,
    help="What becomes of synced objects on the cluster when the printed manifest is deleted there; with --push, when "
    "the WorkloadCluster is deleted.",
)
@kubectl_flags
def sync(
    session: Session,
    name: str,
    syncer_image: str | None,
    physical: str | None,
    is_shared: bool,
    push_context: str | None,
    push_as_is: bool,
    more: Sequence[str],
    sync_up: Sequence[str],
    tunnel: bool,
    replicas: int,
    kcp_namespace: str,
    on_removal: str,
) -> None:
    """Make the WorkloadCluster NAME in the current workspace and print what starts its syncer on the cluster.

    With --push, kcp syncs the cluster itself, and nothing has to run there.
    """
    from proxy.cli import push  # as long to import as the rest, and nothing to the other commands

    if physical and syncer_image:
        raise Plain("--syncer-image is for a syncer that runs on the cluster, --push for none: only one of them goes")
    if not physical and (push_context or push_as_is):
        raise Plain("a value must be specified for --push")
    if is_shared and (physical or on_removal == "delete"):
        raise Plain("--shared goes with neither --push nor --on-removal=delete")
    if not syncer_image and not physical and not is_shared:
        raise Plain("a value must be specified for --syncer-image")
    if replicas not in (0, 1):
        raise Plain("only 0 and 1 are valid values for --replicas")
    if not _NAME.match(name) or len(name) > 63:
        raise Plain(f"{name!r} is not a valid name for a cluster")
    client = session.client
    _, workspace = split(client.server)
    if workspace is None:
        raise click.ClickException(f'the current context is the URL "{client.server}", not a workspace')
    synced = sorted({*ALWAYS, *(part.strip() for item in more for part in item.split(",") if part.strip())})
    for resource in synced:
        if not _RESOURCE.match(resource):
            raise Plain(f"{resource!r} is not a resource (plural or plural.group)")
    shown = sorted({*sync_up, *(TUNNELLED if tunnel else ())})
    rules = rules_above(name, synced, shown, tunnel=tunnel)

    def printed(token: str) -> str:
        return manifest(
            workspace=workspace,
            cluster=name,
            image=syncer_image or "",
            replicas=replicas,
            synced=synced,
            shown=shown,
            tunnel=tunnel,
            on_removal=on_removal,
            kcp_namespace=kcp_namespace,
            server=client.server,
            ca=_ca(session),
            token=token,
        )

    if physical:
        if push_as_is:
            text = push.kubeconfig_as_it_is(physical, push_context)
            push.check(text)
            prepare(client, name, kcp_namespace, rules)
        else:
            prepare(client, name, kcp_namespace, rules)
            text = push.kubeconfig_with_account(physical, push_context, printed(""))
            push.check(text)
        version = push.store(client, name, kcp_namespace, text)
        wanted = {
            "secretRef": {"namespace": kcp_namespace, "name": f"{name}-kubeconfig"},
            "resources": synced,
            "syncUp": shown,
            "tunnel": tunnel,
            "onRemoval": on_removal,
        }
        push.hand_over(client, name, wanted)
        push.wait(client, name, version)
        return
    prepare(client, name, kcp_namespace, rules)
    push.hand_over(client, name, None)
    text = printed(token_of(client, name, kcp_namespace))
    if is_shared:
        settings = {
            "workspace": workspace,
            "cluster": name,
            "namespace": kcp_namespace,
            "resources": synced,
            "syncUp": shown,
            "tunnel": tunnel,
        }
        text = shared(text, settings, image=syncer_image)
    click.echo(text, nl=False)


def prepare(client: RestClient, name: str, namespace: str, rules: list[dict[str, Any]]) -> None:
    """What the syncer needs in the workspace, made where missing, ``rules`` among it."""
    try:
        cluster = {
            "apiVersion": "workload.kcp.dev/v1alpha1",
            "kind": "WorkloadCluster",
            "metadata": {"name": name},
            "spec": {},
        }
        ensure(client, CLUSTERS, cluster)
    except StatusError as error:
        if error.code == 404:
            raise click.ClickException(
                "this workspace has no WorkloadClusters: only Universal and Cluster workspaces do"
            ) from error
        raise
    account = f"syncer-{name}"
    path = f"/api/v1/namespaces/{segment(namespace)}/serviceaccounts"
    ensure(client, path, {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": account}})
    role: dict[str, Any] = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": account},
        "rules": rules,
    }
    ensure(client, f"{RBAC}/clusterroles", role, update=True)
    binding: dict[str, Any] = {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRoleBinding",
        "metadata": {"name": account},
        "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": account},
        "subjects": [{"kind": "ServiceAccount", "name": account, "namespace": namespace}],
    }
    ensure(client, f"{RBAC}/clusterrolebindings", binding, update=True)
    # Of its own namespace: its Lease, and tokens for itself.
    own = f"{RBAC}/namespaces/{segment(namespace)}"
    ensure(
        client,
        f"{own}/roles",
        {**role, "kind": "Role", "rules": rules_of_its_own(account)},
        update=True,
    )
    reference = {**binding["roleRef"], "kind": "Role"}
    ensure(client, f"{own}/rolebindings", {**binding, "kind": "RoleBinding", "roleRef": reference}, update=True)
    leases = f"/apis/coordination.k8s.io/v1/namespaces/{segment(namespace)}/leases"
    ensure(client, leases, {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": account}})


def token_of(client: RestClient, name: str, namespace: str) -> str:
    """The syncer's first token of the workspace."""
    request = {
        "apiVersion": "authentication.k8s.io/v1",
        "kind": "TokenRequest",
        "spec": {"expirationSeconds": TOKEN_SECONDS},
    }
    path = f"/api/v1/namespaces/{segment(namespace)}/serviceaccounts/{segment(f'syncer-{name}')}/token"
    token: str = client.request("POST", path, request)["status"]["token"]
    return token


def rules_above(
    name: str, synced: Sequence[str], shown: Sequence[str] = (), *, tunnel: bool = False
) -> list[dict[str, Any]]:
    """What a syncer may do in the workspace: follow what it syncs, report, import types, ask for pods' tokens; write
    what it shows (``shown``), and be reached through the tunnel."""
    rules: list[dict[str, Any]] = [
        {
            "apiGroups": ["workload.kcp.dev"],
            "resources": ["workloadclusters"],
            "resourceNames": [name],
            "verbs": ["get"],
        },
        {
            "apiGroups": ["workload.kcp.dev"],
            "resources": ["workloadclusters/status"],
            "resourceNames": [name],
            "verbs": ["get", "patch", "update"],
        },
        {
            "apiGroups": ["apiresource.kcp.dev"],
            "resources": ["apiresourceimports"],
            "verbs": ["create", "delete", "get", "list", "patch", "update", "watch"],
        },
        {"apiGroups": [""], "resources": ["namespaces"], "verbs": ["get", "list", "watch"]},
        # The token of any other account might open more than the syncer itself may.
        {
            "apiGroups": [""],
            "resources": ["serviceaccounts/token"],
            "resourceNames": ["default"],
            "verbs": ["create"],
        },
    ]
    for group, plurals in by_group(synced).items():
        # patch: of finalizers alone, sees an admission policy of the shard to (manifests/workload/guard.yaml).
        rules.append({"apiGroups": [group], "resources": plurals, "verbs": ["get", "list", "patch", "watch"]})
        subresources = [f"{plural}/status" for plural in plurals]
        rules.append({"apiGroups": [group], "resources": subresources, "verbs": ["get", "patch", "update"]})
    rules.append({"apiGroups": [""], "resources": ["events"], "verbs": ["create", "patch"]})
    for group, plurals in by_group(shown).items():
        # Of what it has not made itself it can change nothing by that: manifests/workload/synced-up.yaml.
        verbs = ["create", "delete", "get", "list", "patch", "watch"]
        rules.append({"apiGroups": [group], "resources": plurals, "verbs": verbs})
    if "pods" in shown:
        rules.append({"apiGroups": [""], "resources": ["pods/status"], "verbs": ["patch"]})
    if tunnel:
        rules.append(
            {
                "apiGroups": ["workload.kcp.dev"],
                "resources": ["workloadclusters/tunnel"],
                "resourceNames": [name],
                "verbs": ["create"],
            }
        )
    return rules


def rules_below(
    synced: Sequence[str], shown: Sequence[str], *, tunnel: bool
) -> list[tuple[str, Sequence[str], Sequence[str]]]:
    """What a syncer may do on the cluster beside its own affairs: groups, resources, verbs."""
    rules: list[tuple[str, Sequence[str], Sequence[str]]] = [
        (group, plurals, BELOW) for group, plurals in by_group(synced).items()
    ]
    only_shown = by_group([resource for resource in shown if resource not in synced])
    rules += [(group, plurals, ("get", "list", "watch")) for group, plurals in only_shown.items()]
    if tunnel:
        rules += [("", [resource], verbs) for resource, verbs in REACHED.items()]
    return rules


def rules_of_its_own(account: str) -> list[dict[str, Any]]:
    """What a syncer may do in the namespace of its service account: keep its Lease, and renew its own token."""
    return [
        {
            "apiGroups": ["coordination.k8s.io"],
            "resources": ["leases"],
            "resourceNames": [account],
            "verbs": ["get", "update"],
        },
        {
            "apiGroups": [""],
            "resources": ["serviceaccounts/token"],
            "resourceNames": [account],
            "verbs": ["create"],
        },
    ]


def by_group(synced: Sequence[str]) -> dict[str, list[str]]:
    """What is named; ``*`` only makes types known, for which discovery is enough."""
    groups: dict[str, list[str]] = {}
    for resource in synced:
        if resource == "*":
            continue
        plural, _, group = resource.partition(".")
        groups.setdefault(group, []).append(plural)
    return dict(sorted(groups.items()))


def ensure(client: RestClient, path: str, obj: dict[str, Any], *, update: bool = False) -> None:
    """Create; what is there already stays, or with ``update`` gets the new content."""
    try:
        client.request("POST", path, obj)
    except StatusError as error:
        if error.reason != "AlreadyExists":
            raise
        if update:
            changed = {key: value for key, value in obj.items() if key not in ("metadata", "apiVersion", "kind")}
            where = f"{path}/{segment(obj['metadata']['name'])}"
            client.request("PATCH", where, changed, content_type="application/merge-patch+json")


def manifest(
    *,
    workspace: str,
    cluster: str,
    image: str,
    replicas: int,
    synced: Sequence[str],
    shown: Sequence[str] = (),
    tunnel: bool = False,
    on_removal: str,
    kcp_namespace: str,
    server: str,
    ca: bytes,
    token: str,
) -> str:
    """YAML for ``kubectl apply`` on the physical cluster."""
    if any(character in image for character in "\n\r\"'#{}[] "):
        raise Plain(f"{image!r} is not an image")
    from importlib import resources

    text = resources.files("manifests").joinpath("workload", "syncer.yaml.template").read_text()
    rules = "".join(
        f'- apiGroups:\n  - "{group}"\n  resources:\n'
        + "".join(f"  - {plural}\n" for plural in plurals)
        + "  verbs:\n"
        + "".join(f"  - {verb}\n" for verb in verbs)
        for group, plurals, verbs in rules_below(synced, shown, tunnel=tunnel)
    )
    return string.Template(text).substitute(
        id=syncer_id(workspace, cluster),
        workspace=workspace,
        workspace_label=workspace.replace(":", "_")[-63:].strip("_-"),
        cluster=cluster,
        image=image,
        replicas=replicas,
        kcp_namespace=kcp_namespace,
        rules=rules,
        arguments="".join(
            f"        - {argument}\n"
            for argument in (
                *(f"--resources={resource}" for resource in synced),
                *(f"--sync-up={resource}" for resource in shown),
                *(["--tunnel"] if tunnel else []),
                *(["--on-removal=delete"] if on_removal == "delete" else []),
            )
        ),
        server=server,
        ca_data=base64.b64encode(ca).decode(),
        # A pod reads where the workspace is as it starts: another address, another pod. The token does not count.
        connection=hashlib.sha256(server.encode() + b"\n" + ca).hexdigest()[:16],
        token=token,
    )


def _ca(session: Session) -> bytes:
    """PEM of the CA that the syncer is to trust: the one of the user's own kubeconfig."""
    config, overrides = session.config, session.overrides
    context = config.get("contexts", overrides.context or config.current_context) or {}
    cluster = config.get("clusters", overrides.cluster or context.get("cluster")) or {}
    if overrides.certificate_authority or cluster.get("certificate-authority"):
        with open(overrides.certificate_authority or cluster["certificate-authority"], "rb") as file:
            return file.read()
    return base64.b64decode(str(cluster.get("certificate-authority-data") or ""))
