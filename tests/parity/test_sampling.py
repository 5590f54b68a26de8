"""Top-p sampling against the official function's results, and stop sequences."""

import numpy as np
import pytest
import torch
from goldens import cases

from sphinx_ros.engine.sampling import (
    choose,
    chosen_probability,
    filter_top_p,
    seeded,
    stop_length,
)

CASES = cases("sampling.json")["cases"]


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"T{c['temperature']}-p{c['top_p']}")
def test_top_p(case):
    logits = torch.tensor([case["logits"]])
    probs = torch.softmax(logits / case["temperature"], dim=-1)
    kept, ids = filter_top_p(probs, case["top_p"])
    assert np.allclose(kept[0], case["filtered_sorted_probs"], atol=1e-6)
    alive = int((kept[0] > 0).sum())
    assert ids[0, :alive].tolist() == case["sorted_token_ids"][:alive]


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"T{c['temperature']}-p{c['top_p']}")
def test_draws_of_seed_zero(case):
    logits, settings = torch.tensor([case["logits"]]), (case["temperature"], case["top_p"])
    generator, expected = seeded(0), case["tokens_torch_cpu_seed0"]
    assert [int(choose(logits, *settings, generator)) for _ in expected] == expected
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        assert [int(choose(logits, *settings)) for _ in expected] == expected


def test_greedy_and_probability():
    logits = torch.tensor([[0.0, 2.0, 1.0], [3.0, 0.0, 0.0]])
    best = choose(logits)
    assert best.tolist() == [1, 0]
    expected = logits.double().softmax(-1).max(-1).values
    assert torch.allclose(chosen_probability(logits, best).double(), expected)


def test_stop_length():
    assert stop_length([1, 2, 3], [[9], [2, 3]]) == 2
    assert stop_length([1, 2, 3], [[1, 2], [0, 1, 2, 3]]) is None
    assert stop_length([1], [[]]) == 0  # an empty sequence stops at once, as officially
