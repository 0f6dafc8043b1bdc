"""The user's kubeconfig: one or several files, read as kubectl does, contexts switched, written back safely.

Precedence and merging: https://kubernetes.io/docs/concepts/configuration/organize-cluster-access-kubeconfig/.
"""

from __future__ import annotations

import copy
import os
from pathlib import Path
from typing import Any

import yaml

Stanza = dict[str, Any]
KINDS = {"clusters": "cluster", "users": "user", "contexts": "context"}
CURRENT = "workspace.kcp.dev/current"
PREVIOUS = "workspace.kcp.dev/previous"


class KubeconfigError(Exception):
    """One line that says what is wrong with the kubeconfig."""


class Kubeconfig:
    """The merged view; ``set_*`` changes it, `save` writes what was changed to the file that it belongs to."""

    def __init__(self, paths: list[Path], files: list[dict[str, Any]]) -> None:
        """``files``: what is in each of ``paths``."""
        self.paths = paths
        self.files = files
        self._changed: set[int] = set()

    @classmethod
    def load(cls, explicit: str | None = None) -> Kubeconfig:
        """``explicit`` (``--kubeconfig``), else ``KUBECONFIG``, else ``~/.kube/config``. Raises KubeconfigError."""
        listed = os.environ.get("KUBECONFIG", "")
        if explicit:
            paths = [Path(explicit)]
        elif listed:
            paths = [Path(part) for part in dict.fromkeys(listed.split(os.pathsep)) if part]
        else:
            paths = [Path.home() / ".kube" / "config"]
        return cls(paths, [_read(path, missing_is_error=bool(explicit)) for path in paths])

    @property
    def current_context(self) -> str | None:
        for content in self.files:
            if content.get("current-context"):
                return str(content["current-context"])
        return None

    def get(self, kind: str, name: str | None) -> Stanza | None:
        """A copy of the cluster, user or context of that name; file paths in it made absolute."""
        for path, content in zip(self.paths, self.files, strict=True):
            for entry in content.get(kind) or ():
                if isinstance(entry, dict) and entry.get("name") == name:
                    stanza: Stanza = copy.deepcopy(entry.get(KINDS[kind]) or {})
                    for key in ("certificate-authority", "client-certificate", "client-key", "tokenFile"):
                        if stanza.get(key):
                            stanza[key] = str(path.parent.resolve() / stanza[key])
                    return stanza
        return None

    def set(self, kind: str, name: str, stanza: Stanza) -> None:
        """Add or replace, in the file where it is, else in the one that new things go to."""
        for index, content in enumerate(self.files):
            for entry in content.get(kind) or ():
                if isinstance(entry, dict) and entry.get("name") == name:
                    entry[KINDS[kind]] = stanza
                    self._changed.add(index)
                    return
        index = self._default()
        content = self.files[index]
        content[kind] = [*(content.get(kind) or ()), {"name": name, KINDS[kind]: stanza}]
        self._changed.add(index)

    def set_current(self, name: str) -> None:
        for index, content in enumerate(self.files):
            if content.get("current-context"):
                content["current-context"] = name
                self._changed.add(index)
                return
        index = self._default()
        self.files[index]["current-context"] = name
        self._changed.add(index)

    def save(self) -> None:
        """Write the changed files, each atomically and for the owner alone. Raises KubeconfigError."""
        for index in sorted(self._changed):
            _write(self.paths[index], self.files[index])
        self._changed.clear()

    def _default(self) -> int:
        return next((index for index, path in enumerate(self.paths) if path.exists()), len(self.paths) - 1)


def _read(path: Path, *, missing_is_error: bool) -> dict[str, Any]:
    empty: dict[str, Any] = {"apiVersion": "v1", "kind": "Config"}
    try:
        text = path.read_text()
    except FileNotFoundError:
        if missing_is_error:
            raise KubeconfigError(f"{path}: no such file") from None
        return empty
    except OSError as error:
        raise KubeconfigError(f"{path}: {error.strerror}") from error
    try:
        content = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506
    except yaml.YAMLError as error:
        raise KubeconfigError(f"{path}: not valid YAML: {str(error).splitlines()[0]}") from error
    if content is None:
        return empty
    if not isinstance(content, dict):
        raise KubeconfigError(f"{path}: not a kubeconfig")
    return content


def _write(path: Path, content: dict[str, Any]) -> None:
    try:
        target = path.resolve()  # a link stays a link
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        temporary = target.with_name(f".{target.name}-{os.urandom(8).hex()}")
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            with os.fdopen(descriptor, "w") as file:
                yaml.dump(content, file, Dumper=getattr(yaml, "CSafeDumper", yaml.SafeDumper), sort_keys=False)
            temporary.replace(target)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise
    except OSError as error:
        raise KubeconfigError(f"{path}: cannot be written: {error.strerror}") from error
