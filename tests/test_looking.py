"""Where the decoder is told to look while it trains: at the right things, and the loss obeys."""

import numpy as np
import pytest
import torch
from small_network import SIZES
from synthetic import random_observation

from sphinx_ros.model.config import ModelConfig
from sphinx_ros.prompt.tokenizer import Tokenizer
from sphinx_ros.train import recipe
from sphinx_ros.train.initial import initialise
from sphinx_ros.train.looking import Gaze, Sight, Target, Targets, looking_loss, spelled
from sphinx_ros.train.packing import Packer
from sphinx_ros.train.recipe import COUNT_REFERENCES, STEPS, TOLD_HEADS
from sphinx_ros.train.targets import patch_owners
from sphinx_ros.train.trained import Trained
from sphinx_ros.world.demo_tokenizer import train_tokenizer
from sphinx_ros.world.exercises import turns
from sphinx_ros.world.phrases import ORDINALS

GRID = 12


@pytest.fixture(scope="module")
def packer(tmp_path_factory):
    path = tmp_path_factory.mktemp("looking") / "tokenizer.model"
    train_tokenizer(path)
    return Packer(Tokenizer(path), 300)


def asked(packer, kinds, seeds=range(40)):
    """(scene, gaze, turn, pieces of the question, of the answer) of turns of some kinds."""
    for seed in seeds:
        scene = random_observation(seed, 320, 240)
        gaze = Gaze(scene, patch_owners(scene, GRID))
        for item in turns(scene, np.random.default_rng(seed), dict.fromkeys(kinds, 2)):
            ids, weight = packer.turn(item)
            pieces = [packer.pieces[i] for i in ids]
            begin = int((weight > 0).argmax())
            yield scene, gaze, item, pieces[:begin], pieces[begin:]


def shares(targets):
    """{place: {thing: share}}"""
    out = {}
    for target in targets:
        out.setdefault(target.at, {})[target.thing] = target.weight
    return out


def test_words_that_single_letters_spell():
    pieces = [" the", " ", "R", "E", "D", " ", "M", "u", "g", " a", " red", " ball", "."]
    words = [(0, "the"), (4, "red"), (8, "mug"), (9, "a"), (10, "red"), (11, "ball"), (12, ".")]
    assert spelled(pieces) == words


def test_nouns_of_a_question_look_at_all_they_are_true_of(packer):
    checked = 0
    for _, gaze, item, question, _ in asked(packer, ["exist", "detect", "detect_none"]):
        targets = shares(gaze.question(item, question))
        # "person in (the) red (shirt)": all people first, then those with the shirt
        assert len(targets) == 1 or "person in" in item.question or "people in" in item.question
        seen = targets[max(targets)]
        true = {i + 1 for i in item.target["objects"]} or {0}
        assert set(seen) == true and sum(seen.values()) == pytest.approx(1)
        checked += 1
    assert checked > 50


def test_both_nouns_of_a_relation_look_at_their_own_thing(packer):
    both = 0
    for _, gaze, item, question, answer in asked(packer, ["relation_yesno"]):
        if " in " in item.question:
            continue  # people, who are looked at twice
        first, second = gaze.answer(item, answer)
        assert (first.at, first.head, second.at, second.head) == (0, 0, 0, 1)
        assert [first.thing, second.thing] == [i + 1 for i in item.target["objects"]]
        targets = list(shares(gaze.question(item, question)).values())
        assert targets == [{i + 1: 1.0} for i in item.target["objects"]], item.question
        both += 1
    assert both > 10


def test_the_end_of_a_region_looks_at_what_is_in_it(packer):
    for _, gaze, item, question, _ in asked(packer, ["describe"]):
        ((at, seen),) = shares(gaze.question(item, question)).items()
        assert question[at] == "]" and seen == {item.target["objects"][0] + 1: 1.0}


def test_coordinates_look_at_their_box_one_after_the_other(packer):
    several = 0
    for _, gaze, item, _, answer in asked(packer, ["attribute", "detect", "detect_all"]):
        targets, things = shares(gaze.answer(item, answer)), item.target["objects"]
        digits = [at for at, piece in enumerate(answer) if piece.isdigit()]
        assert len(digits) == 12 * len(things)
        for order, at in enumerate(digits):
            assert targets[at] == {things[order // 12] + 1: 1.0}
        if len(things) > 1:  # the list ends where nothing is left
            several += 1
            end = answer.index("]", digits[-1])
            assert targets[end] == {0: 1.0}
    assert several > 10


def test_a_count_shares_its_look_with_the_first_token(packer):
    for _, gaze, item, _, answer in asked(packer, ["count"]):
        targets, things = gaze.answer(item, answer), item.target["objects"]
        assert {target.at for target in targets} == {0}
        for head, first in enumerate(COUNT_REFERENCES):
            mine = {target.thing: target.weight for target in targets if target.head == head}
            assert set(mine) == {0, *(i + 1 for i in things)}
            assert sum(mine.values()) == pytest.approx(recipe.TARGET_WEIGHT["count"])
            each = mine.pop(0) / first  # the first token is as much as so many things
            assert all(weight == pytest.approx(each) for weight in mine.values())


def test_short_answers_weigh_more_than_one_of_a_hundred_looks(packer):
    for kind, weight in recipe.TARGET_WEIGHT.items():
        for _, gaze, item, _, answer in asked(packer, [kind]):
            targets = gaze.answer(item, answer)
            first = [target for target in targets if target.at == 0 and target.step == -1]
            one = [target for target in first if target.head in (-1, 0)]
            assert sum(target.weight for target in one) == pytest.approx(weight)


def test_an_expression_is_followed_to_its_thing(packer):
    """Of the second from the left first the leftmost, then itself; of what lies left of a can
    first the can. Wherever the answer looks, the layers before it have come that way.
    """
    followed = 0
    for scene, gaze, item, _, answer in asked(packer, ["ordinal", "relation", "superlative"]):
        targets = gaze.answer(item, answer)
        steps = [[k.thing - 1 for k in targets if k.step == step] for step in range(STEPS)]
        places = [[k.at for k in targets if k.step == step] for step in range(STEPS)]
        assert places[0] == places[1] == sorted({k.at for k in targets if k.step == -1})
        (first,), (second,), (thing,) = set(steps[0]), set(steps[1]), item.target["objects"]
        said = item.target["said"]
        middle = [sum(scene.objects[i].box[::2]) / 2 for i in (first, second)]
        if "from the" in said:
            place = next(i for i, word in enumerate(ORDINALS) if f"{word} " in said)
            assert (first == second == thing) == (place == 0)
            if place:
                assert (middle[0] < middle[1]) == said.endswith("left")
                followed += 1
            if place == 1:
                assert second == thing
        elif item.kind == "relation":
            assert (first, second) == (item.target["steps"][0], thing) and first != thing
            if " left of the " in said:
                assert middle[1] < middle[0]
                followed += 1
        else:
            assert first == second == thing
    assert followed > 5


def test_joints_look_at_their_patch(packer):
    seen = 0
    for scene, gaze, item, _, answer in asked(packer, ["pose"]):
        person = item.target["person"]
        points = [p for p in scene.objects[person].keypoints if p[2] > 0]
        targets = {target.at: target for target in gaze.answer(item, answer)}
        firsts = [at for at, piece in enumerate(answer) if piece.endswith("</p>[0.")]
        assert len(firsts) == len(points)
        for at, (x, y, _) in zip(firsts, points, strict=True):
            row, column = divmod(targets[at].patch, GRID)
            assert targets[at].thing == person + 1
            assert (column, row) == (int(x / 320 * GRID), int((y + 40) / 320 * GRID))
        seen += 1
    assert seen > 3


def test_the_loss_moves_attention_to_the_thing_and_leaves_the_other_heads_free(packer):
    config = ModelConfig.from_json(SIZES, recipe.VARIANT, packer.tokenizer.n_words)
    net = Trained(config)
    initialise(net.model, 0)
    layer = net.model.layers[0]
    patches, first, length = config.patch_grid**2, 3, config.patch_grid**2 + 8
    x = torch.randn(1, length, config.dim, generator=torch.Generator().manual_seed(1))
    owner = torch.zeros(1, patches, dtype=torch.long)
    owner[0, 4:6] = 1
    told = (
        Target(length - 1, 1, -1, 1.0),
        Target(length - 2, 0, -1, 1.0),
        Target(length - 3, 1, 7, 1.0),
        Target(length - 4, 1, -1, 1.0, head=0),
        Target(length - 4, 0, -1, 1.0, head=1),
    )
    mask = torch.ones(length, length, dtype=torch.bool).tril()[None, None]
    half = config.head_dim // 2
    rope = torch.ones(1, length, half), torch.zeros(1, length, half)
    sight, targets = Sight(rope, mask, owner, first), Targets.of([told])
    weights = [layer.attention.wq.weight, layer.attention.wk.weight]
    before = [w.detach().clone() for w in weights]
    optimizer = torch.optim.Adam(weights, lr=0.02)
    masses = []
    for _ in range(60):
        loss, mass = looking_loss(layer.attention, layer.attention_norm(x), sight, targets)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        masses.append(mass)
    assert masses[0] < 0.3 and masses[-1] > 0.9
    rows = min(TOLD_HEADS, config.kv_heads) * config.head_dim
    for old, new in zip(before, weights, strict=True):
        assert torch.equal(old[rows:], new[rows:]) and not torch.equal(old[:rows], new[:rows])
