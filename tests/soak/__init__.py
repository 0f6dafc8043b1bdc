"""A long mixed load, after which nothing may be left over."""
