"""How long what was learnt is good."""

from __future__ import annotations

import time
from pathlib import Path

from proxy.auth.authenticator import Authenticator
from proxy.auth.authorizer import Authorizer, _Epoch, _Epochs
from proxy.auth.identity import User
from proxy.auth.leases import FOR_GOOD, Epoch, Lease, both
from proxy.auth.tokenfile import TokenFiles
from proxy.mapping.request import Attributes
from proxy.tenancy.index import Workspace
from tests.unit.auth.samples import WORKSPACE, Asking, certificate

GET = Attributes("get", "", "configmaps", "", "kabcdefgh-default", "one", True, "")
HOUR = 3600.0


def test_a_lease_ends_with_its_time_or_any_of_its_epochs() -> None:
    now = time.monotonic()
    first, second = Epoch(), Epoch()
    lease = both([Lease(now + 2, (first,)), Lease(now + 1, (second, first)), FOR_GOOD])
    assert lease.good(now)
    assert not lease.good(now + 1)
    second.over = True
    assert not lease.good(now)
    assert FOR_GOOD.good(now + HOUR)


def test_an_epoch_that_leaves_is_over() -> None:
    epochs = _Epochs(2)
    old, new, other, third = (_Epoch("main", 0.0) for _ in range(4))
    epochs["a"] = old
    epochs["a"] = new
    assert (old.over, new.over) == (True, False)
    epochs["b"] = other
    epochs["c"] = third
    assert (new.over, other.over) == (True, False), "for want of room"
    del epochs["b"]
    assert (other.over, third.over) == (True, False)


def test_a_static_token_is_good_until_its_file_is_read_again(tmp_path: Path) -> None:
    path = tmp_path / "tokens.csv"
    path.write_text("good,alice,1\n")
    files = TokenFiles([path])
    authenticator = Authenticator(files, {})
    lease = authenticator.lease(Asking(b"Bearer good"), WORKSPACE)
    assert lease is not None
    files.refresh()
    assert lease.good(time.monotonic() + HOUR)
    path.write_text("other,alice,1,dev\n")
    files.refresh()
    assert not lease.good(time.monotonic())
    assert authenticator.lease(Asking(b"Bearer good"), WORKSPACE) is None


def test_a_certificate_is_good_until_it_ends(tmp_path: Path) -> None:
    path = tmp_path / "tokens.csv"
    path.write_text("")
    lease = Authenticator(TokenFiles([path]), {}).lease(Asking(peer_cert=certificate(days=1)), WORKSPACE)
    assert lease is not None
    assert lease.good(time.monotonic() + 23 * HOUR)
    assert not lease.good(time.monotonic() + 25 * HOUR)


def test_nobody_is_nobody_for_good(tmp_path: Path) -> None:
    path = tmp_path / "tokens.csv"
    path.write_text("")
    lease = Authenticator(TokenFiles([path]), {}).lease(Asking(), WORKSPACE)
    assert lease is not None
    assert lease.good(time.monotonic() + HOUR)


class Nowhere:
    def get(self, path: str) -> Workspace | None:
        return None


def test_rights_that_are_not_known_are_not_lent() -> None:
    authorizer = Authorizer(Nowhere(), {})
    assert authorizer.lease(User("alice"), WORKSPACE, GET) is None
    assert authorizer.lease(User("robot", workspace_token="kzzzzzzzz"), WORKSPACE, GET) is None
    assert authorizer.lease(User("robot", workspace_token=WORKSPACE.token), WORKSPACE, GET) is None
    assert authorizer.lease(User("root", masters=True), WORKSPACE, GET) == FOR_GOOD
