"""A network and its tokenizer: pixels -> a prefix, a question -> token ids and probabilities.

One caller at a time: threads take turns. Knows no task and no ROS.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from sphinx_ros.engine.ending import Ending
from sphinx_ros.engine.prefix import common_length, question_prefix
from sphinx_ros.engine.rows import answer_rows
from sphinx_ros.engine.sampling import Generated
from sphinx_ros.engine.watch import Watch
from sphinx_ros.errors import BadRequest
from sphinx_ros.model.network import KeyValues, Network
from sphinx_ros.prompt.conversation import conversation
from sphinx_ros.prompt.tokenizer import Tokenizer
from sphinx_ros.runtime.forks import OwnLock
from sphinx_ros.runtime.memory import memory_named

ROOM = 768
"""Positions kept at first for a question and its answer behind the prefix of a picture."""

LEAST_ANSWER = 32
"""Positions that a question must leave for its answer."""


@dataclass(eq=False)
class Prefix:
    """What all questions on one picture begin with, in a cache.

    ids: of the text, BOS first; the image tokens [1, W, dim] stand behind BOS. kept: how many of
    the ids the cache still holds. encode_ms, prefill_ms: what it took.
    """

    ids: list[int]
    image: Tensor
    cache: KeyValues
    encode_ms: float
    prefill_ms: float
    kept: int = field(init=False)

    def __post_init__(self) -> None:
        self.kept = len(self.ids)


class Engine:
    """Looks and answers. ``lock`` is held during each; ``generate`` and others take it as well."""

    def __init__(self, network: Network, tokenizer: Tokenizer):
        self.network, self.tokenizer = network, tokenizer
        self.lock = OwnLock()
        self.ending = Ending(tokenizer.decode, tokenizer.eos_id)
        self.prefix_ids = question_prefix(tokenizer)

    def question_ids(self, asked: str) -> list[int]:
        """The prompt ids of one question (the Human text), BOS first.

        Raises:
            BadRequest: they leave no room for an answer; the limit is in tokens.
        """
        most = self.network.config.max_seq_len - self.network.config.image_words - LEAST_ANSWER
        frame = len(self.prefix_ids)
        least = len(asked) // self._longest_piece  # a text of megabytes is not even tokenised
        if least <= most:
            ids = self.tokenizer.encode(conversation([(asked, None)]), True, False)
            if len(ids) <= most:
                return ids
            least = len(ids) - frame
        raise BadRequest(
            f"the question has {least} tokens or more, and {max(most - frame, 0)} fit behind a "
            "picture: shorten the text"
        )

    @functools.cached_property
    def _longest_piece(self) -> int:
        return max(len(self.tokenizer.piece(i)) for i in range(self.tokenizer.n_words))

    @torch.inference_mode()
    def look(self, pixels: Tensor) -> Prefix:
        """Encode one picture [1, 3, S, S] and prefill what all questions about it begin with.

        Raises:
            BadRequest: the sequence is too short for a picture and a question.
            SphinxError: out of memory.
        """
        config, ids = self.network.config, self.prefix_ids
        start = len(ids) + config.image_words
        if config.max_seq_len < start + LEAST_ANSWER:
            raise BadRequest(
                f"max_seq_len {config.max_seq_len} leaves {config.max_seq_len - start} positions "
                f"behind the picture's {start}; allow at least {start + LEAST_ANSWER}"
            )
        with self.lock, memory_named("looking at a picture"):
            begun = time.perf_counter()
            image = self.network.encode_image(pixels.to(self.network.device))
            encoded = time.perf_counter()
            cache = self._filled(ids, image, min(config.max_seq_len, start + ROOM))
            done = time.perf_counter()
        return Prefix(ids, image, cache, 1e3 * (encoded - begun), 1e3 * (done - encoded))

    def answer(
        self, prefix: Prefix, asked: str, doing: str, max_new_tokens: int, watch: Watch
    ) -> Generated:
        """Answer one question behind a prefix; threads take turns.

        doing: what is done, for the message of an error.

        Raises:
            BadRequest: the question is too long.
            TimedOut, Cancelled: the watch says so; with the text so far.
            SphinxError: out of memory.
        """
        ids = self.question_ids(asked)
        with watch.turn(self.lock), memory_named(doing):
            self._make_room(prefix, len(ids) + max_new_tokens)
            shared = common_length(ids, prefix.ids[: prefix.kept])
            # A tokenizer whose pieces reach over the prefix's end makes the question overwrite it.
            prefix.kept = shared
            (made,) = answer_rows(
                self.network,
                prefix.cache,
                shared + self.network.config.image_words,
                [ids[shared:]],
                self.ending,
                max_new_tokens=max_new_tokens,
                on_token=watch.token,
                should_stop=watch.should_stop,
            )
        watch.raise_if_stopped(self.ending.text(made.ids))
        return made

    def _make_room(self, prefix: Prefix, text_tokens: int) -> None:
        """A larger cache where question and answer need it and the network has positions."""
        config = self.network.config
        wanted = min(config.max_seq_len, config.image_words + text_tokens)
        if wanted > prefix.cache.length:
            longer = min(config.max_seq_len, -(-wanted // ROOM) * ROOM)
            prefix.cache = self._filled(prefix.ids, prefix.image, longer)
            prefix.kept = len(prefix.ids)

    @torch.inference_mode()
    def _filled(self, ids: Sequence[int], image: Tensor, length: int) -> KeyValues:
        """A cache of so many positions that holds the ids and the picture."""
        cache = self.network.new_cache(1, length)
        tokens = torch.tensor([list(ids)], device=self.network.device)
        self.network.hidden(self.network.embed(tokens, image), cache=cache)
        return cache
