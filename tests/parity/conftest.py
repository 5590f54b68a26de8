"""Weights and two-shard checkpoints that the parity tests share; freed at the end."""

import shutil
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path(__file__).parents[1]))

from goldens import TOKENIZER, Golden, WeightStore

from sphinx_ros.checkpoint import save_checkpoint


@pytest.fixture(scope="session")
def store():
    """The deterministic weights, made once."""
    weights = WeightStore()
    yield weights
    weights.clear()


@pytest.fixture(scope="session")
def two_shards(store, tmp_path_factory):
    """Golden name -> folder of a float32 checkpoint of that model in two shards."""
    root = tmp_path_factory.mktemp("checkpoints")

    def folder(name: str) -> Path:
        path, golden = root / name, Golden(name)
        if not path.exists():
            save_checkpoint(
                golden.build(store),
                golden.params,
                golden.settings["llama_type"],
                TOKENIZER,
                path,
                shards=2,
                dtype=torch.float32,
            )
        return path

    yield folder
    shutil.rmtree(root)  # more than a gigabyte, which pytest would keep for three runs


@pytest.fixture(scope="session")
def image_tokens():
    """Golden name -> image tokens that a test already made, for tests of the text half."""
    return {}


@pytest.fixture(autouse=True)
def one_thread():
    """Decoding steps are so small that threads only wait for each other, longest on busy cores.

    Fixtures of a wider scope, which encode the pictures, are set up before this one.
    """
    count = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(count)
