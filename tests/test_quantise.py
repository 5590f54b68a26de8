"""Decoders in fewer bits, and bfloat16 weights on a CPU that computes in float32."""

import subprocess
import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from goldens import TOKENIZER
from small_network import SIZES

import sphinx_ros.checkpoint.keeping as keeping
from sphinx_ros import Sphinx
from sphinx_ros.checkpoint import load_checkpoint, save_checkpoint
from sphinx_ros.checkpoint.inspection import inspect
from sphinx_ros.errors import SphinxError
from sphinx_ros.image.pixels import preprocess
from sphinx_ros.model import quant
from sphinx_ros.model.config import ModelConfig
from sphinx_ros.model.cpu_layers import WideLinear
from sphinx_ros.model.kernels import pack, packed_kernel, scaled_into, tile_rows, unpack
from sphinx_ros.model.quant import Int4Linear, Int8Linear, stored_linear
from sphinx_ros.model.sphinx import SphinxModel

WIDE = SIZES | {"dim": 128, "n_heads": 4, "n_layers": 2, "multiple_of": 64}
EXPERTS = {k: v for k, v in WIDE.items() if k != "multiple_of"} | {
    "hidden_dim": 64,
    "moe": {"num_experts": 4, "num_experts_per_tok": 2},
}
IDS = [1, 5, 9, 33, 40, 41, 42, 200, 201]


def checkpoint(folder, variant="llama_ens", params=WIDE, dtype=torch.bfloat16, shards=2):
    torch.manual_seed(5)
    model = SphinxModel(ModelConfig.from_json(params, variant, 512))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return save_checkpoint(model, params, variant, TOKENIZER, folder, shards, dtype)


@pytest.fixture
def picture():
    return np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)


def seen(sphinx, rgb):
    """The image tokens of a picture."""
    with torch.inference_mode():
        pixels = torch.from_numpy(preprocess(rgb, sphinx.config.image_size))[None]
        return sphinx.model.encode_image(pixels)


def error(a, b):
    return ((a - b).norm() / b.norm()).item()


KINDS = [("int8", 0.012), ("int4", 0.12), ("wide", 0.005)]


@pytest.mark.parametrize("kind, most", KINDS + [("packed", 0.005)] * packed_kernel())
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_layers(kind, most, dtype):
    torch.manual_seed(0)
    weight, bias = torch.randn(640, 96), torch.randn(640)
    layer = stored_linear(kind, weight, "cpu", dtype)
    layer.bias = torch.nn.Parameter(bias.to(dtype))
    for rows in (1, 3, 50):
        x = torch.randn(2, rows, 96).to(dtype)
        y = layer(x)
        assert y.shape == (2, rows, 640) and y.dtype == dtype
        assert error(y.float(), F.linear(x.float(), weight, bias)) < most
    few, many = layer(x[:, :2]), layer(x)[:, :2]
    assert error(few.float(), many.float()) < 0.012, "both ways are one product"


def test_the_stored_form():
    """int8 and int4 are the nearest values of their grid."""
    torch.manual_seed(1)
    weight = torch.randn(128, 64)
    eight = Int8Linear(weight, "cpu")
    step = weight.abs().amax(1, keepdim=True) / 127
    assert ((eight.block(0, 128, torch.float32) - weight).abs() <= 0.501 * step).all()
    four = Int4Linear(weight, "cpu")
    groups = weight.unflatten(1, (2, 32))
    step = ((groups.amax(-1) - groups.amin(-1)) / 15).repeat_interleave(32, 1)
    assert ((four.block(0, 128, torch.float32) - weight).abs() <= 0.56 * step).all()
    values = torch.randint(0, 16, (192, 64), dtype=torch.uint8)
    assert torch.equal(unpack(pack(values)), values) and pack(values).numel() == 192 * 32
    assert torch.equal(four.block(64, 128, torch.float32), four.block(0, 128, torch.float32)[64:])
    zero = stored_linear("int8", torch.zeros(4, 8), "cpu", torch.float32)
    assert torch.equal(zero(torch.ones(6, 8)), torch.zeros(6, 4))


@pytest.mark.parametrize("inputs", [8, 24, 40])
def test_rows_of_any_length(inputs):
    """Also those that torch's kernel reads past the end of."""
    torch.manual_seed(4)
    weight, x = torch.randn(96, inputs), torch.randn(5, inputs)
    layer = stored_linear("int8", weight, "cpu", torch.float32)
    for rows in (1, 5):
        assert error(layer(x[:rows]), F.linear(x[:rows], weight)) < 0.02


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_few_operations_give_the_same_weights_as_many(dtype):
    """int4 as a GPU unpacks it."""
    torch.manual_seed(3)
    layer, tile = Int4Linear(torch.randn(256, 96), "cpu"), tile_rows()
    want = layer.block(tile, 256, dtype)
    found = scaled_into(torch.empty_like(want), layer.weight[1:], layer.steps[:, tile:])
    assert torch.allclose(found.float(), want.float(), rtol=2 * torch.finfo(dtype).eps, atol=1e-6)


def test_without_kernels(monkeypatch):
    """Where torch's kernels are not there the answers are the same, later."""
    torch.manual_seed(2)
    weight, x = torch.randn(128, 64), torch.randn(1, 64)
    layers = [stored_linear(kind, weight, "cpu", torch.float32) for kind in ("int8", "int4")]
    with_kernel = [layer(x) for layer in layers]
    monkeypatch.setattr(quant, "int8_kernel", lambda _: False)
    monkeypatch.setattr(quant, "int4_kernel", lambda: False)
    for layer, before in zip(layers, with_kernel, strict=True):
        assert error(before, layer(x)) < 0.01


def test_an_odd_shape_gets_eight_bits():
    assert isinstance(stored_linear("int4", torch.randn(30, 64), "cpu", torch.float32), Int8Linear)
    assert isinstance(stored_linear("int4", torch.randn(64, 30), "cpu", torch.float32), Int8Linear)


@pytest.mark.parametrize("variant, params", [("llama_ens", WIDE), ("mixtral_sparse_ens", EXPERTS)])
@pytest.mark.parametrize("kind, most", [("int8", 0.04), ("int4", 0.4)])
def test_a_quantised_network(tmp_path, picture, variant, params, kind, most):
    folder = checkpoint(tmp_path / "x", variant, params)
    plain = Sphinx.from_pretrained(folder, device="cpu")
    small = Sphinx.from_pretrained(folder, device="cpu", quantise=kind)
    assert error(small.logits(IDS, picture), plain.logits(IDS, picture)) < most
    replaced = {
        name
        for name, module in small.model.named_modules()
        if isinstance(module, (Int8Linear, Int4Linear))
    }
    per_layer = 4 + (12 if "mixtral" in variant else 3)
    assert len(replaced) == 2 * per_layer + 1 and "output" in replaced
    assert not any("proj" in name or "gate" in name or "clip" in name for name in replaced)
    assert torch.equal(seen(small, picture), seen(plain, picture)), "vision is as it was"
    text = small.generate(["What is it?"], [picture], max_new_tokens=8)[0]
    assert (
        text
        == Sphinx.from_pretrained(folder, quantise=kind).generate(
            ["What is it?"], [picture], max_new_tokens=8
        )[0]
    )


def test_bfloat16_is_stored_and_float32_computed(tmp_path, picture, monkeypatch):
    # two queries of a Q-Former would be so few rows that they are multiplied in bfloat16
    towers = {**WIDE["towers"], "qformer": {**WIDE["towers"]["qformer"], "queries": 8}}
    folder = checkpoint(tmp_path / "x", params={**WIDE, "towers": towers})
    monkeypatch.setattr(keeping, "slow_bfloat16", lambda device: True)
    wide = Sphinx.from_pretrained(folder, device="cpu", dtype="bfloat16")
    full = Sphinx.from_pretrained(folder, device="cpu", dtype="float32")
    kinds = {type(module) for module in wide.model.modules()}
    assert WideLinear in kinds and torch.nn.Linear not in kinds
    assert error(seen(wide, picture), seen(full, picture)) < 1e-5
    assert error(wide.logits(IDS, picture), full.logits(IDS, picture)) < 1e-5
    kept = sum(p.numel() * p.element_size() for p in wide.model.parameters())
    assert kept < 0.6 * sum(p.numel() * 4 for p in full.model.parameters())
    ask = {"max_new_tokens": 2}  # random numbers: a rounded row soon chooses differently
    assert wide.look(picture).caption(**ask).raw_text == full.look(picture).caption(**ask).raw_text
    experts = checkpoint(tmp_path / "y", "mixtral_sparse_ens", EXPERTS)
    wide, full = (load_checkpoint(experts, dtype=d)[0] for d in (torch.bfloat16, torch.float32))
    ids = torch.tensor([IDS])
    assert error(wide(ids), full(ids)) < 1e-3, "a row alone is multiplied in bfloat16"
    monkeypatch.setattr(keeping, "slow_bfloat16", lambda device: False)
    plain, *_ = load_checkpoint(folder, dtype=torch.bfloat16)
    assert {p.dtype for p in plain.parameters()} == {torch.bfloat16}


@pytest.mark.parametrize(
    "how, share",
    [("quantise='int8'", 0.5), ("quantise='int4'", 0.33), ("dtype=torch.bfloat16", 1.0)],
)
def test_loading_needs_what_is_kept_and_one_layer(tmp_path, how, share):
    params = WIDE | {"dim": 1024, "n_layers": 12, "n_heads": 8}
    folder = checkpoint(tmp_path / "big", params=params)
    found = inspect(folder)
    assert found.total * 2 > 250e6
    code = (
        "import resource, sys, torch; from sphinx_ros.checkpoint import *;"
        "import sphinx_ros.model.quant as q; q.int8_kernel('cpu'), q.int4_kernel();"
        "open_checkpoint(sys.argv[1]);"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024;"
        f"before = peak(); m = load_checkpoint(sys.argv[1], {how}); print(peak() - before)"
    )
    ran = subprocess.run(
        [sys.executable, "-c", code, folder], capture_output=True, text=True, timeout=600
    )
    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout) < share * 2 * found.total + 60e6, f"{int(ran.stdout) / 1e6:.0f} MB"


def test_unknown_kinds(tmp_path):
    with pytest.raises(SphinxError, match=r"'int3' is unknown; use one of int8, int4, nf4"):
        Sphinx.from_pretrained("demo", quantise="int3")
    try:
        import bitsandbytes  # noqa: F401
    except ImportError:
        with pytest.raises(SphinxError, match="pip install bitsandbytes"):
            Sphinx.from_pretrained("demo", quantise="nf4")


def test_the_demonstration_model_still_answers():
    """int8 gives nearly the boxes of float32; how nearly is measured by `eval world`."""
    from sphinx_ros.world.scenes import World

    rgb = World(320, 240).observe(11).rgb
    boxes = []
    for kind in (None, "int8"):
        found = Sphinx.from_pretrained("demo", device="cpu", quantise=kind).look(rgb).detect()
        boxes.append(np.array([d.box for d in found]))
    assert boxes[0].shape == boxes[1].shape
    assert np.abs(boxes[0] - boxes[1]).max() < 16
