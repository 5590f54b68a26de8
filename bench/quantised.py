"""What fewer bits cost the logits of the networks that the parity tests rebuild.

    python bench/quantised.py [--models llama_ens mixtral_sparse_ens] [--json FILE]

Each network has the released widths, few layers and weights from a formula (tests/goldens.py). It
is written in bfloat16, loaded as bfloat16 and in each smaller form, and read with the picture and
the words that the official code read. A column is |logits - bfloat16| / |bfloat16|, beside it
how far bfloat16 itself is from the official float32 logits, the share of rows whose best token is
the same, and the bytes of the decoder's linear layers. nf4 where bitsandbytes is installed.
"""

from __future__ import annotations

import argparse
import gc
import importlib.util
import json
import sys
import tempfile
from pathlib import Path

import torch

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from goldens import TOKENIZER, VARIANTS, Golden, WeightStore

from sphinx_ros.checkpoint import load_checkpoint, save_checkpoint
from sphinx_ros.model.keys import quantised
from sphinx_ros.runtime.files import write_text
from sphinx_ros.runtime.progress import Progress


def distance(a: torch.Tensor, b: torch.Tensor) -> float:
    """Relative size of the difference."""
    return ((a - b).norm() / b.norm()).item()


def decoder_bytes(model: torch.nn.Module) -> int:
    """Bytes of what the linear layers of the decoder store."""
    return sum(
        t.numel() * t.element_size()
        for name, module in model.named_modules()
        if quantised(name)
        for t in (*module.parameters(), *module.buffers())
    )


@torch.inference_mode()
def measure(name: str, store: WeightStore, kinds: list[str], folder: Path) -> dict[str, float]:
    """A row of the table."""
    golden = Golden(name)
    variant = golden.settings["llama_type"]
    save_checkpoint(
        golden.build(store), golden.params, variant, TOKENIZER, folder, dtype=torch.bfloat16
    )
    ids = torch.from_numpy(golden["prompt_ids"])[None]
    official = torch.from_numpy(golden["logits_img"]).float()
    row: dict[str, float] = {}
    image = plain = None
    for kind in (None, *kinds):
        model, *_ = load_checkpoint(folder, dtype=torch.bfloat16, quantise=kind)
        if image is None:  # the towers are the same in all forms
            image = model.encode_image(golden.pixels()[None])
        logits = model(ids, image)[0].float()
        if plain is None:
            plain = logits
            row["bfloat16_off_official"] = distance(logits, official)
            row["bfloat16_bytes"] = decoder_bytes(model)
        else:
            row[kind] = distance(logits, plain)
            same = logits.argmax(-1) == plain.argmax(-1)
            row[f"{kind}_same_best"] = same.float().mean().item()
            row[f"{kind}_bytes"] = decoder_bytes(model)
        del model
        gc.collect()
    return row


def table(rows: dict[str, dict], kinds: list[str]) -> str:
    """What people read."""
    heads = "".join(f"{kind:>9}{'best':>7}{'bytes':>8}" for kind in kinds)
    lines = [f"{'':22}{'bf16-f32':>9}{heads}"]
    for name, row in rows.items():
        cells = "".join(
            f"{row[k]:9.4f}{row[f'{k}_same_best']:7.2f}"
            f"{row[f'{k}_bytes'] / row['bfloat16_bytes']:7.0%} "
            for k in kinds
        )
        lines.append(f"{name:22}{row['bfloat16_off_official']:9.4f}{cells}")
    return "\n".join(lines)


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--models", nargs="+", choices=VARIANTS, default=VARIANTS)
    parser.add_argument("--json", type=Path)
    options = parser.parse_args()
    kinds = ["int8", "int4"] + ["nf4"] * bool(importlib.util.find_spec("bitsandbytes"))
    store = WeightStore()
    rows: dict[str, dict[str, float]] = {}
    with Progress(len(options.models), "networks", "network") as bar:
        for name in options.models:
            with tempfile.TemporaryDirectory() as folder:
                rows[name] = measure(name, store, kinds, Path(folder) / "checkpoint")
            bar.advance()
    print(table(rows, kinds))
    if options.json:
        write_text(options.json, json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
