"""Memory that one layer leaves to the next: never two pieces, never shared by threads."""

import threading

import torch
from timm.layers import Mlp

from sphinx_ros.model import vision
from sphinx_ros.model.scratch import Scratch
from sphinx_ros.model.vision import RowsMlp, SwiGLU


def test_memory_is_used_again_where_it_fits():
    scratch, like = Scratch(), torch.zeros(1)
    first = scratch.take((4, 6), like)
    assert first.shape == (4, 6) and first.dtype == torch.float32
    assert scratch.take((2, 3), like).data_ptr() == first.data_ptr()
    assert scratch.take((5, 6), like).numel() == 30
    assert scratch.take((2, 3), like.double()).dtype == torch.float64
    with torch.inference_mode():
        scratch.take((2, 2), like).zero_()
    scratch.take((2, 2), like).zero_()  # what inference mode made must not be written to outside
    scratch.drop()
    assert scratch._kept is None


def test_threads_have_their_own():
    scratch, like, seen = Scratch(), torch.zeros(1), []
    mine = scratch.take((8,), like)
    thread = threading.Thread(target=lambda: seen.append(scratch.take((8,), like)))
    thread.start(), thread.join()
    assert seen[0].data_ptr() != mine.data_ptr()
    assert scratch.take((8,), like).data_ptr() == mine.data_ptr()


def test_layers_give_the_same_with_and_without_gradients(monkeypatch):
    torch.manual_seed(0)
    convnext, gated = RowsMlp(Mlp(24, 96)), SwiGLU(24, 40)
    monkeypatch.setattr(vision, "ROWS", 100)  # several pieces, the last one shorter
    x = torch.randn(2, 13, 13, 24)
    for layer in (convnext, gated):
        plain = layer(x)
        for mode in (torch.no_grad, torch.inference_mode):
            with mode():
                assert torch.allclose(layer(x), plain, atol=1e-6)
                turned = layer(x.permute(0, 2, 1, 3))
                assert torch.allclose(turned, plain.permute(0, 2, 1, 3), atol=1e-6)
                assert layer(x[:0]).shape == (0, 13, 13, 24)
