"""SPHINX-Tiny-1k at full size, and a decoder of 13 billion parameters: random, on a device."""

from __future__ import annotations

import time

import numpy as np
import torch
from full_size import look_flop
from gpu_card import kernels, peak, seconds, synchronise
from gpu_costs import (
    a_step,
    frame_memory,
    look_costs,
    question_costs,
    step_bytes,
    steps,
    stored_bytes,
)
from gpu_pictures import questions, recorded
from gpu_random import random_network, random_sphinx, toy
from gpu_report import Report

from sphinx_ros.checkpoint.expected import empty_model
from sphinx_ros.checkpoint.released import RELEASED
from sphinx_ros.model.keys import in_decoder
from sphinx_ros.model.sphinx import SphinxModel
from sphinx_ros.pipeline import Sphinx

ROWS = (1, 2, 4, 8, 16, 32)
TOKENS = 32
"""Most of an answer; a box of the released checkpoints has 25."""


def measure(report: Report, device: torch.device, quick: bool) -> None:
    """Section "full": SPHINX-Tiny-1k."""
    released = RELEASED["sphinx-tiny-1k"]
    config = toy(released.variant) if quick else released.config
    rows, counts, repeat = ((1, 8), (1, 8), 1) if quick else (ROWS, (1, 8, 32), 6)
    filled = config.image_words + 60  # the prefix and half of a question and a box
    begun = time.perf_counter()
    network = random_network(config, device)
    synchronise(device)
    made = {"made_s": time.perf_counter() - begun, "weights_gb": stored_bytes([network]) / 1e9}
    report.add(made, "full_")
    sphinx = random_sphinx(network)
    rgb, things = recorded(1)[0]
    with report.part("full_look"):
        found = look_costs(sphinx, rgb, repeat)
        if not quick:  # counting takes longer than a look
            found["look_tflop"] = look_flop(network) / 1e12
            found["encode_tflops"] = found["look_tflop"] / found["encode_ms"] * 1e3
        report.add(found, "full_")
        report.ratio("full_encode_of_product", "full_encode_tflops", "product_bfloat16_tflops")
    with report.part("full_steps"):
        step_costs(report, "full_bfloat16", network, rows, filled, 5 * repeat)
        name = "full_bfloat16_step_{}_ms"
        report.ratio("full_batch8_step_over_1", name.format(8), name.format(1))
    with report.part("full_questions"):
        lines = questions(things, max(counts))
        report.add(question_costs(sphinx, rgb, lines, counts, TOKENS, repeat), "full_")
    with report.part("full_memory"):
        memory(report, sphinx, 1 if quick else 4)
    if device.type == "cuda":
        with report.part("full_kernels"):
            started(report, sphinx, rgb, filled)
    del network, sphinx
    for kind in ("int8", "int4"):
        with report.part(f"full_{kind}"):
            stored = random_network(config, device, kind, in_decoder)
            step_costs(report, f"full_{kind}", stored, rows, filled, 2 * repeat)
            usual = "full_bfloat16_step_1_ms"
            report.ratio(f"full_{kind}_over_bfloat16", f"full_{kind}_step_1_ms", usual)
            del stored


def step_costs(
    report: Report,
    name: str,
    network: SphinxModel,
    rows: tuple[int, ...],
    filled: int,
    repeat: int,
) -> None:
    """Passes by their number of questions, and the share of the bandwidth that each reaches.

    The questions are about one frame, whose keys and values a pass reads once for all of them.
    """
    report.add(steps(network, rows, filled, repeat), f"{name}_")
    report.add({f"{name}_step_gb": step_bytes(network, filled) / 1e9})
    for count in rows:
        took = report.found[f"{name}_step_{count}_ms"] / 1e3
        report.add({f"{name}_gb_per_s_{count}": report.found[f"{name}_step_gb"] / took})
        share = f"{name}_bandwidth_share_{count}"
        report.ratio(share, f"{name}_gb_per_s_{count}", "bandwidth_gb_per_s")


@torch.inference_mode()
def started(report: Report, sphinx: Sphinx, rgb: np.ndarray, filled: int) -> None:
    """The kernels of a pass and of encoding a picture."""
    network, pixels = sphinx.model, sphinx.pixels(rgb)
    report.add(kernels(a_step(network, 1, filled), sphinx.device), "full_step_")
    report.add(kernels(lambda: network.encode_image(pixels), sphinx.device), "full_encode_")


def memory(report: Report, sphinx: Sphinx, number: int) -> None:
    """What a frame takes that is remembered, and the most that a look and its answers take."""
    pictures = recorded(number)
    report.add(frame_memory(sphinx, [rgb for rgb, _ in pictures]), "full_")
    device = sphinx.device
    if device.type == "cuda":
        rgb, things = pictures[0]
        lines = questions(things, 32)
        sphinx.engine.frames.clear()
        most = peak(device, lambda: sphinx.look(rgb).answer(lines, max_new_tokens=TOKENS))
        report.add({"full_peak_gb": most / 1e9})
        report.ratio("full_peak_over_weights", "full_peak_gb", "full_weights_gb")


def decoder_13b(report: Report, device: torch.device, quick: bool) -> None:
    """Section "big": the decoder of SPHINX-v2-1k, where the device has memory for it."""
    released = RELEASED["sphinx-v2-1k"]
    config = toy(released.variant) if quick else released.config
    shapes = empty_model(config).state_dict().items()
    need = 2 * sum(value.numel() for key, value in shapes if in_decoder(key)) / 1e9
    if device.type == "cuda":
        free = torch.cuda.mem_get_info(device)[0] / 1e9
        if free < 1.25 * need:
            report.add({"big_left_out": f"{need:.1f} GB of weights, and {free:.1f} GB are free"})
            return
    rows, repeat = ((1, 8), 1) if quick else (ROWS, 20)
    filled = config.image_words + 60
    network = random_network(config, device, wanted=in_decoder)
    report.add({"big_weights_gb": stored_bytes([network]) / 1e9})
    with report.part("big_prefill"), torch.inference_mode():
        x = torch.randn(1, filled, config.dim, device=device).to(network.norm.weight)
        cache = network.new_cache(1, filled)
        took = seconds(lambda: network.hidden(x, cache=cache), device, 3, 1)
        report.add({"big_prefill_ms": 1e3 * took})
    with report.part("big_steps"):
        step_costs(report, "big_bfloat16", network, rows, filled, repeat)
    if device.type == "cuda":
        with report.part("big_kernels"), torch.inference_mode():
            report.add(kernels(a_step(network, 1, filled), device), "big_step_")
