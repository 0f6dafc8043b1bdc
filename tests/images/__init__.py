"""Container images for tests and demo, made on the spot: no registry, no compiler, no container engine."""

from tests.images.archives import KCP, PAUSE, REVERSEWORDS, REVERSEWORDS_2, SYNCER, ensure

__all__ = ["KCP", "PAUSE", "REVERSEWORDS", "REVERSEWORDS_2", "SYNCER", "ensure"]
