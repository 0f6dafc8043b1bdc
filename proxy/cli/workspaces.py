"""`kcp workspace export` and `import`: what is in a workspace, as plain YAML."""

from __future__ import annotations

import functools
import os
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple, TextIO
from urllib.parse import quote

import click
import yaml

from proxy.cli.administered import Command, administered
from proxy.cli.home import SYSTEM_ADMIN
from proxy.cli.portable import CRDS, Object, is_left_out, order, portable
from proxy.cli.rest import RestClient, segment
from proxy.kube.errors import StatusError

AGGREGATED = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
PAGE = 500
NEEDED = frozenset({"list", "create"})
ESTABLISHED_WITHIN = 30.0
"""Seconds for a type to be served once its CRD is there."""
MERGE = "application/merge-patch+json"
_Loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_Dumper: Any = getattr(yaml, "CSafeDumper", yaml.SafeDumper)


class Type(NamedTuple):
    """As a workspace serves it, in the version that it prefers."""

    group: str
    version: str
    resource: str
    kind: str
    namespaced: bool

    @property
    def api_version(self) -> str:
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(self, namespace: str | None = None, name: str | None = None) -> str:
        base = f"/apis/{self.group}/{self.version}" if self.group else f"/api/{self.version}"
        within = f"/namespaces/{segment(namespace)}" if namespace and self.namespaced else ""
        return f"{base}{within}/{self.resource}" + (f"/{segment(name)}" if name else "")


def types(client: RestClient) -> list[Type]:
    """All that can be exported, in the order in which it can be imported."""
    found = []
    for path in ("/api", "/apis"):
        for group in client.request("GET", path, accept=AGGREGATED).get("items") or ():
            name = group["metadata"].get("name", "")
            seen = set()
            for version in group["versions"]:
                for item in version.get("resources") or ():
                    resource = item["resource"]
                    if resource in seen or not set(item.get("verbs") or ()) >= NEEDED:
                        continue
                    seen.add(resource)
                    kind, scope = item["responseKind"]["kind"], item["scope"]
                    found.append(Type(name, version["version"], resource, kind, scope == "Namespaced"))
    kept = [kind for kind in found if not is_left_out(kind.group, kind.resource)]
    return sorted(kept, key=lambda kind: order(kind.group, kind.resource))


def exported(client: RestClient) -> Iterator[Object]:
    """All objects of a workspace. Raises StatusError, ClientError."""
    for kind in types(client):
        going_on = ""
        while True:
            page = client.request("GET", f"{kind.path()}?limit={PAGE}{going_on}")
            for item in page.get("items") or ():
                whole = {"apiVersion": kind.api_version, "kind": kind.kind, **item}
                obj = portable(kind.group, kind.resource, whole)
                if obj is not None:
                    yield obj
            token = page["metadata"].get("continue")
            if not token:
                break
            going_on = f"&continue={quote(token)}"


class Importer:
    """Puts objects into a workspace; one that is there already becomes as it is written."""

    def __init__(self, client: RestClient) -> None:
        self._client = client
        self._types = self._look()
        self._uids: dict[tuple[str, str, str, str], str] = {}
        """Of what was imported: group, kind, namespace and name."""
        self._owned: list[tuple[Type, Object]] = []
        self._defined: set[str] = set()
        """Groups of CRDs that were imported."""
        self.failures: list[str] = []
        self.count = 0

    def _look(self) -> dict[tuple[str, str], Type]:
        return {(kind.group, kind.kind): kind for kind in types(self._client)}

    def put(self, obj: Object) -> None:
        """What goes wrong is noted in ``failures``. Raises ClientError."""
        kind = self._type(obj)
        what = f"{obj.get('kind')} {_place(obj)}"
        if kind is None:
            self.failures.append(f"{what}: the workspace has no {obj.get('apiVersion')} {obj.get('kind')}")
            return
        meta = obj["metadata"]
        owners = meta.pop("ownerReferences", None)
        try:
            found = self._write(kind, obj)
        except StatusError as error:
            self.failures.append(f"{what}: {error}")
            return
        self.count += 1
        if owners:
            self._owned.append((kind, {**obj, "metadata": {**meta, "ownerReferences": owners}}))
        self._uids[(kind.group, kind.kind, meta.get("namespace", ""), meta["name"])] = found["metadata"]["uid"]

    def finish(self) -> None:
        """Tell what belongs to what: uids are known now. An owner that was not imported is left out."""
        for kind, obj in self._owned:
            meta = obj["metadata"]
            owners = []
            for owner in meta["ownerReferences"]:
                group = owner["apiVersion"].rpartition("/")[0]
                uid = next(
                    (
                        self._uids[place]
                        for place in (
                            (group, owner["kind"], meta.get("namespace", ""), owner["name"]),
                            (group, owner["kind"], "", owner["name"]),
                        )
                        if place in self._uids
                    ),
                    None,
                )
                if uid is not None:
                    owners.append({**owner, "uid": uid})
            if owners:
                path = kind.path(meta.get("namespace"), meta["name"])
                try:
                    self._client.request("PATCH", path, {"metadata": {"ownerReferences": owners}}, content_type=MERGE)
                except StatusError as error:
                    self.failures.append(f"{obj['kind']} {_place(obj)}: {error}")

    def _type(self, obj: Object) -> Type | None:
        group, _, version = str(obj.get("apiVersion")).rpartition("/")
        key = (group, str(obj.get("kind")))
        deadline = time.monotonic() + (ESTABLISHED_WITHIN if group in self._defined else 0)
        while key not in self._types and time.monotonic() < deadline:
            time.sleep(0.3)
            self._types = self._look()
        found = self._types.get(key)
        return found._replace(version=version) if found else None

    def _write(self, kind: Type, obj: Object) -> Object:
        meta = obj["metadata"]
        if (kind.group, kind.resource) == CRDS:
            self._defined.add(obj["spec"]["group"])
        try:
            made: Object = self._client.request("POST", kind.path(meta.get("namespace")), obj)
        except StatusError as error:
            if error.reason != "AlreadyExists":
                raise
            path = kind.path(meta.get("namespace"), meta["name"])
            made = self._client.request("PATCH", path, obj, content_type=MERGE)
        return made


def _place(obj: Mapping[str, Any]) -> str:
    meta = obj.get("metadata") or {}
    return "/".join(str(meta[key]) for key in ("namespace", "name") if meta.get(key))


def _in_workspace(command: Command) -> Command:
    """The command gets a client of the workspace, and its path, as its first arguments."""

    @administered(SYSTEM_ADMIN)
    @click.argument("workspace")
    @functools.wraps(command)
    def wrapped(everywhere: RestClient, *args: Any, workspace: str, **values: Any) -> Any:
        client = everywhere.at(f"{everywhere.server}/clusters/{segment(workspace).replace('%3A', ':')}")
        return command(client, workspace, *args, **values)

    return wrapped


@click.group(
    epilog="""\b
Examples:
  kcp workspace export root:telcops:team-a > team-a.yaml
  kcp workspace import root:telcops:team-b team-a.yaml"""
)
def workspace() -> None:
    """What is in a workspace, as plain YAML."""


@workspace.command(name="export")
@click.option("-f", "--file", type=click.Path(dir_okay=False, path_type=Path), help="Write there, with mode 0600.")
@_in_workspace
def export(client: RestClient, workspace: str, file: Path | None) -> None:
    """Write all objects of WORKSPACE (a full path), Secrets among them, without what servers and controllers add.

    Child workspaces, events, leases and what physical clusters have brought are left out. Programs that are written in
    any order, kubectl apply twice for CRDs, can read it; kcp workspace import keeps what belongs to what.
    """
    if file is None:
        _write(client, workspace, sys.stdout)
        return
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as output:
        count = _write(client, workspace, output)
    click.echo(f"{file}: {count} objects")


def _write(client: RestClient, workspace: str, output: TextIO) -> int:
    count = 0
    for obj in exported(client):
        if not count:
            output.write(f"# What is in workspace {workspace}\n")
        output.write("---\n")
        yaml.dump(obj, output, Dumper=_Dumper, sort_keys=False, width=10**6, allow_unicode=True)
        count += 1
    return count


@workspace.command(name="import")
@_in_workspace
@click.argument("file", type=click.File())
def import_(client: RestClient, workspace: str, file: TextIO) -> None:
    """Put the objects of FILE (- for standard input) into WORKSPACE, which must be there.

    Objects of the same name become as they are in the file.
    """
    try:
        objects = [obj for obj in yaml.load_all(file, Loader=_Loader) if obj is not None]
    except yaml.YAMLError as error:
        raise click.ClickException(f"{file.name}: {' '.join(str(error).split())}") from error
    for number, obj in enumerate(objects, 1):
        if not isinstance(obj, dict) or not isinstance(obj.get("metadata"), dict) or not obj["metadata"].get("name"):
            raise click.ClickException(f"{file.name}: document {number} is no object with a name")
    importer = Importer(client)
    said = time.monotonic()
    for number, obj in enumerate(objects, 1):
        importer.put(obj)
        if time.monotonic() - said > 2:
            said = time.monotonic()
            click.echo(f"{number} of {len(objects)}", err=True)
    importer.finish()
    for failure in importer.failures:
        click.echo(f"not imported: {' '.join(failure.split())}", err=True)
    if importer.failures:
        raise click.ClickException(f"{len(importer.failures)} of {len(objects)} objects are not as they are written")
    click.echo(f"workspace {workspace}: {importer.count} objects")
