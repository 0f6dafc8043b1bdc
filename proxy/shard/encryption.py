"""Secrets at rest: an API server encrypts them before they go to etcd.

https://kubernetes.io/docs/tasks/administer-cluster/encrypt-data/ (secretbox: XSalsa20 and Poly1305).
"""

from __future__ import annotations

import base64
import secrets
from pathlib import Path

import yaml

from proxy.shard.pki import write_private

KEY_BYTES = 32
RESOURCES = ("secrets",)


def encryption_config(folder: Path) -> Path:
    """File for ``--encryption-provider-config`` in ``folder``; made once, with a random key. Mode 0600.

    What was written without it stays readable, and is encrypted when it is next written. Raises OSError.
    """
    path = folder / "encryption.yaml"
    if path.exists():
        return path
    key = base64.b64encode(secrets.token_bytes(KEY_BYTES)).decode()
    providers = [{"secretbox": {"keys": [{"name": "key1", "secret": key}]}}, {"identity": {}}]
    config = {
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "EncryptionConfiguration",
        "resources": [{"resources": list(RESOURCES), "providers": providers}],
    }
    write_private(path, yaml.safe_dump(config, sort_keys=False).encode())
    return path
