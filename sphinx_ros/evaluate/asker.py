"""Many pictures, one question each, greedily, as one batch: for measuring, not for a robot.

The prefix of each picture (BOS, image, system text) is computed once and every question goes on
from there, as :class:`sphinx_ros.engine.engine.Engine` does for one picture.
"""

from __future__ import annotations

import torch

from sphinx_ros.engine.ending import Ending
from sphinx_ros.engine.prefix import question_prefix
from sphinx_ros.engine.rows import answer_rows
from sphinx_ros.model.network import KeyValues, Network
from sphinx_ros.prompt.conversation import conversation
from sphinx_ros.prompt.tokenizer import Tokenizer


class BatchAsker:
    """Greedy answers for a batch of pictures.

    network: in evaluation mode. tokenizer: of the same checkpoint. room: text positions that a
    question and its answer may take together.
    """

    def __init__(self, network: Network, tokenizer: Tokenizer, room: int = 420):
        self.network, self.tokenizer, self.room = network, tokenizer, room
        self.prefix = question_prefix(tokenizer)
        self.start = network.config.image_words + len(self.prefix)
        self.ending = Ending(tokenizer.decode, tokenizer.eos_id)
        self.cache: KeyValues | None = None

    @torch.inference_mode()
    def look(self, pictures: torch.Tensor) -> None:
        """Encode [B, 3, S, S] and prefill the common prefix."""
        batch = len(pictures)
        if self.cache is None or self.cache.batch != batch:
            self.cache = self.network.new_cache(batch, self.start + self.room)
        tokens = torch.tensor([self.prefix]).expand(batch, -1).to(pictures.device)
        image = self.network.encode_image(pictures)
        self.network.hidden(self.network.embed(tokens, image), cache=self.cache)

    def ask(self, questions: list[str], max_new_tokens: int = 300) -> list[str]:
        """One question (the Human text) for each picture; answers without the end signal."""
        assert self.cache is not None, "look comes first"
        texts = [conversation([(q, None)]) for q in questions]
        prompts = [self.tokenizer.encode(t, True, False)[len(self.prefix) :] for t in texts]
        made = answer_rows(
            self.network,
            self.cache,
            self.start,
            prompts,
            self.ending,
            max_new_tokens=max_new_tokens,
        )
        return [self.ending.text(one.ids).strip() for one in made]
