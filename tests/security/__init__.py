"""A tenant with all rights in a workspace of its own tries to reach others, the shard and the tenancy data."""
