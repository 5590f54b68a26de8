"""The simulated tabletop: what it says is true must agree with its pixels and its geometry."""

from __future__ import annotations

import json
import subprocess
import sys

import cv2
import numpy as np
import pytest

try:
    from sphinx_ros.world import kinds, scenes, shapes
    from sphinx_ros.world.render import Canvas

    Canvas(16, 16).close()
except Exception as error:  # any of mujoco, PyOpenGL, EGL
    pytest.skip(f"no OpenGL without a screen here: {error}", allow_module_level=True)

from sphinx_ros import types
from sphinx_ros.draw import draw
from sphinx_ros.errors import BadRequest
from sphinx_ros.types import COCO_KEYPOINTS
from sphinx_ros.world.clip import read_clip, read_truth
from sphinx_ros.world.kinds import PALETTE, SPAN
from sphinx_ros.world.live import PERIOD, LiveWorld
from sphinx_ros.world.mannequin import Looks, build_person
from sphinx_ros.world.newcomer import room_for_plates, world_with_plates
from sphinx_ros.world.postures import Posture
from sphinx_ros.world.preview import draw_truth
from sphinx_ros.world.record import record
from sphinx_ros.world.stage import Stage, Thing, measure
from sphinx_ros.world.truth import COLOURS, KINDS, SIZES
from sphinx_ros.world.view import View

SHAPES = ((336, 252), (320, 180), (240, 320))
LIGHT = [
    {
        "pos": np.array([0, 0, 1.5]),
        "dir": np.array([0, 0, -1.0]),
        "ambient": np.full(3, 0.5),
        "diffuse": np.full(3, 0.5),
        "specular": np.zeros(3),
        "shadow": False,
    }
]


@pytest.fixture(scope="module")
def worlds():
    made = {shape: scenes.World(*shape) for shape in SHAPES}
    yield made
    for world in made.values():
        world.close()


@pytest.fixture(scope="module")
def many(worlds):
    return [worlds[shape].observe(seed, depth=True) for shape in SHAPES for seed in range(40)]


def persons(observations):
    return [(o, item) for o in observations for item in o.objects if item.kind == "person"]


def test_a_seed_is_a_picture_whatever_was_drawn_before(worlds):
    world = worlds[SHAPES[0]]
    forth = [world.observe(seed, depth=True) for seed in (3, 11, 12)]
    fresh = scenes.World(*SHAPES[0])
    back = [fresh.observe(seed, depth=True) for seed in (12, 11, 3)][::-1]
    fresh.close()
    for a, b in zip(forth, back, strict=True):
        assert np.array_equal(a.rgb, b.rgb)
        assert np.array_equal(a.segmentation, b.segmentation)
        assert np.array_equal(a.depth, b.depth)
        assert [(x.kind, x.box, x.visible) for x in a.objects] == [
            (x.kind, x.box, x.visible) for x in b.objects
        ]
    assert not np.array_equal(forth[0].rgb, forth[1].rgb)


def test_boxes_are_tight_around_the_segmentation(many):
    for seen in many:
        assert seen.segmentation.max() == len(seen.objects) >= 1
        for i, item in enumerate(seen.objects):
            rows, columns = np.nonzero(seen.segmentation == i + 1)
            assert item.box == (columns.min(), rows.min(), columns.max() + 1, rows.max() + 1)
            assert item.depth == pytest.approx(
                float(np.median(seen.depth[rows, columns])), abs=1e-4
            )


def test_sizes_of_arrays_and_words(many):
    for seen, (width, height) in zip(many, np.repeat(SHAPES, 40, axis=0), strict=True):
        assert seen.rgb.shape == (height, width, 3) and seen.rgb.dtype == np.uint8
        assert seen.segmentation.shape == (height, width) == seen.depth.shape
        assert (seen.camera.width, seen.camera.height) == (width, height)
        for item in seen.objects:
            assert item.kind in KINDS and item.colour in COLOURS
            assert item.size in (("",) if item.kind == "person" else SIZES)
            assert (item.keypoints is not None) == (item.kind == "person")
    assert {item.kind for seen in many for item in seen.objects} == set(KINDS)
    assert {item.colour for seen in many for item in seen.objects} == set(COLOURS)


def test_everything_is_fit_to_be_asked_about(many):
    for seen in many:
        assert seen.rgb.std() > 3
        for item in seen.objects:
            x0, y0, x1, y1 = item.box
            if item.kind == "person":
                assert y1 - y0 >= 0.22 * seen.camera.height and item.visible >= 0.6
            else:
                assert max(x1 - x0, y1 - y0) >= 0.06 * max(seen.camera.width, seen.camera.height)
                assert 0.45 <= item.visible <= 1.0
    hidden = np.mean([any(i.visible < 0.95 for i in seen.objects) for seen in many])
    assert 0.1 < hidden < 0.6, f"{hidden:.2f} of the scenes have real occlusion"


def test_what_is_no_kind_of_thing_is_not_built():
    for make in (
        kinds.dimensions,
        lambda kind, span: kinds.build(kind, span, 0, 0, 0, (1, 1, 1)),
    ):
        with pytest.raises(BadRequest, match="'spoon' is no kind of thing.*cube, ball"):
            make("spoon", 0.1)
        for kind in KINDS:
            if kind != "person":
                make(kind, 0.1)


def test_a_thing_stands_on_the_table_within_its_reach_and_height():
    for kind in kinds.SHAPES:
        radius, height = kinds.dimensions(kind, 0.1)
        parts, centre = kinds.build(kind, 0.1, 1.0, 2.0, 0.7, (1, 1, 1))
        points = np.concatenate([cloud for part in parts for cloud in shapes.hulls(part)])
        assert -0.001 < points[:, 2].min() < 0.002
        assert points[:, 2].max() == pytest.approx(height, abs=0.004)
        assert np.hypot(points[:, 0] - 1, points[:, 1] - 2).max() < 1.05 * radius
        assert 0 < centre[2] < height and tuple(centre[:2]) == (1.0, 2.0)


def test_importing_the_world_loads_no_renderer_and_changes_no_environment():
    code = (
        "import os, sys, cv2, numpy; before = dict(os.environ)\n"
        "import sphinx_ros.world.live, sphinx_ros.world.scenes\n"
        "assert dict(os.environ) == before and 'mujoco' not in sys.modules\n"
    )
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert made.returncode == 0, made.stderr


def test_large_is_at_least_half_as_much_again_as_small():
    assert SPAN["large"][0] >= 1.5 * SPAN["small"][1]


def test_intrinsics_bring_the_position_into_the_box(many):
    off = []
    for seen in many:
        camera = seen.camera
        for item in seen.objects:
            if item.visible < 0.97:
                continue
            x, y, z = item.position
            px, py = camera.fx * x / z + camera.cx, camera.fy * y / z + camera.cy
            x0, y0, x1, y1 = item.box
            touches = x0 <= 0 or y0 <= 0 or x1 >= camera.width or y1 >= camera.height
            if item.kind == "person" or touches:
                continue
            off.append(
                max(abs(px - item.centre[0]) / (x1 - x0), abs(py - item.centre[1]) / (y1 - y0))
            )
            assert 0.6 * z < item.depth < 1.15 * z
    assert len(off) > 100
    assert max(off) < 0.35 and np.median(off) < 0.12


def test_visible_share_agrees_with_drawing_the_object_alone(worlds):
    world, checked = worlds[SHAPES[0]], 0
    for seed in range(60):
        stage = scenes.compose(seed, *SHAPES[0])
        seen, kept = measure(stage, world.canvas, False, seed, picture=False)
        if min((item.visible for item in seen.objects), default=1) > 0.9:
            continue
        for i, item in zip(kept, seen.objects, strict=True):
            alone = Stage([stage.things[i]], [], stage.lights, stage.view)
            whole = measure(alone, world.canvas, False, seed, picture=False)[0]
            mine = (seen.segmentation == kept.index(i) + 1).sum()
            share = mine / (whole.segmentation == 1).sum()
            assert item.visible == pytest.approx(share, abs=0.06)
            checked += share < 0.9
    assert checked >= 8


def test_depth_is_metres_along_the_optical_axis():
    canvas, thing = Canvas(160, 120), None
    view = View.looking((0.1, -0.8, 0.5), (0, 0, 0), 0.9, 160, 120)
    thing = scenes.make_thing(np.random.default_rng(0), "ball", "red", "large", 0.1, 0.0, 0.0)
    seen, _ = measure(Stage([thing], [], LIGHT, view), canvas, True, 0)
    canvas.close()
    middle = view.to_optical(thing.centre)
    px, py, _ = view.project(thing.centre)
    ray = np.array([(px - 80) / view.focal, (py - 60) / view.focal, 1])
    near = middle[2] - thing.height / 2 / np.linalg.norm(ray)
    assert seen.depth[int(py), int(px)] == pytest.approx(near, abs=0.004)
    assert seen.depth[0, 0] > 5  # nothing there


def standing(yaw: float, x: float = 0.0):
    parts, joints, centre, seat = build_person(
        Posture(lift=(40, 40)), 0.35, x, 0.0, yaw, Looks(PALETTE["red"])
    )
    return Thing("person", "red", "", parts, centre, (x, 0, 0.1), 0.35, joints, seat)


@pytest.mark.parametrize("facing", [True, False])
def test_left_and_right_and_what_is_hidden(facing):
    """The camera looks along +y; a mannequin that faces it looks along -y."""
    canvas = Canvas(240, 320)
    view = View.looking((0, -0.9, 0.25), (0, 0, 0.18), 0.7, 240, 320)
    thing = standing(-np.pi / 2 if facing else np.pi / 2)
    seen, _ = measure(Stage([thing], [], LIGHT, view), canvas, False, 0)
    canvas.close()
    points = dict(zip(COCO_KEYPOINTS, seen.objects[0].keypoints, strict=True))
    for part in ("eye", "shoulder", "elbow", "wrist", "hip", "knee", "ankle"):
        # A person's left is on the right of the picture when he faces the camera.
        assert (points[f"left {part}"][0] > points[f"right {part}"][0]) == facing
    assert points["nose"][2] == points["left eye"][2] == (2 if facing else 1)
    assert all(
        points[f"{side} {part}"][2] == 2
        for side in ("left", "right")
        for part in ("shoulder", "elbow", "wrist", "hip", "knee", "ankle")
    )
    assert points["nose"][1] < points["left shoulder"][1] < points["left hip"][1]
    assert points["left hip"][1] < points["left knee"][1] < points["left ankle"][1]


def test_joints_lie_on_the_person_and_outside_ones_are_zero(many):
    found = persons(many)
    assert len(found) >= 20
    on_it, total = 0, 0
    for seen, item in found:
        i = seen.objects.index(item) + 1
        mask = cv2.dilate((seen.segmentation == i).astype(np.uint8), np.ones((5, 5), np.uint8))
        x0, y0, x1, y1 = item.box
        for x, y, v in item.keypoints:
            if v == 0:
                assert x == y == 0
                continue
            assert 0 <= x < seen.camera.width and 0 <= y < seen.camera.height
            if v == 2:
                assert x0 - 2 <= x <= x1 + 2 and y0 - 2 <= y <= y1 + 2
                on_it += bool(mask[int(y), int(x)])
                total += 1
    assert on_it / total > 0.98
    levels = {int(v) for _, item in found for v in item.keypoints[:, 2]}
    assert {1, 2} <= levels


def test_colours_look_like_their_names(many):
    """The median hue of red, yellow, green, blue and purple things is that of the palette."""
    for seen in many:
        hsv = cv2.cvtColor(seen.rgb, cv2.COLOR_RGB2HSV)
        for i, item in enumerate(seen.objects):
            if item.kind not in ("cube", "ball", "cone") or item.colour in ("white", "black"):
                continue
            pure = np.uint8([[np.array(PALETTE[item.colour]) * 255]])
            wanted = int(cv2.cvtColor(pure, cv2.COLOR_RGB2HSV)[0, 0, 0])
            hue = int(np.median(hsv[seen.segmentation == i + 1][:, 0]))
            away = min(abs(hue - wanted), 180 - abs(hue - wanted))
            assert away <= 9, (item.colour, hue, wanted)


def test_live_world_goes_on_smoothly_with_the_same_objects():
    world = LiveWorld(1, 320, 240)
    first = world.observe(0.0)
    names = [(item.kind, item.colour, item.size) for item in first.objects]
    assert names[0][0] == "person" and len(names) == 6
    moved = 0.0
    for t in (3.1, 3.15, 9.0, 17.3, 100.0):
        seen = world.observe(t)
        assert [(item.kind, item.colour, item.size) for item in seen.objects] == names
        assert all(item.visible >= 0.45 for item in seen.objects)
        moved = max(moved, abs(seen.objects[1].position[0] - first.objects[1].position[0]))
    assert moved > 0.01
    a, b = world.observe(3.1), world.observe(3.15)
    for x, y in zip(a.objects, b.objects, strict=True):
        assert np.abs(np.subtract(x.box, y.box)).max() <= 8
    again = world.observe(PERIOD)
    assert np.allclose(again.objects[2].position, first.objects[2].position, atol=1e-6)
    world.close()


def test_recording_reads_back(tmp_path):
    path = record(tmp_path / "clip.mcap", seed=1, seconds=0.4, rate=10, width=320, height=240)
    frames = list(read_clip(path))
    assert [stamp for stamp, _, _ in frames] == [
        1_700_000_000 * 10**9 + i * 10**8 for i in range(4)
    ]
    for _, jpeg, truth in frames:
        picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
        assert picture.shape == (240, 320, 3)
        assert len(truth["objects"]) == 6 and len(truth["objects"][0]["keypoints"]) == 17
    assert read_truth(path)["camera"]["cx"] == 160
    json.loads(path.with_suffix(".json").read_text())
    with pytest.raises(BadRequest, match="no clip"):
        next(read_clip(tmp_path / "none.mcap"))


def test_the_clip_in_the_package_is_whole():
    frames = list(read_clip())
    assert len(frames) == 80
    picture = cv2.imdecode(np.frombuffer(frames[40][1], np.uint8), cv2.IMREAD_COLOR)
    assert picture.shape == (480, 640, 3)
    # The recorded truth is that of the world it came from.
    world = LiveWorld(read_truth()["seed"])
    seen = world.observe(4.0)
    world.close()
    assert np.abs(picture[:, :, ::-1].astype(int) - seen.rgb).mean() < 6
    for entry, item in zip(frames[40][2]["objects"], seen.objects, strict=True):
        assert (entry["kind"], entry["colour"]) == (item.kind, item.colour)
        assert np.abs(np.subtract(entry["box"], item.box)).max() <= 2


def test_preview_draws_on_a_copy(many):
    seen = next(o for o, _ in persons(many))
    before = seen.rgb.copy()
    drawn = draw_truth(seen)
    assert np.array_equal(seen.rgb, before) and not np.array_equal(drawn, before)
    assert drawn.shape == before.shape


def test_preview_draws_what_answers_are_drawn_with(many):
    """Boxes and skeletons look as those of an answer: the two pictures can be compared."""
    seen, person = next((o, i) for o, i in persons(many) if (i.keypoints[:, 2] == 2).all())
    joints = zip(COCO_KEYPOINTS, person.keypoints, strict=True)
    pose = types.Pose(tuple(types.Keypoint(n, float(x), float(y)) for n, (x, y, _) in joints))
    boxes = [types.Detection(thing.name, thing.box, thing.visible) for thing in seen.objects]
    if len(persons([seen])) == 1:
        assert np.array_equal(draw_truth(seen), draw(seen.rgb, boxes, [pose]))


# a kind of thing that the demonstration model was never shown


def test_plates_stand_on_the_tables_of_newcomers_and_on_no_others():
    newcomers = world_with_plates(*SHAPES[0])
    usual, seen = scenes.World(*SHAPES[0]), 0
    for seed in range(24):
        made, plain = newcomers.observe(seed), usual.observe(seed)
        plates = [thing for thing in made.objects if thing.kind == "plate"]
        assert all(thing.kind in KINDS for thing in plain.objects)
        assert len(plates) <= room_for_plates(scenes.compose(seed, *SHAPES[0]))
        assert {thing.kind for thing in made.objects} <= {*KINDS, "plate"}
        for plate in plates:  # flat: lower than it is wide, however it is seen
            assert plate.box[3] - plate.box[1] < 1.05 * (plate.box[2] - plate.box[0])
        seen += len(plates)
    assert seen >= 8
    newcomers.close()
    usual.close()
