"""`kcp doctor`: looks at everything that can be wrong with an installation, and says what to do."""

from __future__ import annotations

import asyncio
import email.utils
import shutil
import ssl
import stat
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import aiohttp
import click
import orjson

from proxy.cli.administered import root_flag
from proxy.cli.installation import TIMEOUT, Installation, NotThere
from proxy.kube.client import Client
from proxy.kube.config import ConfigError
from proxy.kube.errors import StatusError
from proxy.kube.reviews import may_do_everything
from proxy.metrics.certificates import Certificates
from proxy.server.settings import ShardSettings
from proxy.shard.manifests import load_manifests
from proxy.shard.rights import PREFIX, counts, is_role
from proxy.shard.store import Store, StoreError

OK, WARNING, FAILURE = "ok", "warning", "failure"
MARKS = {OK: ("✓", "green"), WARNING: ("!", "yellow"), FAILURE: ("✗", "red")}
SOON = 30 * 86400.0
"""Seconds: a certificate that ends within them should be replaced now."""
SKEW = 5.0
"""Seconds that clocks may differ: tokens and certificates bear minutes, heartbeats and logs do not."""
OLDEST_SHARD = (1, 34)
"""MutatingAdmissionPolicy is there, if only switched on by hand; from 1.36 it is on."""
SPACE = 2 * 2**30
"""Bytes that should be free for etcd and logs."""
FULL = 0.8
"""Of etcd's quota."""
SECRET = (".key", ".kubeconfig", ".csv", "server.json", "encryption.yaml")


@dataclass(frozen=True, slots=True)
class Finding:
    """What came of one check."""

    check: str
    state: str
    message: str
    advice: str = ""


@click.command()
@root_flag
@click.option("-o", "--output", type=click.Choice(("text", "json")), default="text", show_default=True)
def doctor(root_directory: Path, output: str) -> None:
    """Check files, certificates, clocks, versions, shards, proxy, physical clusters. Exit code 1: something fails."""
    try:
        findings = asyncio.run(examine(root_directory))
    except (NotThere, ConfigError) as error:
        raise click.ClickException(str(error)) from error
    if output == "json":
        click.echo(orjson.dumps([asdict(finding) for finding in findings], option=orjson.OPT_INDENT_2).decode())
    else:
        for finding in findings:
            mark, color = MARKS[finding.state]
            click.echo(f"{click.style(mark, fg=color)} {finding.check}: {finding.message}")
            if finding.advice:
                click.echo(f"    → {finding.advice}")
    sys.exit(any(finding.state == FAILURE for finding in findings))


async def examine(root: Path) -> list[Finding]:
    """Raises NotThere where there is nothing to look at."""
    async with Installation(root) as kcp:
        found = [*modes(root), *certificates(kcp), space(root), *await store(root)]
        async for finding in _asked(kcp):
            found.append(finding)
    return found


async def _asked(kcp: Installation) -> AsyncIterator[Finding]:
    answers = await asyncio.gather(*(shard(kcp, settings) for settings in kcp.settings.shards), proxy(kcp))
    for answer in answers:
        for finding in answer:
            yield finding
    yield await _metrics(kcp)
    for finding in await clusters(kcp):
        yield finding


def modes(root: Path) -> Iterator[Finding]:
    """Whether others can read keys and tokens."""
    open_to_others = [
        file
        for file in (root, *root.rglob("*"))
        if (file == root or file.name.endswith(SECRET)) and file.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO)
    ]
    for file in open_to_others:
        wanted = "700" if file.is_dir() else "600"
        mode = stat.S_IMODE(file.stat().st_mode)
        yield Finding("files", FAILURE, f"{file} has mode {mode:03o}", f"chmod {wanted} {file}")
    if not open_to_others:
        yield Finding("files", OK, f"keys and tokens in {root} are for their owner alone")


def certificates(kcp: Installation) -> Iterator[Finding]:
    known = Certificates()
    known.watch("serving", Path(kcp.settings.cert_file))
    if kcp.settings.client_ca_file:
        known.watch("users-ca", Path(kcp.settings.client_ca_file))
    known.watch_folder(kcp.root / "pki")
    ends = known.ends()
    bad = False
    for name, end in sorted(ends.items()):
        left = end - time.time()
        if left < SOON:
            bad = True
            when = "has ended" if left < 0 else f"ends in {left / 86400:.0f} days"
            yield Finding(
                "certificates", FAILURE if left < 0 else WARNING, f"{name} {when}",
                "restart kcp: it renews its own; replace one that you gave with --tls-cert-file or --client-ca-file",
            )  # fmt: skip
    try:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(kcp.settings.cert_file, kcp.settings.key_file)
    except (OSError, ssl.SSLError):
        bad = True
        yield Finding(
            "certificates", FAILURE, f"{kcp.settings.cert_file} and {kcp.settings.key_file} do not belong together",
            "restart kcp: it makes a new pair; give a matching one with --tls-cert-file and --tls-private-key-file",
        )  # fmt: skip
    if not bad:
        first = min(ends.values(), default=0.0)
        days = (first - time.time()) / 86400
        yield Finding("certificates", OK, f"{len(ends)} are good, the first ends in {days:.0f} days")


def space(root: Path) -> Finding:
    free = shutil.disk_usage(root).free
    if free < SPACE:
        return Finding("disk", WARNING, f"{free / 2**20:.0f} MiB are free for {root}", "make room: etcd stops without")
    return Finding("disk", OK, f"{free / 2**30:.0f} GiB are free")


async def store(root: Path) -> list[Finding]:
    """Of a shard's own etcd, if there is one that answers: whether it has room."""
    try:
        status = await Store(root / "etcd", timeout=TIMEOUT).status()
    except StoreError:
        return []
    taken = f"{status.size / 2**20:.0f} of {status.quota / 2**20:.0f} MiB are taken, {status.used / 2**20:.0f} in use"
    if status.full:
        return [Finding("etcd", FAILURE, f"it takes no more writes: {taken}",
                        "delete what nobody needs, then kcp defragment")]  # fmt: skip
    if status.size > FULL * status.quota:
        return [Finding("etcd", WARNING, taken, "kcp defragment gives back what is not in use; then delete, or raise "
                        "kcp start --etcd-quota-backend-bytes")]  # fmt: skip
    return [Finding("etcd", OK, taken)]


async def shard(kcp: Installation, settings: ShardSettings) -> list[Finding]:
    """Reachability, rights, version, clock of one shard."""
    name, client = f"shard {settings.name}", kcp.shards[settings.name]
    found: list[Finding] = []
    try:
        version = await client.request("GET", "/version", timeout=TIMEOUT)
        await client.request("GET", "/readyz", timeout=TIMEOUT)
        rights = await may_do_everything(client, timeout=TIMEOUT)
        missing = await _missing_rights(client) if rights else []
    except StatusError as error:
        log = kcp.root / "log" / "kube-apiserver.log"
        advice = f"is kcp running? {log} and etcd.log beside it say more" if log.exists() else "is that server running?"
        return [Finding(name, FAILURE, error.message.splitlines()[0], advice)]
    numbers = _version(version)
    if numbers < OLDEST_SHARD:
        wanted = ".".join(map(str, OLDEST_SHARD))
        found.append(Finding(name, FAILURE, f"it is {version.get('gitVersion')}", f"use one of {wanted} or later"))
    if not rights:
        found.append(
            Finding(name, FAILURE, f"{settings.kubeconfig} may not do everything", "use one of group system:masters")
        )
    if missing:
        what = f"parts of kcp lack their rights: {', '.join(missing)}"
        found.append(Finding(name, FAILURE, what, "restart kcp: it applies ClusterRoles and bindings kcp:…"))
    found += [finding for finding in (await _clock(name, client),) if finding is not None]
    if not found:
        found.append(Finding(name, OK, f"{client.connection.server} is ready, {version.get('gitVersion')}"))
    return found


def _version(answer: object) -> tuple[int, int]:
    value = answer if isinstance(answer, dict) else {}
    try:
        return int(value["major"]), int(str(value["minor"]).rstrip("+"))
    except (KeyError, ValueError):
        return (0, 0)


async def _missing_rights(client: Client) -> list[str]:
    roles = [manifest.name for manifest in load_manifests() if is_role(manifest.obj)]
    there = await asyncio.gather(*(counts(client, role) for role in roles))
    return [role.removeprefix(PREFIX).partition(":")[0] for role, count in zip(roles, there, strict=True) if not count]


async def _clock(name: str, client: Client) -> Finding | None:
    connection = client.connection
    tls = connection.ssl_context()
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT)) as session,
            session.get(f"{connection.server}/version", ssl=tls if tls is not None else False) as response,
        ):
            told = response.headers.get("Date", "")
    except (aiohttp.ClientError, TimeoutError, OSError):
        return None
    if not told:
        return None
    apart = email.utils.parsedate_to_datetime(told).timestamp() - time.time()
    if abs(apart) <= SKEW:
        return None
    way = "ahead" if apart > 0 else "behind"
    return Finding(name, WARNING, f"its clock is {abs(apart):.0f} s {way}", "let both follow the same NTP servers")


async def proxy(kcp: Installation) -> list[Finding]:
    """The address that clients use, as they use it."""
    url = f"{kcp.settings.external_url}/readyz?verbose"
    authority = kcp.root / "pki" / "serving-ca.crt"
    own = Path(kcp.settings.cert_file).is_relative_to(kcp.root.absolute())
    context = ssl.create_default_context(cafile=str(authority) if own and authority.exists() else None)
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT)) as session,
            session.get(url, ssl=context) as response,
        ):
            text = await response.text()
    except aiohttp.ClientConnectorCertificateError as error:
        advice = "clients need its authority; --external-hostname must be in it"
        return [Finding("proxy", FAILURE, f"its certificate is not trusted: {error.certificate_error}", advice)]
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        advice = f"is kcp running? {kcp.root / 'log'} says why it ended"
        return [Finding("proxy", FAILURE, f"{kcp.settings.external_url} does not answer: {error}", advice)]
    away = [line[3:] for line in text.splitlines() if line.startswith("[-]")]
    if response.status != 200:
        return [Finding("proxy", FAILURE, "; ".join(away) or text.strip(), f"{kcp.root / 'log'}/worker-*.log say why")]
    if away:
        return [Finding("proxy", WARNING, "; ".join(away), "see the shard above")]
    return [Finding("proxy", OK, f"{kcp.settings.external_url} is ready")]


async def _metrics(kcp: Installation) -> Finding:
    try:
        url = kcp.metrics_url()
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=TIMEOUT)) as session,
            session.get(f"{url}/livez") as response,
        ):
            response.raise_for_status()
    except NotThere as error:
        return Finding("metrics", WARNING, str(error), "nobody sees what happens without")
    except (aiohttp.ClientError, TimeoutError, OSError) as error:
        return Finding("metrics", WARNING, f"{url} does not answer: {error}", "is kcp running?")
    return Finding("metrics", OK, f"{url}/metrics")


async def clusters(kcp: Installation) -> list[Finding]:
    known, _ = await kcp.clusters()
    found = []
    for cluster in known:
        if cluster.state != "ready":
            ago = (
                "it was never heard of" if cluster.heartbeat is None else f"last heard of {cluster.heartbeat:.0f} s ago"
            )
            found.append(
                Finding(f"cluster {cluster.name} of {cluster.workspace}", WARNING, f"not Ready, {ago}",
                        "look at its syncer's pod and log; can it reach the proxy's address?")
            )  # fmt: skip
    if known and not found:
        found.append(Finding("clusters", OK, f"{len(known)} are Ready"))
    return found
