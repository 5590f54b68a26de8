"""Other adapters for a checkpoint that is loaded: what they share, and that each is itself."""

import gc
import json
import threading
import weakref

import pytest
import torch
from adapter_support import experts_checkpoint, random_adapter
from small_network import picture, random_checkpoint, taught_checkpoint

from sphinx_ros import Sphinx
from sphinx_ros.answer import loaded
from sphinx_ros.checkpoint import load_checkpoint
from sphinx_ros.errors import BadRequest, CheckpointError


@pytest.fixture(scope="module")
def experts(tmp_path_factory):
    return experts_checkpoint(tmp_path_factory.mktemp("experts"))


@pytest.fixture(scope="module")
def two(tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapters")
    return [
        random_adapter(folder / name, random_checkpoint(), seed) for seed, name in enumerate("ab")
    ]


def copied(model) -> dict:
    return {key: value.clone() for key, value in model.state_dict().items()}


def same(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], other[key]) for key in one)


FORMS = [{}, {"dtype": torch.bfloat16}, {"quantise": "int8"}, {"quantise": "int4"}]


@pytest.mark.parametrize("form", FORMS, ids=["float32", "bfloat16", "int8", "int4"])
@pytest.mark.parametrize("kind", ["plain", "experts"])
def test_each_network_is_bit_for_bit_what_is_loaded_by_its_name(
    form, kind, two, experts, tmp_path
):
    """From the base to one adapter, to another, and back to the base."""
    base, adapters = random_checkpoint(), two
    if kind == "experts":
        base = experts
        adapters = [random_adapter(tmp_path / str(seed), base, seed) for seed in range(2)]
    model, _, _ = load_checkpoint(base, **form)
    before = copied(model)
    for folder in (*adapters, None):
        model.prepare()
        own = copied(model)
        made = model.origin.adapted(model, folder)
        made.prepare()
        name = base if folder is None else f"{base}+{folder}"
        assert same(copied(made), copied(load_checkpoint(name, **form)[0])), name
        assert same(copied(model), own), "the one before has changed"
        model = made
    assert same(copied(model), before)


def test_what_no_adapter_touches_is_there_once(two):
    model, _, _ = load_checkpoint(random_checkpoint())
    made = model.origin.adapted(model, two[0])
    assert made.dinov2_vitg14 is model.dinov2_vitg14 and made.norm is model.norm
    assert made.layers[0].attention.wq.weight is not model.layers[0].attention.wq.weight
    assert made.layers[0].attention_norm is model.layers[0].attention_norm


def test_experts_and_routers_are_not_what_is_taught(experts, tmp_path):
    from sphinx_ros.checkpoint.adapter import read_adapter
    from sphinx_ros.teach.low_rank import linear_layers

    keys = read_adapter(random_adapter(tmp_path, experts)).factors
    assert {key.split(".")[2] for key in keys if key.startswith("layers.")} == {"attention"}
    assert {"output.weight", "visual_proj.0.weight"} <= keys.keys()
    stored = load_checkpoint(experts, quantise="int8")[0]  # whose experts are layers of their own
    assert {f"{name}.weight" for name in linear_layers(stored, towers=False)} == keys.keys()


def test_answers_are_those_of_a_checkpoint_that_is_loaded_with_it(tmp_path):
    base = taught_checkpoint()
    folder = random_adapter(tmp_path, base)
    rgb, asked = picture(64, 48), ["detect: mug", "ask: how many mugs are there?", "caption"]
    plain, loaded = (Sphinx.from_pretrained(one) for one in (base, f"{base}+{folder}"))
    before = plain.look(rgb)
    adapted = plain.adapt(folder)
    assert adapted.name == f"{base}+{folder}" and plain.name == str(base)
    seen = adapted.look(rgb)
    assert not seen.cached, "the look of other weights was taken"

    def words(seen):
        return [one.raw_text for one in seen.answer(asked)]

    assert words(seen) == words(loaded.look(rgb)) != words(before)
    assert torch.equal(adapted.logits([1, 5, 9], rgb), loaded.logits([1, 5, 9], rgb))
    back = adapted.adapt(None)
    assert back.name == str(base) and words(back.look(rgb)) == words(before)
    assert words(before) == words(Sphinx.from_pretrained(base).look(rgb))


def test_others_go_on_asking_while_an_adapter_is_changed(tmp_path):
    base = taught_checkpoint()
    folder = random_adapter(tmp_path, base)
    plain, rgb, over = Sphinx.from_pretrained(base), picture(64, 48), threading.Event()
    want, told = plain.look(rgb).caption().raw_text, []

    def ask():
        while not over.is_set():
            told.append(plain.look(rgb).caption().raw_text)

    threads = [threading.Thread(target=ask) for _ in range(2)]
    for thread in threads:
        thread.start()
    made = plain
    for step in range(6):
        made = made.adapt(folder if step % 2 == 0 else None)
        made.look(rgb).caption()
    over.set()
    for thread in threads:
        thread.join()
    assert told and set(told) == {want}


def test_weights_that_nobody_asks_any_more_are_let_go(tmp_path, monkeypatch):
    folder, rgb = random_adapter(tmp_path, random_checkpoint()), picture(64, 48)
    sphinx, gone = Sphinx.from_pretrained(random_checkpoint()), []
    gc.disable()  # what has no cycles needs no collector
    monkeypatch.setattr(loaded, "give_back", lambda: None)
    for step in range(4):
        sphinx.look(rgb).caption(max_new_tokens=2)
        gone.append(weakref.ref(sphinx.model))
        sphinx = sphinx.adapt(None if step % 2 else folder)
    gc.enable()
    assert [one() for one in gone] == [None] * 4


def test_a_bad_adapter_is_refused_by_name(two, tmp_path):
    sphinx = Sphinx.from_pretrained(taught_checkpoint())
    with pytest.raises(CheckpointError, match=r"holds no adapter_model\.safetensors"):
        sphinx.adapt(tmp_path)
    with pytest.raises(CheckpointError, match="was made for .* not for .*tuned from"):
        sphinx.adapt(two[0])
    assert sphinx.look(picture(64, 48)).ask("how many mugs are there?").text == "2"


def test_a_calibration_follows_its_adapter(tmp_path):
    from sphinx_ros.checkpoint.names import find

    demo = find("demo")
    folder = random_adapter(tmp_path, demo)
    plain = Sphinx.from_pretrained("demo")
    own = plain.judge.calibration
    assert own is not None and plain.adapt(folder).judge.calibration == own
    said = json.loads((demo / "calibration.json").read_text()) | {"present": 0.125}
    (folder / "calibration.json").write_text(json.dumps(said))
    adapted = plain.adapt(folder)
    assert adapted.judge.calibration.present == 0.125
    assert adapted.adapt(None).judge.calibration == own


def test_a_network_whose_files_are_not_known_says_so(tmp_path):
    from small_network import build

    model, tokenizer = build(tmp_path)
    with pytest.raises(BadRequest, match=r"can't be changed while it is loaded.*X\+ADAPTER"):
        Sphinx(model, tokenizer).adapt(tmp_path)
