"""Transcripts: commands with what they must print, as text files that read like a terminal.

    == A title
    -- A remark.
    @ within 60 s
    $ kubectl get pods
    NAME READY STATUS RESTARTS AGE
    words-{pod} 1/1 Running 0 {age}

An empty line ends a step. Lines are compared word by word: the width of columns does not count. ``{name}`` is a value
that is given (`fill`) or one of `PATTERNS`; ``{...}`` alone on a line stands for any lines. Directives, before the
command: ``@ exit N`` (0 otherwise), ``@ within N s`` (repeated until it prints what it must), ``@ background until
"TEXT"`` (goes on running, once it has printed TEXT). The command ``^C`` interrupts what runs in the background and
waits for its end.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

PATTERNS = {
    "age": r"\d+[smhd](?:\d+[smhd])?",
    "pod": r"[a-z0-9]+-[a-z0-9]{5}",
    "date": r"\w{3}, \d{2} \w{3} \d{4} [\d:]{8} [+-]\d{4}",
    "syncer_id": r"kcpsync[0-9a-f]{56}",
}
INTERRUPT = "^C"
ANYTHING = "{...}"
_PLACE = re.compile(r"\{(\w+)\}")


class TranscriptError(Exception):
    """A transcript that cannot be understood; names file and line."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A command and what must come of it."""

    chapter: str
    remark: str
    command: str
    output: tuple[str, ...] = ()
    exit_code: int = 0
    within: float = 0.0
    """Seconds in which it is tried again; 0: it must fit at once."""
    background: str | None = None
    """It goes on running; what it prints when it is up."""

    def filled(self, values: Mapping[str, str]) -> str:
        """The command with ``values`` in it."""
        return _PLACE.sub(lambda match: values.get(match[1], match[0]), self.command)

    def mismatch(self, text: str, values: Mapping[str, str]) -> str | None:
        """Where ``text`` is not what must be printed, in one line; None if it is."""
        return compare(self.output, text.splitlines(), values)


def parse(text: str, name: str = "transcript") -> list[Step]:
    """Raises TranscriptError."""
    steps: list[Step] = []
    chapter, remark = "", ""
    directives: dict[str, str] = {}
    command: str | None = None
    output: list[str] = []

    def finish() -> None:
        nonlocal command, remark
        if command is not None:
            steps.append(_step(chapter, remark, command, output, directives))
            command, remark = None, ""
            output.clear()
            directives.clear()

    for number, line in enumerate([*text.splitlines(), ""], 1):
        if not line.strip():
            finish()
        elif command is not None:
            output.append(line)
        elif line.startswith("== "):
            chapter = line[3:]
        elif line.startswith("-- "):
            remark = f"{remark} {line[3:]}".strip()
        elif line.startswith("@ "):
            word, _, rest = line[2:].partition(" ")
            if word not in ("exit", "within", "background"):
                raise TranscriptError(f"{name}:{number}: unknown directive {word!r}")
            directives[word] = rest
        elif line.startswith("$ "):
            command = line[2:]
        elif line == INTERRUPT:
            command = INTERRUPT
        else:
            raise TranscriptError(f"{name}:{number}: neither a command nor output: {line!r}")
    return steps


def load(folder: Path) -> list[Step]:
    """All steps of the transcripts in ``folder``, by file name."""
    return [step for file in sorted(folder.glob("*.txt")) for step in parse(file.read_text(), file.name)]


def _step(chapter: str, remark: str, command: str, output: list[str], directives: dict[str, str]) -> Step:
    background = directives.get("background")
    return Step(
        chapter=chapter,
        remark=remark,
        command=command,
        output=tuple(output),
        exit_code=int(directives.get("exit", "0")),
        within=float(directives.get("within", "0").removesuffix("s")),
        background=background.removeprefix("until ").strip('"') if background is not None else None,
    )


def compare(expected: tuple[str, ...] | list[str], printed: list[str], values: Mapping[str, str]) -> str | None:
    """The first difference, in one line; None if there is none."""
    lines = [line for line in printed if line.strip()]
    if ANYTHING in expected:
        return _compare_with_gaps(list(expected), lines, values)
    for number, want in enumerate(expected):
        if number >= len(lines):
            return f"not printed: {want}"
        if not fits(want, lines[number], values):
            return f"printed {lines[number]!r} instead of {want!r}"
    if len(lines) > len(expected):
        return f"printed beyond what was expected: {lines[len(expected)]!r}"
    return None


def _compare_with_gaps(expected: list[str], lines: list[str], values: Mapping[str, str]) -> str | None:
    """The pieces between gaps, in order: first at the start, last at the end, the others as early as they fit."""
    pieces: list[list[str]] = [[]]
    for line in expected:
        if line == ANYTHING:
            pieces.append([])
        else:
            pieces[-1].append(line)
    first, *middle, last = pieces
    if len(lines) < sum(map(len, pieces)):
        return f"printed {len(lines)} lines, too few"
    end = len(lines) - len(last)
    for piece, start in ((first, 0), (last, end)):
        problem = compare(piece, lines[start : start + len(piece)], values)
        if problem:
            return problem
    position = len(first)
    for piece in middle:
        while position + len(piece) <= end and compare(piece, lines[position : position + len(piece)], values):
            position += 1
        if position + len(piece) > end:
            return f"not printed: {piece[0]}"
        position += len(piece)
    return None


def fits(expected: str, line: str, values: Mapping[str, str]) -> bool:
    """Whether a printed line is the expected one, white space aside."""

    def pattern(match: re.Match[str]) -> str:
        name = match[1]
        if name in values:
            return re.escape(values[name])
        return PATTERNS.get(name, re.escape(match[0]))

    parts = []
    position = 0
    text = " ".join(expected.split())
    for match in _PLACE.finditer(text):
        parts += [re.escape(text[position : match.start()]), pattern(match)]
        position = match.end()
    parts.append(re.escape(text[position:]))
    return re.fullmatch("".join(parts), " ".join(line.split())) is not None
