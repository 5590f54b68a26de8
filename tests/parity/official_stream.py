"""The official ``stream_generate``, restated for comparison (accessory/model/meta.py)."""

from collections.abc import Callable, Iterable, Iterator, Sequence

import torch

from sphinx_ros.engine.official import text_room
from sphinx_ros.engine.sampling import choose, chosen_probability
from sphinx_ros.errors import BadRequest


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

    A prompt that is too long loses its beginning; unlike in ``generate_official`` there is no
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
