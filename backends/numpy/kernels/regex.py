"""Regular expressions in time proportional to the text: a pattern becomes an automaton, run by sets of states.

Backtracking, as in Python's `re`, takes exponential time for patterns such as (a+)+b, and a model file is data.  The
syntax is RE2's: literals, escapes, classes (with POSIX and Unicode ones), groups, alternatives, repetition (greedy or
not), flags (?imsU), anchors and word boundaries.  What RE2 refuses (back references, looking around) is refused here.
States are kept in the order in which a backtracking search would try them, so that matches are the same as RE2's and
Perl's.  Thompson 1968; Pike 1987; Cox 2007, "Regular Expression Matching Can Be Simple And Fast", and 2009, "Regular
Expression Matching: the Virtual Machine Approach".
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from functools import lru_cache
from typing import Protocol

Test = Callable[[str], bool]
State = list[tuple["Test | str | None", int]]  # ways out: a test of a character, an assertion's name, or nothing

MOST_STATES = 20_000  # counted repetition copies its operand
MOST_REPEATS = 1000  # as in RE2
_POSIX: dict[str, str] = {
    "alnum": "0-9A-Za-z", "alpha": "A-Za-z", "ascii": "\x00-\x7f", "blank": "\t ", "cntrl": "\x00-\x1f\x7f",
    "digit": "0-9", "graph": "!-~", "lower": "a-z", "print": " -~", "punct": "!-/:-@\\[-`{-~", "space": "\t-\r ",
    "upper": "A-Z", "word": "0-9A-Za-z_", "xdigit": "0-9A-Fa-f",
}  # fmt: skip
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v", "a": "\a"}
_CLASSES: dict[str, Test] = {
    "d": lambda c: "0" <= c <= "9",
    "s": lambda c: c in "\t\n\f\r ",
    "w": lambda c: c == "_" or (c.isascii() and c.isalnum()),
}


def _not(test: Test) -> Test:
    return lambda c: not test(c)


_QUOTED = re.compile(r"(\\\\)|\\Q(.*?)(?:\\E|\Z)", re.DOTALL)


def _escaped(match: re.Match[str]) -> str:
    """Text between \\Q and \\E with all signs escaped; a backslash that is escaped itself begins no such text."""
    return match[1] or "".join(c if c.isalnum() or ord(c) > 127 else f"\\{c}" for c in match[2])


class _Parser:
    """Recursive descent over the pattern; parts are (start, end) states of one automaton."""

    def __init__(self, pattern: str) -> None:
        self.text, self.at, self.states = _QUOTED.sub(_escaped, pattern), 0, list[State]()
        self.flags = frozenset[str]()

    def fail(self, message: str) -> ValueError:
        return ValueError(f"{message} at position {self.at}")

    def state(self) -> int:
        if len(self.states) >= MOST_STATES:
            raise self.fail("the pattern is too large")
        self.states.append([])
        return len(self.states) - 1

    def take(self, word: str) -> bool:
        if self.text.startswith(word, self.at):
            self.at += len(word)
            return True
        return False

    def next(self) -> str:
        if self.at >= len(self.text):
            raise self.fail("the pattern ends too early")
        self.at += 1
        return self.text[self.at - 1]

    def join(self, a: int, b: int) -> None:
        self.states[a].append((None, b))

    def edge(self, label: Test | str | None) -> tuple[int, int]:
        start, end = self.state(), self.state()
        self.states[start].append((label, end))
        return start, end

    # ---- the grammar

    def alternatives(self, depth: int = 0) -> tuple[int, int]:
        if depth > 100:
            raise self.fail("groups are nested too deep")
        flags = self.flags
        parts = [self.sequence(depth)]
        while self.take("|"):
            parts.append(self.sequence(depth))
        self.flags = flags
        if len(parts) == 1:
            return parts[0]
        start, end = self.state(), self.state()
        for a, b in parts:
            self.join(start, a)
            self.join(b, end)
        return start, end

    def sequence(self, depth: int) -> tuple[int, int]:
        start = end = self.state()
        while self.at < len(self.text) and self.text[self.at] not in "|)":
            a, b = self.repeated(depth)
            self.join(end, a)
            end = b
        return start, end

    def repeated(self, depth: int) -> tuple[int, int]:
        begin = self.at
        part = self.atom(depth)
        times = self.times()
        if times is None:
            return part
        greedy = self.take("?") is ("U" in self.flags)
        finish = self.at
        if self.times() is not None:
            raise self.fail("a repetition of a repetition")
        return self.copies(part, times, greedy, begin, finish, depth)

    def times(self) -> tuple[int, int | None] | None:
        for word, counts in {"*": (0, None), "+": (1, None), "?": (0, 1)}.items():
            if self.take(word):
                return counts
        close = self.text.find("}", self.at)
        if not self.text.startswith("{", self.at) or close < 0:
            return None
        low, comma, high = self.text[self.at + 1 : close].partition(",")
        if not low.isdecimal() or (high and not high.isdecimal()):
            return None  # a brace that is one
        self.at = close + 1
        counts = int(low), (int(high) if high else None) if comma else int(low)
        if max(counts[0], counts[1] or 0) > MOST_REPEATS or (counts[1] is not None and counts[1] < counts[0]):
            raise self.fail(f"a repetition of {low}{comma}{high} times")
        return counts

    def copies(
        self, part: tuple[int, int], times: tuple[int, int | None], greedy: bool, begin: int, finish: int, depth: int
    ) -> tuple[int, int]:
        """The part so many times: what it was read from is read again for each copy.

        Where it may be there once more or not, the way that is preferred comes first.
        """
        least, most = times
        start = end = self.state()
        last = self.state()
        fresh: tuple[int, int] | None = part
        count = max(least, 1) if most is None else most
        for i in range(count):
            if fresh is None:
                self.at = begin
                fresh = self.atom(depth)
            a, b = fresh
            fresh = None
            self.choose(end, a, last if i >= least else None, greedy)
            end = b
        self.choose(end, a if most is None and count else None, last, greedy)
        self.at = finish
        return start, last

    def choose(self, state: int, more: int | None, done: int | None, greedy: bool) -> None:
        """Ways from a state, the preferred one first."""
        for to in (more, done) if greedy else (done, more):
            if to is not None:
                self.join(state, to)

    def atom(self, depth: int) -> tuple[int, int]:
        c = self.next()
        if c == "(":
            return self.group(depth)
        if c == "[":
            return self.edge(self.folded(self.char_class()))
        if c == ".":
            return self.edge((lambda c: True) if "s" in self.flags else (lambda c: c != "\n"))
        if c in "^$":
            return self.edge(("line " if "m" in self.flags else "") + ("begin" if c == "^" else "end"))
        if c in "*+?":
            raise self.fail(f"{c} has nothing to repeat")
        return self.escape() if c == "\\" else self.edge(self.literal(c))

    def group(self, depth: int) -> tuple[int, int]:
        outside = self.flags
        if self.take("?"):
            if self.take("P<") or (self.take("<") and self.text[self.at : self.at + 1] not in ("=", "!")):
                while self.next() != ">":
                    pass
            elif not self.take(":"):
                on = True
                while (c := self.next()) not in ":)":
                    if c not in "ismU-":
                        raise self.fail(f"(?{c} is not known")
                    on = on and c != "-"
                    self.flags = self.flags | {c} if on else self.flags - {c}
                if c == ")":
                    return self.edge(None)
        part = self.alternatives(depth + 1)
        self.flags = outside
        if not self.take(")"):
            raise self.fail("a group does not end")
        return part

    def escape(self) -> tuple[int, int]:
        c = self.next()
        if c in "bBAz":
            return self.edge({"b": "word", "B": "inside", "A": "begin", "z": "end"}[c])
        return self.edge(self.folded(self.escaped(c)))

    def escaped(self, c: str) -> Test:
        """The class or character after a backslash."""
        if c.lower() in _CLASSES:
            return _CLASSES[c] if c in _CLASSES else _not(_CLASSES[c.lower()])
        if c in "pP":
            name = self.next()
            if name == "{":
                close = self.text.find("}", self.at)
                name, self.at = self.text[self.at : close], close + 1
            inverse, name = (c == "P") != name.startswith("^"), name.lstrip("^")
            if not 1 <= len(name) <= 2:
                raise self.fail(f"the class {name!r} is not known")
            test: Test = lambda x: unicodedata.category(x).startswith(name)  # noqa: E731
            return _not(test) if inverse else test
        char = self.char(c)
        return lambda x: x == char

    def char(self, c: str) -> str:
        if c == "x":
            digits = self.text[self.at : self.at + 2]
            if self.take("{"):
                close = self.text.find("}", self.at)
                digits, self.at = self.text[self.at : close], close + 1
            else:
                self.at += 2
            return chr(int(digits, 16))
        if c in _ESCAPES:
            return _ESCAPES[c]
        if c.isalnum() or ord(c) > 127:
            raise self.fail(f"\\{c} is not known")
        return c

    def literal(self, char: str) -> Test:
        return self.folded(lambda c: c == char)

    def folded(self, test: Test) -> Test:
        return (lambda c: test(c) or test(c.lower()) or test(c.upper())) if "i" in self.flags else test

    def char_class(self) -> Test:
        inverse = self.take("^")
        tests: list[Test] = []
        first = True
        while first or not self.take("]"):
            first = False
            if self.take("[:"):
                close = self.text.find(":]", self.at)
                name, self.at = self.text[self.at : close], close + 2
                if name.lstrip("^") not in _POSIX:
                    raise self.fail(f"the class [:{name}:] is not known")
                inner = _Parser(f"[{_POSIX[name.lstrip('^')]}]")
                inner.at = 1
                test = inner.char_class()
                tests.append(_not(test) if name.startswith("^") else test)
                continue
            tests.append(self.member())
        return lambda c: any(t(c) for t in tests) is not inverse

    def member(self) -> Test:
        """A character, a range, or a class in brackets."""
        low = self.next()
        if low == "\\":
            low = self.next()
            if low in "pPdDsSwW":
                return self.escaped(low)
            low = self.char(low)
        if self.text[self.at : self.at + 1] != "-" or self.text[self.at + 1 : self.at + 2] in ("]", ""):
            return lambda c: c == low
        self.at += 1
        high = self.next()
        high = self.char(self.next()) if high == "\\" else high
        if high < low:
            raise self.fail(f"the range {low}-{high} is empty")
        return lambda c: low <= c <= high


class Pattern:
    """A compiled pattern.  ValueError where it is none."""

    def __init__(self, pattern: str) -> None:
        parser = _Parser(pattern)
        self.start, self.accept = parser.alternatives()
        if parser.at < len(parser.text):
            raise parser.fail("a ) too many")
        self.states = parser.states

    def _closure(self, states: Mapping[int, int], before: str, after: str) -> dict[int, int]:
        """All states reached without a character, those preferred first, and where their matches began.

        `before` and `after` are the characters beside this place, or empty.
        """
        word = _CLASSES["w"]
        edge = (bool(before) and word(before)) != (bool(after) and word(after))
        holds = {"begin": not before, "end": not after, "word": edge, "inside": not edge}
        holds |= {"line begin": before in ("", "\n"), "line end": after in ("", "\n")}
        todo, found = list(states.items())[::-1], dict[int, int]()
        while todo:
            state, begin = todo.pop()
            if state not in found:
                found[state] = begin
                for label, to in reversed(self.states[state]):
                    if label is None or (isinstance(label, str) and holds[label]):
                        todo.append((to, begin))
        return found

    def _after(self, states: Mapping[int, int], char: str) -> dict[int, int]:
        """The states that a character leads to."""
        following: dict[int, int] = {}
        for state, begin in states.items():
            for label, to in self.states[state]:
                if callable(label) and label(char):
                    following.setdefault(to, begin)
        return following

    def matches(self, text: str) -> bool:
        """Whether the whole text is one match."""
        states = self._closure({self.start: 0}, "", text[:1])
        for i, char in enumerate(text):
            states = self._after(states, char)
            if not states:
                return False
            states = self._closure(states, char, text[i + 1 : i + 2])
        return self.accept in states

    def _search(self, text: str, at: int, longest: bool = False) -> tuple[int, int] | None:
        """The first match from a place on: the preferred one, or the longest of those that begin there."""
        states, best = dict[int, int](), None
        for i in range(at, len(text) + 1):
            if best is None:
                states.setdefault(self.start, i)  # last: a match that begins earlier is preferred
            elif not states:
                break
            reached = self._closure(states, text[i - 1 : i] if i else "", text[i : i + 1])
            if self.accept in reached:
                best = reached[self.accept], i
                tried = list(reached)  # those that began earlier first
                kept = [s for s in tried if reached[s] <= best[0]] if longest else tried[: tried.index(self.accept)]
                reached = {s: reached[s] for s in kept}  # what is preferred to this match
            states = self._after(reached, text[i : i + 1]) if i < len(text) else {}
        return best

    def _spans(self, text: str) -> Iterator[tuple[int, int]]:
        """Where the matches are; as in RE2, no empty one is at the end of another."""
        at, last = 0, -1
        while at <= len(text) and (found := self._search(text, at)) is not None:
            if found == (last, last):
                at = last + 1
                continue
            yield found
            at = last = found[1]

    def _longest_spans(self, text: str) -> Iterator[tuple[int, int]]:
        """Where the longest matches are; the character after an empty one is passed over."""
        at = 0
        while at <= len(text) and (found := self._search(text, at, longest=True)) is not None:
            yield found
            at = max(found[1], found[0] + 1)

    def findall(self, text: str) -> list[str]:
        """The matches in a text."""
        return [text[begin:end] for begin, end in self._spans(text)]

    def longest(self, text: str) -> list[str]:
        """The longest matches in a text, empty ones among them."""
        return [text[begin:end] for begin, end in self._longest_spans(text)]

    def split(self, text: str) -> list[str]:
        """What the longest matches separate; an empty match takes the character after it away."""
        pieces, at = [], 0
        for begin, end in self._longest_spans(text):
            pieces.append(text[at:begin])
            at = max(end, begin + 1)
        return [*pieces, text[at:]]

    def sub(self, by: str, text: str) -> str:
        """The text with `by`, as it is, in the place of every match."""
        pieces, at = [], 0
        for begin, end in self._spans(text):
            pieces += [text[at:begin], by]
            at = end
        return "".join([*pieces, text[at:]])


class Finder(Protocol):
    """What finds matches in texts."""

    def findall(self, text: str) -> list[str]: ...
    def longest(self, text: str) -> list[str]: ...
    def split(self, text: str) -> list[str]: ...
    def sub(self, by: str, text: str) -> str: ...


class _OneSet:
    """A set of characters, once or repeated: for Python's `re` there is no other way to go back to, so it is quick."""

    # without the classes that mean more in Python than in RE2, even where both know ASCII alone
    SYNTAX = re.compile(r"(\(\?s\))?([^\\.^$*+?()\[\]{}|]|\\[wd]|\.|\[\^?(\\[^\w\s]|\\[ntvfrwd]|[^\[\]\\])+\])\+?")

    def __init__(self, pattern: str) -> None:
        self.expression = re.compile(pattern, re.ASCII)
        self.findall: Callable[[str], list[str]] = self.expression.findall
        self.longest, self.split = self.findall, self.expression.split

    def sub(self, by: str, text: str) -> str:
        return self.expression.sub(by.replace("\\", "\\\\"), text)


@lru_cache(maxsize=64)
def compiled(pattern: str) -> Pattern:
    """The automaton of a pattern, kept."""
    return Pattern(pattern)


@lru_cache(maxsize=64)
def finder(pattern: str) -> Finder:
    """What finds the matches of a pattern, kept.  ValueError where it is none."""
    automaton = compiled(pattern)
    return _OneSet(pattern) if _OneSet.SYNTAX.fullmatch(pattern) else automaton
