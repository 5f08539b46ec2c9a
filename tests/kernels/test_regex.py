"""Regular expressions against Python's, and patterns that take it exponential time."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tenun.backends.numpy.kernels.regex import Pattern, finder
from tenun.layers.text import PUNCTUATION, SPLITS

TEXTS = [
    "",
    "a",
    "b",
    "ab",
    "aab",
    "abab",
    "aaa",
    "a b",
    "A",
    "aB",
    "0",
    "12",
    "_",
    "a\nb",
    "a-b",
    "]",
    "^",
    "é",
    "É",
    "a.b",
]
PATTERNS = [
    "a", "ab|a", "a*", "a+b?", "(ab)*", "(a|b)+", "a{2}", "a{1,2}b", "a{2,}", "(a{2}|b){2}", "[ab]+", "[^a]",
    "[a-c]{2}", ".",
    "a.b", "(?s)a.b", "(?i)ab", "(?i:a)b", r"\d+", r"\D", r"\w", r"\W*", r"a\sb", r"[\d_]", r"\.", r"a\.b", "[]]",
    "[]^]", "[a-]+", "^a$", r"\ba\b", r"a\Bb", r"\Aa\b.*", "(?P<x>a)(?:b)", "a??b", "a*?b", "a+?", "(|a)b", "x{", "a|",
    "()", r"\x61", "((a*)*)*", "(a|ab)(b|ab)?", r"[\x61-\x62]+", "[a\\-b]+", "(?i)é",
]  # fmt: skip


@pytest.mark.parametrize("pattern", PATTERNS)
def test_against_python(pattern: str) -> None:
    expression, expected = Pattern(pattern), re.compile(pattern, re.ASCII if "é" not in pattern else 0)
    for text in TEXTS:
        assert expression.matches(text) == (expected.fullmatch(text) is not None), text


parts = st.recursive(
    st.sampled_from(["a", "b", ".", "[ab]", "[^b]", r"\w"]),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join), st.tuples(inner, inner).map("({0[0]}|{0[1]})".format),
        st.tuples(inner, st.sampled_from(["*", "+", "?", "{2}", "{1,3}", "{0,1}", "{0}"]))
        .map("(?:{0[0]}){0[1]}".format),
    ), max_leaves=6,
)  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(parts, st.text("abc_", max_size=8))
def test_random_patterns(pattern: str, text: str) -> None:
    assert Pattern(pattern).matches(text) == (re.fullmatch(pattern, text, re.ASCII) is not None)


@pytest.mark.parametrize(("pattern", "text", "expected"), [
    ("[[:alpha:]]+", "abZ", True), ("[[:^digit:]]", "1", False), (r"\pL+", "aé", True), (r"\p{Lu}", "a", False),
    (r"\P{Nd}", "5", False), (r"\p{^Nd}", "5", False), (r"\Qa.b\E+", "a.bb", True), (r"a\z", "a", True),
    (r"\x{e9}", "é", True), ("[[:word:]-]+", "a-b", True), ("(?i-s:A.)", "a\n", False), ("(?P<n>a)", "a", True),
])  # fmt: skip
def test_syntax_that_python_has_not(pattern: str, text: str, expected: bool) -> None:
    assert Pattern(pattern).matches(text) is expected


@pytest.mark.parametrize("pattern", ["(a+)+b", "(a|a)*b", "(a*)*b", "(a?){40}a{40}b", "(.*)(.*)(.*)(.*)(.*)b"])
def test_hostile_patterns(pattern: str) -> None:
    start = time.process_time()
    assert not Pattern(pattern).matches("a" * 300)
    assert time.process_time() - start < 5


@pytest.mark.parametrize("pattern", [
    "(", ")", "a)", "[a", "*", "a**", "(?=a)", "(?!a)", "(?<=a)b", r"(a)\1", "a{2,1}", "a{9999}",
    "((a{1000}){1000}){1000}", "(" * 5000, "[b-a]", r"\y", "[[:none:]]", "\\", r"\x{110000}", r"\p{None}",
])  # fmt: skip
def test_refused(pattern: str) -> None:
    with pytest.raises((ValueError, OverflowError)):
        Pattern(pattern)


# ---- matches in a text


def found_by_python(pattern: str, text: str, flags: int = re.ASCII) -> list[str]:
    """What `re` finds, without the empty matches at the end of others, which RE2 leaves out."""
    spans = [m.span() for m in re.finditer(pattern, text, flags)]
    kept = [(a, b) for i, (a, b) in enumerate(spans) if a < b or not i or spans[i - 1][1] != a]
    return [text[a:b] for a, b in kept]


lazy = st.sampled_from(["*?", "+?", "??", "{1,2}?", "*", "+", "?", "{0,2}"])
ordered = st.recursive(
    st.sampled_from(["a", "b", ".", "[ab]", "[^b]", "^", "$", r"\b"]),
    lambda inner: st.one_of(
        st.tuples(inner, inner).map("".join), st.tuples(inner, inner).map("(?:{0[0]}|{0[1]})".format),
        st.tuples(inner, lazy).map("(?:{0[0]}){0[1]}".format),
    ), max_leaves=6,
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(ordered, st.text("abc_", max_size=8))
def test_the_first_match_is_the_preferred_one(pattern: str, text: str) -> None:
    expected = re.search(pattern, text, re.ASCII)
    assert Pattern(pattern)._search(text, 0) == (expected and expected.span())


@pytest.mark.parametrize("pattern", [
    PUNCTUATION, *SPLITS.values(), "[^b]+", ".", "a*", "a|ab", "ab|a", "a+?", "(?m)^.", "(?m)a$", r"\w+", "(?i)A+",
])  # fmt: skip
def test_all_matches(pattern: str) -> None:
    for text in [*TEXTS, "a, (b)! a\nab\nba", "aab baaa"]:
        expected = found_by_python(pattern, text)
        assert finder(pattern).findall(text) == Pattern(pattern).findall(text) == expected, text
        assert finder(pattern).sub(r"\1", text) == Pattern(pattern).sub(r"\1", text), text
        if "" not in re.findall(pattern, text, re.ASCII):
            assert finder(pattern).sub("-", text) == re.sub(pattern, "-", text, flags=re.ASCII), text


def test_what_layers_look_for_takes_no_automaton() -> None:
    assert not any(isinstance(finder(p), Pattern) for p in (PUNCTUATION, *SPLITS.values()))
    assert all(isinstance(finder(p), Pattern) for p in (r"[\W]", "(a+)+b", r"\s", "[a]*", "[[:alpha:]]"))


@settings(max_examples=200, deadline=None)
@given(ordered, st.text("abc_", max_size=7))
def test_the_longest_match(pattern: str, text: str) -> None:
    """The first place, and there the longest: as many characters as can be may lie behind the end."""
    ways = [
        (begin, len(text) - behind)
        for begin in range(len(text) + 1) for behind in range(len(text) - begin + 1)
        if re.compile(rf"(?:{pattern})(?=(?s:.){{{behind}}}\Z)", re.ASCII).match(text, begin)
    ]  # fmt: skip
    assert Pattern(pattern)._search(text, 0, longest=True) == (ways[0] if ways else None)


@pytest.mark.parametrize("pattern", ["a", r"\w+", r"[^\w ]", r"[\d_]+", ".", "[^b]+"])
def test_quick_ways_to_cut(pattern: str) -> None:
    for text in [*TEXTS, "a1, (b)! a\nab_2\nbé\v", "aab ba\x1caa"]:
        assert finder(pattern).longest(text) == Pattern(pattern).longest(text), text
        assert finder(pattern).split(text) == Pattern(pattern).split(text), text


def test_ungreedy_flag_turns_preferences_around() -> None:
    assert finder("(?U)a+").findall("aaa") == ["a", "a", "a"]
    assert finder("(?U)a+?").findall("aaa") == ["aaa"]


@pytest.mark.parametrize("pattern", ["(a+)+b", "(a|a)*b", "(a*)*b", "(.*)(.*)(.*)b"])
def test_hostile_patterns_are_found_in_time(pattern: str) -> None:
    start = time.process_time()
    assert finder(pattern).findall("a" * 300) == []
    assert finder(pattern).sub("", "a" * 300) == "a" * 300
    assert time.process_time() - start < 5
