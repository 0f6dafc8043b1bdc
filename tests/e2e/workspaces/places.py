"""A plain kube-apiserver and two workspaces of type Cluster, and what is equal of what they answer."""

from __future__ import annotations

import asyncio
import difflib
import pprint
import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from tests.e2e.workspaces.twins import Answer, Api

T = TypeVar("T")
PROTOBUF = "application/vnd.kubernetes.protobuf"
APPLY = "application/apply-patch+yaml"
MERGE = "application/merge-patch+json"
META = ("uid", "resourceVersion", "creationTimestamp", "deletionTimestamp", "managedFields")
CHOSEN = ("clusterIP", "clusterIPs", "nodePort", "healthCheckNodePort", "controller-uid", "lastPhaseTransitionTime",
          "batch.kubernetes.io/controller-uid", "uid")  # fmt: skip
"""What a server chooses, at any depth."""


@dataclass(frozen=True, slots=True)
class Places:
    plain: Api
    one: Api
    other: Api

    @property
    def all(self) -> tuple[Api, Api, Api]:
        return self.plain, self.one, self.other

    async def same(self, scenario: Callable[[Api], Awaitable[T]], apis: Sequence[Api] = ()) -> T:
        """Play it everywhere at the same time: the results must be equal; the result."""
        expected, *others = await asyncio.gather(*(scenario(api) for api in apis or self.all))
        for found in others:
            differences = difflib.unified_diff(_lines(expected), _lines(found), "plain", "workspace", lineterm="")
            assert found == expected, "\n".join(differences)
        return expected


def _lines(value: object) -> list[str]:
    return pprint.pformat(value, width=120).splitlines()


def clean(value: Any) -> Any:
    """Without what a server chooses anew each time."""
    if isinstance(value, list):
        return [clean(item) for item in value]
    if isinstance(value, str):
        return re.sub(r"kube-api-access-\w+", "kube-api-access-", value)
    if not isinstance(value, dict):
        return value
    kept = {key: clean(item) for key, item in value.items() if key not in CHOSEN}
    if isinstance(kept.get("metadata"), dict):
        kept["metadata"] = {key: item for key, item in kept["metadata"].items() if key not in META}
    return kept


def said(answer: Answer) -> tuple[int, Any]:
    return answer.status, clean(answer.json)
