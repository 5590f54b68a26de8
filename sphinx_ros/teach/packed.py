"""Examples about one picture -> packed rows of tokens, of which the answers are learnt.

As in training (:mod:`sphinx_ros.train.packing`): behind the common prefix (BOS, image, system
text) each conversation sees the prefix and itself only, and its positions go on from the prefix.
So a packed conversation is exactly a single one, and the picture is looked at once for all.
Knows no network.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from sphinx_ros.engine.prefix import question_prefix
from sphinx_ros.errors import BadRequest
from sphinx_ros.prompt.conversation import END_SIGNAL, conversation
from sphinx_ros.prompt.tokenizer import Tokenizer
from sphinx_ros.teach.example import Example

PADDING = -1
"""Number of the conversation of what fills a row up."""


class Words(NamedTuple):
    """A conversation behind the common prefix. learnt: which of the ids are an answer's. known:
    see :class:`sphinx_ros.teach.example.Example`.
    """

    ids: list[int]
    learnt: list[bool]
    known: bool = False


class Packed(NamedTuple):
    """Rows of a batch, [B, T] each: tokens, whether they are learnt, conversation (0 prefix, n
    the n-th, -1 padding), position counted in text tokens, whether their probabilities are to stay
    as they are (None: of none).
    """

    tokens: torch.Tensor
    learnt: torch.Tensor
    turn: torch.Tensor
    position: torch.Tensor
    known: torch.Tensor | None = None


class Packing:
    """Examples -> rows.

    tokenizer: of the checkpoint. tokens: most of a row behind the common prefix. longest: most
    text tokens of a sequence with a picture, the prefix included; None: any number.
    """

    def __init__(self, tokenizer: Tokenizer, tokens: int, longest: int | None = None):
        self.tokenizer = tokenizer
        self.prefix = question_prefix(tokenizer)
        limit = tokens if longest is None else longest - len(self.prefix)
        self.room = min(tokens, limit)
        self._remedy = "shorten it, or raise --tokens"
        if limit < tokens:
            self._remedy = "shorten it: the checkpoint's max_seq_len has no room for more"
        self._widest = max(len(tokenizer.piece(token)) for token in range(tokenizer.n_words))

    def words(self, example: Example) -> Words:
        """The ids of a conversation; learnt are the answers, with the end signal behind each.

        As the official code labels them (LLaMA2-Accessory, ``accessory/data/conversation/
        dataset.py``): the text and the end signal of every answer, nothing else.

        Raises:
            BadRequest: it does not fit into a row, an answer has no tokens of its own, or holds
                what ends an answer.
        """
        rounds = list(example.rounds)
        characters = sum(len(text) for one in rounds for text in one)
        if characters > self._widest * self.room:  # not tokenised: that takes long for long texts
            raise BadRequest(
                f"the conversation has {characters} characters, and a row has room for "
                f"{self.room} tokens; {self._remedy}"
            )
        full = self.tokenizer.encode(conversation(rounds), True, False)
        learnt = [False] * len(full)
        for number, (asked, answer) in enumerate(rounds):
            if END_SIGNAL in answer:
                raise BadRequest(
                    f"answer {number + 1} holds {END_SIGNAL!r}, at which the model's answers end: "
                    "leave it out"
                )
            opened = conversation([*rounds[:number], (asked, None)])
            closed = f"{opened} {answer}{END_SIGNAL}"
            begin = self.tokenizer.encode(opened, True, False)
            end = self.tokenizer.encode(closed, True, False)
            if full[: len(begin)] != begin or full[: len(end)] != end:
                raise BadRequest(
                    f"answer {number + 1} shares a token with the text around it; change the "
                    "spaces or signs at its ends"
                )
            learnt[len(begin) : len(end)] = [True] * (len(end) - len(begin))
        before = len(self.prefix)
        if len(full) - before > self.room:
            raise BadRequest(
                f"the conversation has {len(full) - before} tokens, and a row has room for "
                f"{self.room}; {self._remedy}"
            )
        return Words(full[before:], learnt[before:], example.known)

    def rows(self, examples: Sequence[Words]) -> list[list[Words]]:
        """Conversations about one picture -> those of each row, in their order, as many as fit."""
        rows: list[list[Words]] = []
        free = 0
        for one in examples:
            if not rows or len(one.ids) > free:
                rows.append([])
                free = self.room
            rows[-1].append(one)
            free -= len(one.ids)
        return rows

    def batch(self, rows: Sequence[Sequence[Words]], device: torch.device) -> Packed:
        """Rows as tensors, as long as the longest of them."""
        before = len(self.prefix)
        length = before + max(sum(len(one.ids) for one in row) for row in rows)
        tokens = np.zeros((len(rows), length), np.int64)
        learnt, known = np.zeros(tokens.shape, bool), np.zeros(tokens.shape, bool)
        turn, position = np.full_like(tokens, PADDING), np.zeros_like(tokens)
        tokens[:, :before], turn[:, :before] = self.prefix, 0
        position[:, :before] = np.arange(before)
        for at_row, row in enumerate(rows):
            at = before
            for number, one in enumerate(row, start=1):
                span = slice(at, at + len(one.ids))
                tokens[at_row, span], learnt[at_row, span] = one.ids, one.learnt
                known[at_row, span] = one.known
                turn[at_row, span] = number
                position[at_row, span] = before + np.arange(len(one.ids))
                at += len(one.ids)
        fields = [tokens, learnt, turn, position] + [known] * bool(known.any())
        return Packed(*(torch.from_numpy(field).to(device) for field in fields))
