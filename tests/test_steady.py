"""Passes in memory that stays where it is give what plain passes give."""

import pytest
import torch
from packed_support import Case, twins

from sphinx_ros.model.steady import ROWS


def prepared(**changes):
    plain, steady = twins(**changes)
    steady.prepare()
    return plain, steady


def counted(network, monkeypatch):
    """The number of tokens of each pass that went this way, as a list that grows."""
    passes, took = [], type(network._steady).__call__

    def call(self, x, *rest):
        passes.append(len(x))
        return took(self, x, *rest)

    monkeypatch.setattr(type(network._steady), "__call__", call)
    return passes


def test_passes_of_all_sizes_in_any_order(monkeypatch):
    plain, steady = prepared()
    passes, case = counted(steady, monkeypatch), Case(plain, steady)
    numbers = [*range(1, ROWS + 3), *range(1, ROWS + 3)]
    case.draw.shuffle(numbers)
    with torch.inference_mode():
        for number in numbers:
            case.compare(number)
    assert sorted(passes) == sorted(number for number in numbers if number <= ROWS)


def test_logits_are_kept_while_later_passes_go_on():
    case = Case(*prepared())
    with torch.inference_mode():
        want, found = case.step(4)
        case.step(4)
    assert torch.allclose(found, want, atol=1e-4)


def test_in_inference_mode_and_outside_of_it():
    plain, steady = prepared()
    case = Case(plain.requires_grad_(), steady.requires_grad_())
    for mode in (torch.inference_mode, torch.no_grad, torch.inference_mode):
        with mode():
            case.compare(3)


def test_with_gradients_a_pass_is_a_plain_one(monkeypatch):
    plain, steady = prepared()
    passes = counted(steady, monkeypatch)
    with torch.enable_grad():
        Case(plain, steady).compare(3)
    assert not passes


@pytest.mark.parametrize(
    "change", [lambda net: net.bfloat16(), lambda net: net], ids=["bfloat16", "shared heads"]
)
def test_other_networks_go_the_general_way(change):
    plain, other = (change(net) for net in twins(n_kv_heads=2))
    other.prepare()
    assert other._flat is not None and other._steady is None
    with torch.inference_mode():
        Case(plain, other).compare(5, 0.1)


def test_weights_that_change_are_seen():
    """Tuning goes on with a network that has answered."""
    plain, steady = prepared()
    case = Case(plain, steady)
    with torch.inference_mode():
        case.compare(2)
    draw = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for mine, other in zip(plain.parameters(), steady.parameters(), strict=True):
            mine.add_(torch.randn(mine.shape, generator=draw), alpha=0.02)
            other.copy_(mine)
    with torch.inference_mode():
        case.compare(2)
