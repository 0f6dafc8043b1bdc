"""`kcp version`."""

from __future__ import annotations

import importlib.metadata

import click

from proxy.binaries.find import ETCD, KUBERNETES


@click.command()
def version() -> None:
    """Print the releases of kcp and of the Kubernetes that it embeds."""
    try:
        own = importlib.metadata.version("kcp")
    except importlib.metadata.PackageNotFoundError:
        own = "unknown (not installed)"
    click.echo(f"kcp {own} (Kubernetes {KUBERNETES}, etcd {ETCD})")
