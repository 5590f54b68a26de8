"""The visual encoders beside those that open_clip, timm and transformers build."""

import sys

import pytest
import torch
from goldens import weight

from sphinx_ros.checkpoint.compared import TOLERANCE, difference, inputs, pictures
from sphinx_ros.checkpoint.expected import empty_model
from sphinx_ros.checkpoint.reference import INSTALL, REFERENCES
from sphinx_ros.errors import BadRequest
from sphinx_ros.model.config import ModelConfig
from sphinx_ros.model.recipes import RECIPES, is_mixture
from sphinx_ros.model.sphinx import SphinxModel

for one in REFERENCES.values():
    pytest.importorskip(one.module, reason=f"{one.package} is not installed: {INSTALL}")

TOWERS = {
    "view": 56,
    "clip": {"width": 24, "layers": 2, "heads": 3, "mlp_ratio": 2.5},
    "convnext": {"dims": [8, 12, 12, 20], "depths": [1, 2, 1, 2]},
    "dinov2": {"width": 32, "layers": 2, "heads": 4, "hidden": 20, "position_grid": 4},
    "qformer": {"width": 24, "layers": 3, "heads": 2, "hidden": 40, "queries": 5,
                "vit_width": 32, "vit_layers": 2, "vit_heads": 4, "vit_hidden": 56},
}  # fmt: skip
"""Small, and no two sizes alike that could be taken for each other."""


@pytest.fixture(autouse=True)
def one_thread():
    """Layers are so small that threads only wait for each other."""
    count = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(count)


def network(variant="llama_ens", **towers) -> SphinxModel:
    """A network with weights by a rule; ``towers`` replaces sizes of single encoders."""
    changed = {name: TOWERS[name] | sizes for name, sizes in towers.items()}
    params = {"dim": 32, "n_layers": 1, "n_heads": 2, "towers": TOWERS | changed}
    if is_mixture(variant):
        params |= {"hidden_dim": 32, "moe": {"num_experts": 2, "num_experts_per_tok": 1}}
    model = SphinxModel(ModelConfig.from_json(params, variant, 64)).eval()
    model.load_state_dict(
        {name: torch.from_numpy(weight(name, p.shape)) for name, p in model.state_dict().items()}
    )
    return model


def both(model: SphinxModel, name: str):
    """(our encoder, the library's with the same tensors, what to call them with)."""
    encoder = model.get_submodule(name)
    theirs = REFERENCES[name].build(model.config.towers)
    theirs.take(encoder)
    return encoder, theirs, inputs(model.config, pictures(model.config.image_size))[name]


def assert_same(ours: torch.Tensor, theirs: torch.Tensor) -> None:
    assert ours.shape == theirs.shape and theirs.std() > 0.1
    relative, greatest = difference(ours, theirs)
    assert relative < 1e-6 and greatest < 1e-4


@pytest.mark.parametrize("variant", RECIPES)
def test_the_encoders_of_every_variant_are_the_libraries(variant):
    model = network(variant)
    names = [name for name, _ in model.named_children() if name in REFERENCES]
    assert len(names) == (2 if "light" in variant else 4)
    for name in names:
        ours, theirs, given = both(model, name)
        with torch.no_grad():
            assert_same(ours(*given), theirs(*given))
        assert_same(ours(*given), theirs(*given))  # layers go another way with gradients


@pytest.mark.parametrize("quick", [False, True])
def test_both_forms_of_the_gelu_are_open_clips(quick):
    ours, theirs, given = both(network(clip={"quick_gelu": quick}), "clip")
    with torch.no_grad():
        assert_same(ours(*given), theirs(*given))
    other, _, _ = both(network(clip={"quick_gelu": not quick}), "clip")
    assert difference(other(*given), theirs(*given))[0] > 1e-3


def test_a_map_that_is_half_as_fine_has_its_cells_doubled():
    """In ``llama_ens`` the ConvNeXt sees 64 pixels, 2 x 2 cells, where there are 4 x 4 patches."""
    model = network("llama_ens")
    ours, theirs, (picture, grid) = both(model, "openclip_convnext_xxl")
    assert picture.shape[-1] // 32 * 2 == grid == 4
    assert_same(ours(picture, grid), theirs(picture, grid))
    native = network("llama_ens_fine")
    ours, theirs, (picture, grid) = both(native, "openclip_convnext_xxl")
    assert picture.shape[-1] // 32 == grid == 4
    assert_same(ours(picture, grid), theirs(picture, grid))


@pytest.mark.parametrize("stored", [3, 4, 9])
def test_dinov2_is_timms_with_positions_for_a_view(stored):
    """The table as stored where the grids agree, else interpolated to 4 x 4 patches."""
    model = network(dinov2={"position_grid": stored})
    ours, theirs, given = both(model, "dinov2_vitg14")
    with torch.no_grad():
        assert_same(ours(*given), theirs(*given))
    grid, scale = 4, 4.1 / stored
    places = (torch.arange(grid) + 0.5) / scale if stored != grid else torch.arange(grid) + 0.5
    places = places / stored * 2 - 1  # of the patches in the table, from -1 to 1
    y, x = torch.meshgrid(places, places, indexing="ij")
    table = ours.pos_embed[:, 1:].unflatten(1, (stored, stored)).permute(0, 3, 1, 2)
    read = torch.nn.functional.grid_sample(
        table, torch.stack((x, y), -1)[None], "bicubic", "border", align_corners=False
    )
    patches = ours.positions(grid)[:, 1:].unflatten(1, (grid, grid)).permute(0, 3, 1, 2)
    torch.testing.assert_close(patches, read, rtol=0, atol=1e-5)


@pytest.mark.parametrize("name", REFERENCES)
def test_gradients_are_the_libraries(name):
    ours, theirs, given = both(network(), name)
    theirs.requires_grad_(True)
    made, wanted = ours(*given), theirs(*given)
    pull = torch.randn(made.shape, generator=torch.Generator().manual_seed(0))
    made.backward(pull)
    wanted.backward(pull)
    found = dict(theirs.named_parameters())
    told = 0
    for own, parameter in ours.named_parameters():
        other = found[theirs.key(own)].grad
        assert (parameter.grad is None) == (other is None), own
        if other is not None:
            torch.testing.assert_close(parameter.grad, other, rtol=1e-3, atol=1e-4)
            told += bool(other.abs().max() > 1e-3)
    assert told > len(found) / 2, "most gradients are no zeros"


@pytest.mark.parametrize("sizes", ["small", "released"])
@pytest.mark.parametrize("name", REFERENCES)
def test_parameters_have_the_libraries_names_order_and_shapes(name, sizes):
    """The order as well: start values of training are drawn in it."""
    towers = TOWERS if sizes == "small" else {}
    model = empty_model(ModelConfig.from_json({"towers": towers}, "llama_ens", 64))
    ours, theirs = model.get_submodule(name), REFERENCES[name].build(model.config.towers)
    for kind in ("state_dict", "named_parameters"):
        own, other = dict(getattr(ours, kind)()), dict(getattr(theirs, kind)())
        assert [theirs.key(key) for key in own] == list(other)
        for key, value in own.items():
            if key != "pos_embed":  # ours is of the stored grid, theirs of a view's
                assert value.shape == other[theirs.key(key)].shape, key
    assert len(list(ours.named_parameters())) > 20


def test_a_reference_shares_the_tensors_it_is_given():
    ours, theirs, _ = both(network(), "clip")
    where = {p.data_ptr() for p in ours.parameters()}
    assert {p.data_ptr() for p in theirs.parameters()} == where


@pytest.mark.parametrize("name", REFERENCES)
def test_a_library_that_is_not_there_is_refused_by_name(name, monkeypatch):
    wanted = REFERENCES[name]
    monkeypatch.setitem(sys.modules, wanted.module, None)
    with pytest.raises(BadRequest, match=rf"{wanted.module} is not installed; pip install"):
        wanted.build(network().config.towers)


def test_a_library_that_names_its_parameters_otherwise_is_refused(monkeypatch):
    model = network()
    theirs = REFERENCES["clip"].build(model.config.towers)
    theirs.visual.ln_last = torch.nn.LayerNorm(8)
    with pytest.raises(BadRequest, match=r"visual\.ln_last.*requirements/tested\.txt"):
        theirs.take(model.clip)


def test_sums_in_another_order_are_within_the_tolerance_of_each_number_type():
    """Single products in a half-precision type differ; whole encoders still agree."""
    for dtype, tolerance in TOLERANCE.items():
        for name in REFERENCES:
            model = network().to(dtype)
            ours, theirs, _ = both(model, name)
            picture = pictures(model.config.image_size).to(dtype)
            given = inputs(model.config, picture)[name]
            with torch.no_grad():
                assert difference(ours(*given), theirs(*given))[0] < tolerance / 2
