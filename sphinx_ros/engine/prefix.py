"""The ids that every question about a picture begins with. Knows no model.

The network sees BOS, the picture, the system text and "### Human:" before the first word of any
question, so that much can be computed once per picture.
"""

from __future__ import annotations

from collections.abc import Sequence

from sphinx_ros.prompt.conversation import conversation
from sphinx_ros.prompt.tokenizer import Tokenizer

# First words of different make: what follows "Human:" must not merge into the prefix.
_PROBES = ("#", "?", "a", "Detect all", "Please provide", "What is", "7", "")


def common_length(one: Sequence[int], other: Sequence[int]) -> int:
    """How many ids two sequences share from the start."""
    pairs = zip(one, other, strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))


def question_prefix(tokenizer: Tokenizer) -> list[int]:
    """Ids (BOS first) that the prompts of all questions share, whatever their first word."""
    prompts = [tokenizer.encode(conversation([(p, None)]), True, False) for p in _PROBES]
    length = min(common_length(prompts[0], other) for other in prompts[1:])
    return prompts[0][:length]
