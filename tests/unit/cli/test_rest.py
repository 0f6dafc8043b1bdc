"""The plugins' client: which answers it takes for the last word."""

from __future__ import annotations

import json

import pytest

from proxy.cli.overrides import Overrides
from proxy.cli.rest import ASKED_AGAIN, RestClient
from proxy.kube.errors import StatusError
from tests.unit.cli.stub_server import answer, stub

READY = answer(b'{"kind": "APIVersions"}')


def refusal(code: int, message: str = "it is starting", **details: object) -> bytes:
    status = {"kind": "Status", "status": "Failure", "code": code, "message": message, "details": details}
    return answer(json.dumps(status).encode(), f"{code} No")


def client(url: str) -> RestClient:
    return RestClient({"server": url}, {}, Overrides())


@pytest.mark.parametrize("code", [429, 500, 503])
def test_a_server_that_asks_to_be_asked_again(code: int, capsys: pytest.CaptureFixture[str]) -> None:
    with stub(refusal(code, retryAfterSeconds=0), refusal(code, retryAfterSeconds=0), READY) as server:
        assert client(server.url).request("POST", "/api", {"a": 1}) == {"kind": "APIVersions"}
        assert len(server.requests) == 3
        assert len(set(server.requests)) == 1
    assert capsys.readouterr().err == "it is starting; waiting\n" * 2


def test_one_that_never_gets_ready() -> None:
    with stub(*[refusal(503, retryAfterSeconds=0)] * (ASKED_AGAIN + 1)) as server:
        with pytest.raises(StatusError, match="it is starting"):
            client(server.url).request("GET", "/api")
        assert len(server.requests) == ASKED_AGAIN + 1


@pytest.mark.parametrize(
    "said", [refusal(503), refusal(404, retryAfterSeconds=0), refusal(409, retryAfterSeconds=0), answer(b"x", "502 No")]
)
def test_what_is_the_last_word(said: bytes) -> None:
    with stub(said) as server:
        with pytest.raises(StatusError):
            client(server.url).request("GET", "/api")
        assert len(server.requests) == 1
