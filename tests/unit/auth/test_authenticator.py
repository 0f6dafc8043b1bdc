"""Who asks, as far as no shard has to be asked: there is none here, so each answer is the proxy's own."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import orjson
import pytest

from proxy.auth.authenticator import Authenticator, Unauthorized, claims_workspace, namespace_of_token, service_account
from proxy.auth.identity import ANONYMOUS, User
from proxy.auth.tokenfile import TokenFiles
from tests.unit.auth.samples import OTHER, WORKSPACE, Asking, certificate

AUDIENCE = "kabcdefgh-https://kubernetes.default.svc"
SUBJECT = "system:serviceaccount:kabcdefgh-ns:robot"


@pytest.fixture
def authenticator(tmp_path: Path) -> Authenticator:
    path = tmp_path / "tokens.csv"
    path.write_text("good,alice,1,dev\na.b.c,dotted,2\n")
    return Authenticator(TokenFiles([path]), {})


def jwt(claims: Any) -> bytes:
    parts: tuple[Any, ...] = ({"alg": "none"}, claims, "signature")
    return b".".join(base64.urlsafe_b64encode(orjson.dumps(part)).rstrip(b"=") for part in parts)


def asked(authenticator: Authenticator, authorization: bytes = b"", peer_cert: bytes | None = None) -> User:
    user = authenticator.authenticate(Asking(authorization, peer_cert), WORKSPACE)
    assert isinstance(user, User), "this needs nothing that is not at hand"
    return user


def test_nobody_is_anonymous(authenticator: Authenticator) -> None:
    assert asked(authenticator) is ANONYMOUS


@pytest.mark.parametrize("authorization", [b"Bearer good", b"bearer good", b"BEARER  good "])
def test_a_static_token(authenticator: Authenticator, authorization: bytes) -> None:
    assert asked(authenticator, authorization).name == "alice"


def test_a_static_token_may_look_like_a_jwt(authenticator: Authenticator) -> None:
    assert asked(authenticator, b"Bearer a.b.c").name == "dotted"


@pytest.mark.parametrize(
    "authorization",
    [b"Bearer wrong", b"Bearer", b"Bearer ", b"good", b"Basic YWxpY2U6Z29vZA==", b"Bearer good good", b"Bearer \xff"],
)
@pytest.mark.parametrize("workspace", [WORKSPACE, None])
def test_bad_credentials_are_refused_and_not_anonymous(
    authenticator: Authenticator, authorization: bytes, workspace: Any
) -> None:
    with pytest.raises(Unauthorized) as error:
        authenticator.authenticate(Asking(authorization), workspace)
    assert error.value.status() == {
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": "Unauthorized",
        "reason": "Unauthorized", "code": 401,
    }  # fmt: skip


def test_a_certificate_names_user_and_groups(authenticator: Authenticator) -> None:
    user = asked(authenticator, peer_cert=certificate(["carol"], ["dev", "ops"]))
    assert (user.name, user.groups, user.masters) == ("carol", ("dev", "ops", "system:authenticated"), False)
    assert asked(authenticator, peer_cert=certificate(["root"], ["system:masters"])).masters


def test_a_certificate_counts_more_than_a_token_as_with_kube_apiserver(authenticator: Authenticator) -> None:
    assert asked(authenticator, b"Bearer wrong", certificate(["carol"])).name == "carol"


def test_a_certificate_without_a_common_name_is_nobodys(authenticator: Authenticator) -> None:
    nameless = certificate([], ["dev"])
    assert asked(authenticator, peer_cert=nameless) is ANONYMOUS
    assert asked(authenticator, b"Bearer good", nameless).name == "alice"


@pytest.mark.parametrize(
    "cert",
    [
        certificate(["carol"], days=-1),
        certificate(["carol "]),
        certificate(["carol"], ["system:masters\r\n"]),
        certificate(["car\nol"]),
        b"no certificate",
    ],
    ids=["over", "space", "group", "line", "unreadable"],
)
def test_a_certificate_that_cannot_count_is_refused(authenticator: Authenticator, cert: bytes) -> None:
    for _ in range(2):
        with pytest.raises(Unauthorized):
            asked(authenticator, peer_cert=cert)


@pytest.mark.parametrize(
    "token",
    [
        b"a.b.c.",
        b"..",
        b"a.!!!.c",
        jwt({}),
        jwt([]),
        jwt({"aud": [AUDIENCE]}),
        jwt({"aud": AUDIENCE, "sub": SUBJECT}),
        jwt({"aud": ["https://kubernetes.default.svc"], "sub": SUBJECT}),
        jwt({"aud": ["kzzzzzzzz-https://kubernetes.default.svc"], "sub": SUBJECT}),
        jwt({"aud": [AUDIENCE], "sub": "system:serviceaccount:kzzzzzzzz-ns:robot"}),
        jwt({"aud": [AUDIENCE], "sub": "kabcdefgh-alice"}),
    ],
)
async def test_a_jwt_that_does_not_even_claim_to_be_the_workspaces_costs_no_review(
    authenticator: Authenticator, token: bytes
) -> None:
    with pytest.raises(Unauthorized):
        await authenticator.authenticate(Asking(b"Bearer " + token), WORKSPACE)  # type: ignore[misc]


async def test_a_jwt_for_a_workspace_that_does_not_exist_is_refused(authenticator: Authenticator) -> None:
    token = b"Bearer " + jwt({"aud": [AUDIENCE], "sub": SUBJECT})
    with pytest.raises(Unauthorized):
        await authenticator.authenticate(Asking(token), None)  # type: ignore[misc]


def test_claims() -> None:
    token = jwt({"aud": ["x", AUDIENCE], "sub": SUBJECT, "kubernetes.io": {"namespace": "kabcdefgh-ns"}})
    assert claims_workspace(token, WORKSPACE)
    assert not claims_workspace(token, OTHER)
    assert namespace_of_token(b"Bearer  " + token) == "kabcdefgh-ns"
    for other in (b"", b"Bearer x", b"Bearer " + jwt({"kubernetes.io": 1}), b"Bearer " + jwt({"kubernetes.io": {}})):
        assert namespace_of_token(other) is None


def test_a_reviewed_account_has_plain_names_and_only_the_workspaces_own_count() -> None:
    info = {
        "username": SUBJECT,
        "uid": "7",
        "groups": ["system:serviceaccounts", "system:serviceaccounts:kabcdefgh-ns", "system:authenticated"],
        "extra": {"b": ["2"], "a": ["1"]},
    }
    user = service_account(info, WORKSPACE)
    assert user == User(
        "system:serviceaccount:ns:robot",
        ("system:serviceaccounts", "system:serviceaccounts:ns", "system:authenticated"),
        "7",
        (("a", ("1",)), ("b", ("2",))),
        workspace_token="kabcdefgh",
    )
    assert service_account(info, OTHER) is None
    for name in ("", "kabcdefgh-alice", "system:serviceaccount:default:x", "system:admin"):
        assert service_account({"username": name}, WORKSPACE) is None
