"""Turns of a talk -> the exact bytes SPHINX was trained on. Knows no task, token or picture.

The conversation is the official ``conv_v1_2`` (LLaMA2-Accessory, ``accessory/data/conversation/
lib.py``).
"""

from __future__ import annotations

from collections.abc import Sequence

from sphinx_ros.errors import BadRequest, quoted
from sphinx_ros.prompt.checks import checked_list

SYSTEM = (
    "A chat between a curious human and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the human's questions."
)
END_SIGNAL = "\n###"
"""What ends an answer of the model."""

LONGEST_ANSWER = 512
"""Tokens of an answer where nobody says how many, in :meth:`Sphinx.chat` and its like."""

HUMAN, ASSISTANT = "Human", "Assistant"


def checked_turns(turns: object) -> list[tuple[str, str | None]]:
    """Turns of (question, answer), of which the last is open: its answer is None.

    Raises:
        BadRequest: they are something else.
    """
    form = "pairs (question, answer), the last answer None"
    given = checked_list(turns, "turns", form)
    for number, turn in enumerate(given, 1):
        pair = turn if isinstance(turn, (list, tuple)) and len(turn) == 2 else (None, None)
        if not isinstance(pair[0], str) or not isinstance(pair[1], (str, type(None))):
            raise BadRequest(f"turn {number} is {quoted(turn)}: give {form}")
    if not given:
        raise BadRequest(f"turns is {quoted(turns)}: give {form}")
    if given[-1][1] is not None:
        raise BadRequest("the last turn has an answer already: give the open question as last")
    return [(asked, answered) for asked, answered in given]


def conversation(turns: Sequence[tuple[str, str | None]]) -> str:
    """Turns of (question, answer) -> the prompt in the official bytes.

    The last answer may be None: then the prompt ends with the open "Assistant:", without a space,
    and the model goes on from there with a space and its answer.

    Raises:
        BadRequest: an answer other than the last is None.
    """
    parts = [SYSTEM, "\n\n###"]
    for number, (asked, answered) in enumerate(turns):
        parts.append(f" {HUMAN}: {asked}{END_SIGNAL}")
        if answered is not None:
            parts.append(f" {ASSISTANT}: {answered}{END_SIGNAL}")
        elif number == len(turns) - 1:
            parts.append(f" {ASSISTANT}:")
        else:
            raise BadRequest(
                f"turn {number + 1} of {len(turns)} has no answer: only the last turn may be "
                "open; put the model's answer into the earlier ones"
            )
    return "".join(parts)
