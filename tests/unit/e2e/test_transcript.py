"""Transcripts: what is understood, and what counts as printed right."""

from __future__ import annotations

import pytest

from tests.e2e.stage import BLOG
from tests.e2e.transcript import TranscriptError, compare, fits, load, parse

TEXT = """\
== Chapter
-- A remark
-- of two lines.
@ within 60 s
@ exit 1
$ kubectl get pods --for={who}
NAME AGE
words {age}

@ background until "kcp is ready"
$ kcp start

^C
"""


def test_parse() -> None:
    first, second, third = parse(TEXT)
    assert (first.chapter, first.remark, first.command) == (
        "Chapter",
        "A remark of two lines.",
        "kubectl get pods --for={who}",
    )
    assert (first.output, first.within, first.exit_code, first.background) == (("NAME AGE", "words {age}"), 60, 1, None)
    assert (second.command, second.background, second.remark, second.exit_code) == (
        "kcp start",
        "kcp is ready",
        "",
        0,
    )
    assert third.command == "^C"
    assert first.filled({"who": "me"}) == "kubectl get pods --for=me"


@pytest.mark.parametrize("text", ["hello\n", "@ sometimes\n$ ls\n"])
def test_what_is_not_understood_is_told_with_its_line(text: str) -> None:
    with pytest.raises(TranscriptError, match=r"blog\.txt:1"):
        parse(text, "blog.txt")


def test_a_command_may_hold_braces() -> None:
    (step,) = parse("$ kubectl get ns -o jsonpath='{.metadata.labels}' {image}\n")
    assert step.filled({"image": "words:1"}) == "kubectl get ns -o jsonpath='{.metadata.labels}' words:1"


@pytest.mark.parametrize(
    ("expected", "line", "fit"),
    [
        ("NAME   AGE", "NAME     AGE  ", True),
        ("words {age}", "words 7m2s", True),
        ("words {age}", "words soon", False),
        ("reversewords-{pod}", "reversewords-6776c6fccc-kr6vw", True),
        ("reversewords-{pod}", "reversewords-", False),
        ('"details": {},', '  "details": {},', True),
        ("{url}/x", "https://10.0.0.1:6443/x", True),
        ("{url}/x", "https://10.0.0.1:6443/y", False),
        ("{url}/x", "https://10x0.0.1:6443/x", False),
        ("Annotations: <none>", "Annotations:  <none>", True),
        ("Annotations: <none>", "Annotations:  a=b", False),
        ("a.b", "axb", False),
        ("{unknown}", "{unknown}", True),
        ("{unknown}", "anything", False),
        ("", "x", False),
    ],
)
def test_fits(expected: str, line: str, fit: bool) -> None:
    assert fits(expected, line, {"url": "https://10.0.0.1:6443"}) is fit


@pytest.mark.parametrize(
    ("expected", "printed", "problem"),
    [
        ([], [], None),
        ([], [""], None),
        ([], ["x"], "printed beyond what was expected: 'x'"),
        (["a", "b"], ["a", "b"], None),
        (["a", "b"], ["a"], "not printed: b"),
        (["a", "b"], ["b", "a"], "printed 'b' instead of 'a'"),
        (["a"], ["a", "b"], "printed beyond what was expected: 'b'"),
        (["{...}"], [], None),
        (["{...}"], ["x", "y"], None),
        (["a", "{...}", "z"], ["a", "z"], None),
        (["a", "{...}", "z"], ["a", "b", "c", "z"], None),
        (["a", "{...}", "z"], ["a", "b", "c"], "printed 'c' instead of 'z'"),
        (["a", "{...}", "z"], ["a"], "printed 1 lines, too few"),
        (["{...}", "m", "{...}"], ["m"], None),
        (["{...}", "m", "{...}"], ["a", "m", "z"], None),
        (["{...}", "m", "{...}"], ["a", "z"], "not printed: m"),
        (["a", "{...}", "m", "n", "{...}", "z"], ["a", "m", "x", "m", "n", "z"], None),
        (["a", "{...}", "m", "n", "{...}", "z"], ["a", "m", "x", "n", "z"], "not printed: m"),
        (["a", "{...}", "a"], ["a"], "printed 1 lines, too few"),
    ],
)
def test_compare(expected: list[str], printed: list[str], problem: str | None) -> None:
    assert compare(expected, printed, {}) == problem


def test_the_story_is_whole() -> None:
    """Its transcripts can be read, and every step that checks nothing is one that has nothing to check."""
    steps = load(BLOG)
    silent = {step.command.split()[0] for step in steps if not step.output and step.exit_code == 0}
    assert silent == {"kcp", "export", "kubectl", "^C", "rm"}
    assert [step.command for step in steps if step.command.startswith("kubectl") and not step.output] == [
        "kubectl api-resources | grep -i deployment",
        "kubectl kcp workload sync ocp-sno --syncer-image {syncer} > syncer-ocp-sno.yaml",
        "kubectl api-resources | grep -i deployment",
        "kubectl kcp workload sync ocp-ztp --syncer-image {syncer} > syncer-ocp-ztp.yaml",
    ]
    assert len({step.chapter for step in steps}) == 6
