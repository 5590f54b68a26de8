"""What the official demo does with a question, restated plainly: encode, prefill and decode anew.

For each question the picture is encoded, the whole prompt is prefilled and one token follows the
other, each a pass over a cache of its own (LLaMA2-Accessory, ``accessory/model/meta.py``). The
network and its weights are ours, so that the loop alone is compared. What a question takes is put
together from measured parts: encoding, and prefill with the first token or with all tokens.
"""

from __future__ import annotations

import time
from typing import NamedTuple

import numpy as np
import torch

from sphinx_ros.engine.official import generate_official
from sphinx_ros.image.pixels import preprocess
from sphinx_ros.pipeline import Sphinx
from sphinx_ros.prompt.conversation import END_SIGNAL, conversation


class Official(NamedTuple):
    """One answer. first_s: until its first token; token_s: of each token after that."""

    ids: list[int]
    seconds: float
    first_s: float
    token_s: float


@torch.inference_mode()
def ask(sphinx: Sphinx, rgb: np.ndarray, question: str, tokens: int) -> Official:
    """Ask one question. rgb: [H, W, 3] uint8. tokens: most of the answer."""
    ids = sphinx.tokenizer.encode(conversation([(question, None)]), True, False)
    stop = [
        [sphinx.tokenizer.eos_id],
        sphinx.tokenizer.encode_segment(END_SIGNAL),
        sphinx.tokenizer.encode_wo_prefix_space(END_SIGNAL),
    ]
    begun = time.perf_counter()
    image = sphinx.model.encode_image(_pixels(sphinx, rgb))
    if image.is_cuda:  # a card is still at it
        torch.cuda.synchronize(image.device)
    look = time.perf_counter() - begun
    one = _timed(sphinx, ids, image, 1, stop)
    all_of_them = _timed(sphinx, ids, image, tokens, stop)
    first, whole = look + one.seconds, look + all_of_them.seconds
    rest = max(len(all_of_them.ids) - 1, 1)
    return Official(all_of_them.ids, whole, first, max(whole - first, 0.0) / rest)


class _Generated(NamedTuple):
    ids: list[int]
    seconds: float


def _timed(
    sphinx: Sphinx, ids: list[int], image: torch.Tensor, tokens: int, stop: list
) -> _Generated:
    """Prefill and decode up to so many tokens."""
    begun = time.perf_counter()
    (made,) = generate_official(sphinx.model, [ids], image, max_new_tokens=tokens, stop=stop)
    return _Generated(made.ids, time.perf_counter() - begun)


def _pixels(sphinx: Sphinx, rgb: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(preprocess(rgb, sphinx.config.image_size))[None].to(sphinx.device)
