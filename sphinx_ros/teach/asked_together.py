"""Questions -> the answers of the network that is taught, by all processes that teach it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TypeVar

import torch

from sphinx_ros.model.sphinx import SphinxModel
from sphinx_ros.prompt.tokenizer import Tokenizer
from sphinx_ros.runtime.peers import Peers
from sphinx_ros.teach.example import Example
from sphinx_ros.teach.held_out import answers
from sphinx_ros.teach.learner import Learner

T = TypeVar("T")


class Asking:
    """Asks what is taught; all processes make the same calls.

    tokenizer: of the same checkpoint. peers: the processes that teach it together.
    """

    def __init__(self, learner: Learner, tokenizer: Tokenizer, peers: Peers):
        self._learner, self._tokenizer, self.peers = learner, tokenizer, peers

    def with_all_weights(self, work: Callable[[SphinxModel, Tokenizer], T]) -> T:
        """Do what needs all weights in this process, without gradients."""
        learner = self._learner
        with torch.no_grad(), learner.gathered():
            return learner(lambda: work(learner.model, self._tokenizer))

    def answers(
        self, asked: Sequence[Example], done: Callable[[int], None] = lambda number: None
    ) -> list[str]:
        """The answers to examples of one round; each process answers those on some pictures.

        done: told how many more are answered, those of other processes guessed.
        """
        peers = self.peers
        mine = set(peers.share(list(dict.fromkeys(one.image for one in asked))))
        numbers = [i for i, one in enumerate(asked) if one.image in mine]
        own = [asked[i] for i in numbers]

        def answer(model: SphinxModel, tokenizer: Tokenizer) -> list[str]:
            return answers(model, tokenizer, own, lambda number: done(number * peers.size))

        said = self.with_all_weights(answer)
        every = peers.gather(dict(zip(numbers, said, strict=True)))
        return [text for _, text in sorted((i, t) for one in every for i, t in one.items())]
