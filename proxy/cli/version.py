"""`kcp version`."""

from __future__ import annotations

import click

from proxy.binaries.find import ETCD, KUBERNETES
from proxy.release import own_version


@click.command()
def version() -> None:
    """Print the releases of kcp and of the Kubernetes that it embeds."""
    click.echo(f"kcp {own_version()} (Kubernetes {KUBERNETES}, etcd {ETCD})")
