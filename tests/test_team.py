"""One network in several processes: the same logits and tokens as in one, whatever the shards."""

import datetime
import inspect
import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from goldens import TOKENIZER
from process_support import followers_of, lives, until
from small_network import SIZES

from sphinx_ros import Sphinx
from sphinx_ros.checkpoint import load_checkpoint, save_checkpoint
from sphinx_ros.errors import BadRequest, CheckpointError, SphinxError, Status
from sphinx_ros.model.config import ModelConfig
from sphinx_ros.model.network import Network
from sphinx_ros.model.ranks import Ranks
from sphinx_ros.model.sphinx import SphinxModel
from sphinx_ros.runtime import team
from sphinx_ros.runtime.crew import Crew
from sphinx_ros.runtime.leader import Leader
from sphinx_ros.runtime.orders import Part
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


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    return checkpoint(tmp_path_factory.mktemp("small") / "x", "llama_ens", WIDE, 1)


@pytest.fixture(scope="module")
def shared(small):
    """A network in two processes, for tests that leave it whole."""
    sphinx = Sphinx.from_pretrained(small, devices=["cpu", "cpu"])
    yield sphinx
    sphinx.close()


def loaded(folder, size=2):
    """A network in several processes, and the numbers of those that were started for it."""
    before = followers_of(os.getpid())
    sphinx = Sphinx.from_pretrained(folder, devices=["cpu"] * size)
    return sphinx, [pid for pid in followers_of(os.getpid()) if pid not in before]


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
    threads = torch.get_num_threads()
    together, followers = loaded(folder, size)
    try:
        theirs = asked(together, picture)
        assert len(followers) == size - 1 and all(map(lives, followers))
        part = sum(p.numel() for p in together.model.parameters())
        with pytest.raises(BadRequest, match="several processes share this network.*Load it anew"):
            together.adapt(tmp_path)
    finally:
        together.close()
    assert torch.get_num_threads() == threads, "each has its share, and only while it computes"
    for name in ("logits", "text"):
        assert (alone[name] - theirs[name]).abs().max() <= 1e-4, name
    assert alone["answers"] == theirs["answers"] and alone["caption"] == theirs["caption"]
    assert not any(map(lives, followers)), "they end with the leader"
    model, *_ = load_checkpoint(folder)
    whole, layers = (sum(p.numel() for p in m.parameters()) for m in (model, model.layers))
    assert whole - part > layers * (1 - 1.1 / size), "of the layers each has its part"


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


def test_a_lost_process_is_an_error_and_not_a_wait(small, shared, picture):
    sphinx, (follower,) = loaded(small)

    def killed(text):
        if lives(follower):
            os.kill(follower, signal.SIGKILL)

    seen = sphinx.look(picture)
    for _ in range(2):
        with pytest.raises(SphinxError, match=r"process 1 .* was killed.* load .* again") as lost:
            seen.caption(max_new_tokens=4, on_text=killed)
        assert lost.value.status is Status.NOT_ACTIVE
    assert sphinx.trouble == str(lost.value)
    # while nobody asks, after another was loaded in the same process
    again, (follower,) = loaded(small)
    assert again.trouble == ""
    with pytest.raises(BadRequest, match="another network's"):
        again.model.hidden(torch.zeros(1, 1, 64), cache=shared.model.new_cache(1, 8))
    os.kill(follower, signal.SIGKILL)
    until(lambda: "was killed" in again.trouble)


def test_what_one_refuses_all_refuse(shared, picture):
    seen = shared.look(picture)
    first = seen.caption(max_new_tokens=4).raw_text
    model = shared.model
    cache = model.new_cache(1, 8)
    for wrong in (
        lambda: model.hidden(torch.zeros(1, 9, 64), cache=cache),
        lambda: model.encode_image(torch.zeros(1, 3, 5, 5)),
        lambda: model.embed(torch.tensor([[10**6]])),
        lambda: model(torch.tensor([[1]]), last=True),
        lambda: model.logits(),
    ):
        with pytest.raises((ValueError, IndexError, TypeError)):
            wrong()
    assert seen.caption(max_new_tokens=4).raw_text == first, "they go on together"


def test_a_forked_child_is_refused(shared, picture):
    seen = shared.look(picture)
    first = seen.caption(max_new_tokens=4).raw_text
    read, write = os.pipe()
    forked = os.fork()
    if not forked:
        for ask in (seen.caption, lambda: shared.look(picture), shared.close):
            try:
                ask()
            except SphinxError as error:
                os.write(write, f"{error.status};".encode())
        os._exit(0)
    os.waitpid(forked, 0)
    assert os.read(read, 100) == b"NOT_ACTIVE;NOT_ACTIVE;"
    os.close(read), os.close(write)
    assert seen.caption(max_new_tokens=4).raw_text == first


def test_both_kinds_of_network_are_what_users_may_ask_of_one():
    wanted = {name for name in vars(Network) if name == "__call__" or not name.startswith("_")}
    assert wanted == {
        "config", "device", "cheap_tokens", "new_cache", "encode_image", "embed", "hidden",
        "logits", "__call__", "prepare", "step", "origin",
    }  # fmt: skip
    config = ModelConfig.from_json(WIDE, "llama_ens", 512)
    with torch.device("meta"):
        model = SphinxModel(config)
    nobody = SimpleNamespace(tell=lambda order: None)
    leader = Leader(Part(model, model.device), nobody, Crew([], [], lambda: None))
    for name in wanted:
        if not callable(getattr(Network, name)):
            assert getattr(leader, name) == getattr(model, name)
            continue
        alone = inspect.signature(model.forward if name == "__call__" else getattr(model, name))
        for made in (alone, inspect.signature(getattr(leader, name))):
            asked = inspect.signature(getattr(Network, name)).parameters.values()
            assert [(p.name, p.kind, p.default) for p in made.parameters.values()] == [
                (p.name, p.kind, p.default) for p in asked if p.name != "self"
            ], name


@pytest.mark.parametrize("name", ["forward", "layers", "norm", "view_embeddings", "state_dict"])
def test_what_would_run_in_one_process_alone_is_not_there(shared, name):
    with pytest.raises(AttributeError, match=f"has no '{name}': it would run in one of them"):
        getattr(shared.model, name)


LEADER = """
    import signal
    signal.signal(signal.SIGINT, signal.default_int_handler)  # background jobs ignore it
    import sys
    import numpy as np
    from sphinx_ros import Sphinx
    sphinx = Sphinx.from_pretrained(sys.argv[1], devices=["cpu", "cpu"])
    seen = sphinx.look(np.zeros((48, 64, 3), np.uint8))
    before = [seen.caption(max_new_tokens=n).raw_text for n in range(1, 9)]
    print("asking", flush=True)
    while True:
        try:
            for n in range(1, 9):
                seen.caption(max_new_tokens=n)
        except KeyboardInterrupt:
            after = [seen.caption(max_new_tokens=n).raw_text for n in range(1, 9)]
            print(before == after, flush=True)
"""


def test_ctrl_c_ends_no_call_halfway_and_no_end_leaves_a_process(small):
    code = textwrap.dedent(LEADER)
    leader = subprocess.Popen(
        [sys.executable, "-c", code, str(small)], stdout=subprocess.PIPE, text=True
    )
    assert leader.stdout.readline() == "asking\n"
    (follower,) = followers_of(leader.pid)
    for pause in (0.02, 0.005, 0.05):
        time.sleep(pause)
        leader.send_signal(signal.SIGINT)
        assert leader.stdout.readline() == "True\n"
    leader.kill()
    leader.communicate()
    until(lambda: not lives(follower))


def test_a_camera_may_be_idle_for_longer_than_a_call_may_take(small, picture):
    devices, wait = [torch.device("cpu")] * 2, datetime.timedelta(seconds=4)
    network, tokenizer, _ = team.lead(small, devices, load_checkpoint, wait=wait)
    sphinx = Sphinx(network, tokenizer)
    try:
        before = sphinx.look(picture).caption(max_new_tokens=4).raw_text
        time.sleep(5)
        assert sphinx.look(picture).caption(max_new_tokens=4).raw_text == before
    finally:
        sphinx.close()
    with pytest.raises(SphinxError, match="was closed"):
        sphinx.look(picture)


def test_torchrun(tmp_path):
    """The command line in two processes of torchrun: one of them speaks."""
    from PIL import Image

    scene = World(320, 240).observe(7)
    Image.fromarray(scene.rgb).save(tmp_path / "scene.png")
    alone = Sphinx.from_pretrained("demo", device="cpu").look(scene.rgb).detect()
    words = ["-m", "sphinx_ros", "detect", str(tmp_path / "scene.png"), "--json"]
    run = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    both = subprocess.run(
        [sys.executable, *run, *words], capture_output=True, text=True, timeout=300
    )
    assert both.returncode == 0, both.stderr
    boxes = [d["box"] for d in json.loads(both.stdout)["results"]]
    assert boxes and np.allclose(boxes, [found.box for found in alone], atol=0.02)
