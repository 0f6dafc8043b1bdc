"""`kcp backup` and `kcp restore`: all that a kcp with its own shard is, in one file."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from proxy.binaries import BinaryError, ensure
from proxy.binaries.find import ETCD, KUBERNETES
from proxy.cli.administered import root_flag
from proxy.release import own_version
from proxy.shard.pki import private_folder, write_private
from proxy.shard.snapshot import Progress, SnapshotError, save
from proxy.shard.snapshot import restore as restore_snapshot

ABOUT, SNAPSHOT = "backup.json", "etcd.db"
FORM = 1
_FILES = ("tokens.csv", "admin.kubeconfig", "shard/port")
"""Kept beside ``pki`` and etcd's data, where they are; everything else is made anew by a start."""
_KNOWN = re.compile(rf"pki/[A-Za-z0-9._-]+|{'|'.join(map(re.escape, _FILES))}")
_PIECE = 2**20


@click.command(
    epilog="""\b
Examples:
  kcp backup                        kcp-2026-01-31T120000Z.tar in this folder
  kcp backup /backups/kcp.tar --root-directory /var/lib/kcp
\b
The file holds keys, tokens and Secrets, with the key that encrypts them: keep it as safe as the folder itself.
An etcd that runs elsewhere (--etcd-servers), and other shards, have backups of their own."""
)
@root_flag
@click.argument("file", required=False, type=click.Path(dir_okay=False, path_type=Path))
def backup(root_directory: Path, file: Path | None) -> None:
    """Copy etcd, keys and tokens of a kcp that runs into FILE (mode 0600), a tar archive."""
    os.umask(0o077)
    now = datetime.now(UTC)
    target = file or Path(f"kcp-{now:%Y-%m-%dT%H%M%SZ}.tar")
    if target.exists():
        raise click.ClickException(f"{target} is there already")
    with _failures(), tempfile.TemporaryDirectory(prefix=".kcp-backup-", dir=target.absolute().parent) as folder:
        snapshot, archive = Path(folder, SNAPSHOT), Path(folder, "archive")
        with snapshot.open("wb") as output, _bar("etcd") as progress:
            revision = asyncio.run(save(root_directory.absolute() / "etcd", output, progress))
        about = {
            "form": FORM,
            "at": f"{now:%Y-%m-%dT%H:%M:%SZ}",
            "kcp": own_version(),
            "kubernetes": KUBERNETES,
            "etcd": ETCD,
            "revision": revision,
        }
        write_private(Path(folder, ABOUT), json.dumps(about, indent=2).encode())
        with tarfile.open(archive, "w") as tar:
            tar.add(Path(folder, ABOUT), ABOUT)
            for path in sorted([*(root_directory / "pki").iterdir(), *(root_directory / name for name in _FILES)]):
                if path.is_file():
                    tar.add(path, path.relative_to(root_directory).as_posix())
            tar.add(snapshot, SNAPSHOT)
        with archive.open("rb") as written:
            os.fsync(written.fileno())
        archive.rename(target)
    click.echo(f"{target}: {target.stat().st_size / 2**20:.1f} MiB, revision {revision}")


@click.command(
    epilog="""\b
Examples:
  kcp restore kcp.tar               into .kcp, which must not be there
  kcp restore kcp.tar --root-directory /var/lib/kcp
\b
Then start it as before. Clients list everything anew."""
)
@root_flag
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def restore(root_directory: Path, file: Path) -> None:
    """Make a root directory of what `kcp backup` has written to FILE."""
    os.umask(0o077)
    if root_directory.exists() and any(root_directory.iterdir()):
        raise click.ClickException(f"{root_directory} holds something already; move it away, or name another folder")
    with _failures():
        etcdutl = ensure(["etcdutl"], lambda message: click.echo(message, err=True))["etcdutl"]
        parent = root_directory.absolute().parent
        parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".kcp-restore-", dir=parent) as folder:
            made = private_folder(Path(folder, "root"))
            about = _unpack(file, made, Path(folder, SNAPSHOT))
            click.echo(f"restoring etcd of {about['at']}", err=True)
            data = private_folder(made / "etcd") / "data"
            asyncio.run(restore_snapshot(etcdutl, Path(folder, SNAPSHOT), data))
            made.rename(root_directory.absolute())
    click.echo(f"{root_directory} is as it was at {about['at']} (revision {about['revision']})")


def _unpack(file: Path, folder: Path, snapshot: Path) -> dict[str, Any]:
    """Files into ``folder``, etcd's part to ``snapshot``; what the backup says of itself. Raises ValueError."""
    about: dict[str, Any] = {}
    with tarfile.open(file, "r:") as tar:
        for member in tar:
            content = tar.extractfile(member) if member.isfile() else None
            if content is None:
                raise ValueError(f"{member.name} is no file")
            if member.name == ABOUT:
                about = json.load(content)
                if about.get("form") != FORM:
                    raise ValueError(f"it is of form {about.get('form')}, this kcp ({own_version()}) reads {FORM}")
            elif member.name == SNAPSHOT:
                with snapshot.open("wb") as output:
                    shutil.copyfileobj(content, output, _PIECE)
            elif _KNOWN.fullmatch(member.name):
                path = folder / member.name
                private_folder(path.parent)
                write_private(path, content.read())
            else:
                raise ValueError(f"{member.name} is no part of a backup")
    if not about or not snapshot.exists():
        raise ValueError("it is not whole")
    return about


@contextmanager
def _bar(label: str) -> Iterator[Progress]:
    """A bar on a terminal; elsewhere nothing, as backups are made by timers."""
    if not sys.stderr.isatty():
        yield lambda done, whole: None
        return
    from rich.console import Console
    from rich.progress import Progress as Bars

    with Bars(console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(label, total=None)
        yield lambda done, whole: bars.update(task, completed=done, total=whole)


@contextmanager
def _failures() -> Iterator[None]:
    """What a person can do something about: one line."""
    try:
        yield
    except (SnapshotError, BinaryError) as error:
        raise click.ClickException(str(error)) from error
    except (tarfile.TarError, ValueError, EOFError) as error:
        raise click.ClickException(f"this is no backup of kcp: {error}") from error
    except OSError as error:
        raise click.ClickException(f"{error.filename or 'backup'}: {error.strerror}") from error
