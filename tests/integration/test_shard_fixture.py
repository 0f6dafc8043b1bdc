"""The shard that all integration tests share is what it says."""

from __future__ import annotations

from proxy.shard.control_plane import ControlPlane


async def test_the_administrator_speaks_for_any_user(shard: ControlPlane) -> None:
    async with shard.client() as client:
        answer = await client.request(
            "POST",
            "/apis/authentication.k8s.io/v1/selfsubjectreviews",
            body={"kind": "SelfSubjectReview", "apiVersion": "authentication.k8s.io/v1"},
            headers={"Impersonate-User": "k2345abcd-alice", "Impersonate-Group": "k2345abcd-dev"},
        )
    assert answer["status"]["userInfo"]["username"] == "k2345abcd-alice"
    assert "k2345abcd-dev" in answer["status"]["userInfo"]["groups"]
