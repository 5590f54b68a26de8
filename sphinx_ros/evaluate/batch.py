"""Many pictures, one question each, greedily, in one batch: for measuring, not for a robot.

The prefix of each picture (BOS, image, system text) is computed once and every question goes on
from there, as :mod:`sphinx_ros.pipeline` does for one picture; the answers are the same.
"""

from __future__ import annotations

import torch

from sphinx_ros.engine.prefix import question_prefix
from sphinx_ros.prompt.conversation import END_SIGNAL, conversation


class BatchAsker:
    """Greedy answers for a batch of pictures.

    model: SphinxModel in eval mode; tokenizer: of the same checkpoint; room: text positions a
    question and its answer may take together.
    """

    def __init__(self, model, tokenizer, room: int = 420):
        self.model, self.tokenizer, self.room = model, tokenizer, room
        self.prefix = question_prefix(tokenizer)
        self.cache = None

    @torch.inference_mode()
    def look(self, pictures: torch.Tensor) -> None:
        """Encode [B, 3, S, S] and prefill the common prefix."""
        model, batch = self.model, len(pictures)
        self.start = model.config.image_words + len(self.prefix)
        if self.cache is None or self.cache.batch != batch:
            self.cache = model.new_cache(batch, self.start + self.room)
        tokens = torch.tensor([self.prefix]).expand(batch, -1).to(pictures.device)
        image = model.encode_image(pictures)
        model.hidden(model.embed(tokens, image), cache=self.cache)

    @torch.inference_mode()
    def ask(self, questions: list[str], max_new_tokens: int = 300) -> list[str]:
        """One question (the Human text) for each picture; answers without the end signal."""
        texts = [conversation([(q, None)]) for q in questions]
        prompts = [self.tokenizer.encode(t, True, False)[len(self.prefix) :] for t in texts]
        device = self.cache.keys.device
        shortest, longest = min(map(len, prompts)), max(map(len, prompts))
        total = min(longest + max_new_tokens, self.room)
        tokens = torch.zeros(len(prompts), total, dtype=torch.long, device=device)
        given = torch.zeros_like(tokens, dtype=torch.bool)
        for row, ids in enumerate(prompts):
            tokens[row, : len(ids)] = torch.tensor(ids)
            given[row, : len(ids)] = True
        stop = torch.tensor(self.tokenizer.encode_wo_prefix_space(END_SIGNAL), device=device)
        lengths = given.sum(1)
        done = torch.zeros(len(prompts), dtype=torch.bool, device=device)
        at, end = 0, shortest
        while end < total and not done.all():
            x = self.model.embed(tokens[:, at:end])
            hidden = self.model.hidden(x, cache=self.cache, start=self.start + at)
            chosen = self.model.logits(hidden[:, -1]).argmax(-1)
            tokens[:, end] = torch.where(given[:, end], tokens[:, end], chosen)
            tail = tokens[:, max(0, end + 1 - len(stop)) : end + 1]
            written = end + 1 - lengths
            ended = (written >= len(stop)) & (tail == stop).all(1) | (tokens[:, end] == 2)
            done |= ended & ~given[:, end]
            at, end = end, end + 1
        answers = []
        for row, ids in enumerate(prompts):
            text = self.tokenizer.decode(tokens[row, len(ids) : end].tolist())
            answers.append(text.split(END_SIGNAL)[0].strip())
        return answers
