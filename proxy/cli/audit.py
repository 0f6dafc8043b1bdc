"""The ``--audit-*`` flags of `kcp start`, as kube-apiserver has them."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from proxy.audit.policy import PolicyError, load
from proxy.audit.settings import AuditSettings, Rotation
from proxy.kube.config import ConfigError, load_kubeconfig

_FILE = click.Path(exists=True, dir_okay=False, resolve_path=True)
_BOUND = click.IntRange(min=0)
_OPTIONS = [
    click.option(
        "--audit-policy-file",
        type=_FILE,
        help="Which requests are recorded: a Policy of audit.k8s.io/v1 (default: the metadata of all).",
    ),
    click.option(
        "--audit-log-path",
        type=click.Path(dir_okay=False, resolve_path=True),
        help="Log file to write, a line of JSON for each event.",
    ),
    click.option("--audit-log-maxsize", type=_BOUND, default=100, show_default=True, help="Megabytes of that file."),
    click.option("--audit-log-maxbackup", type=_BOUND, default=0, help="Full files that are kept (0: all)."),
    click.option("--audit-log-maxage", type=_BOUND, default=0, help="Days that they are kept (0: for ever)."),
    click.option("--audit-log-compress", is_flag=True, help="Compress full files."),
    click.option("--audit-webhook-config-file", type=_FILE, help="Kubeconfig of a server that gets the events."),
]


def audit_flags(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds the flags; the command gets them as ``audit``, an AuditSettings or None."""

    @functools.wraps(command)
    def wrapped(**values: Any) -> Any:
        given = {name.removeprefix("audit_"): values.pop(name) for name in list(values) if name.startswith("audit_")}
        return command(**values, audit=_settings(given))

    for option in reversed(_OPTIONS):
        wrapped = option(wrapped)
    return wrapped


def _settings(given: dict[str, Any]) -> AuditSettings | None:
    """Raises click.ClickException for what cannot work."""
    log_path, webhook = given["log_path"], given["webhook_config_file"]
    if not log_path and not webhook:
        if given["policy_file"]:
            raise click.ClickException("--audit-policy-file needs --audit-log-path or --audit-webhook-config-file")
        return None
    try:
        if given["policy_file"]:
            load(given["policy_file"])
        if webhook:
            load_kubeconfig(webhook)
    except (PolicyError, ConfigError) as error:
        raise click.ClickException(str(error)) from error
    if log_path:
        _check_log(Path(log_path))
    return AuditSettings(
        policy_file=given["policy_file"],
        log_path=log_path,
        rotation=Rotation(
            max_size=given["log_maxsize"],
            max_backups=given["log_maxbackup"],
            max_age=given["log_maxage"],
            compress=given["log_compress"],
        ),
        webhook_kubeconfig=webhook,
    )


def _check_log(path: Path) -> None:
    """Now rather than with the first event. The file is the owner's alone."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600))
    except OSError as error:
        raise click.ClickException(f"--audit-log-path {path}: {error.strerror}") from error
    if not path.is_file():
        raise click.ClickException(f"--audit-log-path {path}: a file is wanted")
