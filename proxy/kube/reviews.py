"""Reviews: what an API server is asked about who somebody is, and what he may do."""

from __future__ import annotations

from proxy.kube.client import Client, Object, Resource
from proxy.kube.errors import StatusError

TOKEN_REVIEWS = Resource("authentication.k8s.io", "v1", "tokenreviews", namespaced=False)
ACCESS_REVIEWS, OWN_ACCESS_REVIEWS, RULES_REVIEWS = (
    Resource("authorization.k8s.io", "v1", plural, namespaced=False)
    for plural in ("subjectaccessreviews", "selfsubjectaccessreviews", "selfsubjectrulesreviews")
)
KINDS = {
    TOKEN_REVIEWS: "TokenReview",
    ACCESS_REVIEWS: "SubjectAccessReview",
    OWN_ACCESS_REVIEWS: "SelfSubjectAccessReview",
    RULES_REVIEWS: "SelfSubjectRulesReview",
}
EVERYTHING = {"verb": "*", "group": "*", "resource": "*"}


def question(reviews: Resource, spec: Object) -> Object:
    """The body of a review with ``spec``."""
    return {"apiVersion": reviews.api_version, "kind": KINDS[reviews], "spec": spec}


async def status_of(client: Client, reviews: Resource, spec: Object, *, timeout: float = 30) -> Object:
    """What the server says to it. Raises StatusError, 502 where that is no answer: it must not be taken for a no."""
    review = await client.request("POST", reviews.path(), body=question(reviews, spec), timeout=timeout)
    status = review.get("status") if isinstance(review, dict) else None
    if not isinstance(status, dict):
        raise StatusError(502, f"{client.connection.server} answers {reviews.plural} with something else")
    return status


async def may_do_everything(client: Client, *, timeout: float = 30) -> bool:
    """Whether that holds for whom ``client`` acts as. Raises StatusError."""
    spec = {"resourceAttributes": EVERYTHING}
    return bool((await status_of(client, OWN_ACCESS_REVIEWS, spec, timeout=timeout)).get("allowed"))
