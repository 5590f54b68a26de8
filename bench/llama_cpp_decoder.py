"""llama.cpp beside the engine: a random decoder of SPHINX-Tiny-1k's shapes, passes of 1 and of 8.

    pip install llama-cpp-python gguf          # compiles llama.cpp; not part of any extra
    python bench/llama_cpp_decoder.py --folder F [--threads N] [--json FILE]

Both read weights of the same shapes, behind the same number of positions, with the same number of
threads, in one run, one after the other. llama.cpp's kinds: bf16, q8_0 and q4_k_m; the engine's:
bfloat16, int8 and int4. The numbers are random, so that only times can be compared. The engine's
network is the whole of SPHINX (a checkpoint of 6 GB is written to F where it is not there);
the decoder of llama.cpp is written beside it in bf16, and quantised by llama.cpp itself.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import full_size
import numpy as np
import one_look
import torch

from sphinx_ros.checkpoint.released import RELEASED, VOCABULARY
from sphinx_ros.pipeline import Sphinx

KINDS = {"bf16": None, "q8_0": "int8", "q4_k_m": "int4"}
"""Kind of llama.cpp -> ours."""

BF16 = "bf16"

HIDDEN = 5632  # width of TinyLlama's feed-forward layers
CONTEXT = 512


def shapes(params: dict[str, Any]) -> dict[str, tuple[int, int]]:
    """Matrices of one layer by llama.cpp's names: (outputs, inputs)."""
    dim = params["dim"]
    keys = dim // params["n_heads"] * params["n_kv_heads"]
    return {
        "attn_q": (dim, dim),
        "attn_k": (keys, dim),
        "attn_v": (keys, dim),
        "attn_output": (dim, dim),
        "ffn_gate": (HIDDEN, dim),
        "ffn_up": (HIDDEN, dim),
        "ffn_down": (dim, HIDDEN),
    }


def write_gguf(path: Path, params: dict[str, Any]) -> None:
    """A random decoder in llama.cpp's format, bfloat16."""
    import gguf

    wanted = gguf.GGMLQuantizationType.BF16
    writer = gguf.GGUFWriter(str(path), "llama")
    dim, draw = params["dim"], np.random.default_rng(0)
    writer.add_context_length(2048)
    writer.add_embedding_length(dim)
    writer.add_block_count(params["n_layers"])
    writer.add_feed_forward_length(HIDDEN)
    writer.add_head_count(params["n_heads"])
    writer.add_head_count_kv(params["n_kv_heads"])
    writer.add_rope_dimension_count(dim // params["n_heads"])
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(VOCABULARY)
    writer.add_tokenizer_model("llama")
    writer.add_token_list([f"<{number}>" for number in range(VOCABULARY)])
    writer.add_token_scores([0.0] * VOCABULARY)
    writer.add_token_types([1] * VOCABULARY)
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)

    def matrix(name: str, shape: tuple[int, int]) -> None:
        values = draw.standard_normal(shape, np.float32) * shape[1] ** -0.5
        packed = gguf.quants.quantize(values, wanted)
        writer.add_tensor(name, packed, raw_dtype=wanted)

    matrix("token_embd.weight", (VOCABULARY, dim))
    matrix("output.weight", (VOCABULARY, dim))
    writer.add_tensor("output_norm.weight", np.ones(dim, np.float32))
    for layer in range(params["n_layers"]):
        for name, shape in shapes(params).items():
            matrix(f"blk.{layer}.{name}.weight", shape)
        for name in ("attn_norm", "ffn_norm"):
            writer.add_tensor(f"blk.{layer}.{name}.weight", np.ones(dim, np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def quantise(plain: Path, path: Path, kind: str) -> None:
    """The same decoder in fewer bits, by llama.cpp's own hand."""
    import llama_cpp

    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype = getattr(llama_cpp, f"LLAMA_FTYPE_MOSTLY_{kind.upper()}")
    failed = llama_cpp.llama_model_quantize(str(plain).encode(), str(path).encode(), params)
    if failed:
        raise SystemExit(f"llama.cpp could not make {path}")


def median(action: Callable[[], Any], repeat: int) -> float:
    """Milliseconds, after one call to warm up."""
    times = []
    for turn in range(repeat + 1):
        begun = time.perf_counter()
        action()
        if turn:
            times.append(time.perf_counter() - begun)
    return 1e3 * statistics.median(times)


def theirs(path: Path, threads: int, repeat: int) -> dict[str, float]:
    """A pass of 1 and of 8 tokens behind `one_look.FILLED` positions, milliseconds."""
    from llama_cpp import Llama

    model = Llama(
        str(path), n_ctx=CONTEXT, n_threads=threads, n_threads_batch=threads, verbose=False
    )
    model.eval(list(range(3, 3 + one_look.FILLED)))

    def rows(count: int) -> Callable[[], Any]:
        def once() -> None:
            model.n_tokens = one_look.FILLED
            model._ctx.kv_cache_seq_rm(-1, one_look.FILLED, -1)
            model.eval([5] * count)

        return once

    return {"pass_1_ms": median(rows(1), repeat), "pass_8_ms": median(rows(8), repeat)}


def ours(folder: Path, kind: str | None, repeat: int) -> dict[str, float]:
    """The same of the engine."""
    sphinx = Sphinx.from_pretrained(folder, device="cpu", dtype="bfloat16", quantise=kind)
    found = one_look.passes(sphinx, repeat)
    del sphinx
    gc.collect()
    return {name: found[name] for name in ("pass_1_ms", "pass_8_ms")}


def main() -> int:
    """Measure, print a table, write JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--folder", type=Path, required=True, help="where the random files lie")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--repeat", type=int, default=9)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    tiny, folder = RELEASED["sphinx-tiny-1k"], options.folder / "sphinx"
    if not (folder / "config.json").exists():
        full_size.write_checkpoint(folder, 0, tiny.decoder, tiny.variant, VOCABULARY)
    found: dict[str, Any] = {"threads": options.threads}
    print(f"{'':14}{'llama.cpp 1':>12}{'engine 1':>10}{'llama.cpp 8':>13}{'engine 8':>10}   ms")
    for kind, own in KINDS.items():
        path = options.folder / f"random-{kind}.gguf"
        if not path.exists() and kind == BF16:
            write_gguf(path, tiny.decoder)
        elif not path.exists():
            quantise(options.folder / f"random-{BF16}.gguf", path, kind)
        a, b = theirs(path, options.threads, options.repeat), ours(folder, own, options.repeat)
        print(
            f"{kind:14}{a['pass_1_ms']:12.1f}{b['pass_1_ms']:10.1f}"
            f"{a['pass_8_ms']:13.1f}{b['pass_8_ms']:10.1f}"
        )
        found |= {f"llama_cpp_{kind}_{name}": value for name, value in a.items()}
        found |= {f"engine_{own or 'bf16'}_{name}": value for name, value in b.items()}
    if options.json:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
