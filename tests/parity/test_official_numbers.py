"""Every stage of the network against the official code's numbers, float32, one model at a time."""

import gc
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from engine_support import Passes
from goldens import VARIANTS, Golden

from sphinx_ros.checkpoint import load_checkpoint
from sphinx_ros.engine.official import generate_official
from sphinx_ros.teach.learning import answers_loss
from sphinx_ros.teach.packed import Packed

LOGITS = 1e-4  # max abs; the reference's own cached and uncached logits differ by 1.7e-5
SHARDED = ("llama_ens5", "llama_ens5_light", "mixtral_sparse_ens5")
"""Models that are read from a two-shard checkpoint, and see two pictures as one batch."""


def watch(model) -> dict[str, list]:
    """Record what goes into and comes out of each tower: name -> [input, output]."""
    seen: dict[str, list] = {}

    def into(name):
        return lambda _, args, kwargs: seen.setdefault(name, [None, None]).__setitem__(
            0, args[0] if args else next(iter(kwargs.values()))
        )

    def out_of(name):
        return lambda _, args, out: seen.setdefault(name, [None, None]).__setitem__(1, out)

    trunk = model.openclip_convnext_xxl
    ends = {"convnext": (trunk.stem, trunk.head.norm)}
    for name, attribute in (("clip", "clip"), ("dinov2", "dinov2_vitg14"), ("qformer", "qformer")):
        if hasattr(model, attribute):
            ends[name] = (getattr(model, attribute),) * 2
    for name, (first, last) in ends.items():
        first.register_forward_pre_hook(into(name), with_kwargs=True)
        last.register_forward_hook(out_of(name))
    return seen


@pytest.fixture(scope="module", params=VARIANTS)
def run(request, store, two_shards, image_tokens):
    """One golden model, its picture encoded once with the towers watched."""
    golden = Golden(request.param)
    if golden.name in SHARDED:
        model, _, _ = load_checkpoint(two_shards(golden.name))
    else:
        model = golden.build(store)
    pixels = golden.pixels()[None]
    if "b2_image_u8" in golden:
        pixels = torch.cat((pixels, golden.pixels("b2_image_u8")[None]))
    seen = watch(model)
    with torch.inference_mode():
        tokens = model.encode_image(pixels)
    image_tokens[golden.name] = tokens
    ids = torch.from_numpy(golden["prompt_ids"])[None]
    yield SimpleNamespace(
        golden=golden, model=model, pixels=pixels, seen=seen, tokens=tokens, ids=ids
    )
    gc.collect()


def close(name: str, ours, theirs, atol: float, rtol: float = 0.0) -> None:
    """Max abs difference, with the numbers in the message."""
    ours = np.asarray(ours)
    assert ours.shape == theirs.shape, f"{name}: {ours.shape} instead of {theirs.shape}"
    worst = float(np.abs(ours - theirs).max())
    limit = atol + rtol * float(np.abs(theirs).max())
    print(f"{name}: max abs difference {worst:.2e}, limit {limit:.2e}")
    assert worst <= limit, f"{name}: max abs difference {worst:.2e} exceeds {limit:.2e}"


def test_weights_follow_the_rule(run, store):
    sums = dict(zip(run.golden["param_names"].tolist(), run.golden["param_sums"], strict=True))
    state = run.model.state_dict()
    assert set(state) <= set(sums)
    for key, tensor in state.items():
        assert tensor.sum(dtype=torch.float64).item() == pytest.approx(
            sums[key], abs=1e-6, rel=1e-9
        ), key


def test_sharded_weights_are_the_weights(run, store):
    if run.golden.name not in SHARDED:
        pytest.skip("not read from shards")
    seed = run.golden.settings["weight_seed"]
    for key, tensor in run.model.state_dict().items():
        assert torch.equal(tensor, store.get(key, tensor.shape, seed)), key


def test_sizes(run):
    config, golden = run.model.config, run.golden
    assert config.image_words == golden.settings["image_words"] == run.tokens.shape[1]
    assert config.image_size == golden.settings["image_size"]
    assert list(config.view_tokens) == golden["view_n_tokens"].tolist()


def test_pixels(run):
    pixels = run.pixels[0]
    assert list(pixels.shape) == run.golden["pixel_shape"].tolist()
    assert np.array_equal(pixels[:, ::4, ::4], run.golden["pixel_s4"])
    sums = pixels.double().sum((1, 2)), pixels.double().abs().sum((1, 2))
    assert np.allclose(sums[0], run.golden["pixel_sum"], rtol=1e-9, atol=1e-6)
    assert np.allclose(sums[1], run.golden["pixel_abs_sum"], rtol=1e-9, atol=1e-6)


def test_tower_inputs(run):
    views = int(run.golden["n_views"])
    probed = [key[6:-6] for key in run.golden.fields if key.endswith("_in_s8")]
    assert set(probed) == set(run.seen)
    for tower in probed:
        ours = run.seen[tower][0][:views]
        assert list(ours.shape) == run.golden[f"probe_{tower}_in_shape"].tolist()
        close(f"{tower} in", ours[:, :, ::8, ::8], run.golden[f"probe_{tower}_in_s8"], 1e-6)
        sums = ours.double().sum((1, 2, 3))
        close(f"{tower} in, sum", sums, run.golden[f"probe_{tower}_in_sum"], 1e-2, 1e-7)


def test_tower_outputs(run):
    views = int(run.golden["n_views"])
    for tower, (_, ours) in run.seen.items():
        ours = ours[:views]
        every = (slice(None), slice(None, None, 16))
        every += (slice(None, None, 4),) * 2 if tower == "convnext" else every[1:]
        if tower == "convnext":
            assert list(ours.shape) == run.golden["probe_convnext_out_shape"].tolist()
        close(f"{tower} out", ours[every], run.golden[f"probe_{tower}_out"], 2e-5, 1e-5)
        norms = ours.double().flatten(1).norm(dim=1)
        close(f"{tower} out, L2", norms, run.golden[f"probe_{tower}_out_l2"], 0, 1e-6)


def test_image_tokens(run):
    model, start = run.model, 0
    for view, count in enumerate(model.config.view_tokens):
        block = run.tokens[0, start : start + count + 2]
        start += count + 2
        assert torch.equal(block[0], model.start_img[0, 0])
        assert torch.equal(block[-1], model.end_img[0, 0])
        inner = block[1:-1]
        close(f"view {view}", inner[::8], run.golden[f"view{view}_s8"], 5e-5)
        norms = inner.double().norm(dim=1)
        close(f"view {view}, L2", norms, run.golden[f"view{view}_token_l2"], 5e-4)
        stats = [inner.double().mean(), inner.double().std(), inner.double().norm()]
        assert np.allclose(stats, run.golden["view_stats"][view], rtol=1e-5, atol=1e-6)
    assert start == run.tokens.shape[1]


@torch.inference_mode()
def test_logits_without_image(run):
    close("logits", run.model(run.ids)[0], run.golden["logits_noimg"], LOGITS)


@torch.inference_mode()
def test_logits_with_image(run):
    close("logits", run.model(run.ids, run.tokens[:1])[0], run.golden["logits_img"], LOGITS)


@torch.inference_mode()
def test_loss_of_answers(run):
    """The official loss of the official logits: the mean cross-entropy of the labels, each
    predicted from the token before it (accessory/model/meta.py); packed as tuning packs it.
    """
    ids, words = run.ids, run.ids.shape[1]
    labels = torch.zeros(words, dtype=torch.long)
    labels[words // 2 :] = ids[0, words // 2 :]
    assert (labels[words // 2 :] > 0).all()
    logits = torch.from_numpy(run.golden["logits_img"])
    criterion = torch.nn.CrossEntropyLoss(ignore_index=0)
    official = criterion(logits[:-1].double(), labels[1:])
    row = Packed(ids, labels[None] > 0, torch.zeros_like(ids), torch.arange(words)[None])
    total, number, _ = answers_loss(run.model, row, run.tokens[:1])
    assert abs(total.item() / number - official.item()) < 1e-5


@torch.inference_mode()
def test_logits_of_two_pictures(run):
    if "b2_logits_img" not in run.golden:
        pytest.skip("the golden file has one picture")
    logits = run.model(run.ids.expand(2, -1), run.tokens)
    close("logits", logits, run.golden["b2_logits_img"], LOGITS)


@pytest.mark.parametrize("kind", ["img", "noimg"])
@torch.inference_mode()
def test_cached_steps(run, kind):
    image = run.tokens[:1] if kind == "img" else None
    words = 0 if image is None else image.shape[1]
    golden = run.golden[f"greedy_{kind}"]
    cache = run.model.new_cache(1, words + run.ids.shape[1] + len(golden))
    feed, start, steps = run.ids, 0, []
    for token in golden:
        logits = run.model(
            feed, None if start else image, cache=cache, start=start, last_only=True
        )
        steps.append(logits[0, -1])
        start = start + feed.shape[1] if start else words + feed.shape[1]
        feed = torch.tensor([[token]])
    close("steps", torch.stack(steps), run.golden[f"greedy_{kind}_logits"], LOGITS)


@pytest.mark.parametrize("kind", ["img", "noimg"])
def test_greedy_tokens(run, kind):
    image = run.tokens[:1] if kind == "img" else None
    golden = run.golden[f"greedy_{kind}"].tolist()
    assert run.golden[f"greedy_{kind}_gap"].min() > 2 * LOGITS, "a tie: the test says nothing"
    (answer,) = generate_official(run.model, run.ids.tolist(), image, max_new_tokens=16)
    assert answer.ids == golden
    assert answer.finish_reason == "length"
    top = torch.from_numpy(run.golden[f"greedy_{kind}_logits"]).softmax(-1).max(-1).values
    close("probabilities", np.float32(answer.probabilities), top.numpy(), 1e-5)


def test_questions_continue_a_prefix(run):
    """The picture is prefilled once; two questions start from it and don't disturb each other."""
    ids = run.ids[0].tolist()
    passes = Passes(run.model, ids[:1], run.tokens[:1])

    def ask(question):
        return passes.row(question, limit=16)

    (first,) = passes.run(ask(ids[1:]))
    passes.run(ask(ids[:3:-1]))
    again, other, _ = passes.run(ask(ids[1:]), ask(ids[1:]), ask(ids[:3:-1]))
    assert first.ids == again.ids == other.ids == run.golden["greedy_img"].tolist()
