"""Token ids in, token ids and probabilities out. Knows no text and no picture.

:func:`decode` continues one question from a prefix that already lies in a static cache (what the
pipeline uses); :func:`stream` and :func:`stream_text` repeat the official ``stream_generate``
(LLaMA2-Accessory, ``accessory/model/meta.py``); the official ragged batch is in
:mod:`sphinx_ros.engine.official`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch

from sphinx_ros.engine.official import generate_batch, text_room
from sphinx_ros.engine.sampling import (
    INTERRUPTED,
    LENGTH,
    STOP,
    Generated,
    choose,
    chosen_probability,
    seeded,
    stop_length,
)
from sphinx_ros.errors import BadRequest

__all__ = ["Generated", "decode", "generate_batch", "seeded", "stream", "stream_text"]


@torch.inference_mode()
def decode(
    model,
    cache,
    prefix_len: int,
    ids: Sequence[int],
    *,
    max_new_tokens: int,
    stop: Sequence[Sequence[int]] = (),
    temperature: float = 0.0,
    top_p: float = 0.95,
    generator: torch.Generator | None = None,
    on_token: Callable[[int, float], None] | None = None,
    should_stop: Callable[[], bool] | None = None,
) -> Generated:
    """Answer one question from a prefix that was prefilled once.

    The cache is forked by position: everything from ``prefix_len`` on is overwritten, the prefix
    stays as it is, so that question after question can start from it, one at a time.

    Args:
        model: a ``SphinxModel``.
        cache: its static cache for batch 1, positions 0..prefix_len-1 filled.
        prefix_len: length of the prefix, image tokens included.
        ids: the question's tokens, at least one.
        max_new_tokens: upper limit; the cache's end is another one.
        stop: token sequences that end the answer (the end-of-text id as a sequence of one). They
            are matched within the new tokens only and cut off.
        on_token: called with (id, probability) of each new token that did not complete a stop
            sequence; the first tokens of a longer stop sequence are therefore seen.
        should_stop: asked before every pass of the network; True ends with ``INTERRUPTED``.

    Raises:
        BadRequest: ``ids`` is empty or leaves no room in the cache.
    """
    room = cache.length - prefix_len - len(ids)
    if not len(ids) or room < 1:
        raise BadRequest(
            f"{len(ids)} question tokens after a prefix of {prefix_len} leave {room} of "
            f"{cache.length} positions for the answer; ask at least one token and at most "
            f"{max(cache.length - prefix_len - 1, 0)}"
        )
    device = next(model.parameters()).device
    feed = torch.tensor([list(ids)], dtype=torch.long, device=device)
    position, new, probabilities = prefix_len, [], []
    for _ in range(min(max_new_tokens, room)):
        if should_stop is not None and should_stop():
            return Generated(new, probabilities, INTERRUPTED)
        logits = model(feed, cache=cache, start=position, last_only=True)[:, -1].float()
        position += feed.shape[1]
        token = choose(logits, temperature, top_p, generator)
        new.append(int(token))
        probabilities.append(float(chosen_probability(logits, token)))
        cut = stop_length(new, stop)
        if cut is not None:
            keep = len(new) - cut
            return Generated(new[:keep], probabilities[:keep], STOP)
        if on_token is not None:
            on_token(new[-1], probabilities[-1])
        feed = token[:, None]
    return Generated(new, probabilities, LENGTH)


@torch.inference_mode()
def stream(
    model,
    prompt: Sequence[int],
    image_tokens: torch.Tensor | None = None,
    *,
    eos_id: int,
    max_new_tokens: int = 512,
    temperature: float = 0.0,
    top_p: float = 0.95,
    generator: torch.Generator | None = None,
    max_seq_len: int | None = None,
) -> Iterator[tuple[int, float]]:
    """One prompt, token by token: yields (id, probability) until ``eos_id``, which is not given.

    A prompt that is too long loses its beginning; unlike in :func:`generate_batch` there is no
    gap behind it.

    Raises:
        BadRequest: an empty prompt, or no room.
    """
    text_len, words = text_room(model, image_tokens, max_new_tokens, max_seq_len)
    row = list(prompt)[-(text_len - max_new_tokens) :]
    if not row:
        raise BadRequest("stream needs a prompt of at least one token")
    device = next(model.parameters()).device
    cache = model.new_cache(1, len(row) + max_new_tokens + words)
    feed, start, image = torch.tensor([row], device=device), 0, image_tokens
    for _ in range(max_new_tokens):
        logits = model(feed, image, cache=cache, start=start, last_only=True)
        start += feed.shape[1] + (0 if image is None else words)
        image, logits = None, logits[:, -1].float()
        token = choose(logits, temperature, top_p, generator)
        if int(token) == eos_id:
            return
        yield int(token), float(chosen_probability(logits, token))
        feed = token[:, None]


def stream_text(
    ids: Iterable[int], to_text: Callable[[list[int]], str], stop_symbols: Sequence[str] = ()
) -> Iterator[tuple[str, bool]]:
    """Ids as they come -> (whole text so far, finished), cut at the first stop symbol's place.

    Symbols are searched in the text, so that one that is tokenised differently is found too. The
    last item is the only one with True.
    """
    new: list[int] = []
    for token in ids:
        new.append(token)
        text = to_text(new)
        for symbol in stop_symbols:
            if symbol in text:
                yield text[: text.index(symbol)], True
                return
        yield text, False
    yield to_text(new), True
