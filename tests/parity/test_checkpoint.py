"""The released layout: key lists at full size, writing, reading, and what is refused."""

import json
import os
import threading

import pytest
import torch
from goldens import TOKENIZER, Golden, manifest

from sphinx_ros.checkpoint import load_checkpoint, save_checkpoint
from sphinx_ros.checkpoint.expected import expected_keys
from sphinx_ros.checkpoint.layout import ASSETS
from sphinx_ros.errors import CheckpointError
from sphinx_ros.model.config import RECIPES, ModelConfig
from sphinx_ros.model.sphinx import SphinxModel

PARAMS = {
    "dim": 32,
    "n_layers": 2,
    "n_heads": 4,
    "n_kv_heads": 2,
    "multiple_of": 16,
    "towers": {
        "view": 56,
        "clip": {"width": 32, "layers": 1, "heads": 2},
        "convnext": {"dims": [8, 8, 16, 16], "depths": [1, 1, 1, 1]},
        "dinov2": {"width": 32, "layers": 1, "heads": 2, "hidden": 48, "position_grid": 4},
        "qformer": {"width": 16, "layers": 2, "heads": 2, "hidden": 32, "queries": 4,
                    "vit_width": 32, "vit_layers": 1, "vit_heads": 2, "vit_hidden": 64},
    },
}  # fmt: skip
ONE = "consolidated.00-of-01.model.pth"


@pytest.fixture(scope="module")
def model():
    """A whole network of 0.2 M parameters with random weights."""
    torch.manual_seed(1)
    made = SphinxModel(ModelConfig.from_json(PARAMS, "llama_ens5", 512))
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return made.eval()


@pytest.fixture
def folder(model, tmp_path):
    return save_checkpoint(
        model, PARAMS, "llama_ens5", TOKENIZER, tmp_path / "one", dtype=torch.float32
    )


def rewrite(path, change):
    """Change the tensors of a shard file."""
    content = torch.load(path, weights_only=True)
    change(content["model"])
    torch.save(content, path)


def refused(folder, *words):
    """Loading fails, and the message holds every word."""
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(folder)
    for word in words:
        assert str(word) in str(caught.value)


@pytest.mark.parametrize("variant", [v for v in RECIPES if v != "llama_ens_fine"])  # ours
def test_keys_of_full_size(variant):
    golden = manifest(variant)
    config = ModelConfig.from_json(golden["mp1"]["model_args"], variant, golden["vocab_size"])
    ours = expected_keys(config)
    theirs = {key: tuple(shape) for key, (shape, _) in golden["mp1"]["keys"].items()}
    assert {key: item.shape for key, item in ours.items()} == theirs
    split = {key: item.split_dim for key, item in ours.items() if item.split_dim is not None}
    assert split == golden["split_dim"]
    halves = {key: tuple(shape) for key, (shape, _) in golden["mp2"]["keys"].items()}
    for key, (shape, dim, _) in ours.items():
        parts = tuple(n // 2 if i == dim else n for i, n in enumerate(shape))
        assert halves[key] == parts, key
    assert config.image_words == golden["mp1"]["image_words"]
    assert config.image_size == golden["mp1"]["image_size"]
    assert not golden["mp1"]["buffers"]


@pytest.mark.parametrize("shards", [1, 2, 4])
def test_round_trip(model, tmp_path, shards):
    path = save_checkpoint(model, PARAMS, "llama_ens5", TOKENIZER, tmp_path / "x", shards=shards)
    back, tokenizer, config = load_checkpoint(path, dtype=torch.float64)
    assert tokenizer.n_words == 512 and config.variant == "llama_ens5"
    assert not back.training and not any(p.requires_grad for p in back.parameters())
    assert not any(tensor.is_meta for tensor in back.state_dict().values())
    for key, tensor in back.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[key].half().double()), key
    assert len(list(path.glob("*.pth"))) == shards
    with torch.inference_mode():
        picture = torch.randn(1, 3, config.image_size, config.image_size)
        tokens = back.encode_image(picture)
        assert tokens.shape == (1, config.image_words, 32)
        assert back(torch.tensor([[1, 2, 3]]), tokens).isfinite().all()


def test_saving_again_replaces(model, folder):
    (folder / "README.md").write_text("kept")
    save_checkpoint(model, PARAMS, "llama_ens5", folder / "tokenizer.model", folder, shards=2)
    names = sorted(path.name for path in folder.iterdir())
    assert names == [
        "README.md",
        "config.json",
        "consolidated.00-of-02.model.pth",
        "consolidated.01-of-02.model.pth",
        "meta.json",
        "tokenizer.model",
    ]
    load_checkpoint(folder)


def test_flat_and_surplus_but_known(model, folder):
    """A flat dict, and keys that other library versions write, are accepted."""
    content = torch.load(folder / ONE, weights_only=True)["model"]
    for key in (
        "clip.token_embedding.weight",
        "clip.logit_scale",
        "dinov2_vitg14.mask_token",
        "qformer.vision_model.embeddings.position_ids",
        "layers.0.attention.inv_freq",
        "qformer.qformer.encoder.layer.0.intermediate.dense.weight",
        "clip.attn_mask",
        "qformer.language_projection.bias",
        "qformer.qformer.embeddings.word_embeddings.weight",
    ):
        content["llma." + key] = torch.zeros(3)
    torch.save(content, folder / ONE)
    load_checkpoint(folder)


def test_first_shard_counts_for_copies(model, tmp_path):
    path = save_checkpoint(model, PARAMS, "llama_ens5", TOKENIZER, tmp_path / "x", shards=2)
    rewrite(path / "consolidated.01-of-02.model.pth", lambda m: m["llma.norm.weight"].zero_())
    back, _, _ = load_checkpoint(path)
    assert torch.equal(back.norm.weight, model.norm.weight.half().float())


def test_unknown_names(tmp_path):
    refused("demoo", "'demoo'", "does not exist", "consolidated.NN-of-MM")
    if (ASSETS / "demo" / "config.json").exists():
        refused("demoo", "(demo, ", "sphinx-tiny-1k")
    (tmp_path / "file").write_text("")
    refused(tmp_path / "file", "is a file")


def test_absent_files(folder, model):
    for name in ("tokenizer.model", "config.json", "meta.json"):
        kept = (folder / name).rename(folder / "kept")
        refused(folder, folder / name, "missing")
        kept.rename(folder / name)
    save_checkpoint(model, PARAMS, "llama_ens5", TOKENIZER, folder, shards=4)
    (folder / "consolidated.02-of-04.model.pth").unlink()
    refused(folder, "3 shards of 4", "consolidated.02-of-04.model.pth", "ownload")
    (folder / ONE).write_bytes(b"")
    refused(folder, "several checkpoints")
    for path in folder.glob("*.pth"):
        path.unlink()
    (folder / "consolidated.00.pth").write_bytes(b"")
    refused(folder, "consolidated.00.pth", "expected consolidated.NN-of-MM.model.pth")


def test_damaged_files(folder):
    whole = (folder / ONE).read_bytes()
    for size in (3, 100, len(whole) // 2, len(whole) - 10):
        (folder / ONE).write_bytes(whole[:size])
        refused(folder, folder / ONE, f"{size} bytes", "truncated")
    (folder / ONE).write_bytes(whole)
    (folder / "tokenizer.model").write_bytes(b"no model")
    refused(folder, folder / "tokenizer.model", "sentencepiece")


def test_damaged_json(folder):
    for name, text, word in (
        ("config.json", "{", "JSON"),
        ("config.json", "[1]", "list"),
        ("config.json", json.dumps(PARAMS | {"dim": "wide"}), "config.json"),
        ("config.json", json.dumps(PARAMS | {"dim": 30}), "dim 30"),
        ("config.json", json.dumps(PARAMS | {"depths": {"eyes": 2}}), "eyes"),
        ("meta.json", "{}", "llama_type"),
        ("meta.json", '{"llama_type": "llama_qformerv2"}', "llama_ens5_light"),
    ):
        kept = (folder / name).read_text()
        (folder / name).write_text(text)
        refused(folder, folder, word)
        (folder / name).write_text(kept)


def test_wrong_keys(folder):
    kept = (folder / ONE).read_bytes()
    for change, words in (
        (lambda m: m.pop("llma.norm.weight"), ("lacks key llma.norm.weight", "config.json")),
        (lambda m: [m.pop(k) for k in list(m) if "clip" in k], ("lacks keys llma.clip", "more")),
        (lambda m: m.update({"llma.x.y": torch.ones(1)}), ("unknown key llma.x.y",)),
        (lambda m: m.update({"norm.weight": torch.ones(1)}), ("norm.weight without", "llma.")),
        (
            lambda m: m.update({"llma.output.weight": torch.ones(511, 32)}),
            ("llma.output.weight", "[511, 32]", "expected [512, 32]", "tokenizer.model"),
        ),
        (
            lambda m: m.update({"llma.norm.weight": torch.ones(32, 1)}),
            ("llma.norm.weight", "[32, 1]", "expected [32]"),
        ),
        (lambda m: m.update({"llma.norm.weight": 3}), ("no state dict",)),
    ):
        (folder / ONE).write_bytes(kept)
        rewrite(folder / ONE, change)
        refused(folder, folder / ONE, *words)


def test_wrong_shape_in_one_shard(model, tmp_path):
    path = save_checkpoint(model, PARAMS, "llama_ens5", TOKENIZER, tmp_path / "x", shards=2)
    second, key = path / "consolidated.01-of-02.model.pth", "llma.layers.0.attention.wo.weight"
    rewrite(second, lambda m: m.update({key: torch.ones(31, 16)}))
    refused(path, second, key, "[31, 16]", "dimension 1", "expected [32, 32]")
    rewrite(second, lambda m: m.update({key: torch.ones(32, 15)}))
    refused(path, key, "expected [32, 32]")
    rewrite(second, lambda m: m.update({key: torch.ones(32)}))
    refused(path, second, key, "expected [32, 32]")


class Trap:
    """A pickle that would write a file when it is loaded."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return os.mkdir, (self.path,)


def test_code_is_refused(folder, tmp_path):
    torch.save({"model": {"llma.norm.weight": Trap(tmp_path / "sprung")}}, folder / ONE)
    refused(folder, folder / ONE, "could run code")
    assert not (tmp_path / "sprung").exists()


def test_saving_refuses(model, tmp_path):
    with pytest.raises(CheckpointError, match="can't be split into 3 equal parts"):
        save_checkpoint(model, PARAMS, "llama_ens5", TOKENIZER, tmp_path / "x", shards=3)
    state = model.state_dict() | {"norm.weight": torch.full((32,), 1e6)}
    with pytest.raises(CheckpointError, match="norm.weight has values that are not finite"):
        save_checkpoint(state, PARAMS, "llama_ens5", TOKENIZER, tmp_path / "x")
    assert not list((tmp_path / "x").glob("*"))


def anonymous_bytes() -> int:
    """Memory of this process that is no mapped file."""
    with open("/proc/self/status", encoding="ascii") as file:
        return next(int(line.split()[1]) * 1024 for line in file if line.startswith("RssAnon"))


@pytest.mark.skipif(not os.path.exists("/proc/self/status"), reason="needs Linux's /proc")
def test_memory_of_loading(two_shards):
    """Merging two shards takes the network's size once, and a little."""
    folder = two_shards("llama_ens5")
    peak, done, before = 0, threading.Event(), anonymous_bytes()

    def measure():
        nonlocal peak
        while not done.wait(0.002):
            peak = max(peak, anonymous_bytes())

    watcher = threading.Thread(target=measure)
    watcher.start()
    model, _, config = load_checkpoint(folder)
    done.set()
    watcher.join()
    size = sum(p.numel() * p.element_size() for p in model.parameters())
    print(f"{size / 1e6:.0f} MB of parameters, {(peak - before) / 1e6:.0f} MB at the peak")
    assert config == Golden("llama_ens5").model_config
    assert peak - before < 1.15 * size
