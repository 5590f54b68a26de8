"""Turns about a scene -> one packed row of tokens, with what each of them is about.

Several turns share one picture: behind the common prefix (BOS, image, system text) each turn sees
the prefix and itself only, and its positions go on from the prefix. So a packed turn is exactly a
single question at inference. Knows no network.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from sphinx_ros.engine.prefix import question_prefix
from sphinx_ros.prompt.conversation import END_SIGNAL, conversation
from sphinx_ros.prompt.tokenizer import Tokenizer
from sphinx_ros.train import recipe
from sphinx_ros.train.looking import Gaze, Target
from sphinx_ros.world.exercises import turns
from sphinx_ros.world.truth import Observation
from sphinx_ros.world.turn import Turn


class Row(NamedTuple):
    """The turns of one scene, packed: tokens, weight, turn, position as in `data.Batch`, each [T].

    question_targets, answer_targets: attention targets. coordinates: (column, value) of each.
    """

    tokens: np.ndarray
    weight: np.ndarray
    turn: np.ndarray
    position: np.ndarray
    question_targets: list[Target]
    answer_targets: list[Target]
    coordinates: list[tuple[int, float]]


class Packer:
    """Turns of a scene -> one packed row of tokens.

    tokenizer: of the checkpoint. text_tokens: room for turns behind the common prefix.
    """

    def __init__(self, tokenizer: Tokenizer, text_tokens: int):
        self.tokenizer, self.length = tokenizer, text_tokens
        self.pose_first = recipe.POSE_FIRST_SHARE
        self.prefix = question_prefix(tokenizer)
        digits = {tokenizer.encode_wo_prefix_space(str(d))[-1] for d in range(10)}
        self.digits = np.array(sorted(digits))
        pieces = map(tokenizer.piece, range(tokenizer.n_words))
        self.pieces = [piece.replace("\u2581", " ") for piece in pieces]

    def turn(self, item: Turn) -> tuple[list[int], np.ndarray]:
        """Ids after the prefix, and the loss weight of each."""
        open_text = conversation([(item.question, None)])
        prompt = self.tokenizer.encode(open_text, True, False)
        full = self.tokenizer.encode(f"{open_text} {item.answer}{END_SIGNAL}", True, False)
        if full[: len(prompt)] != prompt or prompt[: len(self.prefix)] != self.prefix:
            raise ValueError(f"prompt and answer share a token: {item.question!r} {item.answer!r}")
        ids = full[len(self.prefix) :]
        weight = np.zeros(len(ids), np.float32)
        begin = len(prompt) - len(self.prefix)
        weight[begin:] = recipe.TASK_WEIGHT.get(item.kind, 1.0)
        is_digit = np.isin(ids, self.digits)
        third = np.zeros(len(ids), bool)
        third[2:] = is_digit[2:] & is_digit[1:-1] & is_digit[:-2]
        weight[third & (weight > 0)] *= recipe.LAST_DIGIT_WEIGHT
        return ids, weight

    def row(self, truth: Observation, owners: np.ndarray, rng: np.random.Generator) -> Row:
        """The prefix, then as many turns about the scene as fit. owners: its patch owners."""
        at = len(self.prefix)
        row, gaze = self._empty(at + self.length), Gaze(truth, owners)
        row.tokens[:at], row.turn[:at], row.position[:at] = self.prefix, 0, np.arange(at)
        for number, item in enumerate(self._order(turns(truth, rng), rng), start=1):
            ids, weight = self.turn(item)
            if at + len(ids) > len(row.tokens):
                continue
            span = slice(at, at + len(ids))
            row.tokens[span], row.weight[span], row.turn[span] = ids, weight, number
            row.position[span] = len(self.prefix) + np.arange(len(ids))
            pieces = [self.pieces[i] for i in ids]
            begin = int((weight > 0).argmax())
            asked = gaze.question(item, pieces[:begin])
            row.question_targets.extend(replace(target, at=at + target.at) for target in asked)
            # a token is written by the one before it, which therefore has to look
            before = at + begin - 1
            seen = gaze.answer(item, pieces[begin:])
            row.answer_targets.extend(replace(target, at=before + target.at) for target in seen)
            row.coordinates.extend((before + i, v) for i, v in coordinates(pieces[begin:]))
            at += len(ids)
        return row

    def _order(self, asked: list[Turn], rng: np.random.Generator) -> list[Turn]:
        """The turns in any order: those that do not fit must not always be of the same kinds."""
        asked = [asked[i] for i in rng.permutation(len(asked))]
        if rng.random() < self.pose_first:
            asked.sort(key=lambda item: item.kind != "pose")
        return asked

    @staticmethod
    def _empty(length: int) -> Row:
        """A row of padding."""
        zeros = np.zeros(length, np.int64)
        weight, turn = np.zeros(length, np.float32), np.full(length, -1, np.int64)
        return Row(zeros, weight, turn, zeros.copy(), [], [], [])


def coordinates(pieces: list[str]) -> list[tuple[int, float]]:
    """(place, value) of the first two digits of each coordinate "0.ddd" among the pieces."""
    out = []
    for at, piece in enumerate(pieces):
        if piece.endswith("0."):
            digits = "".join(itertools.takewhile(str.isdigit, pieces[at + 1 : at + 4]))
            value = int(digits or 0) / 10 ** len(digits)
            out += [(at + 1 + i, value) for i in range(min(2, len(digits)))]
    return out
