"""Drawing: where ink may go, and that nothing odd makes it fail."""

import gc
import math
import tracemalloc

import numpy as np
import pytest

from sphinx_ros.draw import caption_bar, draw, fit, label_colour, labels_of, side_by_side
from sphinx_ros.types import COCO_KEYPOINTS, Detection, Keypoint, Pose

GREY = np.full((120, 160, 3), 90, np.uint8)


def changed(picture) -> np.ndarray:
    return (picture[:120] != GREY).any(axis=2)


def test_a_box_is_drawn_on_its_edge_and_the_picture_given_stays_as_it_was():
    ink = changed(draw(GREY, [Detection("mug", (40, 50, 120, 100))]))
    assert ink[100, 40:121].all() and ink[50:101, 40].all() and ink[50:101, 120].all()
    assert not ink[70:95, 50:110].any() and not ink[:, 130:].any()
    assert (GREY == 90).all()


@pytest.mark.parametrize(
    "box", [(0, 0, 159, 119), (-50, -50, 30, 30), (150, 110, 400, 300), (158, 0, 160, 2)]
)
def test_labels_stay_inside_the_picture(box):
    """A plate is one solid colour; all of it must be there, wherever the box is."""
    label = "a mug"
    picture = draw(GREY, [Detection(label, box)])
    plate = (picture == label_colour(label)).all(axis=2)
    columns, rows = np.flatnonzero(plate.any(axis=0)), np.flatnonzero(plate.any(axis=1))
    assert columns.size > 20 and rows.size > 8


def test_two_labels_at_one_corner_do_not_cover_each_other():
    one, other = Detection("one thing", (30, 60, 90, 100)), Detection("another", (30, 60, 95, 105))
    both, alone = draw(GREY, [one, other]), draw(GREY, [one])
    mine = (alone == label_colour("one thing")).all(axis=2)
    rows = np.flatnonzero(mine.sum(axis=1) > 20)  # those of the plate
    kept = (both == label_colour("one thing")).all(axis=2)
    assert kept[rows].sum() > 0.95 * mine[rows].sum()


def test_colours_depend_on_the_words_alone():
    assert label_colour("mug") == label_colour("mug") != label_colour("can")


def test_a_point_is_a_cross_that_meets_where_it_is_with_its_name_beside_it():
    point = Keypoint("the mug", 80.0, 70.0, 0.5)
    ink = changed(draw(GREY, points=[point]))
    assert ink[70, 77:84].all() and ink[67:74, 80].all() and not ink[90:, :].any()
    plate = (draw(GREY, points=[point]) == label_colour("the mug")).all(axis=2)
    assert plate.sum() > 200, "its name stands on a plate"
    for lost in (Keypoint("x", math.nan, 3.0), Keypoint("x", 1e12, 3.0)):
        assert not changed(draw(GREY, points=[lost])).any()


def widths(labels=None, point=(110.0, 90.0), name="tip"):
    """Columns of the plates of a box and of a point."""
    box = Detection("mug", (10, 40, 60, 100), 0.5)
    picture = draw(GREY, [box], points=[Keypoint(name, *point)], labels=labels)
    there = [(picture == label_colour(label)).all(axis=2) for label in ("mug", name)]
    return [np.flatnonzero(one.any(axis=0)).size for one in there]


def test_other_words_may_stand_beside_boxes_and_points():
    mug, tip = widths()
    assert widths(["mug 0.50 (1 m)", "tip"])[0] > mug + 10
    assert widths(["mug 0.50", "tip (1 m)"])[1] > tip + 10
    assert widths(["mug 0.50", ""])[1] < tip


def test_a_point_that_stands_for_a_box_is_named_once():
    assert labels_of([Detection("mug", (0, 0, 9, 9), 0.5)], [Keypoint("mug", 4, 4, 0.7)]) == [
        "mug 0.50", "",
    ]  # fmt: skip
    assert labels_of([Detection("mug", (0, 0, 9, 9))], [Keypoint("mug", 14, 4, 0.7)]) == [
        "mug", "mug 0.70",
    ]  # fmt: skip


def test_nan_and_endless_text_are_no_trouble():
    joints = tuple(Keypoint(n, math.nan, math.nan) for n in COCO_KEYPOINTS)
    nowhere = Detection("x", (math.nan,) * 4)
    assert not changed(draw(GREY, [nowhere], [Pose(joints)])).any()
    long = Detection("mug " * 200 + "ä\n漢", (10, 10, 60, 60), 0.5)
    picture = draw(GREY, [long], captions=["line " * 100, ""])
    assert picture.shape[1] == 160 and picture.shape[0] > 130


def test_a_skeleton_is_drawn_where_the_joints_are():
    joints = tuple(Keypoint(n, 20 + 7 * i, 100 - 5 * i) for i, n in enumerate(COCO_KEYPOINTS))
    ink = changed(draw(GREY, poses=[Pose(joints)]))
    assert all(ink[round(k.y), round(k.x)] for k in joints)


def frame(ink) -> bool:
    """Whether the outline of (40, 50, 120, 100) is drawn, and nothing in the middle of it."""
    edges = ink[100, 40:121].all() and ink[50:101, 40].all() and ink[50, 40:121].all()
    return bool(edges) and not ink[60:90, 50:110].any()


@pytest.mark.parametrize("nowhere", [(math.nan,) * 4, (0, 0, math.inf, 9)])
def test_a_region_and_a_person_s_box_are_drawn(nowhere):
    box = (40, 50, 120, 100)
    joints = tuple(Keypoint(n, math.nan, math.nan) for n in COCO_KEYPOINTS)
    asked = draw(GREY, regions=[box, nowhere])
    assert frame(changed(asked)) and (asked[100, 60] > 180).all()
    assert frame(changed(draw(GREY, poses=[Pose(joints, box), Pose(joints, nowhere)])))


def plate(label):
    """Pixels of a label's letters and plate, on a wide picture."""
    ground = np.full((120, 900, 3), 90, np.uint8)
    return draw(ground, [Detection(label, (5, 60, 20, 100))])[:60]


@pytest.mark.parametrize(
    "words", ["größer", "кружка", "カップ", "מים", "a\u0301", "🍵", "tab\tbell\x07", "\udcff"]
)
def test_letters_of_any_script_are_shown_and_never_as_question_marks(words):
    assert (plate(words) != 90).any(), "a label is drawn"
    ink = [(plate(w) != label_colour(w)).any(axis=2) for w in (words, "?" * len(words))]
    assert not np.array_equal(*ink)


def test_a_character_that_no_font_has_is_written_as_its_code():
    assert fit("\U000f0000", 500, 0.5) == "\U000f0000".encode("unicode_escape").decode()
    assert fit("line\nbreak", 500, 0.5) == "line break"


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (5, 5)])
def test_pictures_without_room_for_words(size):
    picture = draw(
        np.zeros((*size, 3), np.uint8), [Detection("mug", (0, 0, 1, 1), 0.5)], captions=["a"]
    )
    assert picture.shape[1] == size[1] and picture.shape[0] > size[0]


def test_text_is_cut_to_the_width():
    assert fit("short", 500, 0.5) == "short"
    assert fit("x" * 300, 100, 0.5).endswith("...") and len(fit("x" * 300, 100, 0.5)) < 30
    assert caption_bar(200, ["a", "b"], 0.5).shape[1] == 200


def test_captions_are_shown_as_people_read_them():
    written = "describe: <p>large blue mug</p>[0.270,0.512,0.401,0.688]."
    read = draw(GREY, captions=["describe: large blue mug."])
    assert np.array_equal(draw(GREY, captions=[written]), read)


def test_side_by_side_keeps_every_picture_whole():
    pictures = [np.full((40 + 10 * i, 60, 3), 40 * i, np.uint8) for i in range(5)]
    sheet = side_by_side(pictures, columns=3, gap=8)
    assert sheet.shape == (8 + 60 + 8 + 80 + 8, 8 + 3 * 68, 3)
    for i, picture in enumerate(pictures):
        assert (sheet == 40 * i).all(axis=2).sum() >= picture.shape[0] * picture.shape[1]


def test_a_node_that_draws_for_weeks_keeps_no_font_of_each_size_and_no_character():
    from PIL import ImageFont

    def fonts():
        gc.collect()
        return sum(isinstance(thing, ImageFont.FreeTypeFont) for thing in gc.get_objects())

    fit("mug", 500, 0.5)
    few = fonts()
    for number in range(30, 90):
        fit(chr(0x4E00 + number), 500, number / 30)
    assert fonts() <= 5 * few
    tracemalloc.start()
    for code in range(0x4E00, 0x7000):
        fit(chr(code), 500, 0.5)
        if code == 0x6800:  # more than are kept
            kept = tracemalloc.get_traced_memory()[0]
    assert tracemalloc.get_traced_memory()[0] < kept + 50_000
    tracemalloc.stop()
