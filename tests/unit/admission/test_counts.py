"""What is counted of webhooks, as it is scraped."""

from __future__ import annotations

from proxy.admission.counts import BOUNDS, DENIED, FAILED, MUTATING, VALIDATING, Counts


def test_results_and_durations() -> None:
    counts = Counts()
    counts.add(MUTATING, DENIED, 0.01)
    counts.add(MUTATING, FAILED, 30.0)
    assert counts.results[MUTATING, DENIED] == counts.results[MUTATING, FAILED] == 1
    assert sum(counts.results.values()) == 2
    assert counts.durations[(MUTATING,)] == [0, 1, 0, 0, 0, 0, 0, 0, 1, 30.01]
    assert counts.durations[(VALIDATING,)] == [0.0] * (len(BOUNDS) + 2)
