"""One network in several processes: the same logits and tokens as in one, whatever the shards."""

import datetime
import json
import os
import signal
import subprocess
import sys
import tempfile
import time

import numpy as np
import pytest
import torch
from goldens import TOKENIZER
from small_network import SIZES

from sphinx_ros import Sphinx
from sphinx_ros.checkpoint import load_checkpoint, save_checkpoint
from sphinx_ros.errors import CheckpointError, SphinxError
from sphinx_ros.model.config import ModelConfig
from sphinx_ros.model.ranks import Ranks
from sphinx_ros.model.sphinx import SphinxModel
from sphinx_ros.runtime import team
from sphinx_ros.runtime.team import _follower as team_follower
from sphinx_ros.world.scenes import World

WIDE = SIZES | {"dim": 64, "n_heads": 8, "n_kv_heads": 4, "n_layers": 3}
EXPERTS = {k: v for k, v in WIDE.items() if k != "multiple_of"} | {
    "hidden_dim": 48,
    "moe": {"num_experts": 4, "num_experts_per_tok": 2},
}
PROMPTS = ["What is this?", "Where is the red mug, and where is the other one?"]


def checkpoint(folder, variant, params, shards):
    torch.manual_seed(3)
    model = SphinxModel(ModelConfig.from_json(params, variant, 512))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.15)
    return save_checkpoint(model, params, variant, TOKENIZER, folder, shards, torch.float32)


def asked(sphinx, rgb):
    """Logits with and without a picture, and greedy answers of a ragged batch and a chat."""
    ids = sphinx.tokenizer.encode(PROMPTS[1], True, False)
    return {
        "logits": sphinx.logits(ids, rgb),
        "text": sphinx.logits(ids),
        "answers": sphinx.generate(PROMPTS, [rgb, rgb[::-1]], max_new_tokens=12),
        "caption": sphinx.look(rgb).caption(max_new_tokens=8).raw_text,
    }


@pytest.fixture
def picture():
    return np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)


@pytest.mark.parametrize(
    "variant, params, shards, size",
    [
        ("llama_ens5", WIDE, 1, 2),  # five views for two ranks
        ("llama_ens", WIDE, 4, 2),
        ("llama_ens5p2", WIDE, 2, 4),
        ("mixtral_sparse_ens", EXPERTS, 2, 4),
    ],
)
def test_the_same_as_one(tmp_path, picture, variant, params, shards, size):
    folder = checkpoint(tmp_path / "x", variant, params, shards)
    alone = asked(Sphinx.from_pretrained(folder, device="cpu"), picture)
    together = Sphinx.from_pretrained(folder, devices=["cpu"] * size)
    try:
        theirs = asked(together, picture)
        followers = together.model._processes
        assert len(followers) == size - 1 and all(p.is_alive() for p in followers)
        part = sum(p.numel() for p in together.model.layers.parameters())
    finally:
        together.close()
        torch.set_num_threads(os.cpu_count())
    for name in ("logits", "text"):
        assert (alone[name] - theirs[name]).abs().max() <= 1e-4, name
    assert alone["answers"] == theirs["answers"] and alone["caption"] == theirs["caption"]
    assert not any(p.is_alive() for p in followers), "they end with the leader"
    model, *_ = load_checkpoint(folder)
    assert part < sum(p.numel() for p in model.layers.parameters()) / size * 1.1


@pytest.mark.parametrize("shards", [1, 2, 4])
@pytest.mark.parametrize("size", [2, 4])
def test_parts_make_the_whole(tmp_path, shards, size):
    """Every part is what the released layout for so many files would hold."""
    folder = checkpoint(tmp_path / "a", "mixtral_sparse_ens", EXPERTS, shards)
    wanted = checkpoint(tmp_path / "b", "mixtral_sparse_ens", EXPERTS, size)
    for rank in range(size):
        model, *_ = load_checkpoint(folder, ranks=Ranks(rank, size))
        path = wanted / f"consolidated.{rank:02d}-of-{size:02d}.model.pth"
        theirs = torch.load(path, weights_only=True)["model"]
        for key, tensor in model.state_dict().items():
            assert torch.equal(tensor, theirs["llma." + key]), key


def test_what_cannot_be_shared(tmp_path):
    folder = checkpoint(tmp_path / "x", "llama_ens", WIDE, 1)
    with pytest.raises(CheckpointError, match=r"channels .*shared by 3 processes; use a number"):
        load_checkpoint(folder, ranks=Ranks(0, 3))
    with pytest.raises(SphinxError, match="give one of them"):
        Sphinx.from_pretrained(folder, device="cpu", devices=["cpu", "cpu"])
    with pytest.raises(SphinxError, match="'cpu:x' is unknown"):
        Sphinx.from_pretrained(folder, devices=["cpu", "cpu:x"])
    with pytest.raises(CheckpointError, match="use a number of devices that divides it"):
        Sphinx.from_pretrained(folder, devices=["cpu"] * 3)
    torch.set_num_threads(os.cpu_count())


def test_a_lost_process_is_an_error_and_not_a_wait(tmp_path, picture):
    folder = checkpoint(tmp_path / "x", "llama_ens", WIDE, 1)
    sphinx = Sphinx.from_pretrained(folder, devices=["cpu", "cpu"])
    try:
        seen = sphinx.look(picture)
        with pytest.raises(ValueError):  # both refuse it, and go on together
            sphinx.model.hidden(torch.zeros(1, 4000, 64), cache=seen._cache)
        first = seen.caption(max_new_tokens=4).raw_text
        assert seen.caption(max_new_tokens=4).raw_text == first
        os.kill(sphinx.model._processes[0].pid, signal.SIGKILL)
        for _ in range(2):
            with pytest.raises(SphinxError, match="lost each other"):
                seen.caption(max_new_tokens=4)
    finally:
        sphinx.close()
        torch.set_num_threads(os.cpu_count())


def impatient(*given):
    """A follower that takes others for lost after two seconds."""
    team.WAIT = datetime.timedelta(seconds=2)
    team_follower(*given)


def test_a_camera_may_be_idle_for_longer_than_a_call_may_take(tmp_path, picture, monkeypatch):
    folder = checkpoint(tmp_path / "x", "llama_ens", WIDE, 1)
    monkeypatch.setattr(team, "_follower", impatient)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    sphinx = Sphinx.from_pretrained(folder, devices=["cpu", "cpu"])
    try:
        before = sphinx.look(picture).caption(max_new_tokens=4).raw_text
        time.sleep(4)
        assert sphinx.look(picture).caption(max_new_tokens=4).raw_text == before
    finally:
        sphinx.close()
        torch.set_num_threads(os.cpu_count())
    assert not list(tmp_path.glob("sphinx_team_*"))


def test_torchrun(tmp_path):
    """The command line in two processes of torchrun: one of them speaks."""
    from PIL import Image

    scene = World(320, 240).observe(7)
    Image.fromarray(scene.rgb).save(tmp_path / "scene.png")
    words = ["-m", "sphinx_ros", "detect", str(tmp_path / "scene.png"), "--json"]
    alone = subprocess.run(
        [sys.executable, *words, "--device", "cpu"], capture_output=True, text=True, timeout=300
    )
    run = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    both = subprocess.run(
        [sys.executable, *run, *words], capture_output=True, text=True, timeout=300
    )
    assert both.returncode == 0, both.stderr
    one, two = (json.loads(ran.stdout) for ran in (alone, both))
    boxes = [[d["box"] for d in said["results"]] for said in (one, two)]
    assert boxes[0] and np.allclose(*boxes, atol=0.01)
