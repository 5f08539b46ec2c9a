"""Regular expressions in time proportional to the text: a pattern becomes an automaton, run by sets of states.

Backtracking, as in Python's `re`, takes exponential time for patterns such as (a+)+b, and a model file is data.  The
syntax is RE2's, for whole matches: literals, escapes, classes (with POSIX and Unicode ones), groups, alternatives,
repetition (greedy or not is all the same here), flags (?i) (?s), anchors and word boundaries.  What RE2 refuses (back
references, looking around) is refused here.  Thompson 1968; Cox 2007, "Regular Expression Matching Can Be Simple And
Fast".
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable
from functools import lru_cache

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
        self.fold = self.dotall = False

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
        flags = self.fold, self.dotall
        parts = [self.sequence(depth)]
        while self.take("|"):
            parts.append(self.sequence(depth))
        self.fold, self.dotall = flags
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
        self.take("?")  # greedy or not, whole matches are the same
        finish = self.at
        if self.times() is not None:
            raise self.fail("a repetition of a repetition")
        return self.copies(part, times, begin, finish, depth)

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
        self, part: tuple[int, int], times: tuple[int, int | None], begin: int, finish: int, depth: int
    ) -> tuple[int, int]:
        """The part so many times: what it was read from is read again for each copy."""
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
            if i >= least:
                self.join(end, last)
            self.join(end, a)
            if most is None and i == count - 1:
                self.join(b, a)
            end = b
        self.join(end, last)
        if most is None and least == 0:
            self.join(start, last)
        self.at = finish
        return start, last

    def atom(self, depth: int) -> tuple[int, int]:
        c = self.next()
        if c == "(":
            return self.group(depth)
        if c == "[":
            return self.edge(self.folded(self.char_class()))
        if c == ".":
            return self.edge((lambda c: True) if self.dotall else (lambda c: c != "\n"))
        if c in "^$":
            return self.edge("begin" if c == "^" else "end")
        if c in "*+?":
            raise self.fail(f"{c} has nothing to repeat")
        return self.escape() if c == "\\" else self.edge(self.literal(c))

    def group(self, depth: int) -> tuple[int, int]:
        outside = self.fold, self.dotall
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
                    self.fold, self.dotall = (on if c == "i" else self.fold), (on if c == "s" else self.dotall)
                if c == ")":
                    return self.edge(None)
        part = self.alternatives(depth + 1)
        self.fold, self.dotall = outside
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
        return (lambda c: test(c) or test(c.lower()) or test(c.upper())) if self.fold else test

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

    def _closure(self, states: set[int], before: str, after: str) -> set[int]:
        """All states reached without a character; `before` and `after` are those beside this place, or empty."""
        word = _CLASSES["w"]
        edge = (bool(before) and word(before)) != (bool(after) and word(after))
        holds = {"begin": not before, "end": not after, "word": edge, "inside": not edge}
        todo, found = list(states), set(states)
        while todo:
            for label, to in self.states[todo.pop()]:
                if to not in found and (label is None or (isinstance(label, str) and holds[label])):
                    found.add(to)
                    todo.append(to)
        return found

    def matches(self, text: str) -> bool:
        """Whether the whole text is one match."""
        states = self._closure({self.start}, "", text[:1])
        for i, char in enumerate(text):
            states = {to for s in states for label, to in self.states[s] if callable(label) and label(char)}
            if not states:
                return False
            states = self._closure(states, char, text[i + 1 : i + 2])
        return self.accept in states


@lru_cache(maxsize=64)
def compiled(pattern: str) -> Pattern:
    """The automaton of a pattern, kept."""
    return Pattern(pattern)
