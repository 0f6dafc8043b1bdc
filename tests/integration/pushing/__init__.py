"""Clusters that kcp syncs itself: a kcp, `kcp syncer` beside it, and physical API servers."""
