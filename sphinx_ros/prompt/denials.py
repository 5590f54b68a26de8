"""Words of an answer -> whether they say that there is no such thing.

A denial is a main clause: "There is no mug", "I can't see any mug", "The mug is not in the image".
A thing that lacks something is there all the same: "a mug with no handle", "a bench where there
is no one sitting", "the lid of the mug is not visible". Rules of words can't know every sentence;
where they are not sure the answer denies nothing, and is one that could not be read.
"""

from __future__ import annotations

import re

LONGEST = 4000
"""Characters that are read."""

_SPELLINGS = (
    ("[\u2018\u2019`\u00b4]", "'"),
    (r"\b(?:cannot|can'?t)\b", "can not"),
    (r"\b(is|are|was|were|do|does|did|could|have|has|had)n'?t\b", r"\1 not"),
    (r"\bain'?t\b", "is not"),
    (r"\bi'?m\b", "i am"),
    (r"\b(it|that|there|this|nothing|nobody)'s\b", r"\1 is"),
    (r"'re\b", " are"),
    (r"'ve\b", " have"),
    (r"\bno ?one\b", "nobody"),
    (r"\bno\. ?(?=\d)", "number "),
)
"""What is written in several ways -> the one that the rules know."""

_PICTURE = (
    r"(?:(?:the|this|that|your) (?:\w+ ){0,2})?"
    r"(?:image|picture|photo|photograph|scene|frame|view|shot|snapshot|screenshot)s?(?: you \w+)?"
)
_SEE = "(?:see|find|detect|locate|spot|identify|recogni[sz]e|notice|observe|discern|make out)"
_SEEN = (
    "(?:visible|present|found|seen|detected|located|shown|depicted|pictured|identified|spotted|"
    rf"there|here|included|apparent|available|(?:part|in|on|within|inside)(?: of)? {_PICTURE}|"
    "in sight)"
)
_BE = "(?:is|are|was|were|seems? to be|appears? to be)"
_HOLDS = "(?:contains?|shows?|has|have|includes?|depicts?|features?)"
_ADVERBS = "(?: (?:currently|actually|clearly|really|just|simply|appear to|seem to|also|be|been))*"
_NOT_SO = (
    "(?! (?:only|just|merely|many|much|all|always|doubt|question|problems?|need|reason|wonder|"
    "idea|clue|comment|worries|matter|longer|smoking|parking|entry|stopping|trespassing|exit|"
    r"fewer|less|more|other|but|except|wrong|special|unusual)\b)"
)
"""After "no" or "not": phrases that deny nothing ("not only"), and words on signs."""

_LEADS = re.compile(
    r"(?:(?:i am |we are )?(?:so |very )?sorry|i apologi[sz]e|(?:my )?apologies|unfortunately|"
    r"sadly|regrettably|well|oh|hm+|okay|ok|actually|but|however|although|though|and|yes|sure|"
    r"(?:the )?answer(?: is|:)|it (?:seems|appears|looks like)|i (?:think|believe)|i am afraid|"
    r"i (?:looked|searched)|as far as i can (?:see|tell)|"
    rf"(?:in|on|from|within|based on) {_PICTURE})\b(?: that\b)?[\s,:;-]*"
)
"""What may stand before a clause."""

_CLAUSES = tuple(
    re.compile(rf"(?:{pattern})\b{_NOT_SO}")
    for pattern in (
        # The answer itself: "no", "none of them", "0 mugs", "not found"
        "(?:no|nope|none|null|n/a|absent|nowhere)(?=$|,| -)",
        r"no(?= \w)|none|nothing|neither|(?:zero|0)(?= [a-z])",
        rf"not{_ADVERBS} {_SEEN}(?=$| in | on | here)",
        r"[\w ]{1,40}: (?:none|no|nothing|0|zero|absent)(?=$)",
        # What there is: "there is no mug", "there does not seem to be any"
        rf"there (?:{_BE}|exists?){_ADVERBS} (?:no|not|zero|0|neither|none|nothing)",
        "there (?:do|does) not (?:seem|appear|exist|look)",
        "it (?:do|does) not (?:seem|appear|look)(?: like| as if| that)? there",
        "i (?:do|did) not (?:think|believe)(?: that)? (?:there|the|this|it|i)",
        rf"(?:there {_BE} )?nobody(?: else)?(?:(?: {_BE}| can be)? {_SEEN}|(?=$))",
        # Who looks: "I can not see any mug", "unable to find it", "we see none"
        r"(?:(?:i|we|you|one) )?(?:can not|could not|do not|did not|have not|had not|failed to|"
        r"(?:(?:am|are|was|were) )?(?:unable|not able) to|have (?:not been able|been unable) to)"
        rf"{_ADVERBS} (?:{_SEE}|seen|found|detected|located)\b(?! (?:an? |any )?{_PICTURE}\b)",
        "(?:i|we|you)(?: can| could| have)? (?:see|saw|find|found|detect(?:ed)?) "
        "(?:no|none|nothing)",
        # The picture: "the image does not contain a mug", "it shows no mug"
        rf"(?:(?:{_PICTURE}|it|this) )?(?:do|does) not{_ADVERBS} {_HOLDS}",
        rf"(?:{_PICTURE}|it|this) {_HOLDS} (?:no|none)",
    )
)

# The thing: "the mug is not in the image", "the mug does not exist", "it is missing".
_THING = re.compile(
    r"(?P<thing>(?:\S+ ){1,9}?)(?:"
    rf"(?:is|are|was|were|can|could|does|do|has|have) not{_ADVERBS} (?:{_SEEN}|exist|appear)\b|"
    rf"not{_ADVERBS} {_SEEN}(?=$| in | on | here)|"
    rf"{_BE} (?:nowhere|(?:absent|missing)(?=$| in | from )))"
)
_PART = re.compile(
    r"\bwhose\b|\w (?:which|who|that|where|because|if) $|'s? |s' |"
    r"\b(?:part|side|half|handle|lid|top|bottom|back|front|end|inside|rest|detail|face|head)s? "
)
"""A subject that is a part of something, or a clause about something, that is there."""

_CHINESE = re.compile(
    "(?:抱歉|对不起|很遗憾)?[,\uff0c\\s]*在?(?:"
    "(?:这张|该|此)?(?:图|图像|图片|画面|照片)(?:中|里|上)?[,\uff0c\\s]*(?:并?没有|不存在|无)|"
    "我?(?:并?没有?|未能?|无法|不能)(?:看到|看见|找到|发现|检测到)|我?(?:看不到|看不见|找不到)|"
    "(?:没有|无)\\s*$)"
)
"""The published models answer Chinese questions in Chinese."""


def is_denial(text: str) -> bool:
    """Whether a clause of the text says that there is no such thing. Never raises.

    A bare "no" is the short answer to another kind of question; "No." is a sentence.
    """
    if text.strip() == "no":
        return False
    words = text[:LONGEST].lower()
    for pattern, spelling in _SPELLINGS:
        words = re.sub(pattern, spelling, words)
    return any(_denied(clause) for clause in _clauses(words))


def _clauses(words: str) -> list[str]:
    """The sentences of a text, and what follows "but", each without what leads to it."""
    found = []
    for part in re.split(
        r"[.!?\n;\u3002\uff01\uff1f]+|(?<!nothing )\b(?=(?:but|although) (?!no\b))", words
    ):
        part = " ".join(part.split()).strip(" *_#\"'()[]<>/-,:")
        while match := _LEADS.match(part):
            part = part[match.end() :]
        found.append(part)
    return found


def _denied(clause: str) -> bool:
    if _CHINESE.match(clause) or any(pattern.match(clause) for pattern in _CLAUSES):
        return True
    subject = _THING.match(clause)
    return subject is not None and not _PART.search(subject["thing"])
