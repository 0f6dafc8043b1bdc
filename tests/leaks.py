"""Looks through everything that was logged for everything that is secret: the last thing that a run of tests does."""

from __future__ import annotations

import base64
import csv
import io
import os
import re
from collections.abc import Iterator
from pathlib import Path

import yaml

SHORTEST = 8
"""Characters of a secret that is looked for: shorter ones would be found everywhere."""
CONTAINERS = "var_lib"
"""Of a node's folder, the part in which images are unpacked."""
_JWT = re.compile(rb"eyJ[\w-]{10,}\.eyJ[\w-]{10,}\.[\w-]{20,}")
_KEY = re.compile(r"-----BEGIN [A-Z ]*PRIVATE KEY-----\s(.*?)-----END", re.DOTALL)


def is_log(file: Path) -> bool:
    return ".log" in file.name or file.parent.name == "log"


def has_secrets(file: Path) -> bool:
    return file.name.endswith((".key", ".csv")) or "kubeconfig" in file.name or file.name == "token"


def secrets_of(folder: Path) -> dict[bytes, str]:
    """Tokens and keys in the files below ``folder``, and where each was found first."""
    found: dict[bytes, str] = {}
    for file in sorted(path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()):
        if has_secrets(file):
            text = file.read_text(errors="replace")
            for secret in _secrets(file.name, text):
                if len(secret) >= SHORTEST:
                    found.setdefault(secret.encode(), str(file))
    return found


def _secrets(name: str, text: str) -> Iterator[str]:
    if name == "token":
        yield text.strip()
    elif name.endswith(".csv"):
        yield from (row[0] for row in csv.reader(io.StringIO(text)) if row)
    elif name.endswith(".key"):
        yield from _lines_of_key(text)
    else:
        config = yaml.safe_load(text)
        for entry in (config.get("users") or ()) if isinstance(config, dict) else ():
            user = entry.get("user") or {}
            if user.get("token"):
                yield user["token"]
            if user.get("client-key-data"):
                yield user["client-key-data"]
                yield from _lines_of_key(base64.b64decode(user["client-key-data"]).decode())


def _lines_of_key(pem: str) -> Iterator[str]:
    """What is in it however it is broken into lines; its first ones are the same for many keys."""
    for body in _KEY.findall(pem):
        lines = body.split()
        yield lines[len(lines) // 2]


def leaks(folder: Path) -> list[str]:
    """A line for each log below ``folder`` with a secret, or any JWT, in it; the secret itself is not in the line."""
    known = secrets_of(folder)
    found = []
    for file in sorted(path for path in folder.rglob("*") if path.is_file() and is_log(path)):
        data = file.read_bytes()
        found += [f"{file} has a secret of {where}" for secret, where in known.items() if secret in data]
        if _JWT.search(data):
            found.append(f"{file} has a JSON Web Token")
    return found


def keep(folder: Path, kept: Path) -> None:
    """Link what is logged and what is secret below ``folder`` into ``kept``, but of what containers consist: once more
    or as often as one likes, so that nothing is missed because it was removed in the end, as pods' logs are."""
    for place, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if name not in (CONTAINERS, kept.name)]
        for file in (Path(place, name) for name in names):
            if is_log(file) or has_secrets(file):
                try:
                    end = ".log" if is_log(file) and ".log" not in file.name else ""
                    link = kept / f"{file.stat().st_ino}-{file.name}{end}"
                    if not link.exists():
                        os.link(file, link)
                except FileNotFoundError:
                    continue  # gone meanwhile
