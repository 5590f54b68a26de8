"""What a pass costs, and what questions on a frame cost beside the loop of the official code."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
import official_loop
import torch
from gpu_card import seconds, synchronise
from torch import Tensor, nn

from sphinx_ros.engine.choosing import ANY, choose_best
from sphinx_ros.model.cache import Span
from sphinx_ros.model.sphinx import SphinxModel
from sphinx_ros.pipeline import Sphinx
from sphinx_ros.prompt.queries import read_query
from sphinx_ros.prompt.wording import question


def stored_bytes(modules: Sequence[nn.Module]) -> int:
    """Bytes of the weights of modules, in the form in which they are kept."""
    tensors = [t for m in modules for t in (*m.parameters(), *m.buffers()) if not t.is_meta]
    return sum(tensor.nbytes for tensor in {id(t): t for t in tensors}.values())


def uses_graphs(network: SphinxModel) -> bool:
    """Whether small passes of a network go by captured CUDA graphs."""
    captured = getattr(network, "_captured", None)
    return captured is not None and captured.on


@contextlib.contextmanager
def operation_by_operation(network: SphinxModel) -> Iterator[None]:
    """Without captured graphs in a block, where there are any."""
    used = uses_graphs(network)
    if used:
        network._captured.on = False
    try:
        yield
    finally:
        if used:
            network._captured.on = True


def a_pass(network: SphinxModel, rows: int, filled: int) -> Callable[[], Tensor]:
    """A pass of a token of each of ``rows`` questions behind a prefix of ``filled`` positions:
    gives logits [rows, vocabulary].
    """
    device = network.device
    network.prepare()
    cache = network.new_cache(1, filled + rows)
    cache.stored.normal_()
    visible = torch.zeros(rows, filled + rows, dtype=torch.bool, device=device)
    visible[:, :filled] = True
    visible[:, filled:].fill_diagonal_(True)
    span = Span(cache, torch.arange(filled, filled + rows, device=device), visible)
    ids = torch.arange(5, 5 + rows, device=device)
    places = torch.full((rows,), filled, device=device)
    wanted = torch.arange(rows, device=device)
    return lambda: network.step(ids, places, [span], wanted)


def a_step(network: SphinxModel, rows: int, filled: int) -> Callable[[], Any]:
    """A pass and the choice of the next tokens as in the engine: with one transfer to the host."""
    act = a_pass(network, rows, filled)
    return lambda: choose_best(act(), [ANY] * rows)


@torch.inference_mode()
def steps(network: SphinxModel, rows: Sequence[int], filled: int, repeat: int) -> dict[str, Any]:
    """Ms of a pass by its number of questions: ``step_<rows>_ms``. Where captured graphs are used
    also without them, and how far the logits of the two lie apart, as a share of their size.
    """
    found: dict[str, Any] = {}
    difference = 0.0
    for count in rows:
        step = a_step(network, count, filled)
        found[f"step_{count}_ms"] = 1e3 * seconds(step, network.device, repeat, 3)
        if uses_graphs(network):
            act = a_pass(network, count, filled)
            captured = act().clone()
            with operation_by_operation(network):
                found[f"plain_step_{count}_ms"] = 1e3 * seconds(step, network.device, repeat, 3)
                plain = act()
            apart = ((captured - plain).norm(dim=-1) / plain.norm(dim=-1)).max().item()
            difference = max(difference, apart)
            found["graphs_difference"] = difference
    found["graphs"] = uses_graphs(network)
    return found


def step_bytes(network: SphinxModel, filled: int) -> int:
    """Bytes that a pass of one question reads at least: the weights of the layers and of the
    output, and the keys and values of what it sees.
    """
    config, norm = network.config, network.norm.weight
    keys = 2 * config.n_layers * config.kv_heads * config.head_dim * norm.element_size()
    return stored_bytes([*network.layers, network.output]) + filled * keys


def asked_anew(sphinx: Sphinx, rgb: np.ndarray, lines: Sequence[str], tokens: int) -> list[Any]:
    """Questions on a picture that nobody has looked at."""
    sphinx.engine.frames.clear()
    return sphinx.look(rgb).answer(lines, max_new_tokens=tokens, verify=False)


def question_costs(
    sphinx: Sphinx,
    rgb: np.ndarray,
    lines: Sequence[str],
    counts: Sequence[int],
    tokens: int,
    repeat: int,
) -> dict[str, float]:
    """Questions on one frame: by the official loop, by the engine on a new frame, and on one that
    was looked at.

    lines: at least as many as the greatest count, each for one box. tokens: most of an answer;
    what the engine writes for the first line is how many the loop may write, so that both do the
    same work.
    """
    device, found = sphinx.device, {}
    for _ in range(2):  # the checkpoint's habit of writing numbers is learnt from two answers
        asked_anew(sphinx, rgb, lines[:2], tokens)
    (first,) = asked_anew(sphinx, rgb, lines[:1], tokens)
    written = first.cost.tokens + 1  # and the end
    found |= {"box_tokens": written, "box_passes": first.cost.passes}
    query = read_query(lines[0])
    text = question(query.task, query.text)
    official_loop.ask(sphinx, rgb, text, written)
    plain = [official_loop.ask(sphinx, rgb, text, written) for _ in range(max(repeat // 3, 1))]
    found["official_ms"] = 1e3 * min(one.seconds for one in plain)
    found["official_first_ms"] = 1e3 * min(one.first_s for one in plain)
    found["official_token_ms"] = 1e3 * min(one.token_s for one in plain)
    for count in counts:
        took = seconds(
            lambda n=count: asked_anew(sphinx, rgb, lines[:n], tokens), device, repeat, 1
        )
        found[f"questions_{count}_ms"] = 1e3 * took
        found[f"speedup_{count}"] = count * found["official_ms"] / found[f"questions_{count}_ms"]
    found["first_box_ms"] = found[f"questions_{counts[0]}_ms"] / counts[0]
    seen = sphinx.look(rgb)
    for count in (1, 8):
        asked = [*lines[:count]]
        took = seconds(
            lambda asked=asked: seen.answer(asked, max_new_tokens=tokens, verify=False),
            device,
            repeat,
            1,
        )
        found[f"boxes_per_s_{count}"] = count / took
    return found


def free_pass(
    sphinx: Sphinx, rgb: np.ndarray, lines: Sequence[str], tokens: int, repeat: int
) -> float:
    """Ms of a pass in the engine, its work on the host included: questions of equal length that
    are answered freely, by the passes of the longest.
    """
    seen = sphinx.look(rgb)

    def ask() -> list[Any]:
        return seen.answer(lines, max_new_tokens=tokens, verify=False, free=True)

    passes = max(result.cost.passes for result in ask())
    return 1e3 * seconds(ask, sphinx.device, repeat, 0) / passes


@torch.inference_mode()
def look_costs(sphinx: Sphinx, rgb: np.ndarray, repeat: int) -> dict[str, float]:
    """A look and its parts: preparing the pixels on the host, encoding, prefill of the prefix."""
    device, network, ids = sphinx.device, sphinx.model, sphinx.engine.prefix_ids
    pixels = sphinx.pixels(rgb)
    image = network.encode_image(pixels)
    cache = network.new_cache(1, len(ids) + image.shape[1] + 64)
    prefix = torch.tensor([ids], device=device)

    def anew() -> None:
        sphinx.engine.frames.clear()
        sphinx.look(rgb)

    found = {
        "look_ms": seconds(anew, device, repeat),
        "pixels_ms": seconds(lambda: sphinx.pixels(rgb), device, repeat),
        "encode_ms": seconds(lambda: network.encode_image(pixels), device, repeat),
        "prefill_ms": seconds(
            lambda: network.hidden(network.embed(prefix, image), cache=cache), device, repeat
        ),
    }
    synchronise(device)
    return {name: 1e3 * value for name, value in found.items()}


def frame_memory(sphinx: Sphinx, pictures: Sequence[np.ndarray]) -> dict[str, float]:
    """MB that a frame takes which is remembered: keys, values and image tokens."""
    frames, device = sphinx.engine.frames, sphinx.device
    frames.clear()
    synchronise(device)
    before = torch.cuda.memory_allocated(device) if device.type == "cuda" else 0
    for rgb in pictures:
        sphinx.look(rgb)
    found = {"frame_mb": frames.nbytes / len(frames) / 1e6}
    if device.type == "cuda":
        taken = torch.cuda.memory_allocated(device) - before
        found["frame_allocated_mb"] = taken / len(frames) / 1e6
    return found
