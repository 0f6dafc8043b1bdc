"""`kcp start`: options, progress, signals."""

from __future__ import annotations

import asyncio
import logging
import logging.handlers
import os
import signal
import ssl
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import uvloop

from proxy.audit.settings import AuditSettings
from proxy.auth.authentication_file import AuthenticationFileError, read_authentication
from proxy.auth.oidc import OidcSettings
from proxy.auth.tokenfile import parse as parse_tokens
from proxy.binaries import BinaryError
from proxy.cli.admission import AdmissionSettings, admission_flags
from proxy.cli.audit import audit_flags
from proxy.cli.configuration import config_flag
from proxy.cli.external import KnownShards, ShardError, external_shard
from proxy.cli.home import HomeError, split_address
from proxy.cli.limits import limit_flags
from proxy.cli.oidc import oidc_flags
from proxy.cli.standalone import EMBEDDED, MetricsAddress, Standalone, StartError, StartSettings
from proxy.kube.config import ConfigError, load_kubeconfig
from proxy.kube.errors import StatusError
from proxy.limits.values import LimitSettings
from proxy.logs import FORMATS, REQUESTS_FROM, formatter
from proxy.server.tracing import TracingError, check_installed, read_settings
from proxy.shard.bootstrap import BootstrapError
from proxy.shard.commands import ETCD_QUOTA, EtcdAccess
from proxy.shard.manifests import ManifestError
from proxy.shard.pki import PkiError, private_folder
from proxy.shard.supervisor import ProcessError

METRICS_HOST, METRICS_PORT = "127.0.0.1", 9464

FAILURES = (
    StartError,
    HomeError,
    ShardError,
    ProcessError,
    BinaryError,
    PkiError,
    BootstrapError,
    ConfigError,
    ManifestError,
    StatusError,
    TracingError,
    OSError,
)
"""What a person can do something about: one line, exit code 1."""

EXISTING = click.Path(exists=True, dir_okay=False, path_type=Path, resolve_path=True)


@click.command(
    epilog="""\b
Examples:
  kcp start
  kcp start --bind-address 127.0.0.1 --secure-port 7443 --root-directory /var/lib/kcp
  kcp start --external-hostname kcp.example.com --tls-cert-file tls.crt --tls-private-key-file tls.key
  kcp start --token-auth-file tokens.csv        lines of: token,user,uid,"group1,group2"
  kcp start --shard eu=eu.kubeconfig            a second shard beside the embedded one
  kcp start --config kcp.yaml                   flags from a file"""
)
@config_flag
@click.option("--bind-address", default="0.0.0.0", show_default=True, help="Address to listen at.")  # noqa: S104
@click.option(
    "--secure-port", type=click.IntRange(1, 65535), default=6443, show_default=True, help="Port to listen at."
)
@click.option(
    "--external-hostname",
    metavar="HOST[:PORT]",
    help="What is in the URLs that clients get (default: the address and port listened at).",
)
@click.option(
    "--root-directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=".kcp",
    show_default=True,
    help="Where all data is.",
)
@click.option(
    "--kubeconfig-path",
    type=click.Path(dir_okay=False, path_type=Path),
    help="The administrator's kubeconfig to write (default: admin.kubeconfig in the root directory).",
)
@click.option("--workers", type=click.IntRange(1, 256), help="Proxy processes (default: one for each core).")
@click.option("--etcd-servers", help="URLs of an etcd that runs already, instead of an embedded one.")
@click.option("--etcd-cafile", type=EXISTING, help="CA of that etcd.")
@click.option("--etcd-certfile", type=EXISTING, help="Client certificate for that etcd.")
@click.option("--etcd-keyfile", type=EXISTING, help="Key of the client certificate.")
@click.option("--etcd-prefix", help="Where in that etcd the data is.")
@click.option(
    "--etcd-quota-backend-bytes",
    "etcd_quota",
    type=click.IntRange(min=2**24),
    default=ETCD_QUOTA,
    show_default=True,
    help="What the embedded etcd may take; at it, no more writes are taken.",
)
@click.option("--token-auth-file", type=EXISTING, help='CSV file of users: token,user,uid,"group1,group2".')
@click.option("--client-ca-file", type=EXISTING, help="CAs whose client certificates are accepted.")
@oidc_flags
@click.option(
    "--authentication-config",
    type=EXISTING,
    help="Kubernetes' AuthenticationConfiguration, instead of --oidc-…: issuers, claims, anonymous requests. "
    "Read again when it changes.",
)
@click.option(
    "--authentication-token-webhook-config-file",
    "token_webhook",
    type=EXISTING,
    help="Kubeconfig of a server (its URL complete with the path) that gets a TokenReview of each unknown token.",
)
@admission_flags
@audit_flags
@click.option("--tls-cert-file", type=EXISTING, help="Serving certificate with its chain (default: an own one).")
@click.option("--tls-private-key-file", type=EXISTING, help="Key of the serving certificate.")
@click.option(
    "--auto-publish-apis/--no-auto-publish-apis",
    default=True,
    show_default=True,
    help="Show APIs imported from physical clusters in their workspace at once.",
)
@click.option(
    "--shard",
    "shards",
    multiple=True,
    metavar="NAME=KUBECONFIG",
    help="A kube-apiserver that runs already, to be used as a shard, with credentials of group system:masters. A token "
    "costs it less than a client certificate. Repeatable.",
)
@click.option(
    "--shards-directory",
    "shards_folder",
    type=click.Path(exists=True, file_okay=False, path_type=Path, resolve_path=True),
    help="Folder whose files NAME.kubeconfig are shards, as with --shard; files that come and go are followed.",
)
@click.option("--embedded/--no-embedded", default=True, show_default=True, help="Run a shard of one's own.")
@limit_flags
@click.option(
    "--metrics-bind-address",
    metavar="HOST:PORT",
    help=f"Where /metrics, /livez and /readyz of all parts are served, by plain HTTP; off for nowhere "
    f"(default: {METRICS_HOST}:{METRICS_PORT} if that is free).",
)
@click.option(
    "--metrics-busiest-workspaces",
    type=click.IntRange(0, 1000),
    default=20,
    show_default=True,
    help="How many workspaces metrics may name, those with the most requests.",
)
@click.option(
    "--metrics-token-file",
    type=EXISTING,
    help="File with the bearer token that /metrics and the details of /readyz are for (default: for everybody).",
)
@click.option(
    "-v", "--verbosity", type=click.IntRange(0, 10), default=0, show_default=True,
    help="0: warnings; 2: what happens; 3: each request; 5: everything. Logs are in log/.",
)  # fmt: skip
@click.option(
    "--log-format", type=click.Choice(FORMATS), default=FORMATS[0], show_default=True, help="Form of kcp's own logs."
)
@click.option(
    "--tracing-config-file",
    type=EXISTING,
    help="Kubernetes' TracingConfiguration: spans of the proxy and of its own shard go to that OTLP endpoint (gRPC).",
)
@click.option(
    "--log-to-stderr", is_flag=True, help="The proxy's logs go to stderr, as containers want it, not to log/."
)
@click.option("--log-requests", is_flag=True, help="A line for each request in log/worker-*.log, as with -v 3.")
def start(
    bind_address: str,
    secure_port: int,
    external_hostname: str | None,
    root_directory: Path,
    kubeconfig_path: Path | None,
    workers: int | None,
    etcd_servers: str | None,
    etcd_cafile: Path | None,
    etcd_certfile: Path | None,
    etcd_keyfile: Path | None,
    etcd_prefix: str | None,
    etcd_quota: int,
    token_auth_file: Path | None,
    client_ca_file: Path | None,
    tls_cert_file: Path | None,
    tls_private_key_file: Path | None,
    auto_publish_apis: bool,
    shards: tuple[str, ...],
    shards_folder: Path | None,
    embedded: bool,
    metrics_bind_address: str | None,
    metrics_busiest_workspaces: int,
    metrics_token_file: Path | None,
    verbosity: int,
    log_format: str,
    log_to_stderr: bool,
    log_requests: bool,
    tracing_config_file: Path | None,
    authentication_config: Path | None,
    token_webhook: Path | None,
    oidc: OidcSettings | None,
    admission: AdmissionSettings,
    audit: AuditSettings | None,
    shares: LimitSettings,
) -> None:
    """Run kcp until Ctrl+C: the shard (etcd, kube-apiserver, controllers) and the proxy in front of it.

    Ready in a few seconds; everything is kept in the root directory and found again by the next start.
    """
    began = time.monotonic()
    os.umask(0o077)
    if bool(tls_cert_file) != bool(tls_private_key_file):
        raise click.ClickException("--tls-cert-file and --tls-private-key-file belong together")
    try:
        host, port = split_address(external_hostname) if external_hostname else (None, None)
    except ValueError as error:
        raise click.ClickException(f"--external-hostname {external_hostname}: wanted HOST or HOST:PORT") from error
    if not embedded and not shards and shards_folder is None:
        raise click.ClickException("--no-embedded needs a --shard")
    if not etcd_servers and any((etcd_cafile, etcd_certfile, etcd_keyfile, etcd_prefix)):
        raise click.ClickException("the other --etcd-… options need --etcd-servers")
    if not embedded and etcd_servers:
        raise click.ClickException("--etcd-servers is for the embedded shard")
    try:
        settings = StartSettings(
            root_directory=root_directory,
            kubeconfig_path=(kubeconfig_path or root_directory / "admin.kubeconfig").absolute(),
            bind_address=bind_address.strip("[]"),
            port=secure_port,
            external_hostname=host,
            external_port=port or secure_port,
            workers=workers or len(os.sched_getaffinity(0)),
            embedded=embedded,
            etcd=EtcdAccess(
                servers=etcd_servers,
                ca_file=etcd_cafile,
                cert_file=etcd_certfile,
                key_file=etcd_keyfile,
                prefix=etcd_prefix,
            )
            if etcd_servers
            else None,
            etcd_quota=etcd_quota,
            shards=tuple(map(external_shard, shards)),
            shards_folder=shards_folder,
            token_auth_file=token_auth_file,
            client_ca_file=client_ca_file,
            oidc=oidc,
            authentication_file=authentication_config,
            token_webhook=token_webhook,
            admission_url=admission.url,
            admission_ca_file=admission.ca_file,
            webhook_networks=admission.networks,
            conversion_webhooks=admission.conversions,
            audit=audit,
            shares=shares,
            tls_cert_file=tls_cert_file,
            tls_key_file=tls_private_key_file,
            auto_publish_apis=auto_publish_apis,
            metrics=metrics_address(metrics_bind_address, metrics_busiest_workspaces, metrics_token_file),
            verbosity=verbosity,
            log_format=log_format,
            log_to_stderr=log_to_stderr,
            tracing_file=tracing_config_file,
            log_requests=log_requests or verbosity >= REQUESTS_FROM,
        )
        check_files(settings)
        root_directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        set_up_logging(None if log_to_stderr else root_directory / "log", verbosity, log_format)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(run(settings, began))
    except FAILURES as error:
        message = getattr(error, "message", None) or str(error)
        raise click.ClickException(" ".join(str(message).split())) from error


def metrics_address(option: str | None, busiest: int, token_file: Path | None) -> MetricsAddress | None:
    """Raises StartError."""
    if option is None:
        return MetricsAddress(METRICS_HOST, METRICS_PORT, False, busiest, token_file)
    if option == "off":
        return None
    host, _, port = option.rpartition(":")
    if not port.isdecimal() or int(port) > 65535:
        raise StartError(f"--metrics-bind-address {option}: wanted HOST:PORT, or off")
    if token_file is not None and not token_file.read_text().strip():
        raise StartError(f"--metrics-token-file: {token_file} is empty")
    return MetricsAddress(host.strip("[]") or "0.0.0.0", int(port), True, busiest, token_file)  # noqa: S104


def check_files(settings: StartSettings) -> None:
    """Look into files before anything is started. Raises StartError naming file and fault."""
    folder = settings.shards_folder
    if folder is not None and not KnownShards((), [folder]).version():
        raise StartError(f"--shards-directory: {folder} holds no file NAME.kubeconfig")
    KnownShards(settings.shards, [folder] if folder else [], [EMBEDDED] if settings.embedded else []).read()
    if settings.authentication_file:
        if settings.oidc:
            raise StartError("--authentication-config and --oidc-… exclude each other")
        try:
            read_authentication(settings.authentication_file)
        except AuthenticationFileError as error:
            raise StartError(f"--authentication-config: {error}") from error
    if settings.token_webhook:
        load_kubeconfig(settings.token_webhook)
    if settings.tracing_file:
        read_settings(settings.tracing_file)
        check_installed()
    if settings.token_auth_file:
        try:
            parse_tokens(settings.token_auth_file.read_text(), str(settings.token_auth_file))
        except ValueError as error:
            raise StartError(f"--token-auth-file: {error}") from error
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    if settings.client_ca_file:
        try:
            context.load_verify_locations(settings.client_ca_file)
        except ssl.SSLError as error:
            raise StartError(f"--client-ca-file: {settings.client_ca_file} holds no certificates") from error
    if settings.tls_cert_file and settings.tls_key_file:
        try:
            context.load_cert_chain(settings.tls_cert_file, settings.tls_key_file)
        except ssl.SSLError as error:
            raise StartError(
                f"--tls-cert-file {settings.tls_cert_file} and --tls-private-key-file {settings.tls_key_file} are no "
                "certificate and its key"
            ) from error


def set_up_logging(folder: Path | None, verbosity: int, form: str) -> None:
    """Everything goes to ``kcp.log`` in ``folder``, errors (with -v more) to stderr as well; without a folder, all to
    stderr."""
    level = logging.DEBUG if verbosity > 4 else logging.INFO
    handlers: list[logging.Handler] = [logging.StreamHandler()]
    if folder is not None:
        handlers[0].setLevel(logging.DEBUG if verbosity > 4 else logging.INFO if verbosity > 1 else logging.ERROR)
        private_folder(folder)
        handlers.append(logging.handlers.RotatingFileHandler(folder / "kcp.log", maxBytes=16 * 2**20, backupCount=1))
    for handler in handlers:
        handler.setFormatter(formatter(form))
    logging.basicConfig(level=level, handlers=handlers, force=True)


class Display:
    """Progress on stderr: a spinner on a terminal, elsewhere a line for each step."""

    def __init__(self) -> None:
        self._status: object | None = None

    @contextmanager
    def starting(self) -> Iterator[None]:
        if not sys.stderr.isatty():
            yield
            return
        from rich.console import Console

        with Console(stderr=True).status("starting") as status:
            self._status = status
            try:
                yield
            finally:
                self._status = None

    def progress(self, message: str) -> None:
        if self._status is not None:
            self._status.update(message)  # type: ignore[attr-defined]
        elif not sys.stderr.isatty():
            click.echo(message, err=True)

    def notice(self, message: str) -> None:
        click.echo(message, err=True)


async def run(settings: StartSettings, began: float) -> None:
    """Start, wait for a signal, stop."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()

    def on_signal() -> None:
        if stop.is_set():  # a second Ctrl+C: the children end with us
            os._exit(1)
        stop.set()

    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:  # ignored under nohup
            loop.add_signal_handler(number, on_signal)
    display = Display()
    kcp = Standalone(settings, progress=display.progress, notice=display.notice)
    stopping = asyncio.create_task(stop.wait())
    try:
        with display.starting():
            starting = asyncio.create_task(kcp.start())
            await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
            if not starting.done():
                starting.cancel()
                await asyncio.wait((starting,))
                return
            starting.result()
        click.echo(welcome(settings, kcp.url, time.monotonic() - began))
        sys.stdout.flush()
        await stopping
        display.notice("stopping")
    finally:
        stopping.cancel()
        await kcp.stop()


def welcome(settings: StartSettings, url: str, seconds: float) -> str:
    """What to do next."""
    return f"""kcp is ready at {url} ({seconds:.1f} s)

  export KUBECONFIG={settings.kubeconfig_path}
  kubectl ws                                  the current workspace
  kubectl ws create team-a --enter            a new one
  kubectl api-resources

Ctrl+C ends kcp; everything is kept in {settings.root_directory}"""
