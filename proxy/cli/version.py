"""`kcp version`."""

from __future__ import annotations

import json

import click

from proxy.binaries.find import ETCD, KUBERNETES
from proxy.release import own_version


@click.command(
    epilog="""\b
Examples:
  kcp version
  kcp version -o json | jq -r .kubernetes""",
)
@click.option("-o", "--output", type=click.Choice(["json"]), help="As JSON.")
def version(output: str | None) -> None:
    """Print the releases of kcp and of the Kubernetes that it embeds."""
    if output == "json":
        click.echo(json.dumps({"kcp": own_version(), "kubernetes": KUBERNETES, "etcd": ETCD}, indent=2))
        return
    click.echo(f"kcp {own_version()} (Kubernetes {KUBERNETES}, etcd {ETCD})")
