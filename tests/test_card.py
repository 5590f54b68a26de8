"""A checkpoint as the model card shows it, tensors alone: what is read, inferred and asked."""

import json
import shutil

import numpy as np
import pytest
import torch
from goldens import TOKENIZER, manifest
from small_network import SIZES, picture

from sphinx_ros import Sphinx
from sphinx_ros.checkpoint import load_checkpoint, open_checkpoint, save_checkpoint
from sphinx_ros.checkpoint.completing import completed
from sphinx_ros.checkpoint.convert import convert
from sphinx_ros.checkpoint.inspection import inspect
from sphinx_ros.checkpoint.released import RELEASED, Released
from sphinx_ros.checkpoint.sizes import read_sizes
from sphinx_ros.commands.cli import main
from sphinx_ros.errors import CheckpointError
from sphinx_ros.model.config import RECIPES, ModelConfig
from sphinx_ros.model.keys import PARTS, in_decoder, part, quantised, split_dim, split_groups
from sphinx_ros.model.sphinx import SphinxModel

USUAL = {
    "dim": 256, "n_layers": 2, "n_heads": 2, "multiple_of": 96,
    "towers": {
        "view": 56,
        "clip": {"width": 64, "layers": 1, "heads": 1, "mlp_ratio": 2.0},
        "convnext": {"dims": [8, 8, 16, 16], "depths": [1, 2, 1, 1]},
        "dinov2": {"width": 128, "layers": 2, "heads": 2, "hidden": 48, "position_grid": 5},
        "qformer": {"width": 64, "layers": 2, "heads": 1, "hidden": 32, "queries": 3,
                    "vit_width": 88, "vit_layers": 2, "vit_heads": 1, "vit_hidden": 32},
    },
}  # fmt: skip
"""A miniature with the usual channels of a head."""

MIXTURE = {k: v for k, v in USUAL.items() if k != "multiple_of"} | {
    "n_heads": 2, "n_kv_heads": 1, "hidden_dim": 48,
    "moe": {"num_experts": 4, "num_experts_per_tok": 2},
}  # fmt: skip
OTHERS = ("config.json", "meta.json", "tokenizer.model")


def made(folder, params, variant, shards=2):
    """A checkpoint, whole, and its copy without anything but tensors."""
    torch.manual_seed(0)
    model = SphinxModel(ModelConfig.from_json(params, variant, 512))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    whole = save_checkpoint(model, params, variant, TOKENIZER, folder / "whole", shards)
    bare = folder / "bare"
    shutil.copytree(whole, bare)
    for name in OTHERS:
        (bare / name).unlink()
    return whole, bare


def published(monkeypatch, *rows):
    """Other checkpoints in the table of the published ones."""
    for row in rows:
        monkeypatch.setitem(RELEASED, row.name, row)


def same(a, b):
    one, two = a.state_dict(), b.state_dict()
    return set(one) == set(two) and all(torch.equal(one[k], two[k]) for k in one)


@pytest.mark.parametrize(
    "params, variant",
    [
        (USUAL, "llama_ens"),
        (USUAL | {"n_kv_heads": 1, "ffn_dim_multiplier": 0.3}, "llama_ens5"),
        (MIXTURE, "mixtral_sparse_ens"),
    ],
)
@pytest.mark.parametrize("shards", [1, 2])
def test_it_is_the_same_network(tmp_path, params, variant, shards):
    whole, bare = made(tmp_path, params, variant, shards)
    with pytest.warns(UserWarning, match=r"n_heads 2 \(128 channels a head\)"):
        model, tokenizer, config = load_checkpoint(bare, variant=variant, tokenizer=TOKENIZER)
    theirs, _, wanted = load_checkpoint(whole)
    assert same(model, theirs) and tokenizer.n_words == 512
    for name in ("dim", "n_layers", "n_heads", "kv_heads", "ffn_hidden", "moe", "towers",
                 "rope_theta", "norm_eps", "image_size", "variant"):  # fmt: skip
        assert getattr(config, name) == getattr(wanted, name), name
    ids = torch.tensor([[1, 5, 9]])
    assert torch.equal(model(ids), theirs(ids))


def test_a_published_one_needs_nothing_but_what_no_tensor_tells(tmp_path, monkeypatch):
    """Heads that are not the usual ones, the epsilon and the rest come from its row."""
    odd = SIZES | {"norm_eps": 1e-3, "rope_theta": 500.0}
    whole, bare = made(tmp_path, odd, "llama_ens5")
    published(
        monkeypatch,
        Released("Toy", "llama_ens", 2, None, "theirs", odd, decimals=3),
        Released("Toy-1k", "llama_ens5", 2, None, "theirs", odd, decimals=3),
    )
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(bare)
    for words in (
        "meta.json with key 'llama_type' is missing",
        "variant (--variant), one of llama_ens (Toy: pictures of 56 pixels), "
        "llama_ens5 (Toy-1k: pictures of 112 pixels)",
        "tokenizer.model is missing: give tokenizer (--tokenizer)",
        "512 pieces",
        "huggingface.co/meta-llama/Llama-2-13b",
    ):
        assert words in str(caught.value)
    with pytest.raises(CheckpointError, match=r"tokenizer\.model is missing") as caught:
        load_checkpoint(bare, variant="llama_ens5")
    assert "llama_type" not in str(caught.value)
    with pytest.raises(CheckpointError, match="give variant"):
        load_checkpoint(bare, tokenizer=TOKENIZER)
    model, _, config = load_checkpoint(bare, variant="llama_ens5", tokenizer=TOKENIZER)
    theirs, _, wanted = load_checkpoint(whole)
    assert same(model, theirs) and config == wanted
    named = bare.rename(tmp_path / "Toy-1k")
    with pytest.raises(CheckpointError, match="the folder's name suggests llama_ens5"):
        load_checkpoint(named, tokenizer=TOKENIZER)
    sphinx = Sphinx.from_pretrained(named, variant="llama_ens5", tokenizer=TOKENIZER)
    full = Sphinx.from_pretrained(whole)
    rgb = picture(64, 48)
    assert np.array_equal(sphinx.logits([1, 7, 8], rgb), full.logits([1, 7, 8], rgb))


def test_the_only_variant_that_it_can_be(tmp_path, monkeypatch):
    _, bare = made(tmp_path, SIZES, "llama_ens10", 1)
    published(monkeypatch, Released("Toy", "llama_ens10", 1, None, "theirs", SIZES, decimals=3))
    _, _, config = load_checkpoint(bare, tokenizer=TOKENIZER)
    assert config.variant == "llama_ens10"
    found = inspect(bare, tokenizer=TOKENIZER)
    assert "variant llama_ens10, the only one it can be" in found.inferred and not found.missing


@pytest.mark.parametrize("absent", OTHERS)
def test_one_file_that_is_missing(tmp_path, absent):
    """The others still say what they say."""
    whole, _ = made(tmp_path, SIZES, "llama_ens5")
    (whole / absent).unlink()
    given = {"meta.json": {"variant": "llama_ens5"}, "tokenizer.model": {"tokenizer": TOKENIZER}}
    if absent == "config.json":
        with pytest.raises(
            CheckpointError, match=r"config\.json is missing or lacks keys n_heads"
        ):
            load_checkpoint(whole)
        heads = {k: {n: v for n, v in t.items() if n.endswith("heads")}
                 for k, t in SIZES["towers"].items() if k not in ("view", "convnext")}  # fmt: skip
        (whole / absent).write_text(
            json.dumps({"n_heads": 4, "max_seq_len": 640, "coordinate_decimals": 3,
                        "towers": heads})
        )  # fmt: skip
    else:
        with pytest.raises(CheckpointError, match=f"{absent}.* is missing"):
            load_checkpoint(whole)
    _, _, config = load_checkpoint(whole, **given.get(absent, {}))
    wanted = ModelConfig.from_json(SIZES, "llama_ens5", 512)
    for name in ("n_heads", "kv_heads", "ffn_hidden", "towers", "max_seq_len"):
        assert getattr(config, name) == getattr(wanted, name)


def test_what_is_given_counts(tmp_path):
    whole, _ = made(tmp_path, SIZES, "llama_ens")
    _, _, config = load_checkpoint(whole, variant="llama_ens5", max_seq_len=900)
    assert (config.variant, config.max_seq_len) == ("llama_ens5", 900)
    assert open_checkpoint(whole).config.variant == "llama_ens"
    with pytest.raises(CheckpointError, match="variant is 'llama_ens6', expected the name of a"):
        load_checkpoint(whole, variant="llama_ens6")
    for path, words in (
        (tmp_path / "none.model", "none.model is missing"),
        (tmp_path, "is a folder, expected a file"),
    ):
        with pytest.raises(CheckpointError, match=words):
            load_checkpoint(whole, tokenizer=path)
    with pytest.raises(CheckpointError, match="'max_seq_len' is 0"):
        load_checkpoint(whole, max_seq_len=0)


def test_a_variant_that_has_other_towers(tmp_path):
    _, bare = made(tmp_path, USUAL, "llama_ens")
    for variant, words in (
        ("llama_ens_light", "which hold clip, convnext, dinov2, qformer"),
        ("mixtral_sparse_ens", "no experts; expected one of llama_ens, llama_ens5"),
    ):
        with pytest.raises(CheckpointError, match=words):
            load_checkpoint(bare, variant=variant, tokenizer=TOKENIZER)


def test_inspect_says_what_it_found_and_what_it_needs(tmp_path, capsys):
    _, bare = made(tmp_path, USUAL, "llama_ens5")
    assert main(["inspect", str(bare)]) == 2
    out = capsys.readouterr().out
    for words in (
        "llama_ens or llama_ens5 or ",
        "its size depends on the variant",
        "2 files",
        "sizes from the tensors: dim 256, 2 layers, 2 heads",
        "ASSUMED     n_heads 2 (128 channels a head)",
        "MISSING     ",
        "--variant",
        "--tokenizer",
        "the sentencepiece model with 512 pieces",
        "in all",
    ):
        assert words in out, words
    given = ["--variant", "llama_ens5", "--tokenizer", str(TOKENIZER)]
    with pytest.warns(UserWarning):
        assert main(["inspect", str(bare), *given]) == 0
    out = capsys.readouterr().out
    assert "112 x 112 pixels in 5 views" in out and "MISSING" not in out
    assert main(["inspect", str(bare), "--json", "--deep"]) == 2
    report = json.loads(capsys.readouterr().out)
    assert report["variant"] is None and len(report["missing"]) == 2
    assert report["problems"] == [] and report["parameters"]["total"] > 0
    with pytest.warns(UserWarning):
        assert main(["convert", str(bare), str(tmp_path / "out"), *given]) == 0
    _, _, config = load_checkpoint(tmp_path / "out")
    assert config.variant == "llama_ens5" and config.n_heads == 2


def test_missing_heads_are_asked_for_in_one_piece(tmp_path):
    _, bare = made(tmp_path, SIZES, "llama_ens")
    found = inspect(bare)
    assert len(found.missing) == 3 and found.total > 0
    asked = found.missing[0].partition("write it with ")[2].partition(", as the network")[0]
    assert json.loads(asked.replace("N", "4")) == {
        "n_heads": 4,
        "towers": {
            "clip": {"heads": 4},
            "dinov2": {"heads": 4},
            "qformer": {"heads": 4, "vit_heads": 4},
        },
    }
    for one in convert, load_checkpoint:
        with pytest.raises(CheckpointError, match="which no tensor tells"):
            one(bare, *([tmp_path / "y"] if one is convert else []), variant="llama_ens")


@pytest.mark.parametrize("variant", [v for v in RECIPES if v != "llama_ens_fine"])
@pytest.mark.parametrize("parts", ["mp1", "mp2"])
def test_shapes_of_the_published_files(variant, parts):
    """The key lists at full size give the published configurations, from one file and from two."""
    golden = manifest(variant)
    split = golden["split_dim"]
    shapes = {
        key.removeprefix("llma."): tuple(
            n * (2 if parts == "mp2" and i == split.get(key) else 1) for i, n in enumerate(shape)
        )
        for key, (shape, _) in golden[parts]["keys"].items()
    }
    sizes = read_sizes(TOKENIZER.parent, shapes)
    rows = [item for item in RELEASED.values() if item in sizes.released]
    light, mixture = "light" in variant, variant.startswith("mixtral")
    family = "Tiny" if light else "MoE" if mixture else ""
    assert rows and all(family in item.title for item in rows)
    assert variant in sizes.variants
    params = completed(sizes, {})
    assert not params.assumed and not params.unknown
    config = ModelConfig.from_json(params.params, variant, sizes.vocabulary)
    wanted = ModelConfig.from_json(golden["mp1"]["model_args"], variant, golden["vocab_size"])
    for name in ("dim", "n_layers", "n_heads", "kv_heads", "head_dim", "ffn_hidden", "moe",
                 "towers", "norm_eps", "rope_theta", "vocab_size"):  # fmt: skip
        assert getattr(config, name) == getattr(wanted, name), name


@pytest.mark.parametrize(
    "key, words",
    [
        ("tok_embeddings.weight", "tok_embeddings.weight is missing"),
        ("layers.0.attention.wk.weight", "wk.weight is missing"),
        ("dinov2_vitg14.pos_embed", "pos_embed is missing"),
        ("clip.visual.positional_embedding", "positional_embedding is missing"),
    ],
)
def test_a_tensor_that_tells_a_size_is_missing(tmp_path, key, words):
    _, bare = made(tmp_path, USUAL, "llama_ens", 1)
    (file,) = bare.glob("*.pth")
    model = torch.load(file, weights_only=True)["model"]
    model.pop(f"llma.{key}")
    torch.save({"model": model}, file)
    with pytest.raises(CheckpointError, match=words):
        load_checkpoint(bare, variant="llama_ens", tokenizer=TOKENIZER)


def test_layers_with_a_gap(tmp_path):
    _, bare = made(tmp_path, USUAL, "llama_ens", 1)
    (file,) = bare.glob("*.pth")
    model = torch.load(file, weights_only=True)["model"]
    moved = {k.replace(".layers.1.", ".layers.4."): v for k, v in model.items()}
    torch.save({"model": moved}, file)
    with pytest.raises(CheckpointError, match="not numbered from 0 on without a gap"):
        load_checkpoint(bare, variant="llama_ens", tokenizer=TOKENIZER)


@pytest.mark.parametrize(
    "key, of, split, bits",
    [
        ("tok_embeddings.weight", "language model", 1, False),
        ("layers.31.attention.wq.weight", "language model", 0, True),
        ("layers.0.attention.wo.weight", "language model", 1, True),
        ("layers.0.feed_forward.w2.weight", "language model", 1, True),
        ("layers.0.feed_forward.w2", "language model", 0, True),
        ("layers.0.feed_forward.gate.weight", "language model", None, False),
        ("layers.0.ffn_norm.weight", "language model", None, False),
        ("norm.weight", "language model", None, False),
        ("output.weight", "language model", 0, True),
        ("clip.visual.proj", "CLIP", None, False),
        ("openclip_convnext_xxl.stem.0.bias", "ConvNeXt", None, False),
        ("dinov2_vitg14.cls_token", "DINOv2", None, False),
        ("qformer.query_tokens", "BLIP-2, Q-Former", None, False),
        ("qformer_proj.0.weight", "projections", None, False),
        ("start_img", "projections", None, False),
        ("nobody.knows", "", None, False),
    ],
)
def test_what_is_known_of_a_parameter(key, of, split, bits):
    assert (part(key), split_dim(key), quantised(key)) == (of, split, bits)
    assert in_decoder(key) == (of == PARTS[0])
    assert split_groups(key, 8) == (8 if key == "layers.0.feed_forward.w2" else 1)
    assert split_groups(key, None) == 1
