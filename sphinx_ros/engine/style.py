"""How a checkpoint writes numbers -> which tokens may follow, and which must. Knows no network.

Answers with boxes follow a small language: a bracket, numbers of a fixed number of decimals, the
same tokens between them each time. What these are is the checkpoint's habit (two decimals or
three, spaces or none, "[0." as one piece or as three): it is learnt from its first answers, token
for token, so that what is forced later is what it would have written. An answer that it writes
freely in this language it writes in it, too.
"""

from __future__ import annotations

import functools
import itertools
import threading
from collections.abc import Sequence
from enum import Enum
from typing import NamedTuple

from sphinx_ros.engine.choosing import ANY, Wish
from sphinx_ros.prompt.tokenizer import Tokenizer
from sphinx_ros.tasks import Language

SINGLE = (Language.ONE_BOX, Language.ONE_PLACE)
"""Answers that end behind their first group."""

AGREEING = 2
"""Answers that must show the same habit before it counts as one."""


class Mode(Enum):
    """Where the text stands."""

    START = 0  # nothing written
    WORDS = 1  # outside of brackets
    WHOLE = 2  # the digit before the point comes
    POINT = 3  # the point comes
    DECIMALS = 4


class State(NamedTuple):
    """What of the text decides what may follow.

    number: of the number in its group, from 0. decimals: digits behind the point so far.
    """

    mode: Mode = Mode.START
    number: int = 0
    decimals: int = 0


class Style(NamedTuple):
    """A habit of writing groups of numbers.

    numbers: of a group, 4 for a box and 2 for a point. decimals: digits behind the point.
    opening: ids before the first decimal of the answer. between: ids from the last decimal of a
    number to the first of the next. closing: ids behind the last decimal, up to the end of the
    answer, end signal included; empty where the answer has several groups.
    """

    numbers: int
    decimals: int
    opening: tuple[int, ...]
    between: tuple[int, ...]
    closing: tuple[int, ...] = ()


class Pieces:
    """The texts of a tokenizer's pieces, and those that the language needs."""

    def __init__(self, tokenizer: Tokenizer):
        texts = [tokenizer.piece(i).replace("\u2581", " ") for i in range(tokenizer.n_words)]
        self.texts = [
            chr(int(text[3:5], 16)) if len(text) == 6 and text.startswith("<0x") else text
            for text in texts
        ]
        self.digits = tuple(texts.index(digit) for digit in "0123456789" if digit in texts)
        # what may follow a group: its bracket closes, or another group begins
        self.ends = tuple(
            i
            for i, text in enumerate(texts)
            if text.strip()[:1] in ("]", ";") and text.count("[") <= 1 and i not in self.digits
        )

    def after(self, state: State, token: int) -> State:
        """The state behind one more token."""
        for character in self.texts[token]:
            state = _after(state, character)
        return state


@functools.cache
def _after(state: State, character: str) -> State:
    mode, number, decimals = state
    if character == "[":
        return State(Mode.WHOLE)
    if mode is Mode.START and character == " ":
        return state
    if mode in (Mode.START, Mode.WORDS) or character == "]":
        return State(Mode.WORDS)
    if mode is Mode.WHOLE and character in "01":
        return State(Mode.POINT, number)
    if mode is Mode.WHOLE and character == " ":
        return state
    if mode is Mode.POINT and character == ".":
        return State(Mode.DECIMALS, number)
    if mode is Mode.DECIMALS and character.isdigit():
        return State(mode, number, decimals + 1)
    if mode is Mode.DECIMALS and decimals and character == ",":
        return State(Mode.WHOLE, number + 1)
    if mode is Mode.DECIMALS and decimals and character == ";":
        return State(Mode.WHOLE)
    return State(Mode.WORDS)  # nothing of the language: what follows is free


class Guide:
    """Which tokens may follow in an answer, by the language of its task and a checkpoint's style.

    style: None allows everything and only reports the digits' probabilities.
    """

    def __init__(self, pieces: Pieces, language: Language, style: Style | None):
        self.pieces, self.language, self.style = pieces, language, style

    @property
    def digits(self) -> tuple[int, ...]:
        """The ids of the ten digits."""
        return self.pieces.digits

    def after(self, state: State, token: int) -> State:
        """The state behind one more token."""
        return self.pieces.after(state, token)

    def wish(self, state: State) -> Wish:
        """What may come in this state, and which probabilities tell where a number lies."""
        style, digits = self.style, self.pieces.digits
        if state.mode is not Mode.DECIMALS:
            if style is None or state.mode in (Mode.START, Mode.WORDS):
                return ANY
            forced = self.forced(state)
            return Wish(forced[:1] if forced else digits[:2])
        if style is None or state.number >= style.numbers:
            return Wish(report=digits)
        if state.decimals < style.decimals:
            return Wish(digits, digits)
        forced = self.forced(state)
        return Wish(forced[:1] if forced else self.pieces.ends)

    def forced(self, state: State) -> tuple[int, ...]:
        """Ids that must come in this state, as many as are certain."""
        style = self.style
        if style is None or state.mode in (Mode.START, Mode.WORDS, Mode.WHOLE):
            return ()
        if state.mode is Mode.POINT:
            return self._rest(".")[:1]
        if state.decimals != style.decimals or state.number >= style.numbers:
            return ()
        if state.number < style.numbers - 1:
            whole = self._whole()
            return style.between if whole is None else style.between[:whole]
        return style.closing if self.language in SINGLE else ()

    def ends(self, state: State) -> bool:
        """Whether all that follows is certain, up to the end."""
        style = self.style
        complete = style is not None and self.language in SINGLE and style.closing
        return bool(complete) and self.forced(state) == style.closing  # type: ignore[union-attr]

    def guess(self, state: State) -> tuple[int, ...]:
        """Ids that are likely to come in this state; to be verified."""
        style = self.style
        if style is None:
            return ()
        if state.mode is Mode.START and self.language in (*SINGLE, Language.POINTS):
            return style.opening
        whole = self._whole()
        return style.between[whole:] if state.mode is Mode.WHOLE and whole is not None else ()

    def _whole(self) -> int | None:
        """Where in ``between`` the digit before the point is a piece of its own."""
        assert self.style is not None
        digits = set(self.pieces.digits)
        found = (i for i, token in enumerate(self.style.between) if token in digits)
        return next(found, None)

    def _rest(self, begin: str) -> tuple[int, ...]:
        assert self.style is not None
        texts = [self.pieces.texts[token] for token in self.style.between]
        return self.style.between[texts.index(begin) :] if begin in texts else ()


def style_of(ids: Sequence[int], pieces: Pieces, language: Language) -> Style | None:
    """The habit that an answer shows, its end signal included; None where it shows none.

    All its groups must be written alike.
    """
    state, seen = State(), []
    for token in ids:
        state = pieces.after(state, token)
        seen.append(state)
    is_decimal = [
        s.mode is Mode.DECIMALS and token in pieces.digits
        for s, token in zip(seen, ids, strict=True)
    ]
    runs, at = [], 0  # (first, behind the last, number in the group) of each number's decimals
    while at < len(ids):
        if is_decimal[at]:
            first = at
            while at < len(ids) and is_decimal[at]:
                at += 1
            runs.append((first, at, seen[first].number))
        else:
            at += 1
    numbers = [number for _, _, number in runs]
    points = language is Language.POINTS or (
        language is Language.ONE_PLACE and max(numbers, default=0) < 2
    )
    size = 2 if points else 4
    if not runs or numbers != list(range(size)) * (len(runs) // size):
        return None
    decimals = {last - first for first, last, _ in runs}
    between = {
        tuple(ids[one[1] : other[0]]) for one, other in itertools.pairwise(runs) if other[2]
    }
    if len(decimals) != 1 or len(between) != 1:
        return None
    opening = tuple(ids[: runs[0][0]])
    closing = tuple(ids[runs[-1][1] :]) if len(runs) == size else ()
    return Style(size, decimals.pop(), opening, between.pop(), closing)


class Habits:
    """What is known so far of a checkpoint's style, for each language."""

    def __init__(self, pieces: Pieces):
        self.pieces = pieces
        self._styles: dict[Language, Style | None] = {}
        self._agreed: dict[Language, int] = {}
        # one for all questions alike: what is worked out for a guide once is kept for it
        self._guide = functools.cache(functools.partial(Guide, pieces))
        self._lock = threading.Lock()  # several threads have answers at the same time

    def guide(self, language: Language, free: bool = False) -> Guide:
        """A guide for one answer. free: without constraints."""
        known = self._agreed.get(language, 0) >= AGREEING and not free
        return self._guide(language, self._styles[language] if known else None)

    def learn(self, language: Language, ids: Sequence[int]) -> None:
        """Take notice of a complete answer that was written freely."""
        if language is Language.FREE or self._agreed.get(language, 0) >= AGREEING:
            return
        style = style_of(ids, self.pieces, language)
        if style is None:
            return
        if language not in SINGLE:
            style = style._replace(closing=())
        with self._lock:
            before = self._styles.get(language)
            if self._agreed.get(language, 0) >= AGREEING:
                return
            if before is not None and before._replace(opening=()) == style._replace(opening=()):
                self._agreed[language] += 1
            else:
                self._styles[language], self._agreed[language] = style, 1

    def told(self) -> list[list]:
        """What is known so far, as plain values that JSON can hold; see :meth:`begin_with`."""
        with self._lock:
            known = [(language, style) for language, style in self._styles.items() if style]
            return [[one.value, self._agreed[one], *style] for one, style in known]

    def begin_with(self, told: Sequence[Sequence]) -> None:
        """Know what was told, and nothing else, as a process that goes on for another one."""
        with self._lock:
            self._styles, self._agreed = {}, {}
            for name, agreed, numbers, decimals, *ids in told:
                language = Language(name)
                self._styles[language] = Style(numbers, decimals, *map(tuple, ids))
                self._agreed[language] = agreed
