"""Objects of a CRD that was made just now, which the shard's policies do not know yet."""

from __future__ import annotations

import orjson
import pytest

from proxy.mapping.paths import parse
from proxy.server import settling
from proxy.server.messages import Forward, Header, Response
from proxy.server.registering import Registering
from proxy.server.settling import produce_settled, with_label
from tests.pieces import Opening

TOKEN = "k3fq7zn2a"
REFUSED = Response(503, [], b'{"kind":"Status","message":"' + settling.NOT_YET + b'"}')
OBJECT = b'{"kind":"Boat","metadata":{"name":"a"}}'
LABELLED = b'{"kind":"Boat","metadata":{"name":"a","labels":{"0.kcp.dev/w":"k3fq7zn2a"}}}'


class Shard(Opening):
    """An exchange with a shard that takes what has its label, and anything else after ``tries``."""

    def __init__(self, tries: int = 1000) -> None:
        self._tries = tries
        self.sent: list[bytes] = []
        self.status = 0

    async def fetch(self, forward: Forward) -> Response:
        self.sent.append(forward.body)
        self._tries -= 1
        return Response(201, [], b"{}") if forward.body == LABELLED or not self._tries else REFUSED

    async def start(self, status: int, headers: list[Header]) -> None:
        self.status = status

    async def write(self, data: bytes) -> None: ...

    async def end(self) -> None: ...


async def written(shard: Shard, method: bytes, body: bytes) -> int:
    await produce_settled(Forward("main", method, b"/x", [], body), TOKEN).run(shard)
    return shard.status


async def test_with_its_label_it_need_not_wait() -> None:
    shard = Shard()
    assert (await written(shard, b"POST", OBJECT), shard.sent) == (201, [OBJECT, LABELLED])


@pytest.mark.parametrize(
    ("method", "body"), [(b"PATCH", OBJECT), (b"POST", b'{"metadata":{"name":"a","name":"b"}}'), (b"POST", b"k8s")]
)
async def test_what_cannot_get_its_label_waits(method: bytes, body: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settling, "EVERY", 0.001)
    shard = Shard(tries=4)
    assert (await written(shard, method, body), shard.sent) == (201, [body] * 4)


async def test_the_refusal_is_passed_on_in_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(settling, "WITHIN", 0.05)
    assert await written(Shard(), b"PATCH", OBJECT) == 503


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"{}", b'{"metadata":[]}', b'{"metadata":{"labels":[]}}', b'{"metadata":{},"a":1,"a":1}'],
)
def test_bodies_that_are_left_as_they_are(body: bytes) -> None:
    assert with_label(body, TOKEN) is None


@pytest.mark.parametrize("labels", [None, {}, {"a": "b"}])
def test_other_labels_stay(labels: dict[str, str] | None) -> None:
    labelled = with_label(orjson.dumps({"metadata": {"labels": labels}}), TOKEN)
    assert labelled is not None
    assert orjson.loads(labelled)["metadata"]["labels"] == {"0.kcp.dev/w": TOKEN, **(labels or {})}


async def test_admission_configurations_wait_as_well(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are stored as objects of CRDs, which are young where kcp has just been started."""
    monkeypatch.setattr(settling, "EVERY", 0.001)
    path = "/apis/admissionregistration.k8s.io/v1/validatingadmissionpolicies"
    tried = {"apiVersion": "admissionregistration.k8s.io/v1", "kind": "X", "metadata": {"name": f"{TOKEN}-a"}}
    answers = [Response(201, [], orjson.dumps(tried)), REFUSED, REFUSED, Response(201, [], b"{}")]

    class Young(Shard):
        async def fetch(self, forward: Forward) -> Response:
            self.sent.append(forward.target)
            return answers.pop(0)

    def ask(method: bytes, target: bytes, body: bytes, content_type: bytes, accept: bytes) -> Forward:
        return Forward("main", method, target, [], body)

    shard, body = Young(), orjson.dumps(tried)
    info = parse(b"POST", path.encode())
    await (
        Registering(info, TOKEN, b"/stored", body, b"application/json", b"", ask, lambda obj: None).produce().run(shard)
    )
    assert shard.status == 201
    assert shard.sent == [f"{path}?dryRun=All&pretty=false".encode(), b"/stored", b"/stored", b"/stored"]
