"""The networks with golden numbers on a card against the official code; answers, CPU and card.

The golden networks (tests/goldens.py) have the released widths, few layers, and weights from a
formula. What the official code computed for them in float32 on a CPU is stored, and so is the
limit within which this package is equal to it on a CPU: 1e-4 for logits of spread 1.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from gpu_card import tf32
from gpu_costs import uses_graphs
from gpu_pictures import recorded
from gpu_report import Report
from torch import Tensor

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from goldens import VARIANTS, Golden, WeightStore

from sphinx_ros.checkpoint.expected import empty_model
from sphinx_ros.model.cache import Span
from sphinx_ros.model.kernels import slow_bfloat16
from sphinx_ros.model.keys import in_decoder
from sphinx_ros.model.sphinx import SphinxModel
from sphinx_ros.pipeline import Sphinx

FLOAT32 = 5e-4
"""Greatest difference of float32 on a card, TF32 off.

A card adds up in another order than a CPU. There two libraries for the same products are 2e-5 from
the official logits (spread 1) each, at most 3e-5. With what goes into convolutions rounded to
TF32 the same networks are 7e-3 away, with all products rounded 1e-2, with anything wrong 1: the
limit lies 15 times from either side."""

BFLOAT16 = 0.06
"""Greatest |difference| / |official| of the median token in bfloat16.

A CPU's bfloat16 is 0.02 to 0.03 away in the same networks, and a card rounds in other places:
twice as much is allowed. It is the median that counts, since rounding lets a router choose another
expert where two are nearly as good: on a CPU single tokens of the Mixtral networks are 0.2 to 0.5
away."""

SAME_BEST = 0.75
"""Least share of an answer's tokens that are the best in bfloat16, too: on a CPU 0.87 to 1."""

QUICK = ("llama_ens", "llama_ens_light_rope", "mixtral_sparse_ens5")
"""Networks whose decoders differ: what --quick compares."""

LEAST_EQUAL = 0.95
"""Least share of answers of the demonstration model in float32 that are the CPU's, word for word:
where two tokens are equally likely rounding decides."""

LINES = ("detect: objects", "pose", "caption", "ask: how many objects are there?")


def built(golden: Golden, store: WeightStore, device, dtype, words: bool) -> SphinxModel:
    """A golden network on a device. words: the decoder alone, the rest has no storage."""
    model, seed = empty_model(golden.model_config), golden.settings["weight_seed"]
    state = {
        key: store.get(key, tensor.shape, seed).to(device, dtype)
        for key, tensor in model.state_dict().items()
        if in_decoder(key) or not words
    }
    model.load_state_dict(state, strict=False, assign=True)
    return model.eval().requires_grad_(False)


def image_blocks(golden: Golden, tokens: Tensor) -> tuple[Tensor, Tensor]:
    """Every eighth image token of each view, ours [N, dim] and the official ones."""
    ours, theirs, start = [], [], 0
    for view, count in enumerate(golden.model_config.view_tokens):
        ours.append(tokens[0, start + 1 : start + count + 1][::8])
        theirs.append(torch.from_numpy(golden[f"view{view}_s8"]))
        start += count + 2
    return torch.cat(ours), torch.cat(theirs)


def steps(model: SphinxModel, ids: Tensor, image: Tensor | None, answer: Sequence[int]) -> Tensor:
    """Logits [T, vocabulary] of the tokens of an answer, each fed the official one before it."""
    words = 0 if image is None else image.shape[1]
    cache = model.new_cache(1, words + ids.shape[1] + len(answer))
    feed, start, made = ids, 0, []
    for token in answer:
        logits = model(feed, None if start else image, cache=cache, start=start, last_only=True)
        made.append(logits[0, -1])
        start += feed.shape[1] + (0 if start else words)
        feed = torch.tensor([[token]], device=ids.device)
    return torch.stack(made)


def packed_steps(
    model: SphinxModel, ids: Tensor, image: Tensor | None, answer: Sequence[int]
) -> Tensor:
    """The same by packed passes behind a prefix of BOS and picture, as the engine makes them."""
    model.prepare()
    device, prompt = ids.device, ids[0, 1:]
    prefix = model.embed(ids[:, :1], image)
    cache = model.new_cache(1, prefix.shape[1] + len(prompt) + len(answer))
    model.hidden(prefix, cache=cache)
    feed, start, made = prompt, prefix.shape[1], []
    for token in answer:
        places = torch.arange(start, start + len(feed), device=device)
        seen = torch.arange(start + len(feed), device=device) <= places[:, None]
        last = torch.tensor([len(feed) - 1], device=device)
        made.append(model.step(feed, places, [Span(cache, places, seen)], last)[0])
        start += len(feed)
        feed = torch.tensor([token], device=device)
    return torch.stack(made)


@torch.inference_mode()
def compared(golden: Golden, model: SphinxModel, words: bool) -> dict[str, tuple[Tensor, Tensor]]:
    """What was computed, and the official numbers for it. words: nothing with a picture."""
    device = model.device
    ids = torch.from_numpy(golden["prompt_ids"])[None].to(device)
    kind, image, found = "noimg", None, {}
    if not words:
        image = model.encode_image(golden.pixels()[None].to(device))
        found["image"], kind = image_blocks(golden, image), "img"
    answer = golden[f"greedy_{kind}"].tolist()
    official = torch.from_numpy(golden[f"greedy_{kind}_logits"])
    found["logits"] = model(ids, image)[0], torch.from_numpy(golden[f"logits_{kind}"])
    found["steps"] = steps(model, ids, image, answer), official
    found["packed"] = packed_steps(model, ids, image, answer), official
    return {name: (a.float().cpu(), b.float()) for name, (a, b) in found.items()}


def apart(ours: Tensor, theirs: Tensor, dtype: torch.dtype) -> float:
    """The greatest difference in float32; in bfloat16 that of the median token by its size."""
    if dtype is torch.float32:
        return (ours - theirs).abs().max().item()
    return ((ours - theirs).norm(dim=-1) / theirs.norm(dim=-1)).median().item()


def golden_network(
    golden: Golden, store: WeightStore, device: torch.device, dtype: torch.dtype, words: bool
) -> dict[str, Any]:
    """The differences of one network in one number type, the share of equal best tokens, and
    whether packed passes went by captured graphs.
    """
    model = built(golden, store, device, dtype, words)
    with tf32(False, False):
        pairs = compared(golden, model, words)
    found = {name: apart(*pair, dtype) for name, pair in pairs.items()}
    ours, theirs = pairs["packed"]
    found["same_best"] = (ours.argmax(-1) == theirs.argmax(-1)).float().mean().item()
    found["graphs"] = uses_graphs(model)
    if dtype is torch.float32 and device.type == "cuda":  # as torch computes unless told otherwise
        found["usual"] = apart(*compared(golden, model, words)["logits"], dtype)
    return found


def answers(sphinx: Sphinx, pictures: list, tokens: int) -> list[list[int]]:
    """The ids of what is answered about each picture: to questions about its things, and LINES."""
    made = []
    for rgb, things in pictures:
        lines = [f"ground: the {one['colour']} {one['kind']}" for one in things[:2]]
        results = sphinx.look(rgb).answer([*lines, *LINES], max_new_tokens=tokens, verify=False)
        made += [sphinx.tokenizer.encode(result.raw_text) for result in results]
    return made


def agreement(ours: list[list[int]], theirs: list[list[int]]) -> dict[str, Any]:
    """Answers that are equal, and the share of tokens before the first difference of each."""
    same = kept = 0
    for one, other in zip(ours, theirs, strict=True):
        same += one == other
        pairs = zip(one, other, strict=False)
        kept += next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(one), len(other)))
    return {
        "answers": len(theirs),
        "answers_equal": same,
        "tokens_equal_share": kept / max(sum(map(len, theirs)), 1),
    }


def measure(report: Report, device: torch.device, quick: bool) -> None:
    """Section "parity"."""
    store = WeightStore()
    types = {"float32": torch.float32, "bfloat16": torch.bfloat16}
    if not quick and slow_bfloat16(device):
        del types["bfloat16"]  # hours on such a CPU
    limits = {"float32": FLOAT32, "bfloat16": BFLOAT16}
    report.add({f"parity_limit_{kind}": limits[kind] for kind in types})
    over, worst = [], dict.fromkeys(types, 0.0)
    for name in QUICK if quick else VARIANTS:
        golden = Golden(name)
        for kind, dtype in types.items():
            with report.part(f"parity_{name}_{kind}"):
                found = golden_network(golden, store, device, dtype, quick)
                report.add(found, f"parity_{name}_{kind}_")
                logits = max(found[one] for one in ("logits", "steps", "packed"))
                worst[kind] = max(worst[kind], logits)
                near = max(found.get("image", 0.0), logits) <= limits[kind]  # NaN is not
                if not near or found["same_best"] < (1 if kind == "float32" else SAME_BEST):
                    over.append(f"{name} {kind}")
    report.add({f"parity_worst_{kind}": value for kind, value in worst.items()})
    equal = _demo(report, device, 1 if quick else 20, 12 if quick else 64)
    if equal < LEAST_EQUAL:
        over.append("answers of the demonstration model")
    over += [name.removeprefix("failed_") for name in report.failures if "parity" in name]
    report.add({"parity_ok": not over, "parity_over": ", ".join(over)})


def _demo(report: Report, device: torch.device, number: int, tokens: int) -> float:
    """Answers on the device against those of the CPU; the share of equal ones in float32."""
    equal = 0.0
    with report.part("parity_answers"):
        pictures = recorded(number)
        wanted = answers(Sphinx.from_pretrained("demo", device="cpu"), pictures, tokens)
        for kind in ("float32", "float32_usual", "bfloat16"):
            if kind == "float32_usual" and device.type != "cuda":
                continue
            dtype, _, usual = kind.partition("_")
            sphinx = Sphinx.from_pretrained("demo", device=device, dtype=dtype)
            with tf32(False, bool(usual)):  # convolutions, as torch has it unless told otherwise
                found = agreement(answers(sphinx, pictures, tokens), wanted)
            report.add(found, f"parity_demo_{kind}_")
            if kind == "float32":
                equal = found["answers_equal"] / found["answers"]
    return equal
