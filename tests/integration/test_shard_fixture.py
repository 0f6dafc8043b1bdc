"""The shard that all integration tests share is what it says."""

from __future__ import annotations

from proxy.kube.client import Client
from proxy.shard.control_plane import ControlPlane


async def test_front_proxy_speaks_for_any_user(shard: ControlPlane) -> None:
    async with Client(shard.front_proxy_connection) as client:
        answer = await client.request(
            "POST",
            "/apis/authentication.k8s.io/v1/selfsubjectreviews",
            body={"kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1"},
            headers={"X-Remote-User": "k2345abcd-alice", "X-Remote-Group": "k2345abcd-dev"},
        )
    assert answer["status"]["userInfo"]["username"] == "k2345abcd-alice"
    assert "k2345abcd-dev" in answer["status"]["userInfo"]["groups"]
