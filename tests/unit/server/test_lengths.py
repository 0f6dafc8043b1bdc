"""How large the pages of lists are."""

from __future__ import annotations

from proxy.mapping.listing import Listing
from proxy.server.lengths import FIRST, GROWTH, KNOWN, LARGEST, SMALLEST, Lengths

TOKEN = "k3fq7zn2a"


def listing(path: str = "/api/v1/x", *, token: str = TOKEN, selector: str = "", continued: bool = False) -> Listing:
    query = (("fieldSelector", selector),) if selector else ()
    return Listing(path, query, 0, "start", token, continued=continued)


def sizes(lengths: Lengths, there: int, about: Listing) -> list[int]:
    """Of the pages that it takes to see the end of ``there`` objects."""
    pages, found, got = lengths.pages(about), [], 0
    while True:
        found.append(pages.size(got))
        got += found[-1]
        if got > there:
            pages.learn(there)
            return found


def test_pages_grow_where_nothing_is_known() -> None:
    assert sizes(Lengths(), 3, listing()) == [FIRST]
    assert sizes(Lengths(), 100, listing()) == [FIRST, GROWTH * FIRST]
    assert sizes(Lengths(), 1000, listing()) == [FIRST, GROWTH * FIRST, LARGEST, LARGEST]


def test_the_next_time_they_are_as_large_as_the_list() -> None:
    lengths = Lengths()
    for there, wanted in ((0, [SMALLEST]), (3, [SMALLEST]), (100, [114]), (1000, [LARGEST, LARGEST])):
        sizes(lengths, there, listing())
        assert sizes(lengths, there, listing()) == wanted
    # It was a thousand, and has become more, or nothing.
    assert sizes(lengths, 1100, listing()) == [LARGEST, LARGEST, LARGEST]
    assert sizes(lengths, 0, listing()) == [LARGEST]


def test_a_list_that_has_grown_takes_larger_pages_each_time() -> None:
    lengths = Lengths()
    sizes(lengths, 0, listing())
    assert sizes(lengths, 300, listing()) == [SMALLEST, FIRST, GROWTH * FIRST, LARGEST]


def test_each_list_is_another() -> None:
    lengths = Lengths()
    sizes(lengths, 100, listing())
    for other in (listing("/api/v1/y"), listing(token="k3fq7zn2b"), listing(selector="a=b"), listing(continued=True)):
        assert sizes(lengths, 3, other) == [FIRST]
    assert sizes(lengths, 100, listing()) == [114], "its end tells nothing of the whole"


def test_what_is_remembered_is_bounded() -> None:
    lengths = Lengths()
    for number in range(KNOWN + 1):
        lengths.pages(listing(f"/{number}")).learn(7)
    assert sizes(lengths, 3, listing("/0")) == [FIRST]
    assert sizes(lengths, 3, listing(f"/{KNOWN}")) == [9]
