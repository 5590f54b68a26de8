"""The words of an answer and the true ones -> how right it is, as each benchmark defines it.

VQA: agreement with people, min(n / 3, 1), averaged over the sets that leave one person out, after
the normalisation of the evaluation of VQA (Antol et al., 2015, visualqa.org/evaluation). The
official columns follow LLaMA2-Accessory, ``accessory/eval_mm/evaluate.py``; POPE's follow its own
``evaluate.py``. Knows no model and no picture.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

_CONTRACTED = (
    "ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've "
    "hasn't haven't he'd he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't "
    "mightn't've might've mustn't must've needn't not've o'clock oughtn't shan't she'd've "
    "should've shouldn't shouldn't've somebody'd've somebody'll somebody's someone'd someone'd've "
    "someone'll someone's something'd something'd've something'll that's there'd there'd've "
    "there're there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've weren't "
    "what'll what're what's what've when's where'd where's where've who'd who'd've who'll who's "
    "who've why'll why're why's won't would've wouldn't wouldn't've y'all y'all'll y'all'd've "
    "you'd you'd've you'll you're you've"
).split()
_NUMBERS = "zero one two three four five six seven eight nine ten".split()
_ARTICLES = {"a", "an", "the"}
_MARKS = ';/[]"{}()=+\\_-><@`,?!'
_STOP = re.compile(r"\.(?!\d)")
_BETWEEN_DIGITS = re.compile(r"\d,\d")


def _without_apostrophes() -> dict[str, str]:
    """What people write for contractions: without one apostrophe, or without the only one."""
    found = {}
    for word in _CONTRACTED:
        for at in (i for i, letter in enumerate(word) if letter == "'"):
            found[word[:at] + word[at + 1 :]] = word
    return found


_APOSTROPHES = _without_apostrophes() | {
    "somebody'd": "somebodyd", "ow's'at": "'ow's'at", "'ows'at": "'ow's'at", "'ow'sat": "'ow's'at",
}  # fmt: skip
"""The last four are in the table of that evaluation as well, the first of them backwards."""

_WRITTEN = {name: str(number) for number, name in enumerate(_NUMBERS)} | {"none": "0"}


def vqa_punctuation(text: str) -> str:
    """Without punctuation; marks beside a space go, others become a space."""
    comma, out = _BETWEEN_DIGITS.search(text) is not None, text
    for mark in _MARKS:
        beside = f"{mark} " in text or f" {mark}" in text or comma
        out = out.replace(mark, "" if beside else " ")
    return _STOP.sub("", out)


def vqa_words(text: str) -> str:
    """In small letters, numbers as digits, without articles, contractions with apostrophes."""
    words = (_WRITTEN.get(word, word) for word in text.lower().split())
    return " ".join(_APOSTROPHES.get(word, word) for word in words if word not in _ARTICLES)


def normalised(text: str) -> str:
    """An answer as VQA compares it."""
    return vqa_words(vqa_punctuation(text.replace("\n", " ").replace("\t", " ").strip()))


def vqa_score(answer: str, people: Sequence[str]) -> float:
    """Agreement with the answers of two people or more, 0..1; all are normalised.

    min(n / 3, 1), each person left out once.
    """
    return _agreement(normalised(answer), [normalised(one) for one in people])


def official_vqa(answer: str, people: Sequence[str]) -> float:
    """The same, but people's answers keep all but their punctuation, and all where they agree.

    So "2" is no answer where everybody wrote "two", and "coca cola" none where all have a hyphen.
    """
    agreed = len(set(people)) == 1
    return _agreement(
        normalised(answer), people if agreed else [vqa_punctuation(one) for one in people]
    )


def _agreement(said: str, people: Sequence[str]) -> float:
    same = [one == said for one in people]
    total = sum(same)
    return sum(min((total - one) / 3, 1.0) for one in same) / len(same)


def exact(answer: str, true: str) -> bool:
    """The same words, full stops, case and surrounding spaces aside: the official comparison."""
    one, other = (text.replace(".", "").strip().lower() for text in (answer, true))
    return one == other


def loose(answer: str, true: str) -> bool:
    """The same words after VQA's normalisation; yes and no are true and false."""
    said, wanted = normalised(answer), normalised(true)
    if wanted in ("true", "false"):
        said = {"yes": "true", "no": "false"}.get(said, said)
    return said == wanted


OFFICIAL_LETTERS = "ABCDE"


def official_choice(answer: str, true: str) -> float:
    """How right a letter is officially, 0..1.

    What stands before the first full stop has to be A to E. For anything else the official script
    draws one of the five by chance; here it counts as the mean of that, 1/5.
    """
    letter = answer.split(".")[0]
    if letter not in OFFICIAL_LETTERS or len(letter) != 1:
        return 1 / len(OFFICIAL_LETTERS) if true in OFFICIAL_LETTERS else 0.0
    return float(letter == true)


def yes_or_no(answer: str) -> str:
    """ "yes" or "no", by the first word; "" for anything else."""
    word = re.match(r"\W*(\w+)", answer)
    found = "" if word is None else word[1].lower()
    return found if found in ("yes", "no") else ""


def official_pope(answer: str) -> str:
    """POPE's own reading: "no" where the first sentence has No, no or not, else "yes"."""
    words = answer.split(".")[0].replace(",", "").split(" ")
    return "no" if {"No", "not", "no"} & set(words) else "yes"


def official_mme(answer: str) -> str:
    """MME's own reading: yes or no among the first four letters, else ""."""
    start = answer.lower()
    if start not in ("yes", "no"):
        start = start[:4]
    return next((word for word in ("yes", "no") if word in start), "")
