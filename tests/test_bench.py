"""The benchmarks run; what they measure is not tested here."""

import importlib.util
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from goldens import WeightStore
from small_network import SIZES

from sphinx_ros.checkpoint import load_checkpoint

BENCH = Path(__file__).parent.parent / "bench"


def bench(name):
    spec = importlib.util.spec_from_file_location(f"bench_{name}", BENCH / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def full_size():
    return bench("full_size")


def test_the_random_checkpoint_is_a_checkpoint(full_size, tmp_path):
    one, again, other = (
        full_size.write_checkpoint(tmp_path / name, seed, SIZES, "llama_ens5_light", 700)
        for name, seed in (("one", 3), ("again", 3), ("other", 4))
    )
    model, tokenizer, config = load_checkpoint(one)
    assert tokenizer.n_words == config.vocab_size == 700
    assert config.variant == "llama_ens5_light" and len(config.view_tokens) == 5
    state, same = model.state_dict(), load_checkpoint(again)[0].state_dict()
    assert all(torch.equal(same[key], value) for key, value in state.items())
    differs = load_checkpoint(other)[0].state_dict()
    key = "layers.0.attention.wq.weight"
    assert not torch.equal(differs[key], state[key]) and state[key].float().std() > 0


def test_full_size_measures_what_it_says(full_size, tmp_path):
    folder = full_size.write_checkpoint(tmp_path / "x", 0, SIZES, "llama_ens_fine", 700)
    options = SimpleNamespace(dtype="bfloat16", quantise=None, tokens=4)
    picture = np.zeros((40, 60, 3), np.uint8)
    rows = full_size.measure(folder, picture, options)
    for name in (
        "load_s",
        "look_s",
        "prefill_s",
        "token_s",
        "look_tflop",
        "float32_product_gflops",
    ):
        assert rows[name] > 0, name
    assert rows["peak_over_weights"] >= 0  # of a process that had more memory before, 0
    text = full_size.table(rows)
    assert all(name in text for name in rows) and "71.7" in text


def test_quantised_measures_what_it_says(tmp_path):
    module = bench("quantised")
    row = module.measure("llama_ens_light", WeightStore(), ["int8", "int4"], tmp_path / "x")
    assert 0 < row["int8"] < row["int4"] < 0.5 and row["int8"] < 0.05
    assert row["int8_bytes"] < 0.6 * row["bfloat16_bytes"]
    assert row["int4_bytes"] < 0.4 * row["bfloat16_bytes"]
    assert row["bfloat16_off_official"] < 0.05
    assert "llama_ens_light" in module.table({"llama_ens_light": row}, ["int8", "int4"])
