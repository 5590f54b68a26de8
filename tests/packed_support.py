"""Two networks of the same weights, and packed passes of random spans on both."""

import random

import torch
from small_network import SIZES

from sphinx_ros.model.cache import Span
from sphinx_ros.model.config import ModelConfig
from sphinx_ros.model.sphinx import SphinxModel

LENGTH = 130
"""Positions of a test's caches."""


def twins(**changes):
    """Two networks of the same weights."""
    config = ModelConfig.from_json(SIZES | changes, "llama_ens", 99)
    torch.manual_seed(0)
    made = [SphinxModel(config).eval().requires_grad_(False) for _ in range(2)]
    made[1].load_state_dict(made[0].state_dict())
    return made


class Case:
    """Passes of random spans on two networks whose caches begin alike."""

    def __init__(self, plain, captured, seed=0):
        self.networks, self.draw = (plain, captured), random.Random(seed)
        self.device = plain.norm.weight.device
        self.caches = []
        for _ in range(3):
            pair = [network.new_cache(1, LENGTH) for network in self.networks]
            pair[0].stored.normal_()
            pair[1].stored.copy_(pair[0].stored)
            self.caches.append(pair)

    def step(self, number):
        """The logits of both for that number of tokens, of one to three frames."""
        draw = self.draw
        frames = draw.sample(self.caches, min(draw.randint(1, 3), number))
        sizes = [1] * len(frames)
        for _ in range(number - len(frames)):
            sizes[draw.randrange(len(sizes))] += 1
        spans = ([], [])
        for pair, size in zip(frames, sizes, strict=True):
            used = draw.randint(size, LENGTH)
            slots = torch.tensor(draw.sample(range(used), size))
            visible = torch.rand(size, used) < 0.5
            visible[torch.arange(size), slots] = True
            for mine, cache in zip(spans, pair, strict=True):
                mine.append(Span(cache, slots.to(self.device), visible.to(self.device)))
        tokens, positions = torch.randint(99, (number,)), torch.randint(LENGTH, (number,))
        wanted = torch.tensor(draw.sample(range(number), draw.randint(1, number)))
        given = [x.to(self.device) for x in (tokens, positions)]
        return [
            network.step(*given, mine, wanted.to(self.device))
            for network, mine in zip(self.networks, spans, strict=True)
        ]

    def compare(self, number, tolerance=1e-4):
        want, found = self.step(number)
        assert found.shape == want.shape and found.dtype is torch.float32
        assert torch.allclose(found, want, atol=tolerance, rtol=tolerance), number
        for plain, captured in self.caches:
            kept, mine = plain.stored.float(), captured.stored.float()
            assert torch.allclose(kept, mine, atol=tolerance, rtol=tolerance), number
