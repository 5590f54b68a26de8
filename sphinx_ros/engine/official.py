"""Raw prompts as one ragged batch, with the official semantics. Knows no text and no picture.

Source: LLaMA2-Accessory, ``accessory/model/meta.py``, ``generate``. Its quirks are kept where they
change results, and named where they can be switched off.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from sphinx_ros.engine.sampling import (
    LENGTH,
    STOP,
    Generated,
    choose,
    chosen_probability,
    stop_length,
)
from sphinx_ros.errors import BadRequest
from sphinx_ros.model.network import Network


def text_room(
    model: Network, image_tokens: torch.Tensor | None, max_new_tokens: int, max_seq_len: int | None
) -> tuple[int, int]:
    """Text positions there are, and image positions; refuses answers that leave no prompt."""
    words = 0 if image_tokens is None else image_tokens.shape[1]
    text_len = (max_seq_len or model.config.max_seq_len) - words
    if not 0 < max_new_tokens < text_len:
        raise BadRequest(
            f"max_new_tokens {max_new_tokens} must be between 1 and {text_len - 1}: the sequence "
            f"holds {text_len} text tokens beside {words} image tokens, and the prompt needs one"
        )
    return text_len, words


@torch.inference_mode()
def generate_official(
    model: Network,
    prompts: Sequence[Sequence[int]],
    image_tokens: torch.Tensor | None = None,
    *,
    max_new_tokens: int = 512,
    stop: Sequence[Sequence[int]] = (),
    temperature: float = 0.0,
    top_p: float = 0.95,
    generator: torch.Generator | None = None,
    max_seq_len: int | None = None,
) -> list[Generated]:
    """Answer several prompts as one ragged batch, with the official semantics.

    All rows start at the shortest prompt; longer prompts are forced token by token until they are
    used up, so that a shorter prompt may get more than ``max_new_tokens``. Prompts that are too
    long lose their beginning (the begin-of-text id with it). Stop sequences are compared with the
    end of a row after each new token and may begin inside the prompt. The official code counts
    lengths before it shortens: the gap of a shortened prompt is filled with id 0, which the model
    reads and the answer begins with.

    Args:
        model: a ``SphinxModel``.
        prompts: token ids per row, begin-of-text id included.
        image_tokens: [B, W, dim] from ``encode_image``, or None.
        stop: token sequences; the official list is ``[eos]`` and, for each symbol, its
            ``encode_segment`` and ``encode_wo_prefix_space``. An empty one stops at once.
        max_seq_len: positions of prompt, picture and answer together (default: the model's).

    Returns:
        One :class:`Generated` per prompt.

    Raises:
        BadRequest: no prompt, an empty prompt, or no room.
    """
    if not prompts or not all(len(p) for p in prompts):
        raise BadRequest("generate needs at least one prompt, and each at least one token")
    text_len, words = text_room(model, image_tokens, max_new_tokens, max_seq_len)
    rows = [list(p)[-(text_len - max_new_tokens) :] for p in prompts]
    lengths = [len(p) for p in prompts]  # before shortening, as the official code has it
    start, total = min(lengths), min(text_len, max_new_tokens + max(lengths))
    batch, device = _Ragged(rows, total), model.device
    cache = model.new_cache(len(rows), total + words)
    done = 0
    for position in range(start, total):
        logits = model(
            batch.tokens[:, done:position].to(device),
            image=None if done else image_tokens,
            cache=cache,
            start=done + words if done else 0,
            last_only=True,
        )[:, -1].float()
        new = choose(logits, temperature, top_p, generator)
        batch.put(position, new.cpu(), chosen_probability(logits, new).cpu(), stop)
        if batch.all_stopped:
            break
        done = position
    return batch.answers(max(start, batch.written))


class _Ragged:
    """Rows of different lengths, written column by column; a row ends at its stop sequence."""

    def __init__(self, rows: Sequence[Sequence[int]], total: int):
        self.lengths = [len(row) for row in rows]
        self.tokens = torch.zeros(len(rows), total, dtype=torch.long)
        for i, row in enumerate(rows):
            self.tokens[i, : len(row)] = torch.tensor(row)
        self.probabilities = torch.full((len(rows), total), math.nan)
        self.ends: list[int | None] = [None] * len(rows)
        self.written = 0

    @property
    def all_stopped(self) -> bool:
        return None not in self.ends

    def put(
        self,
        position: int,
        new: torch.Tensor,
        probability: torch.Tensor,
        stop: Sequence[Sequence[int]],
    ) -> None:
        """Write one column where the prompts are used up, and look for stop sequences there."""
        self.written = position + 1
        longest = max((len(sequence) for sequence in stop), default=0)
        for i, length in enumerate(self.lengths):
            if position < length:
                continue
            self.tokens[i, position] = new[i]
            self.probabilities[i, position] = probability[i]
            if self.ends[i] is None:
                tail = self.tokens[i, max(0, self.written - longest) : self.written].tolist()
                cut = stop_length(tail, stop)
                self.ends[i] = None if cut is None else self.written - cut

    def answers(self, written: int) -> list[Generated]:
        """Each row's tokens from the end of its prompt to its stop, or to what was written."""
        out = []
        for i, (length, end) in enumerate(zip(self.lengths, self.ends, strict=True)):
            part = slice(length, written if end is None else end)
            out.append(
                Generated(
                    self.tokens[i, part].tolist(),
                    self.probabilities[i, part].tolist(),
                    LENGTH if end is None else STOP,
                )
            )
        return out
