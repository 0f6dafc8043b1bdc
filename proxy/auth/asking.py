"""Questions to a shard (reviews), and what a client hears when they cannot be answered."""

from __future__ import annotations

import logging

from proxy.kube.client import Client, Object, Resource
from proxy.kube.errors import StatusError
from proxy.kube.reviews import status_of

log = logging.getLogger(__name__)


async def ask(client: Client, shard: str, reviews: Resource, spec: Object) -> Object:
    """The ``status`` of a review with ``spec``.

    Raises StatusError 503 for a shard that does not answer, 500 for one that refuses to. Neither tells more than the
    shard's name: who asks may be anybody.
    """
    try:
        return await status_of(client, reviews, spec)
    except StatusError as error:
        log.warning("shard %s: %s: %s", shard, reviews.plural, error)
        if error.code >= 500 or error.code == 429:
            why = f"shard {shard} is not available: it does not answer {reviews.plural}"
            raise StatusError(503, why, details={"retryAfterSeconds": 1}) from error
        raise StatusError(500, f"Internal error occurred: shard {shard} refuses {reviews.plural}") from error
