"""The folder of `kcp start` (``.kcp``): its lock, the administrator's token and kubeconfig, the serving certificate."""

from __future__ import annotations

import asyncio
import base64
import csv
import fcntl
import io
import logging
import os
import re
import secrets
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from proxy.kube.config import write_kubeconfig
from proxy.shard.addresses import default_address, interface_addresses, is_any, url_host
from proxy.shard.pki import Authority, KeyPair, PkiError, private_folder, write_private

log = logging.getLogger(__name__)

CERTIFICATES_EVERY = 60.0
"""Seconds between looks at certificates that end some day, and may have been made by a clock that was ahead: then they
begin later, and no client takes them."""

ADMIN = "admin"
"""User of the kubeconfig that is written at start; group system:masters."""
ROOT, DEFAULT, SYSTEM_ADMIN = "root", "default", "system:admin"
"""Contexts of that kubeconfig."""


class HomeError(Exception):
    """The folder cannot be used; one line."""


class Home:
    """A root directory, owned by one kcp at a time."""

    def __init__(self, folder: Path) -> None:
        """Makes ``folder`` (0700) and takes its lock. Raises HomeError."""
        self.folder = folder.absolute()
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            if self.folder.stat().st_mode & stat.S_IWOTH:
                raise HomeError(f"{folder} is writable by everybody: not a place for keys")
            self._lock = self._take_lock()
        except OSError as error:
            raise HomeError(f"{folder}: {error.strerror}") from error

    def _take_lock(self) -> int:
        path = self.folder / "lock"
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            owner = os.read(descriptor, 32).decode("ascii", "replace").strip()
            os.close(descriptor)
            by = f" (process {owner})" if owner else ""
            raise HomeError(f"{self.folder} is in use by another kcp{by}") from None
        os.truncate(descriptor, 0)
        os.write(descriptor, f"{os.getpid()}\n".encode())
        return descriptor

    def close(self) -> None:
        """Give the folder up."""
        os.close(self._lock)

    @property
    def tokens_file(self) -> Path:
        """kcp's own tokens, in the format of ``--token-auth-file``."""
        return self.folder / "tokens.csv"

    @property
    def log_folder(self) -> Path:
        return private_folder(self.folder / "log")

    @property
    def shards_folder(self) -> Path:
        """Kubeconfigs of further shards, ``NAME.kubeconfig``."""
        return private_folder(self.folder / "shards")

    @property
    def run_folder(self) -> Path:
        """Sockets of processes that run."""
        return private_folder(self.folder / "run")

    def admin_token(self) -> str:
        """The administrator's token, made at the first start. Raises HomeError."""
        try:
            for row in csv.reader(io.StringIO(self.tokens_file.read_text())):
                if len(row) > 1 and row[1] == ADMIN:
                    return row[0]
        except FileNotFoundError:
            pass
        except (OSError, csv.Error, UnicodeDecodeError) as error:
            raise HomeError(f"{self.tokens_file}: {error}") from error
        token = secrets.token_urlsafe(32)
        kept = self.tokens_file.read_bytes() if self.tokens_file.exists() else b""
        write_private(self.tokens_file, kept + f'{token},{ADMIN},{ADMIN},"system:masters"\n'.encode())
        return token

    def serving_authority(self) -> Authority:
        """``pki/serving-ca.crt``: what clients and workspaces trust."""
        return Authority(private_folder(self.folder / "pki"), "serving")

    def serving_certificate(self, hosts: Iterable[str]) -> KeyPair:
        """The proxy's certificate, issued anew when ``hosts`` changes."""
        return self.serving_authority().server("serving", hosts)

    async def keep_serving_certificate(self, hosts: Iterable[str], *, every: float = CERTIFICATES_EVERY) -> None:
        """Issue it anew in its last year, or where it begins later, for as long as kcp runs; workers read it again.
        Until cancelled."""
        hosts = frozenset(hosts)
        while True:
            await asyncio.sleep(every)
            try:
                await asyncio.to_thread(self.serving_certificate, hosts)
            except (OSError, PkiError) as error:
                log.warning("the serving certificate is not looked after: %s", error)


def serving_hosts(bind_address: str, external_hostname: str | None) -> set[str]:
    """Names and addresses under which clients may reach the proxy."""
    hosts = {"localhost", "127.0.0.1", "::1", *interface_addresses()}
    if not is_any(bind_address):
        hosts.add(bind_address)
    if external_hostname:
        hosts.add(external_hostname)
    return hosts


def split_address(value: str) -> tuple[str, int | None]:
    """Host and port of ``HOST``, ``HOST:PORT``, ``::1``, ``[::1]:PORT``. Raises ValueError for anything else."""
    found = re.fullmatch(r"(?:\[([0-9A-Fa-f:.]+)\]|([A-Za-z0-9.-]{1,253}))(?::(\d{1,5}))?", value)
    if found is None:
        if re.fullmatch(r"[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*:[0-9A-Fa-f:.]*", value):
            return value, None
        raise ValueError(value)
    port = int(found[3]) if found[3] else None
    if port is not None and not 0 < port < 65536:
        raise ValueError(value)
    return found[1] or found[2], port


def external_host(bind_address: str, external_hostname: str | None) -> str:
    """The host in URLs that clients get."""
    if external_hostname:
        return external_hostname
    if not is_any(bind_address):
        return bind_address
    return default_address() or "127.0.0.1"


def base_url(host: str, port: int) -> str:
    """``https://HOST:PORT``."""
    return f"https://{url_host(host)}:{port}"


def write_admin_kubeconfig(path: Path, *, url: str, ca: bytes, token: str) -> None:
    """Contexts root, default and system:admin for user admin; mode 0600.

    A file of an earlier start is brought up to date: what `kubectl ws` and people added stays, with the address and
    authority that are true now. Raises OSError.
    """
    config = _existing(path)
    old = next((_server(entry) for entry in config["clusters"] if entry["name"] == SYSTEM_ADMIN), None)
    authority = base64.b64encode(ca).decode()
    for entry in config["clusters"]:
        server = _server(entry)
        if old and (server == old or server.startswith(f"{old}/")):
            cluster: dict[str, Any] = entry["cluster"]
            cluster["server"] = url + server[len(old) :]
            cluster["certificate-authority-data"] = authority
    for name, server in (
        (ROOT, f"{url}/clusters/root"),
        (DEFAULT, f"{url}/clusters/root:default"),
        (SYSTEM_ADMIN, url),
    ):
        _put(config["clusters"], name, {"cluster": {"server": server, "certificate-authority-data": authority}})
        _put(config["contexts"], name, {"context": {"cluster": name, "user": ADMIN}})
    _put(config["users"], ADMIN, {"user": {"token": token}})
    if not any(entry["name"] == config.get("current-context") for entry in config["contexts"]):
        config["current-context"] = DEFAULT
    write_kubeconfig(path, config)


def _existing(path: Path) -> dict[str, Any]:
    """What the file holds, or an empty kubeconfig where it is none: it is ours to make anew."""
    empty: dict[str, Any] = {"apiVersion": "v1", "kind": "Config", "clusters": [], "contexts": [], "users": []}
    try:
        config = yaml.safe_load(path.read_text())
    except (OSError, ValueError, yaml.YAMLError):
        return empty
    if not isinstance(config, dict):
        return empty
    for kind in ("clusters", "contexts", "users"):
        entries = config.get(kind) or []
        if not isinstance(entries, list) or not all(isinstance(entry, dict) and "name" in entry for entry in entries):
            return empty
        config[kind] = entries
    return empty | config


def _server(entry: dict[str, Any]) -> str:
    cluster = entry.get("cluster")
    return str(cluster.get("server") or "") if isinstance(cluster, dict) else ""


def _put(entries: list[dict[str, Any]], name: str, value: dict[str, Any]) -> None:
    for entry in entries:
        if entry["name"] == name:
            entry.update(value)
            return
    entries.append({"name": name, **value})
