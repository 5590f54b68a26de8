"""Memory that one layer leaves to the next: never two pieces, never shared by threads."""

import threading
import weakref

import pytest
import torch

from sphinx_ros.model import visual_layers
from sphinx_ros.model.dinov2 import SwiGLU
from sphinx_ros.model.scratch import reused_memory, take
from sphinx_ros.model.visual_layers import Mlp


def test_memory_is_used_again_where_it_fits():
    like = torch.zeros(1)
    with reused_memory():
        first = take((4, 6), like)
        assert first.shape == (4, 6) and first.dtype == torch.float32
        with reused_memory():  # a block inside a block is the same one
            assert take((2, 3), like).data_ptr() == first.data_ptr()
        assert take((2, 3), like).data_ptr() == first.data_ptr()
        assert take((5, 6), like).numel() == 30
        assert take((2, 3), like.double()).dtype == torch.float64
        with torch.inference_mode():
            take((2, 2), like).zero_()
        take((2, 2), like).zero_()  # what inference mode made must not be written to outside


def test_nothing_is_kept_outside_a_block():
    """A layer that is called by itself takes memory like any other, and nobody has to clean up."""
    like = torch.zeros(1)
    one, two = take((8,), like), take((8,), like)
    assert one.data_ptr() != two.data_ptr()
    with reused_memory():
        kept = weakref.ref(take((8,), like).untyped_storage())
        inside = take((8,), like)
    storage = weakref.ref(inside)
    del inside
    assert storage() is None and (kept() is None or kept().nbytes() == 32)
    with pytest.raises(ValueError, match="stop"), reused_memory():
        first = take((8,), like)
        raise ValueError("stop")
    with reused_memory():
        assert take((9,), like).numel() == 9 and first.numel() == 8


def test_threads_have_their_own():
    like, seen = torch.zeros(1), []
    with reused_memory():
        mine = take((8,), like)

        def other():
            with reused_memory():
                seen.append(take((8,), like))

        thread = threading.Thread(target=other)
        thread.start(), thread.join()
        assert seen[0].data_ptr() != mine.data_ptr()
        assert take((8,), like).data_ptr() == mine.data_ptr()


def test_layers_give_the_same_with_and_without_gradients(monkeypatch):
    torch.manual_seed(0)
    convnext, gated = Mlp(24, 96), SwiGLU(24, 40)
    monkeypatch.setattr(visual_layers, "ROWS", 100)  # several pieces, the last one shorter
    x = torch.randn(2, 13, 13, 24)
    for layer in (convnext, gated):
        plain = layer(x)
        for mode in (torch.no_grad, torch.inference_mode):
            with mode():
                assert torch.allclose(layer(x), plain, atol=1e-6)
                turned = layer(x.permute(0, 2, 1, 3))
                assert torch.allclose(turned, plain.permute(0, 2, 1, 3), atol=1e-6)
                assert layer(x[:0]).shape == (0, 13, 13, 24)
