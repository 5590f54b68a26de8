"""Training in miniature: a few scenes, a toy network, and what must hold whatever the sizes."""

import json
import os
import pickle
import signal
from dataclasses import replace

import numpy as np
import pytest
import torch
from small_network import SIZES
from synthetic import random_observation

from sphinx_ros.checkpoint import load_checkpoint
from sphinx_ros.commands import train as train_command
from sphinx_ros.errors import CheckpointError
from sphinx_ros.image.letterbox import Letterbox
from sphinx_ros.model.config import ModelConfig
from sphinx_ros.prompt.conversation import END_SIGNAL, conversation
from sphinx_ros.prompt.tokenizer import Tokenizer
from sphinx_ros.train import loop, recipe
from sphinx_ros.train.auxiliary import PlaceHead, heat, heat_loss, paired_iou, two_hot
from sphinx_ros.train.data import batches
from sphinx_ros.train.initial import LAYERS_BEFORE, initialise
from sphinx_ros.train.packing import Packer, coordinates
from sphinx_ros.train.run import Run, rate
from sphinx_ros.train.stream import MIRRORED, Scenes, cropped, has_people, mirrored
from sphinx_ros.train.targets import (
    UNCLEAR,
    anchor_shares,
    cell_targets,
    patch_owners,
    patch_targets,
)
from sphinx_ros.train.trained import (
    Trained,
    in_decoder,
    packed_positions,
    turn_mask,
    with_image,
)
from sphinx_ros.types import COCO_KEYPOINTS
from sphinx_ros.world.demo_tokenizer import train_tokenizer
from sphinx_ros.world.exercises import MAKERS, turns
from sphinx_ros.world.truth import COLOURS, KINDS

SCHEDULE = recipe.Schedule(minutes=1.0, towers_batch=8, batch=4, text_tokens=160, towers_rate=8e-3)


def painted(seed, width=84, height=63):
    """A scene of one or more things side by side, each a rectangle of one colour, nothing hidden.

    The box of a thing is its outline in the segmentation, and the picture shows it.
    """
    palette = np.random.default_rng(0).integers(40, 256, (len(COLOURS), 3))
    rgb, owners = np.full((height, width, 3), 20, np.uint8), np.zeros((height, width), np.uint8)
    things = []
    while not things:
        scene = random_observation(seed, width, height)
        for thing in scene.objects:
            x0, y0, x1, y1 = (round(v) for v in thing.box)
            if owners[y0:y1, x0:x1].any():
                continue
            rgb[y0:y1, x0:x1] = palette[COLOURS.index(thing.colour)]
            things.append(replace(thing, box=(float(x0), float(y0), float(x1), float(y1))))
            owners[y0:y1, x0:x1] = len(things)
        seed += 100_000
    return replace(scene, rgb=rgb, segmentation=owners, objects=tuple(things))


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with two small shards and a tokenizer, and the toy sizes in the recipe."""
    folder = tmp_path_factory.mktemp("train")
    (folder / "scenes").mkdir()
    for shard in range(2):
        scenes = [painted(seed) for seed in range(shard * 24, shard * 24 + 24)]
        (folder / "scenes" / f"scenes_{shard:05d}.pickle").write_bytes(pickle.dumps(scenes))
    train_tokenizer(folder / "tokenizer.model")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(recipe, "SIZES", SIZES)
        yield folder


def new_run(place, folder, schedule=SCHEDULE, start=None):
    """A run of one process in a folder of its own."""
    folder.mkdir(exist_ok=True)
    tokenizer = place / "tokenizer.model"
    return Run(0, 1, folder, place / "scenes", tokenizer, schedule, seed=1, start=start)


# the scenes


def outline(segmentation, number):
    """(x0, y0, x1, y1) around an object's pixels."""
    rows, columns = np.nonzero(segmentation == number)
    return (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)


@pytest.mark.parametrize("seed", range(12))
def test_mirror_and_crop_keep_boxes_on_the_pixels(seed):
    scene, rng = painted(seed), np.random.default_rng(seed)
    for changed in (mirrored(scene), cropped(scene, rng), mirrored(cropped(scene, rng))):
        camera = changed.camera
        assert changed.rgb.shape[:2] == changed.segmentation.shape == (camera.height, camera.width)
        assert len(changed.objects) == len(scene.objects)
        for number, (thing, before) in enumerate(
            zip(changed.objects, scene.objects, strict=True), start=1
        ):
            assert outline(changed.segmentation, number) == tuple(int(v) for v in thing.box)
            assert (thing.kind, thing.colour) == (before.kind, before.colour)
            x0, y0, x1, y1 = (int(v) for v in thing.box)
            assert (changed.rgb[y0:y1, x0:x1] == changed.rgb[y0, x0]).all()


@pytest.mark.parametrize("seed", range(12))
def test_mirror_and_crop_keep_joints_on_the_body(seed):
    scene = painted(seed)
    people = [i for i, thing in enumerate(scene.objects) if thing.keypoints is not None]
    twice = mirrored(mirrored(scene))
    for i in people:
        before, after = scene.objects[i].keypoints, mirrored(scene).objects[i].keypoints
        there = before[:, 2] > 0
        width = scene.camera.width
        assert np.array_equal(after[MIRRORED, 2], before[:, 2])
        assert np.allclose(after[MIRRORED][there, 0], width - before[there, 0])
        assert np.allclose(after[MIRRORED][there, 1], before[there, 1])
        assert (after[after[:, 2] == 0] == 0).all()
        assert np.allclose(twice.objects[i].keypoints, before)
        cut = cropped(scene, np.random.default_rng(seed))
        shift = np.array(cut.objects[i].box[:2]) - scene.objects[i].box[:2]
        joints = cut.objects[i].keypoints
        kept = joints[:, 2] > 0
        assert np.allclose(joints[kept, :2], before[kept, :2] + shift)
        assert (joints[kept, :2] >= 0).all()
        assert (joints[kept, :2] < (cut.camera.width, cut.camera.height)).all()


def test_mirrored_joints_change_sides():
    names = [COCO_KEYPOINTS[i] for i in MIRRORED]
    assert names[0] == "nose" and names[5] == "right shoulder" and names[16] == "left ankle"
    assert [MIRRORED[i] for i in MIRRORED] == list(range(len(COCO_KEYPOINTS)))


def test_patches_speak_for_the_object_they_show():
    scene = painted(3)
    owners = patch_owners(scene, 12)
    assert owners.shape == (12, 12)
    kind, colour, _, box, _ = patch_targets(owners, scene)
    numbers = set(range(1, len(scene.objects) + 1))
    assert len(numbers) > 1 and set(owners.reshape(-1)) - {0, UNCLEAR} == numbers, "none is lost"
    for patch, owner in enumerate(owners.reshape(-1)):
        if owner in (0, UNCLEAR):
            assert kind[patch] == (0 if owner == 0 else -1)
            continue
        thing = scene.objects[owner - 1]
        assert KINDS[kind[patch] - 1] == thing.kind and COLOURS[colour[patch]] == thing.colour
        x0, y0, x1, y1 = box[patch]
        row, column = divmod(patch, 12)
        assert x0 < (column + 1) / 12 and x1 > column / 12, "the patch touches its object"
        assert y0 < (row + 1) / 12 and y1 > row / 12


def test_fine_cells_show_what_is_in_their_middle():
    scene = painted(4)
    kind, colour = cell_targets(scene, 24)
    side = max(scene.segmentation.shape)
    shown = 0
    for cell in range(24 * 24):
        x, y = ((cell % 24) + 0.5) * side / 24, ((cell // 24) + 0.5) * side / 24
        row = int(y) - (side - scene.segmentation.shape[0]) // 2
        column = int(x) - (side - scene.segmentation.shape[1]) // 2
        owner = 0
        if 0 <= row < scene.segmentation.shape[0] and 0 <= column < scene.segmentation.shape[1]:
            owner = scene.segmentation[row, column]
        thing = scene.objects[owner - 1] if owner else None
        assert kind[cell] == (1 + KINDS.index(thing.kind) if thing else 0)
        assert colour[cell] == (COLOURS.index(thing.colour) if thing else -1)
        shown += thing is not None
    assert shown > 4


def test_a_joint_is_shared_by_the_cells_around_it_and_by_people():
    index = torch.tensor([[0, 3], [0, 3], [1, 0]])
    place = torch.tensor([[0.25, 0.5], [0.75, 0.5], [0.999, 0.0]])
    target, key = heat((index, place), 4)
    assert key.tolist() == [3, 17] and torch.allclose(target.sum(-1), torch.ones(2))
    first = target[0].view(4, 4)
    assert first[1:3].tolist() == [[0.125] * 4] * 2, "between four cells each"
    assert target[1].view(4, 4)[0, 3] == 1, "at the edge the cell at the edge"
    found = torch.full((2, 16, 17), 0.0)
    blind = heat_loss(found, (index, place))
    found[0, 4:12, 3] = found[1, 3, 0] = 9.0
    assert heat_loss(found, (index, place)) < 0.5 * blind
    assert heat_loss(found, (index[:0], place[:0])) == 0


def test_the_patches_of_a_thing_share_standing_for_it():
    scene = painted(3)
    owners = patch_owners(scene, 12)
    shares = anchor_shares(scene, owners).reshape(12, 12)
    for number, thing in enumerate(scene.objects, start=1):
        own = np.where(owners == number, shares, 0)
        assert own.sum() == pytest.approx(1)
        u, v = Letterbox.of(84, 63).to_square(*thing.centre)
        rows, columns = np.nonzero(owners == number)
        far = np.hypot(columns + 0.5 - 12 * u, rows + 0.5 - 12 * v)
        assert own[rows, columns].argmax() == far.argmin(), "most in the patch nearest its middle"
    assert shares.sum() == pytest.approx(len(scene.objects)), "nothing elsewhere: it counts things"


# packing several questions into one row


def test_packed_turns_equal_single_questions(place):
    """The promise of train/packing.py: nothing leaks between turns, positions are inference's."""
    tokenizer = Tokenizer(place / "tokenizer.model")
    config = ModelConfig.from_json(SIZES, recipe.VARIANT, tokenizer.n_words)
    net = Trained(config).eval()
    initialise(net.model, 0)
    packer, words = Packer(tokenizer, 200), config.image_words
    rng = np.random.default_rng(5)
    batch = next(batches(config, Scenes(place / "scenes"), 3, packer, rng))
    with torch.no_grad():
        image = net.model.encode_image(batch.pictures)
        turn = with_image(batch.turn, words)
        hidden = net.model.hidden(
            net.model.embed(batch.tokens, image),
            positions=packed_positions(batch.position, words),
            mask=turn_mask(turn),
        )
        packed = net.model.output(hidden)[:, words:]
        compared = 0
        for row in range(3):
            prefix = batch.tokens[row][batch.turn[row] == 0]
            for number in range(1, int(batch.turn[row].max()) + 1):
                own = batch.turn[row] == number
                if not own.any():
                    continue  # a turn that did not fit
                ids = torch.cat((prefix, batch.tokens[row][own]))[None]
                single = net.model(ids, image[row : row + 1])[0, len(prefix) :]
                assert torch.allclose(packed[row][own], single, atol=2e-5)
                compared += 1
    assert compared > 6


def test_packed_attention_is_that_of_the_layers(place, tmp_path):
    """Losses and gradients are those of the network's own attention."""
    run = new_run(place, tmp_path)
    batch, learnt = next(run.joint_batches), []
    for packed in (True, False):
        if not packed:
            for layer in run.net.model.layers:
                del layer.attention._attend  # the class's own is behind it
        run.net.zero_grad()
        loss, _ = run.net.joint_loss(batch, 0.3, 0.5, 0.3)
        loss.backward()
        weight = run.net.model.layers[0].attention.wq.weight
        learnt.append((loss.detach(), weight.grad.clone()))
    for ours, theirs in zip(*learnt, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


def test_packed_rows_hold_the_questions_and_weigh_only_answers(place):
    tokenizer = Tokenizer(place / "tokenizer.model")
    packer, scene = Packer(tokenizer, 300), painted(4)
    owners, rng = patch_owners(scene, 12), np.random.default_rng(7)
    tokens, weight, turn, position, *_ = packer.row(scene, owners, rng)
    expected = {
        f"{conversation([(item.question, None)])} {item.answer}{END_SIGNAL}".strip(): item
        for item in turns(scene, np.random.default_rng(7))
    }
    at = len(packer.prefix)
    assert list(tokens[:at]) == packer.prefix and not weight[:at].any()
    found = 0
    for number in sorted(set(turn[turn > 0])):
        own = turn == number
        text = tokenizer.decode([int(t) for t in (*packer.prefix, *tokens[own])])
        item = expected.pop(text.strip())  # as it was asked, and not twice
        learnt = tokenizer.decode([int(t) for t in tokens[own & (weight > 0)]])
        assert learnt.strip() == f"{item.answer}{END_SIGNAL}".strip()
        assert list(position[own]) == list(range(at, at + own.sum()))
        found += 1
    assert found >= 2 and (turn[turn == -1].size == 0 or not weight[turn == -1].any())


def test_a_pose_finds_room_in_most_rows(place):
    scene = next(s for s in map(painted, range(40)) if has_people(s))
    tokenizer, owners = Tokenizer(place / "tokenizer.model"), patch_owners(scene, 12)
    packer = Packer(tokenizer, 190)  # for a pose and little else

    def with_pose(share: float) -> int:
        packer.pose_first = share
        rows = [packer.row(scene, owners, np.random.default_rng(i)) for i in range(20)]
        return sum("key points" in tokenizer.decode(row.tokens.tolist()) for row in rows)

    assert with_pose(1.0) > 16 > with_pose(0.0)


def test_third_decimals_weigh_less(place):
    packer = Packer(Tokenizer(place / "tokenizer.model"), 100)
    rng = np.random.default_rng(0)
    made = (turn for seed in range(9) for turn in turns(painted(seed), rng))
    item = next(turn for turn in made if turn.answer.startswith("[0."))
    ids, weight = packer.turn(item)
    pieces = [packer.tokenizer.piece(i) for i in ids]
    low = [i for i, w in enumerate(weight) if 0 < w < 0.5]
    assert len(low) == 4 and all(pieces[i].isdigit() and pieces[i - 1].isdigit() for i in low)


def test_coordinates_are_told_where_they_are_about_to_be_written(place):
    pieces = ["<p>", "cube", "</p>[0.", "1", "2", "3", ",0.", "0", "5", "]", "\n###"]
    assert coordinates(pieces) == [(3, 0.123), (4, 0.123), (7, 0.05), (8, 0.05)]
    assert coordinates([" 3", "\n###", "0."]) == []
    tokenizer, scene = Tokenizer(place / "tokenizer.model"), painted(4)
    packer = Packer(tokenizer, 300)
    row = packer.row(scene, patch_owners(scene, 12), np.random.default_rng(7))
    tokens, weight, places = row.tokens, row.weight, row.coordinates
    assert len(places) > 16
    for column, value in places:
        assert weight[column + 1] > 0 and packer.pieces[tokens[column + 1]].isdigit()
        start = column if packer.pieces[tokens[column]].endswith("0.") else column - 1
        digits = "".join(packer.pieces[t] for t in tokens[start + 1 : start + 4])
        assert f"{value:.3f}"[2:].startswith(digits.rstrip(",0.]")[:2])


def test_the_place_head_learns_to_read_a_coordinate():
    torch.manual_seed(0)
    head, code = PlaceHead(16), torch.randn(2, 16)
    value = torch.rand(64)
    hidden = value[:, None] * code[0] + code[1]
    optimizer = torch.optim.Adam(head.parameters(), lr=0.1)
    errors = []
    for _ in range(80):
        loss, error = head(hidden, value)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        errors.append(error)
    assert errors[-1] < 0.05 < errors[0]


# the run


def test_rate_warms_up_decays_and_changes_stage():
    schedule = recipe.Schedule(minutes=100, towers_share=0.2, warmup_share=0.02)
    alone = [rate(schedule, t)[0] for t in (0, 19.9, 20.1, 99)]
    assert alone == [True, True, False, False]
    assert rate(schedule, 0)[1] == 0 and rate(schedule, 0.4)[1] > 0.9 * schedule.towers_rate
    joint = [rate(schedule, t)[1] for t in (22, 40, 60, 80, 100)]
    assert joint == sorted(joint, reverse=True)
    assert joint[-1] == pytest.approx(schedule.rate * schedule.final_factor)
    assert rate(schedule, 200)[1] == pytest.approx(joint[-1]), "past the end it stays"


def test_the_help_says_how_long_the_recipe_takes():
    assert f"the whole recipe: {recipe.Schedule.minutes / 60:.1f} hours" in train_command.ABOUT


def test_every_loss_of_a_head_has_a_weight_and_is_logged(place):
    tokenizer = Tokenizer(place / "tokenizer.model")
    config = ModelConfig.from_json(SIZES, recipe.VARIANT, tokenizer.n_words)
    net, rng = Trained(config), np.random.default_rng(2)
    source = batches(config, Scenes(place / "scenes"), 8, None, rng)
    batch = next(b for b in source if len(b.points[0]))
    loss, scores = net.towers_loss(batch)
    assert {f"{name}_loss" for name in recipe.PATCH_WEIGHT} <= set(scores)
    loss.backward()
    heads = (*net.head.named_parameters(), *net.fine.named_parameters())
    assert all(p.grad is not None and p.grad.abs().sum() > 0 for _, p in heads)


def test_two_hot_reads_back():
    places = torch.tensor([0.0, 0.31, 0.5, 0.999, 1.0])
    code = two_hot(places)
    assert code.shape == (5, recipe.MARKS) and torch.allclose(code.sum(-1), torch.ones(5))
    assert torch.allclose((code * torch.linspace(0, 1, recipe.MARKS)).sum(-1), places, atol=1e-6)
    boxes = torch.tensor([[0.0, 0.0, 0.5, 0.5], [0.2, 0.2, 0.4, 0.4]])
    assert paired_iou(boxes, boxes).tolist() == pytest.approx([1, 1])
    assert paired_iou(boxes, boxes.flip(0)).tolist() == pytest.approx([0.16, 0.16])


def test_losses_fall_in_both_stages(place, tmp_path):
    run = new_run(place, tmp_path / "falls", replace(SCHEDULE, warmup_share=0.001))
    decoder = [p for name, p in run.net.named_parameters() if in_decoder(name)]
    before = [p.clone() for p in decoder]
    for first_second, steps, key in ((1.0, 40, "loss"), (20.0, 40, "text")):
        run.seconds = first_second  # the clock chooses the stage
        scores = [run.step() for _ in range(steps)]
        values = [score[key] for score in scores]
        assert np.mean(values[-6:]) < 0.85 * np.mean(values[:3]), (key, values)
        changed = not all(torch.equal(a, b) for a, b in zip(before, decoder, strict=True))
        assert changed == (key == "text"), "the decoder learns in the second stage only"
    assert run.images == 40 * 8 + 40 * 4
    assert all(torch.isfinite(p).all() for p in run.net.parameters())


def test_saved_run_goes_on_where_it_was(place, tmp_path):
    folder = tmp_path / "resumes"
    run = new_run(place, folder)
    run.seconds = 25.0
    for _ in range(3):
        run.step()
    before = [p.clone() for p in run.net.parameters()]
    run.save()
    assert all(torch.equal(a, b) for a, b in zip(before, run.net.parameters(), strict=True))
    again = new_run(place, folder)
    assert (again.seconds, again.images, again.average.steps) == (25.0, 12, 3)
    for mine, other in zip(again.net.parameters(), before, strict=True):
        assert torch.equal(mine, other)
    for mine, other in zip(again.average.values, run.average.values, strict=True):
        assert torch.equal(mine, other)
    a, b = run.optimizer.state_dict()["state"], again.optimizer.state_dict()["state"]
    assert a.keys() == b.keys() and all(torch.equal(a[k]["exp_avg"], b[k]["exp_avg"]) for k in a)
    assert np.isfinite(again.step()["loss"])
    model, tokenizer, config = load_checkpoint(folder / "checkpoint")
    assert config.coordinate_decimals == 3 and tokenizer.n_words == config.vocab_size
    names = [name for name, _ in run.net.named_parameters()]
    averaged = dict(zip(names, run.average.values, strict=True))
    for name, value in model.named_parameters():
        assert torch.allclose(value, averaged[f"model.{name}"], atol=2e-3, rtol=2e-3)


def test_a_run_that_is_killed_while_it_saves_has_a_whole_checkpoint(place, tmp_path, monkeypatch):
    folder = tmp_path / "killed"
    run = new_run(place, folder)
    run.save()
    before = [p.clone() for p in run.net.parameters()]
    put, files = os.replace, set(folder.rglob("*"))
    for survived in range(5):  # the state and four files
        left = iter(range(survived))

        def killed(old, new, left=left):
            if next(left, None) is None:
                raise SystemExit
            put(old, new)

        with monkeypatch.context() as patched, pytest.raises(SystemExit):
            patched.setattr(os, "replace", killed)
            run.save()
        assert set(folder.rglob("*")) == files, "nothing is missing, nothing is left behind"
        load_checkpoint(folder / "checkpoint")
        new_run(place, folder)
        assert all(torch.equal(a, b) for a, b in zip(before, run.net.parameters(), strict=True))


def test_a_state_of_another_recipe_is_named(place, tmp_path, monkeypatch):
    folder = tmp_path / "other"
    new_run(place, folder).save()
    monkeypatch.setattr(recipe, "SIZES", SIZES | {"n_layers": 3})
    with pytest.raises(CheckpointError, match="state.pt was saved with another recipe.*--start"):
        new_run(place, folder)


def test_train_writes_log_and_state_and_stops_when_asked(place, tmp_path, monkeypatch):
    folder = tmp_path / "stops"
    run = new_run(place, folder, replace(SCHEDULE, minutes=5.0, towers_batch=2))
    steps = []
    step = run.step

    def counted():
        steps.append(True)
        run.asked_to_stop = len(steps) >= 26  # as Ctrl-C does
        return step()

    monkeypatch.setattr(run, "step", counted)
    loop.work(run)
    assert len(steps) == 26 and run.seconds < 200
    (line,) = (folder / "log.jsonl").read_text().splitlines()
    assert json.loads(line)["images"] == 50 and json.loads(line)["alone"] == 1.0
    assert new_run(place, folder).images == 52
    assert (folder / "checkpoint" / "config.json").is_file()


def test_short_run_by_processes(place, tmp_path):
    """The real entry: a process of its own, a second of training, a checkpoint."""
    before = signal.getsignal(signal.SIGINT)
    schedule = replace(SCHEDULE, minutes=0.02, towers_batch=2, batch=2, text_tokens=80)
    folder, tokenizer = tmp_path / "run", place / "tokenizer.model"
    loop.train(folder, place / "scenes", tokenizer, schedule, processes=1)
    assert signal.getsignal(signal.SIGINT) is before
    state = torch.load(folder / "state.pt", weights_only=True)
    assert state["images"] > 0 and state["seconds"] >= 1.2
    assert (folder / "checkpoint" / "consolidated.00-of-01.model.pth").is_file()


def test_starting_from_fewer_blocks_answers_as_before(place, tmp_path, monkeypatch):
    """New ConvNeXt blocks begin as the identity; other sizes are refused."""
    small = new_run(place, tmp_path / "small")
    small.save()
    checkpoint = str(tmp_path / "small" / "checkpoint")
    towers = SIZES["towers"]
    depths = [d + n for d, n in zip(towers["convnext"]["depths"], (0, 2, 0, 1), strict=True)]
    larger = towers | {"convnext": towers["convnext"] | {"depths": depths}}
    same = new_run(place, tmp_path / "same", start=checkpoint)
    monkeypatch.setattr(recipe, "SIZES", SIZES | {"towers": larger})
    grown = new_run(place, tmp_path / "grown", start=checkpoint)
    assert same.schedule.towers_share == recipe.GOING_ON_TOWERS_SHARE
    assert same.schedule.rate == recipe.GOING_ON_RATE and grown.schedule.rate == SCHEDULE.rate
    assert grown.schedule.towers_share == SCHEDULE.towers_share, "the new blocks have to learn"
    picture = torch.randn(1, 3, grown.config.image_size, grown.config.image_size)
    with torch.inference_mode():
        before, after = (run.net.model.encode_image(picture) for run in (same, grown))
    assert torch.allclose(before, after, atol=1e-5)
    more = sum(p.numel() for p in grown.net.parameters())
    assert more > sum(p.numel() for p in same.net.parameters())
    for sizes in ({"n_heads": 1}, {"n_layers": 3, "n_heads": 1}):
        monkeypatch.setattr(recipe, "SIZES", SIZES | sizes)
        with pytest.raises(CheckpointError, match="has other sizes"):
            new_run(place, tmp_path / "no", start=checkpoint)


def test_starting_from_fewer_layers_answers_as_before(place, tmp_path, monkeypatch):
    """New layers of the decoder begin as the identity, in the middle, and they learn."""
    small = new_run(place, tmp_path / "small")
    small.save()
    checkpoint = str(tmp_path / "small" / "checkpoint")
    same = new_run(place, tmp_path / "same", start=checkpoint)
    monkeypatch.setattr(recipe, "SIZES", SIZES | {"n_layers": SIZES["n_layers"] + 2})
    grown = new_run(place, tmp_path / "grown", start=checkpoint)
    assert grown.schedule.towers_share == recipe.GOING_ON_TOWERS_SHARE
    model, tokens = grown.net.model, torch.arange(1, 9)[None]
    with torch.no_grad():
        before, after = (one.hidden(one.embed(tokens, None)) for one in (same.net.model, model))
    assert torch.equal(before, after)
    new = model.layers[LAYERS_BEFORE].attention.wo.weight
    assert not new.any()
    model.hidden(model.embed(tokens, None)).square().sum().backward()
    assert new.grad.abs().sum() > 0


def test_weights_are_of_kinds_that_there_are():
    assert {*recipe.TASK_WEIGHT, *recipe.TARGET_WEIGHT} <= set(MAKERS)
