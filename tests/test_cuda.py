"""CUDA without a GPU: where tensors of the CPU and of "cuda" would meet, fake ones raise."""

from collections import Counter

import pytest
import torch
from engine_support import Free, Passes
from small_network import SIZES
from torch._subclasses.fake_tensor import FakeTensorMode, unset_fake_temporarily
from torch.utils._python_dispatch import TorchDispatchMode

from sphinx_ros.engine.choosing import Wish
from sphinx_ros.engine.sampling import Draw
from sphinx_ros.model.cache import Span
from sphinx_ros.model.config import RECIPES, ModelConfig
from sphinx_ros.model.quant import Int4Linear, Int8Linear, stored_linear
from sphinx_ros.model.recipes import is_mixture
from sphinx_ros.model.sphinx import SphinxModel

MIXTURE = {
    "n_kv_heads": 2, "head_dim": 16, "hidden_dim": 24,
    "moe": {"num_experts": 4, "num_experts_per_tok": 2},
}  # fmt: skip
"""What a toy with routed experts has besides."""


def built(variant):
    """A toy of a variant, in earnest: libraries compute while they build."""
    sizes = SIZES | (MIXTURE if is_mixture(variant) else {})
    return SphinxModel(ModelConfig.from_json(sizes, variant, 99)).eval()


def to_fake_cuda(model, dtype):
    """The same with parameters and buffers that claim to be on a GPU."""
    for module in model.modules():
        for name, p in list(module.named_parameters(recurse=False)):
            made = torch.empty(p.shape, dtype=dtype, device="cuda")
            setattr(module, name, torch.nn.Parameter(made, requires_grad=False))
        for name, buffer in list(module.named_buffers(recurse=False)):
            made = torch.empty(buffer.shape, dtype=buffer.dtype, device="cuda")
            module.register_buffer(name, made, persistent=False)
    return model


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("variant", RECIPES)
def test_look_prefill_and_packed_steps_stay_on_the_device(variant, dtype, caplog):
    model = built(variant)
    with FakeTensorMode(), torch.inference_mode():
        to_fake_cuda(model, dtype)
        config = model.config
        model.prepare()
        picture = torch.empty(1, 3, config.image_size, config.image_size, device="cuda")
        image = model.encode_image(picture)
        cache = model.new_cache(1, image.shape[1] + 40)
        tokens = torch.ones(1, 4, dtype=torch.long, device="cuda")
        model.hidden(model.embed(tokens, image), cache=cache)
        start = image.shape[1] + 4
        for rows in (1, 3):
            visible = torch.ones(rows, start + rows, dtype=torch.bool, device="cuda")
            slots = torch.arange(start, start + rows, device="cuda")
            logits = model.step(
                torch.ones(rows, dtype=torch.long, device="cuda"),
                torch.full((rows,), start, device="cuda"),
                [Span(cache, slots, visible)],
                torch.arange(rows, device="cuda"),
            )
            assert logits.device.type == "cuda" and logits.shape == (rows, 99)
            assert logits.dtype is torch.float32
        longer = model.new_cache(1, cache.length + 8, cache)
        assert longer.stored.device.type == "cuda"
    assert not caplog.records, "nothing is captured of tensors that hold no numbers"


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("kind", ["int8", "int4", "int8 of a CPU", "int4 of a CPU", "wide"])
def test_layers_of_fewer_bits_stay_on_the_device(kind, dtype):
    weight = torch.randn(256, 128)
    plain = {"int8": Int8Linear, "int4": Int4Linear}
    if kind in plain:
        layer = plain[kind](weight, "cpu")
    else:
        layer = stored_linear(kind.split()[0], weight, "cpu", dtype)
    with FakeTensorMode(), torch.inference_mode():
        to_fake_cuda(layer, torch.bfloat16)
        for rows in (1, 5, 100):
            y = layer(torch.empty(rows, 128, dtype=dtype, device="cuda"))
            assert y.device.type == "cuda" and y.dtype is dtype and y.shape == (rows, 256)


class Transfers(TorchDispatchMode):
    """Counts copies from device to device; what comes to the host is zeros."""

    def __init__(self):
        super().__init__()
        self.count = Counter()

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        name = function.overloadpacket.__name__
        if name in ("resolve_conj", "resolve_neg"):  # of what came, and is no fake
            return args[0]
        made = function(*args, **(kwargs or {}))
        given = [x for x in args[:2] if isinstance(x, torch.Tensor)]
        if name == "copy_":
            given = given[1:]
        if name in ("to", "_to_copy", "cpu", "copy_"):
            way = f"{given[0].device.type} to {made.device.type}"
            if way == "cuda to cpu":
                with unset_fake_temporarily():
                    made = torch.zeros(made.shape, dtype=made.dtype)
            self.count[way] += 1
        return made


class Reporting(Free):
    """Wants to know probabilities, and allows two tokens."""

    def wish(self, state):
        return Wish((3, 4), (5,))


@pytest.mark.parametrize("variant", ["llama_ens", "mixtral_sparse_ens"])
def test_the_host_waits_once_in_a_pass(variant):
    model = built(variant)
    with FakeTensorMode(), torch.inference_mode():
        to_fake_cuda(model, torch.bfloat16)
        model.prepare()
        passes = Passes(model, [1, 7], torch.empty(1, 5, 64, device="cuda"))
        passes.frame.fill(model.new_cache(1, 80))
        rows = [
            passes.row([5], guide=Reporting()),
            passes.row([6, 7, 8]),
            passes.row([9], draw=Draw(0.7, 0.9)),
        ]
        with Transfers() as transfers:
            made = max(answered.passes for answered in passes.run(*rows))
    assert made > 3
    assert transfers.count["cuda to cpu"] == made
    assert transfers.count["cpu to cuda"] <= 5 * made, "two for what is drawn, and how"


def test_a_tensor_of_the_cpu_is_noticed():
    model = built("llama_ens")
    with FakeTensorMode(), torch.inference_mode():
        to_fake_cuda(model, torch.float32)
        with pytest.raises(RuntimeError, match="device"):
            model.embed(torch.ones(1, 3, dtype=torch.long, device="cuda"), torch.ones(1, 2, 64))
            model.norm(torch.ones(1, 64))
