"""Questions to a shard (reviews), and what a client hears when they cannot be answered."""

from __future__ import annotations

import logging

from proxy.kube.client import Client, Object, Resource
from proxy.kube.errors import StatusError

log = logging.getLogger(__name__)


async def ask(client: Client, shard: str, reviews: Resource, spec: Object) -> Object:
    """The ``status`` of a review with ``spec``.

    Raises StatusError 503 for a shard that does not answer, 500 for one that refuses to. Neither tells more than the
    shard's name: who asks may be anybody.
    """
    body = {"apiVersion": reviews.api_version, "kind": KINDS[reviews.plural], "spec": spec}
    try:
        review = await client.request("POST", reviews.path(), body=body)
    except StatusError as error:
        log.warning("shard %s: %s: %s", shard, reviews.plural, error)
        if error.code >= 500 or error.code == 429:
            why = f"shard {shard} is not available: it does not answer {reviews.plural}"
            raise StatusError(503, why, details={"retryAfterSeconds": 1}) from error
        raise StatusError(500, f"Internal error occurred: shard {shard} refuses {reviews.plural}") from error
    status = review.get("status") if isinstance(review, dict) else None
    return status if isinstance(status, dict) else {}


TOKEN_REVIEWS = Resource("authentication.k8s.io", "v1", "tokenreviews", namespaced=False)
RULES_REVIEWS = Resource("authorization.k8s.io", "v1", "selfsubjectrulesreviews", namespaced=False)
ACCESS_REVIEWS = Resource("authorization.k8s.io", "v1", "subjectaccessreviews", namespaced=False)
KINDS = {
    TOKEN_REVIEWS.plural: "TokenReview",
    RULES_REVIEWS.plural: "SelfSubjectRulesReview",
    ACCESS_REVIEWS.plural: "SubjectAccessReview",
}
