"""A decoder whose bfloat16 matrices are copied into the order in which a CPU reads them."""

import json

import pytest
import torch
import torch.nn.functional as F
from adapter_support import random_adapter
from small_network import VARIANT, random_checkpoint

import sphinx_ros.checkpoint.loading as loading
from sphinx_ros.checkpoint import load_checkpoint, save_checkpoint
from sphinx_ros.model.cpu_layers import PackedLinear
from sphinx_ros.model.kernels import packed_kernel

pytestmark = pytest.mark.skipif(not packed_kernel(), reason="a CPU that multiplies bfloat16")


@pytest.fixture
def packs(monkeypatch):
    """A small decoder is packed, too."""
    monkeypatch.setattr(loading, "SMALL", 0)


def loaded(name=None):
    return load_checkpoint(name or random_checkpoint(), dtype=torch.bfloat16)[0]


def layers(model):
    return {name: one for name, one in model.named_modules() if isinstance(one, PackedLinear)}


def test_numbers_are_those_of_plain_layers():
    torch.manual_seed(0)
    weight = torch.randn(96, 64).bfloat16()
    layer = PackedLinear(weight)
    assert torch.equal(layer.weight.to_dense(), weight)
    assert torch.equal(layer.block(32, 80, torch.float32), weight[32:80].float())
    for rows in (2, 9, 300):
        x = torch.randn(rows, 64).bfloat16()
        torch.testing.assert_close(layer(x), F.linear(x, weight))


def test_gradients_pass_through():
    torch.manual_seed(1)
    weight = torch.randn(96, 64).bfloat16()
    x = torch.randn(5, 64, requires_grad=True)
    PackedLinear(weight)(x).square().sum().backward()
    y = x.detach().bfloat16().float() @ weight.float().T
    want = 2 * y @ weight.float()
    assert (x.grad - want).norm() < 0.02 * want.norm()


def test_a_network_packs_its_decoder_and_answers_as_before(packs, monkeypatch):
    packed = loaded()
    monkeypatch.setattr(loading, "available_memory", lambda: 1000)
    plain = loaded()
    assert not layers(plain), "a copy where memory is short"
    assert len(layers(packed)) == 2 * 7 + 1 and "output" in layers(packed)
    ids = torch.tensor([[1, 5, 9, 33, 40]])
    with torch.inference_mode():
        torch.testing.assert_close(packed(ids), plain(ids), rtol=0.05, atol=0.05)


def test_small_decoders_what_learns_and_float32_stay_as_they_are(monkeypatch):
    assert not layers(loaded())
    monkeypatch.setattr(loading, "SMALL", 0)
    assert not layers(load_checkpoint(random_checkpoint(), dtype=torch.bfloat16, pack=False)[0])
    assert not layers(load_checkpoint(random_checkpoint())[0])


def test_what_is_packed_is_saved_as_it_was(packs, tmp_path):
    base = random_checkpoint()
    params = json.loads((base / "config.json").read_text())
    tokenizer = base / "tokenizer.model"
    save_checkpoint(loaded(), params, VARIANT, tokenizer, tmp_path, dtype=torch.bfloat16)
    again = load_checkpoint(tmp_path, dtype=torch.bfloat16, pack=False)[0].state_dict()
    plain = load_checkpoint(base, dtype=torch.bfloat16, pack=False)[0].state_dict()
    assert again.keys() == plain.keys()
    assert all(torch.equal(again[key], plain[key]) for key in plain)


def test_another_adapter_and_back(packs, tmp_path):
    base = random_checkpoint()
    folder = random_adapter(tmp_path, base)
    model = loaded(base)
    adapted = model.origin.adapted(model, folder)
    whole = loaded(f"{base}+{folder}")
    for made, wanted in ((adapted, whole), (adapted.origin.adapted(adapted, None), model)):
        ours, theirs = layers(made), layers(wanted)
        assert ours.keys() == theirs.keys() and ours
        for name, layer in ours.items():
            assert torch.equal(layer.weight.to_dense(), theirs[name].weight.to_dense()), name
    old, new = (layers(one)["output"].weight.to_dense() for one in (model, adapted))
    assert not torch.equal(old, new)
