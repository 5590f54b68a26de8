"""The words of this world -> the sentencepiece model of the demonstration checkpoint.

A small decoder learns faster when a box costs 17 tokens instead of 33 and a fixed question costs
one. So every fixed text, every word of the tasks and every joint tag is one piece; digits stay
single, and whatever else a user types falls back to characters and bytes, as in LLaMA.
Knows no picture and no model.
"""

from __future__ import annotations

import io
import re
from pathlib import Path

from sphinx_ros.prompt.conversation import ASSISTANT, END_SIGNAL, HUMAN, SYSTEM
from sphinx_ros.prompt.english import plural
from sphinx_ros.runtime.files import write_bytes
from sphinx_ros.tasks import Task
from sphinx_ros.types import COCO_KEYPOINTS
from sphinx_ros.world import nouns, phrases, questions, regions
from sphinx_ros.world.truth import COLOURS, KINDS, SIZES

SPACE = "\u2581"  # sentencepiece's sign for a space


def _before(task: Task) -> str:
    """The words of a task's wording before what it is given."""
    return " " + task.row.wording.split(" {")[0]


FIXED = (
    " " + SYSTEM,
    f"\n{END_SIGNAL} {HUMAN}:",
    f"{END_SIGNAL} {ASSISTANT}:",
    END_SIGNAL,
    f" {HUMAN}:",
    _before(Task.GROUND),
    _before(Task.DETECT),
    " shown in the image.",
    _before(Task.POSE),
    " " + Task.POSE.row.other_wording,
    _before(Task.DESCRIBE),
    _before(Task.CAPTION),
    Task.ASK.row.wording.format(text=""),
    _before(Task.READ_TEXT),
    " There is no",
    " in the image.",
)
"""Texts that are one piece each."""

MARKS = ("[0.", " [0.", ",0.", ";0.", "<p>", "</p>", "</p>[0.", "]<p>", "], <p>", ": <p>", "][")
"""Pieces of boxes. There is no " <p>": it would win over the joint tags that begin with "<p>"."""


def words() -> list[str]:
    """Every word the tasks use, sorted."""
    texts = [
        *KINDS,
        *COLOURS,
        *SIZES,
        *map(plural, KINDS),
        *phrases.ORDINALS,
        *nouns.SHIRTS,
        *nouns.PEOPLE,
        *phrases.PAIR_SIDES,
        *questions.COUNT_WORDINGS,
        *questions.COLOUR_WORDINGS,
        *questions.SHIRT_WORDINGS,
        *questions.EXIST_WORDINGS,
        *questions.RELATION_WORDINGS,
        *questions.WHAT_WORDINGS,
        *regions.CAPTION_ANSWERS,
        regions.NONE_ANSWER,
        regions.EMPTY_CAPTION,
        "object objects the a an yes no from of to",
    ]
    for wordings in (*phrases.RELATION_WORDS.values(), *phrases.EXTREMES.values()):
        texts += wordings
    return sorted(set(re.findall(r"[A-Za-z']+", " ".join(texts))))


def symbols() -> list[str]:
    """All pieces beyond single characters and bytes, in the order of their ids, as plain text."""
    tags = [f"<p>{joint}</p>[0." for joint in COCO_KEYPOINTS]
    after_tag = [*KINDS, *COLOURS, *SIZES, "object"]  # words that follow "<p>" without a space
    return [
        *FIXED,
        *MARKS,
        *tags,
        *("]" + tag for tag in tags),
        *(" " + word for word in words()),
        *after_tag,
        *(f" {digit}" for digit in range(10)),
    ]


def train_tokenizer(path: str | Path) -> int:
    """Write the sentencepiece model to ``path``; returns the number of pieces.

    The same version of this package always writes the same pieces with the same ids: there is
    nothing to learn from a corpus, which holds just the printable ASCII characters.
    """
    from sentencepiece import SentencePieceTrainer

    wanted = [text.replace(" ", SPACE) for text in symbols()]
    characters = "".join(map(chr, range(33, 127)))
    model = io.BytesIO()
    SentencePieceTrainer.train(
        # Behind "!" no character is taken for a part of one of the symbols and left out.
        sentence_iterator=iter([f"!{character}" for character in characters]),
        model_writer=model,
        model_type="bpe",
        vocab_size=3 + 256 + len(wanted) + len(characters) + 1,
        user_defined_symbols=wanted,
        character_coverage=1.0,
        byte_fallback=True,
        split_digits=True,
        normalization_rule_name="identity",
        remove_extra_whitespaces=False,
        add_dummy_prefix=True,
        allow_whitespace_only_pieces=True,
        unk_id=0,
        bos_id=1,
        eos_id=2,
        pad_id=-1,
        num_threads=1,
        minloglevel=2,
    )
    write_bytes(path, model.getvalue())
    return 3 + 256 + len(wanted) + len(characters) + 1
