"""One type of one workspace: the key of everything that imports and negotiates API resources.

The objects that name it are a workspace's own to write, and we act on them as an administrator of the shard: whatever
is not a proper name is nothing to act on.
"""

from __future__ import annotations

import re
from typing import NamedTuple

from proxy.kube.client import Object, Resource
from proxy.mapping.names import map_api_group
from proxy.mapping.token import token_of

_LABEL = r"[a-z]([-a-z0-9]*[a-z0-9])?"
_NAME = re.compile(rf"{_LABEL}\Z")
_GROUP = re.compile(rf"({_LABEL}(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*)?\Z")
MAX = 63


class TypeKey(NamedTuple):
    """One type in one workspace; names as the workspace has them."""

    token: str
    plural: str
    version: str
    group: str

    @property
    def name(self) -> str:
        """Of the NegotiatedAPIResource, on the shard."""
        return f"{self.token}-{self.plural}.{self.version}.{self.group or 'core'}"

    @property
    def resource(self) -> Resource:
        """On the shard."""
        return Resource(map_api_group(self.group, f"{self.token}-"), self.version, self.plural)


def key_of(obj: Object) -> TypeKey | None:
    """The type that an APIResourceImport or NegotiatedAPIResource of the shard is about; None for what is no type."""
    token = token_of(obj["metadata"]["name"])
    spec = obj.get("spec") or {}
    named = spec.get("groupVersion") or {}
    plural, version, group = spec.get("plural", ""), named.get("version", ""), named.get("group", "")
    if token is None or not _NAME.match(plural) or not _NAME.match(version) or not _GROUP.match(group):
        return None
    if len(plural) > MAX or len(version) > MAX or len(group) > 4 * MAX:
        return None
    return TypeKey(token, plural, version, group)
