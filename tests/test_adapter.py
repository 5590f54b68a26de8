"""A checkpoint with an adapter: X+ADAPTER, wherever a checkpoint is named."""

import json
import shutil
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from sphinx_ros import Sphinx
from sphinx_ros.answer.score_calibration import Calibration
from sphinx_ros.checkpoint import load_checkpoint, save_checkpoint
from sphinx_ros.checkpoint.adapter import Adapter, fingerprint, read_adapter
from sphinx_ros.checkpoint.layout import ADAPTER
from sphinx_ros.checkpoint.names import find
from sphinx_ros.checkpoint.stored import open_checkpoint
from sphinx_ros.commands.cli import main
from sphinx_ros.errors import CheckpointError
from sphinx_ros.model.config import ModelConfig
from sphinx_ros.model.ranks import Ranks
from sphinx_ros.model.sphinx import SphinxModel
from sphinx_ros.train.initial import initialise
from tests.small_network import SIZES, VARIANT, build, random_checkpoint

KEYS = (
    "layers.0.attention.wq.weight",
    "layers.1.feed_forward.w2.weight",
    "output.weight",
    "visual_proj.0.weight",
)


def some_adapter(folder: Path, base: Path, rank: int = 2, alpha: float = 3.0) -> Adapter:
    """Random factors for a few matrices, written into a folder."""
    stored = open_checkpoint(base)
    draw = torch.Generator().manual_seed(1)
    factors = {}
    for key in KEYS:
        out, wide = stored.shape(key)
        a = torch.randn(rank, wide, generator=draw)
        factors[key] = (a, torch.randn(out, rank, generator=draw))
    adapter = Adapter(rank, alpha, fingerprint(stored), str(base), factors)
    adapter.write(folder)
    return adapter


@pytest.fixture
def pair(tmp_path):
    base = random_checkpoint()
    return base, some_adapter(tmp_path / "adapter", base), f"{base}+{tmp_path / 'adapter'}"


def test_the_low_rank_products_are_added_where_the_network_is_loaded(pair):
    base, adapter, name = pair
    plain = load_checkpoint(base)[0].state_dict()
    changed = load_checkpoint(name)[0].state_dict()
    for key, value in plain.items():
        if key in KEYS:
            a, b = adapter.factors[key]
            torch.testing.assert_close(changed[key], value + 1.5 * b @ a)
        else:
            assert torch.equal(changed[key], value)


def test_an_adapter_is_read_as_it_was_written(pair, tmp_path):
    _, adapter, _ = pair
    again = read_adapter(tmp_path / "adapter")
    assert (again.rank, again.alpha, again.base) == (2, 3.0, adapter.base)
    assert all(torch.equal(again.factors[key][1], adapter.factors[key][1]) for key in KEYS)


def test_a_process_of_several_gets_its_part_of_the_sum(pair):
    _, _, name = pair
    whole, stored = load_checkpoint(name)[0].state_dict(), open_checkpoint(name)
    for key in KEYS[:2]:
        halves = [stored.take(key, ranks=Ranks(rank, 2)) for rank in range(2)]
        assert torch.equal(torch.cat(halves, stored.split(key)[0]), whole[key])


def test_what_is_quantised_is_the_sum(pair, tmp_path):
    _, _, name = pair
    assert main(["merge", name, str(tmp_path / "whole")]) == 0
    of_pair, _, _ = load_checkpoint(name, quantise="int8")
    of_whole, _, _ = load_checkpoint(tmp_path / "whole", quantise="int8")
    for key, value in of_whole.state_dict().items():
        assert torch.equal(of_pair.state_dict()[key], value), key


@pytest.mark.parametrize("layout", [[], ["--shards", "1"]])
def test_merge_writes_a_whole_checkpoint_in_either_layout(pair, tmp_path, layout):
    _, _, name = pair
    assert main(["merge", name, str(tmp_path / "whole"), *layout]) == 0
    merged = load_checkpoint(tmp_path / "whole")[0].state_dict()
    for key, value in load_checkpoint(name)[0].state_dict().items():
        assert torch.equal(merged[key], value)


def test_what_is_merged_has_the_calibration_that_the_pair_is_asked_with(pair, tmp_path):
    base, _, _ = pair
    numbers = (0.1, 1.0, 2.0, -1.0, 0.5)
    other = tmp_path / "base"
    shutil.copytree(base, other)
    Calibration(numbers, 0.4, 1.7).write(other)
    name = f"{other}+{tmp_path / 'adapter'}"
    assert main(["merge", name, str(tmp_path / "first")]) == 0
    assert Calibration.read(tmp_path / "first").present == 0.4
    Calibration(numbers, 0.7, 1.7).write(tmp_path / "adapter")
    assert main(["merge", name, str(tmp_path / "second")]) == 0
    assert Calibration.read(tmp_path / "second").present == 0.7


def test_merge_wants_an_adapter(capsys):
    assert main(["merge", "demo", "somewhere"]) == 2
    assert "demo+runs/tune/adapter" in capsys.readouterr().err


def test_the_fingerprint_is_that_of_the_weights_and_not_of_the_layout(tmp_path):
    words = Path(__file__).parent / "data" / "tokenizer_512.model"  # that two files can share
    prints = {}
    for name, seed, shards in (("one", 0, 1), ("two", 0, 2), ("other", 1, 1)):
        model = SphinxModel(ModelConfig.from_json(SIZES, VARIANT, 512))
        initialise(model, seed)
        save_checkpoint(model, SIZES, VARIANT, words, tmp_path / name, shards)
        prints[name] = fingerprint(open_checkpoint(tmp_path / name))
    assert main(["convert", str(tmp_path / "two"), str(tmp_path / "st")]) == 0
    assert prints["one"] == prints["two"] == fingerprint(open_checkpoint(tmp_path / "st"))
    assert prints["other"] != prints["one"]


def test_an_adapter_of_other_weights_is_refused(pair, tmp_path):
    _, _, name = pair
    model, tokenizer = build(tmp_path, seed=1)
    kind = torch.float32
    save_checkpoint(model, SIZES, VARIANT, tokenizer.path, tmp_path / "other", dtype=kind)
    with pytest.raises(CheckpointError, match=r"was made for .* not for .*tuned from"):
        load_checkpoint(f"{tmp_path / 'other'}+{tmp_path / 'adapter'}")


def test_names_of_adapters_that_are_not_there_and_folders_with_a_plus(tmp_path):
    with pytest.raises(CheckpointError, match="behind the \\+, holds no adapter_model"):
        find(f"demo+{tmp_path}")
    odd = tmp_path / "mugs+plates"
    odd.mkdir()
    assert find(odd) == odd


def test_an_adapter_alone_is_told_to_be_given_with_its_checkpoint(pair, tmp_path):
    with pytest.raises(CheckpointError, match=r"holds an adapter, and no checkpoint.*a plus"):
        load_checkpoint(tmp_path / "adapter")


def test_a_damaged_adapter_is_named(pair, tmp_path):
    _, _, name = pair
    path = tmp_path / "adapter" / "adapter_model.safetensors"
    path.write_bytes(path.read_bytes()[:-7])
    with pytest.raises(CheckpointError, match=r"adapter_model\.safetensors can't be read"):
        load_checkpoint(name)


LFS = "version https://git-lfs.github.com/spec/v1\noid sha256:1\nsize 3\n"
SAID = {"base_sha256": "0", "rank": "4", "alpha": "8"}


@pytest.mark.parametrize(
    ("a", "b", "said", "words"),
    [
        ((), (8, 4), {}, r"has .*'A': \(\).*expected A \[r, in\] and B \[out, r\]"),
        ((4,), (8, 4), {}, r"expected A \[r, in\]"),
        ((4, 8), (4,), {}, r"expected A \[r, in\]"),
        ((4, 8), (8, 4, 1), {}, r"expected A \[r, in\]"),
        ((4, 8), (8, 3), {}, r"expected A \[r, in\]"),
        ((0, 8), (8, 0), {}, r"expected A \[r, in\]"),
        ((0, 8), (8, 0), {"rank": "0"}, "says rank 0"),
        ((4, 8), (8, 4), {"rank": "-4"}, "says rank -4"),
        ((4, 8), (8, 4), {"alpha": "nan"}, "alpha nan"),
        ((4, 8), (8, 4), {"alpha": "1e999"}, "alpha inf"),
    ],
)
def test_numbers_that_no_adapter_has(tmp_path, a, b, said, words):
    name = "base_model.model.layers.0.attention.wq.lora_{}.weight"
    factors = {name.format("A"): torch.zeros(a), name.format("B"): torch.zeros(b)}
    save_file(factors, tmp_path / ADAPTER, SAID | said)
    with pytest.raises(CheckpointError, match=words):
        read_adapter(tmp_path)


def test_files_that_are_no_adapter_are_told_as_what_they_are(tmp_path):
    with pytest.raises(CheckpointError, match=f"{ADAPTER} is missing"):
        read_adapter(tmp_path)
    (tmp_path / ADAPTER).write_text(LFS)
    with pytest.raises(CheckpointError, match="is a git-lfs pointer"):
        read_adapter(tmp_path)
    save_file({}, tmp_path / ADAPTER, SAID)
    with pytest.raises(CheckpointError, match="holds no matrix"):
        read_adapter(tmp_path)
    save_file({"some.bias": torch.zeros(1)}, tmp_path / ADAPTER, SAID)
    with pytest.raises(CheckpointError, match=f"{ADAPTER} has the key 'some.bias'"):
        read_adapter(tmp_path)


def test_sums_that_are_not_finite_are_not_merged(tmp_path, capsys):
    base = random_checkpoint()
    some_adapter(tmp_path / "adapter", base, alpha=1e300)
    name = f"{base}+{tmp_path / 'adapter'}"
    assert main(["merge", name, str(tmp_path / "whole")]) == 2
    assert "with its adapter has numbers beyond torch.float32" in capsys.readouterr().err
    assert not (tmp_path / "whole").exists()
    with pytest.raises(CheckpointError, match="with its adapter has numbers beyond"):
        load_checkpoint(name)


def test_an_adapter_that_can_not_be_looked_up_is_told_with_the_reason(tmp_path):
    with pytest.raises(CheckpointError, match=f"no {ADAPTER}, which .*File name too long"):
        find("demo+" + "a" * 300)
    (tmp_path / ADAPTER).symlink_to("gone")
    with pytest.raises(CheckpointError, match=f"no {ADAPTER}, which is a link to gone"):
        find(f"demo+{tmp_path}")


def test_an_adapters_own_calibration_comes_before_that_of_the_base(tmp_path):
    demo = find("demo")
    some_adapter(tmp_path / "adapter", demo)
    assert Sphinx.from_pretrained(f"demo+{tmp_path / 'adapter'}").judge.calibration is not None
    said = json.loads((demo / "calibration.json").read_text()) | {"present": 0.125}
    (tmp_path / "adapter" / "calibration.json").write_text(json.dumps(said))
    own = Sphinx.from_pretrained(f"demo+{tmp_path / 'adapter'}")
    assert own.judge.calibration.present == 0.125
