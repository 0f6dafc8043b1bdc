"""Unmodified clients play the same scenario against a plain cluster and against a workspace; the results are equal."""
