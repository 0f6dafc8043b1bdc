"""The parts of the key order that a list over all namespaces is read from, each by pages.

All of a workspace is one stretch. But a kube-apiserver that reads a page of it goes through whatever stands behind, up
to the end of the type (``k8s.io/apiserver/pkg/storage/cacher/store``, ``ListPrefix``), so that it takes the longer the
more others have. A list of one namespace ends with the namespace: read one by one, all at one version, a few of them
take less.
"""

from __future__ import annotations

import urllib.parse
from collections.abc import Iterable
from dataclasses import dataclass

from proxy.kube.errors import StatusError
from proxy.mapping.listing import Listing, make_token, read_token, split_page

NAMESPACES = "/api/v1/namespaces"


@dataclass(frozen=True, slots=True)
class Stretch:
    """What is left of one."""

    path: str
    start: str
    """Continue token; empty where it begins at its beginning."""
    version: str = ""
    """At which it is read, where there is no continue token to say so."""

    def behind(self, start: str) -> Stretch:
        """From a page's continue token on."""
        return Stretch(self.path, start)


def whole(listing: Listing) -> Stretch:
    """All of the workspace in one."""
    return Stretch(listing.path, listing.start)


def target_of(stretch: Stretch, query: Iterable[tuple[str, str]], limit: int) -> bytes:
    """Request target of its next page, of ``limit`` objects or (0) all that is left; ``query``: what every page
    carries."""
    parameters = [*query, ("limit", str(limit))] if limit else [*query]
    if stretch.start:
        parameters.append(("continue", stretch.start))
    elif stretch.version:
        parameters += [("resourceVersion", stretch.version), ("resourceVersionMatch", "Exact")]
    return f"{stretch.path}?{urllib.parse.urlencode([*parameters, ('pretty', 'false')])}".encode()


def namespaces_target(listing: Listing, most: int) -> bytes:
    """Request target of the workspace's namespaces, up to ``most`` and one more, as they are where the list begins."""
    _, version = read_token(listing.start)
    start = make_token(f"{listing.token}-", version)
    return target_of(Stretch(NAMESPACES, start), (), most + 1)


def by_namespace(listing: Listing, namespaces: bytes, most: int) -> list[Stretch]:
    """The stretches of a list, in the order of keys, by the answer about its ``namespaces``; none where these are more
    than ``most``, or not to be read. Raises StatusError 504 if the client has seen a later version."""
    try:
        page = split_page(namespaces, listing.token)
        names = page.names()
        key, _ = read_token(listing.start)
    except (StatusError, ValueError):
        return []
    version = page.resource_version
    if len(names) > most or page.next or not version.isdigit():
        return []
    listing.check_version(version)
    key = key.removeprefix("/")
    kind, _, resource = listing.path.rpartition("/")
    stretches = []
    # What follows a namespace's name in a key is a slash, which comes after a dash.
    for begin in sorted(f"{name}/" for name in names):
        path = f"{kind}/namespaces/{begin}{resource}"
        if key.startswith(begin) and len(key) > len(begin):
            stretches.append(Stretch(path, make_token(key[len(begin) :], int(version))))
        elif begin >= key:
            stretches.append(Stretch(path, "", version))
    # Where nothing is left, the shard says so in the right form of a namespace that there cannot be.
    return stretches or [Stretch(f"{kind}/namespaces/{listing.token}--/{resource}", "", version)]
