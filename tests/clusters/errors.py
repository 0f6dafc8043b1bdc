"""The one error of this package."""


class ClusterError(Exception):
    """What kept a cluster from starting, or a look at it from succeeding: one line."""
