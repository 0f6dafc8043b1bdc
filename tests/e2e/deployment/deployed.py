"""kcp as pods of a physical cluster, in front of a shard on this machine: made from the manifests as a user would."""

from __future__ import annotations

import secrets
import shutil
from pathlib import Path

import yaml

import manifests
from proxy.shard.control_plane import ControlPlane
from proxy.shard.pki import Authority, private_folder
from tests.e2e.workspaces.installation import Installation

NODE_PORT = 30643
NAMESPACE = "platform"
"""Not one that the story removes in the end: all of the cluster that begin with kcp."""


def overlay(folder: Path, external: str, shard: ControlPlane) -> Path:
    """A kustomization, with certificates, users and the shard; and ``admin.kubeconfig`` beside it.

    ``external``: ``ADDRESS:PORT`` of the balancer in front of `NODE_PORT`.
    """
    folder.mkdir(mode=0o700)
    shutil.copytree(Path(manifests.__file__).parent / "deploy", folder / "deploy")
    authority = Authority(private_folder(folder / "pki"), "serving")
    serving = authority.server("serving", [external.partition(":")[0]])
    token = secrets.token_urlsafe(24)
    here = folder / "here"
    here.mkdir()
    (here / "tokens.csv").write_text(f'{token},platform,platform,"system:masters"\n')
    shutil.copy(shard.kubeconfig, here / "main.kubeconfig")
    shutil.copy(serving.cert_file, here / "tls.crt")
    shutil.copy(serving.key_file, here / "tls.key")
    fixed = {"disableNameSuffixHash": True}
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "kcp"},
        "spec": {"type": "NodePort", "ports": [{"name": "https", "port": 6443, "nodePort": NODE_PORT}]},
    }
    container = {"name": "kcp", "resources": {"requests": {"cpu": "50m"}}}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "kcp"},
        "spec": {"template": {"spec": {"containers": [container]}}},
    }
    kustomization = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": NAMESPACE,
        "resources": ["../deploy"],
        "configMapGenerator": [
            {"name": "kcp", "behavior": "merge", "literals": [f"external={external}"]},
        ],
        "secretGenerator": [
            {"name": "kcp-shards", "files": ["main.kubeconfig"], "options": fixed},
            {"name": "kcp-tls", "files": ["tls.crt", "tls.key"], "type": "kubernetes.io/tls", "options": fixed},
            {"name": "kcp-users", "files": ["tokens.csv"], "options": fixed},
        ],
        "patches": [{"patch": yaml.safe_dump(service)}, {"patch": yaml.safe_dump(deployment)}],
    }
    (here / "kustomization.yaml").write_text(yaml.safe_dump(kustomization))
    _kubeconfig(folder / "admin.kubeconfig", f"https://{external}", authority.cert_file, token)
    (folder / "shard").mkdir()
    (folder / "shard" / "admin.kubeconfig").symlink_to(shard.kubeconfig)
    return here


def installation(folder: Path, clients: Path) -> Installation:
    """What runs there, for tests that want one."""
    clients.mkdir()
    return Installation(folder, clients)


def _kubeconfig(file: Path, url: str, ca: Path, token: str) -> None:
    cluster = {"server": f"{url}/clusters/root", "certificate-authority": str(ca)}
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": "root", "cluster": cluster}],
        "users": [{"name": "admin", "user": {"token": token}}],
        "contexts": [{"name": "root", "context": {"cluster": "root", "user": "admin"}}],
        "current-context": "root",
    }
    file.touch(mode=0o600)
    file.write_text(yaml.safe_dump(config))
