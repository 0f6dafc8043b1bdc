"""`kcp defragment`: gives etcd's unused space back."""

from __future__ import annotations

import asyncio
from pathlib import Path

import click

from proxy.cli.administered import one_line, root_flag
from proxy.shard.store import Store, StoreError


@click.command(
    epilog="""\b
Example:
  kcp defragment
\b
History up to now is forgotten: who pages through a list begins anew (410). etcd answers nobody while it is
defragmented, some seconds for each GiB in use, and needs as much of the disk once more. An etcd that runs elsewhere
(--etcd-servers) is not touched: etcdctl compact, defrag, alarm disarm."""
)
@root_flag
def defragment(root_directory: Path) -> None:
    """Compact and defragment the embedded etcd; where it was full, it takes writes again."""
    with one_line(StoreError):
        click.echo(asyncio.run(make_room(Store(root_directory / "etcd"))))


async def make_room(store: Store) -> str:
    """What has come of it. Raises StoreError, also where there is no room even so."""
    before = await store.status()
    await store.compact(before.revision)
    await store.defragment()
    after = await store.status()
    said = f"{before.size / 2**20:.1f} MiB before, {after.size / 2**20:.1f} MiB now, of {after.quota / 2**20:.0f}"
    if before.full:
        if after.size >= after.quota:
            raise StoreError(f"etcd is still full ({said}): delete something, or raise --etcd-quota-backend-bytes")
        await store.lift_alarm()
        said += "; writes are taken again"
    return said
