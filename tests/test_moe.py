"""Routed experts: the mixture they are, only for the tokens that chose them, in any shards."""

import pytest
import torch
import torch.nn.functional as F
from goldens import TOKENIZER
from small_network import SIZES

from sphinx_ros.checkpoint import load_checkpoint, save_checkpoint
from sphinx_ros.errors import CheckpointError
from sphinx_ros.model.config import ModelConfig
from sphinx_ros.model.moe import MixtureOfExperts
from sphinx_ros.model.sphinx import SphinxModel

PARAMS = {
    "dim": 32, "n_layers": 2, "n_heads": 4, "n_kv_heads": 2, "head_dim": 8, "hidden_dim": 24,
    "moe": {"num_experts": 4, "num_experts_per_tok": 2}, "towers": SIZES["towers"],
}  # fmt: skip


def config(**changes):
    return ModelConfig.from_json(PARAMS | changes, "mixtral_sparse_ens", 512)


@pytest.fixture
def mixture():
    torch.manual_seed(0)
    made = MixtureOfExperts(config())
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return made


def dense(mixture, x):
    """The same by its definition: every expert on every token, weighted, most weights zero."""
    shares = mixture.gate(x).softmax(-1)
    best = shares.topk(mixture.chosen, dim=-1)
    weights = torch.zeros_like(shares).scatter(-1, best.indices, best.values)
    weights = weights / weights.sum(-1, keepdim=True)
    out = torch.zeros_like(x)
    for expert, (w1, w2, w3) in enumerate(
        zip(*(w.chunk(mixture.experts) for w in (mixture.w1, mixture.w2, mixture.w3)), strict=True)
    ):
        out += weights[..., expert, None] * ((F.silu(x @ w1.T) * (x @ w3.T)) @ w2)
    return out


@pytest.mark.parametrize("shape", [(1, 1, 32), (2, 7, 32), (50, 32)])
def test_it_is_the_weighted_sum_of_the_chosen_experts(mixture, shape):
    x = torch.randn(shape)
    with torch.inference_mode():
        assert torch.allclose(mixture(x), dense(mixture, x), atol=1e-5)


@pytest.mark.parametrize("way", ["by_expert", "grouped", "all_at_once"])
@pytest.mark.parametrize("tokens", [1, 2, 50])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_each_way_gives_the_same(mixture, way, tokens, dtype):
    if way == "grouped" and not hasattr(F, "grouped_mm"):
        pytest.skip("this torch has no grouped_mm")
    x = torch.randn(tokens, 32).to(dtype)
    with torch.inference_mode():
        mixture.to(dtype)
        made = getattr(mixture, way)(x, *mixture.route(x)).float()
        want = dense(mixture.float(), x.float())
    assert (made - want).norm() < (0.02 if dtype is torch.bfloat16 else 1e-5) * want.norm()


@pytest.mark.parametrize("way", ["by_expert", "grouped", "all_at_once"])
def test_what_nobody_chose_may_be_infinite(mixture, way):
    if way == "grouped" and not hasattr(F, "grouped_mm"):
        pytest.skip("this torch has no grouped_mm")
    x = torch.rand(9, 32)
    with torch.inference_mode():
        mixture.gate.weight[1] = -9.0
        want = dense(mixture, x)
        mixture.w1.view(4, -1)[1] = mixture.w3.view(4, -1)[1] = 1e30
        assert torch.allclose(getattr(mixture, way)(x, *mixture.route(x)), want, atol=1e-5)


def test_an_expert_works_on_its_tokens_only(mixture, monkeypatch):
    rows = []
    silu = F.silu
    monkeypatch.setattr(F, "silu", lambda x: rows.append(len(x)) or silu(x))
    x = torch.randn(9, 32)
    with torch.inference_mode():
        _, experts = mixture.route(x)
        mixture(x)
    assert rows == [n for n in experts.flatten().bincount(minlength=4).tolist() if n]
    assert sum(rows) == 9 * 2


def test_gradients_reach_router_and_experts(mixture):
    mixture(torch.randn(40, 32)).square().sum().backward()
    assert all(p.grad.abs().sum() > 0 for p in mixture.parameters())


@pytest.mark.parametrize("shards", [1, 2, 4])
def test_experts_survive_sharding(tmp_path, shards):
    torch.manual_seed(1)
    model = SphinxModel(config())
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    path = save_checkpoint(
        model,
        PARAMS,
        "mixtral_sparse_ens",
        TOKENIZER,
        tmp_path / "x",
        shards=shards,
        dtype=torch.float32,
    )
    key = "llma.layers.0.feed_forward.w1"
    first = torch.load(path / f"consolidated.00-of-{shards:02d}.model.pth", weights_only=True)
    part = first["model"][key]
    assert part.shape == (4 * 24 // shards, 32)
    whole = model.layers[0].feed_forward.w1.detach().unflatten(0, (4, 24))
    assert torch.equal(part.unflatten(0, (4, -1)), whole[:, : 24 // shards]), "of every expert"
    back, _, loaded = load_checkpoint(path)
    assert loaded == config() and loaded.rope_theta == 1e6 and loaded.ffn_hidden == 24
    for name, tensor in back.state_dict().items():
        assert torch.equal(tensor, model.state_dict()[name]), name


@pytest.mark.parametrize(
    "changes, word",
    [
        ({"moe": None}, "moe"),
        ({"moe": {"num_experts": 2, "num_experts_per_tok": 3}}, "3 experts per token of 2"),
        ({"moe": {"experts": 2}}, "num_experts"),
        ({"hidden_dim": None}, "hidden_dim is missing"),
        ({"head_dim": 16}, "head_dim 16"),
    ],
)
def test_what_cannot_be_built_is_named(changes, word):
    with pytest.raises(CheckpointError, match=word):
        config(**changes)
