"""How long clients felt a fault."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from tests.history.record import History, Outcome, Run, Write


@dataclass(frozen=True, slots=True)
class Recovery:
    """Seconds; None where it did not come."""

    fault: str
    written: float | None
    """From the fault to the first acknowledgement of a write that began after it."""
    silence: float
    """The longest time without an acknowledgement, from the fault to the next one."""
    watched: float | None
    """From the fault until every watcher had been told of a change that came after it."""


def recovery(history: History, fault: str, begin: float, end: float) -> Recovery:
    """``begin``: when it happened; ``end``: when the next one did."""
    first = first_acknowledged(history.writes, begin)
    heard = [heard_again(watcher, begin) for watcher in history.watchers]
    return Recovery(
        fault,
        None if first is None else first.ended - begin,
        longest_silence(history.writes, begin, end),
        None if None in heard else max((at for at in heard if at is not None), default=begin) - begin,
    )


def table(found: Iterable[Recovery]) -> list[str]:
    """In Markdown."""
    lines = ["| fault | first write | longest time without a write | every watch goes on |", "|---|---|---|---|"]
    for each in found:
        cells = [each.fault, *map(_seconds, (each.written, each.silence, each.watched))]
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def first_acknowledged(writes: Iterable[Write], moment: float) -> Write | None:
    """Of those that began after it, the one that was acknowledged first."""
    later = [write for write in writes if write.began >= moment and write.outcome is Outcome.ACKNOWLEDGED]
    return min(later, key=lambda write: write.ended, default=None)


def longest_silence(writes: Iterable[Write], begin: float, end: float) -> float:
    moments = sorted(
        write.ended for write in writes if write.outcome is Outcome.ACKNOWLEDGED and begin < write.ended < end
    )
    return max(later - sooner for sooner, later in zip([begin, *moments], [*moments, end], strict=True))


def heard_again(watcher: list[Run], moment: float) -> float | None:
    """When the watcher first knew of something after ``moment``, by an event or by a list."""
    times = [run.listing.ended for run in watcher] + [
        event.at for run in watcher for event in run.events if event.kind != "BOOKMARK"
    ]
    return min((at for at in times if at > moment), default=None)


def _seconds(value: float | None) -> str:
    return "never" if value is None else f"{value:.1f} s"
