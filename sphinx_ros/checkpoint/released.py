"""The seven checkpoints that the SPHINX authors published, as facts. Reads no file, knows no hub.

Source: the model cards and the README of LLaMA2-Accessory (``SPHINX/README.md``), and the listing
of its hub repository. All are bfloat16 in the layout of :mod:`sphinx_ros.checkpoint.layout`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from sphinx_ros.model.config import ModelConfig

REPOSITORY = "Alpha-VLLM/LLaMA2-Accessory"
FOLDER = "finetune/mm/SPHINX"

LLAMA_13B = {"dim": 5120, "n_layers": 40, "n_heads": 40}
TINYLLAMA = {"dim": 2048, "n_layers": 22, "n_heads": 32, "n_kv_heads": 4}
MIXTRAL = {
    "dim": 4096, "n_layers": 32, "n_heads": 32, "n_kv_heads": 8, "hidden_dim": 14336,
    "moe": {"num_experts": 8, "num_experts_per_tok": 2},
}  # fmt: skip
VOCABULARY = 32000

LLAMA_LICENCE = "LLaMA 2 Community License"
LLAMA_WORDS = (
    "LLaMA 2's tokenizer.model, from huggingface.co/meta-llama/Llama-2-13b or from the folder of "
    "any SPHINX or SPHINX-Tiny checkpoint in its hub repository"
)
MIXTRAL_WORDS = (
    "Mixtral's tokenizer.model, from huggingface.co/mistralai/Mixtral-8x7B-v0.1 or from the "
    "folder of any SPHINX-MoE checkpoint in its hub repository"
)
APACHE = "Apache-2.0 (language model); the repository names no licence for the rest"


@dataclass(frozen=True)
class Released:
    """One published checkpoint.

    title: as its authors write it; in lower case it is the name to load it by. variant:
    ``llama_type``. shards: files. gigabytes: of all files together, 1e9 bytes; None where the
    listing was not seen. licence: of the weights. decoder: sizes of the language model, as
    ``config.json`` gives them. decimals: of the coordinates it was trained to write and to read.
    """

    title: str
    variant: str
    shards: int
    gigabytes: float | None
    licence: str
    decoder: dict = field(hash=False)
    decimals: int = 2

    @property
    def name(self) -> str:
        """What a user types."""
        return self.title.lower()

    @property
    def tokenizer(self) -> str:
        """Where its sentencepiece model is to be had."""
        return MIXTRAL_WORDS if "moe" in self.decoder else LLAMA_WORDS

    @property
    def folder(self) -> str:
        """Where it lies in :data:`REPOSITORY`."""
        return f"{FOLDER}/{self.title}"

    @property
    def config(self) -> ModelConfig:
        """The sizes of the whole network."""
        habits = {"coordinate_decimals": self.decimals}
        return ModelConfig.from_json(self.decoder | habits, self.variant, VOCABULARY)


RELEASED = {
    item.name: item
    for item in (
        Released("SPHINX", "llama_ens", 2, None, LLAMA_LICENCE, LLAMA_13B),
        Released("SPHINX-1k", "llama_ens5", 2, 39.8, LLAMA_LICENCE, LLAMA_13B),
        Released("SPHINX-v2-1k", "llama_ens5", 2, 39.8, LLAMA_LICENCE, LLAMA_13B),
        Released("SPHINX-MoE", "mixtral_sparse_ens", 8, None, APACHE, MIXTRAL),
        Released("SPHINX-MoE-1k", "mixtral_sparse_ens5", 8, 148.8, APACHE, MIXTRAL),
        Released("SPHINX-Tiny", "llama_ens_light", 1, 6.18, APACHE, TINYLLAMA),
        Released("SPHINX-Tiny-1k", "llama_ens5_light", 1, 6.18, APACHE, TINYLLAMA),
    )
}
"""Name -> checkpoint."""

COORDINATES = (
    "coordinates: fractions of the centred square around the picture, [x0,y0,x1,y1], "
    "as [0.26,0.23,0.52,0.82]"
)
"""How all of them write boxes."""


def recognise(config: ModelConfig) -> list[Released]:
    """The published checkpoints that a network of these sizes may be."""
    return [item for item in RELEASED.values() if _same_network(item.config, config)]


def _same_network(one: ModelConfig, other: ModelConfig) -> bool:
    """Equal in everything that fixes the shapes."""
    names = ("variant", "dim", "n_layers", "n_heads", "kv_heads", "ffn_hidden", "moe", "towers")
    return all(getattr(one, n) == getattr(other, n) for n in names)
