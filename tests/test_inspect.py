"""`sphinx-ros inspect`: what a checkpoint is, and what is wrong with it, without loading it."""

import dataclasses
import json
from pathlib import Path

import pytest
import torch
from adapter_support import random_adapter
from goldens import TOKENIZER
from small_network import SIZES, VARIANT

from sphinx_ros.checkpoint import load_checkpoint, save_checkpoint
from sphinx_ros.checkpoint.adapter import read_adapter
from sphinx_ros.checkpoint.inspection import differences, inspect
from sphinx_ros.checkpoint.look_memory import Held, look_numbers
from sphinx_ros.checkpoint.names import find
from sphinx_ros.checkpoint.released import LLAMA_LICENCE, RELEASED, recognise
from sphinx_ros.commands.cli import main
from sphinx_ros.commands.inspect import adapter_lines, as_lines, fit, sized
from sphinx_ros.errors import CheckpointError
from sphinx_ros.model.config import ModelConfig
from sphinx_ros.model.keys import PARTS
from sphinx_ros.model.ranks import Ranks
from sphinx_ros.model.sphinx import SphinxModel

SECOND = "consolidated.01-of-02.model.pth"


@pytest.fixture
def folder(tmp_path):
    """A small checkpoint in two files."""
    torch.manual_seed(0)
    model = SphinxModel(ModelConfig.from_json(SIZES, VARIANT, 512))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return save_checkpoint(model, SIZES, VARIANT, TOKENIZER, tmp_path / "two", shards=2)


def rewrite(path, change):
    content = torch.load(path, weights_only=True)
    change(content["model"])
    torch.save(content, path)


def test_it_knows_what_loading_finds(folder):
    found = inspect(folder)
    model, _, config = load_checkpoint(folder)
    assert found.config == config and found.total == sum(p.numel() for p in model.parameters())
    assert set(found.parameters) == set(PARTS), "all parts are in this network"
    assert found.stored == {"float16": 1.0} and len(found.files) == 2
    assert found.released == () and found.licences == ()
    weights, cache, look = found.needs("bfloat16")
    assert look == 2 * found.look_numbers > 0
    assert weights == 2 * found.total
    assert found.splits(2) and not found.splits(3)
    made = model.new_cache(1, config.max_seq_len)
    assert cache == 2 * (made.keys.numel() + made.values.numel())


@pytest.mark.parametrize(
    "form, quantise", [("bfloat16", None), ("int8", "int8"), ("int4", "int4")]
)
@pytest.mark.parametrize("size", [1, 2])
def test_the_needs_are_what_loading_takes(tmp_path, form, quantise, size):
    """Weights in bytes, counted after loading; the scales of int8 are left out of the estimate."""
    torch.manual_seed(0)
    params = SIZES | {"dim": 256, "n_heads": 4, "n_layers": 2, "multiple_of": 256}
    model = SphinxModel(ModelConfig.from_json(params, VARIANT, 512))
    kind = torch.float16  # of two bytes as well, and the same on every processor
    folder = save_checkpoint(model, params, VARIANT, TOKENIZER, tmp_path / "x", dtype=kind)
    found = inspect(folder)
    made, *_ = load_checkpoint(folder, dtype=kind, ranks=Ranks(0, size), quantise=quantise)
    kept = {id(t): t for t in (*made.parameters(), *made.buffers())}
    taken = sum(t.numel() * t.element_size() for t in kept.values())
    assert found.needs(form, size)[0] == pytest.approx(taken, rel=0.05)


def test_a_published_one_before_it_is_downloaded(capsys, monkeypatch, tmp_path):
    import huggingface_hub

    monkeypatch.setattr(huggingface_hub.constants, "HF_HOME", str(tmp_path))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    assert main(["inspect", "SPHINX-Tiny-1k"]) == 0
    out = capsys.readouterr().out
    for words in ("not here", "llama_ens5_light", "1295 of", "each of 4", "int4"):
        assert words in out, words
    assert "each of 8" not in out, "it has four key/value heads"
    found = inspect("sphinx-1k")
    assert found.needs("bfloat16")[0] == pytest.approx(32.9e9, rel=0.01)
    assert found.needs("bfloat16", 2)[0] == pytest.approx(19.9e9, rel=0.01), "the released shards"


def test_deep_finds_unequal_copies_and_numbers_that_are_none(folder):
    assert not [wrong for _, wrong in differences(folder) if wrong]
    rewrite(folder / SECOND, lambda m: m["llma.norm.weight"].add_(1))
    rewrite(folder / SECOND, lambda m: m["llma.output.weight"].fill_(float("nan")))
    wrong = {key: words for key, words in differences(folder) if words}
    assert set(wrong) == {"llma.norm.weight", "llma.output.weight"}
    assert SECOND in wrong["llma.norm.weight"] and "finite" in wrong["llma.output.weight"]


def test_what_cannot_be_loaded_cannot_be_inspected(folder):
    rewrite(folder / SECOND, lambda m: m.pop("llma.norm.weight"))
    with pytest.raises(CheckpointError, match="lacks key llma.norm.weight"):
        inspect(folder)
    (folder / SECOND).unlink()
    with pytest.raises(CheckpointError, match="1 shards of 2"):
        inspect(folder)


def test_command(folder, capsys):
    assert main(["inspect", str(folder)]) == 0
    out = capsys.readouterr().out
    for words in (str(folder), VARIANT, "2 files", "100% float16", "in all", "fits", "bfloat16"):
        assert words in out, words
    assert main(["inspect", str(folder), "--json", "--deep"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["problems"] == [] and report["parameters"]["total"] > 0
    assert len(report["files"]) == 2 and report["free"]["cpu"] > 0
    rewrite(folder / SECOND, lambda m: m["llma.norm.weight"].add_(1))
    assert main(["inspect", str(folder), "--deep"]) == 2
    assert "WRONG       llma.norm.weight" in capsys.readouterr().out
    assert main(["inspect", str(folder / "nowhere")]) == 2
    assert "does not exist" in capsys.readouterr().err


def test_list_of_the_published_ones(capsys):
    assert main(["inspect", "--list"]) == 0
    out = capsys.readouterr().out
    *rows, last = out.splitlines()
    assert len(rows) == 1 + len(RELEASED) == 8 and last.startswith("coordinates: ")
    for item, row in zip(RELEASED.values(), rows[1:], strict=True):
        assert row.startswith(item.name) and item.folder in row and f" {item.decimals} " in row


def test_the_docs_have_the_same_table():
    docs = (Path(__file__).parent.parent / "docs" / "checkpoints.md").read_text()
    for item in RELEASED.values():
        size = sized(item.gigabytes * 1e9) if item.gigabytes else "not seen"
        licence = "LLaMA 2" if item.licence == LLAMA_LICENCE else "Apache-2.0"
        cells = (
            f"`{item.name}`",
            f"`{item.variant}`",
            item.config.image_size,
            item.shards,
            size,
            item.decimals,
            licence,
        )
        assert f"| {' | '.join(map(str, cells))} |" in docs, item.name


def test_what_a_look_holds_is_what_it_holds_on_a_device(folder):
    """Without numbers the same is counted as when the picture is really encoded."""
    model, *_ = load_checkpoint(folder, dtype=torch.float32)
    foreseen = inspect(folder).look_numbers
    assert look_numbers(model) == pytest.approx(foreseen, rel=0.1)
    picture = 3 * model.config.image_size**2
    assert foreseen > picture, "more than the picture itself"


def test_views_of_weights_are_not_held_anew():
    weight, x = torch.ones(100, 30), torch.ones(2, 30)
    with Held([weight]) as held:
        y = torch.mm(x, weight.T, out=x.new_empty(2, 100))
        assert (held.now, held.peak) == (800, 800)
        del y
    assert (held.now, held.peak) == (0, 800)


@pytest.mark.parametrize(
    "name, billions",
    [
        ("sphinx", 16.5),
        ("sphinx-1k", 16.5),
        ("sphinx-tiny-1k", 3.1),
        ("sphinx-moe-1k", 50.0),
    ],
)
def test_published_sizes(name, billions):
    """The table's sizes give the numbers of parameters that are known of these models."""
    item = RELEASED[name]
    with torch.device("meta"):
        model = SphinxModel(item.config)
    total = sum(p.numel() for p in model.parameters()) / 1e9
    assert total == pytest.approx(billions, rel=0.02)
    assert item in recognise(item.config)
    if item.gigabytes and item.shards == 1:
        assert item.gigabytes == pytest.approx(2 * total, rel=0.02)


def test_words():
    assert [sized(n) for n in (7, 7_600, 7_600_000, 39.8e9)] == [
        "7 B",
        "7.6 kB",
        "7.6 MB",
        "39.8 GB",
    ]
    assert [fit(n, 100) for n in (50, 95, 101)] == ["fits", "just fits", "does not fit"]


def test_an_adapter_is_shown_beside_its_base(tmp_path, capsys):
    folder = random_adapter(tmp_path / "plates", find("demo"))
    plain, found = inspect("demo"), inspect(f"demo+{folder}")
    assert plain.adapter is None
    taught = found.adapter
    assert taught.checked and taught.folder == folder and (taught.rank, taught.alpha) == (2, 2.0)
    assert taught.total == read_adapter(folder).size
    assert {*taught.parameters} == {"language model", "projections"}
    assert found.parameters == plain.parameters, "all else is of the base"
    assert main(["inspect", f"demo+{folder}"]) == 0
    said = capsys.readouterr().out
    assert f"adapter     {folder}" in said and "fits this checkpoint" in said
    assert f"LoRA of rank 2, alpha 2, of {taught.matrices} matrices" in said
    assert f"{taught.total / found.total:.2%} of the parameters" in said
    wider = dataclasses.replace(taught, ranks=(2, 32))
    assert "of rank 2 (of some 32), alpha 2, of" in adapter_lines(wider, 1)[1]
    assert main(["inspect", f"demo+{folder}", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["adapter"]
    assert told["rank"] == 2 and told["ranks"] == [2] and told["parameters"] == taught.parameters


def test_the_adapter_of_a_checkpoint_that_is_not_here(tmp_path, monkeypatch):
    """Nothing is downloaded to tell what is known."""
    monkeypatch.setenv("HF_HOME", str(tmp_path / "empty"))
    folder = random_adapter(tmp_path / "plates", find("demo"))
    found = inspect(f"sphinx-tiny-1k+{folder}")
    assert found.folder is None and not found.adapter.checked
    assert "not compared with X" in "\n".join(as_lines(found, {"cpu": 1}, None))
