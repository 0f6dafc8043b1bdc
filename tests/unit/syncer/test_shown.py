"""How a cluster's objects are shown in the workspace."""

from __future__ import annotations

from typing import Any

import orjson

from syncer import shown
from syncer.names import SHOWABLE, SYNCED_UP
from syncer.shown import PICTURES

PHYSICAL = "kcp" + "0" * 56


def obj(**fields: Any) -> dict[str, Any]:
    meta = {"name": "x", "namespace": PHYSICAL, "uid": "u1"} | fields.pop("metadata", {})
    return {"metadata": meta, **fields}


def test_all_that_can_be_asked_for_can_be_shown() -> None:
    assert sorted(PICTURES) == sorted(SHOWABLE)


def test_other_namespaces_and_secrets_of_the_server_are_not_looked_at() -> None:
    keep = shown.below("east", PICTURES["secrets"])
    assert keep(obj(metadata={"namespace": "default"}, type="Opaque")) is shown.FOREIGN
    assert keep(obj(type="kubernetes.io/service-account-token")) is shown.FOREIGN
    assert keep(obj(type="Opaque"))["labels"] == {SYNCED_UP: "east"}


def test_what_changes_makes_another_picture_or_moves_in_it() -> None:
    keep = shown.below("east", PICTURES["secrets"])
    one, data, kind = (
        keep(obj(type="Opaque", data={"a": "YQ=="})),
        keep(obj(type="Opaque", data={"a": "Yg=="})),
        keep(obj(type="kubernetes.io/tls", data={"a": "YQ=="})),
    )
    assert one["shows"] == data["shows"] != kind["shows"]
    assert orjson.loads(data["moving"]) == {"data": {"a": "Yg=="}}


def test_an_event_without_what_only_its_cluster_knows() -> None:
    about = {"apiVersion": "v1", "kind": "Pod", "name": "p", "namespace": PHYSICAL, "uid": "u2", "resourceVersion": "7"}
    event = obj(involvedObject=about, reason="Pulled", related={"name": "other"}, count=2, eventTime=None)
    kept = shown.below("east", PICTURES["events"])(event)
    assert orjson.loads(kept["fixed"]) == {
        "involvedObject": {"apiVersion": "v1", "kind": "Pod", "name": "p"},
        "reason": "Pulled",
    }
    assert orjson.loads(kept["moving"]) == {"count": 2}
