"""Users of a token webhook."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from proxy.auth.authenticator import Authenticator, Unauthorized
from proxy.auth.identity import User
from proxy.auth.tokenfile import TokenFiles
from proxy.auth.webhook import TokenWebhook, user_of
from proxy.kube.client import Client
from proxy.kube.config import Connection
from proxy.kube.errors import StatusError
from proxy.shard.addresses import free_port
from tests.unit.auth.samples import WORKSPACE, Asking
from tests.unit.auth.test_authenticator import SUBJECT, jwt


def test_whom_a_review_names() -> None:
    info = {"username": "walter", "uid": "7", "groups": ["shift", "system:masters"], "extra": {"b": ["2"], "a": []}}
    user = user_of(info)
    assert user == User("walter", ("shift", "system:authenticated"), "7", (("a", ()), ("b", ("2",))))
    assert not user.masters
    assert user_of({"username": "walter"}) == User("walter", ("system:authenticated",))


@pytest.mark.parametrize(
    "info",
    [
        None,
        "walter",
        {},
        {"username": ""},
        {"username": 7},
        {"username": "system:admin"},
        {"username": "walter", "groups": "shift"},
        {"username": "walter", "groups": [7]},
        {"username": "walter", "uid": 7},
        {"username": "walter", "extra": ["a"]},
        {"username": "walter", "extra": {"a": "b"}},
        {"username": "walter\nX-Remote-Group: system:masters"},
    ],
)
def test_what_is_no_user(info: Any) -> None:
    with pytest.raises(ValueError, match=r"user|form"):
        user_of(info)


async def test_a_server_that_does_not_answer(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens.csv"
    tokens.write_text("")
    async with Client(Connection(f"http://127.0.0.1:{free_port()}/review")) as server:
        authenticator = Authenticator(TokenFiles([tokens]), {}, webhook=TokenWebhook(server))
        for _ in range(2):  # and nothing of that is remembered
            asked = authenticator.authenticate(Asking(b"Bearer unknown"), WORKSPACE)
            assert not isinstance(asked, User)
            with pytest.raises(StatusError) as failure:
                await asked
            assert (failure.value.code, failure.value.details) == (503, {"retryAfterSeconds": 1})
        # Accounts are the workspace's own: no other server hears of their tokens.
        account = authenticator.authenticate(Asking(b"Bearer " + jwt({"sub": SUBJECT})), WORKSPACE)
        assert not isinstance(account, User)
        with pytest.raises(Unauthorized):
            await account
