"""A user's data of any format -> what the model is asked and answers; bad rows are told."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sphinx_ros.commands.tune import tell
from sphinx_ros.errors import BadRequest
from sphinx_ros.prompt.parse import parse
from sphinx_ros.teach.coco_rows import BAD_BOX, CROWD
from sphinx_ros.teach.dataset import files_of, read_data
from sphinx_ros.teach.example import reasons
from sphinx_ros.teach.held_out import parted
from sphinx_ros.teach.said import Writing
from sphinx_ros.teach.shown import Shown, Thing, Views
from sphinx_ros.types import COCO_KEYPOINTS

TWO = Writing(2)


@pytest.fixture
def place(tmp_path):
    (tmp_path / "images").mkdir()
    for name, size in (("a.png", (80, 40)), ("b.png", (40, 80))):
        Image.fromarray(np.zeros((size[1], size[0], 3), np.uint8)).save(tmp_path / "images" / name)
    return tmp_path


def coco(**changes):
    return {
        "images": [{"id": 1, "file_name": "a.png", "width": 80, "height": 40},
                   {"id": 2, "file_name": "b.png", "width": 40, "height": 80}],
        "categories": [{"id": 5, "name": "plate"}, {"id": 9, "name": "person"}],
        "annotations": [{"id": 1, "image_id": 1, "category_id": 5, "bbox": [40, 10, 20, 10]},
                        {"id": 2, "image_id": 1, "category_id": 5, "bbox": [0, 0, 8, 8]}],
        **changes,
    }  # fmt: skip


def write(path, value):
    path.write_text(json.dumps(value))
    return path


def said(data) -> dict:
    """What is asked about each picture -> the answer."""
    return {(one.image.name, one.rounds[0][0].split("\n")[0]): one.rounds[0][1]
            for one in data.examples}  # fmt: skip


def test_boxes_become_fractions_of_the_padded_square_from_left_to_right(place):
    plates = coco(categories=[{"id": 5, "name": "plates"}])
    data = read_data([write(place / "boxes.json", plates)], TWO)
    answers = said(data)
    detected = answers["a.png", "Detect all plates shown in the image."]
    assert detected == "<p>plate</p>[0.00,0.25,0.10,0.35;0.50,0.38,0.75,0.50]"
    assert answers["b.png", "Detect all plates shown in the image."] == (
        "There is no plate in the image."
    )
    assert answers["a.png", "Is there a plate in the image?"] == "yes"
    assert answers["b.png", "Is there a plate in the image?"] == "no"
    assert not data.bad and data.formats["COCO"] == len(data.examples)


@pytest.mark.parametrize("writing, text", [
    (Writing(3), "[0.500,0.375,0.750,0.500]"), (Writing(2, ", "), "[0.50, 0.38, 0.75, 0.50]"),
])  # fmt: skip
def test_numbers_are_written_as_the_checkpoint_writes_them(place, writing, text):
    one = coco(annotations=coco()["annotations"][:1])
    answers = said(read_data([write(place / "boxes.json", one)], writing))
    grounded = [answer for (image, asked), answer in answers.items() if "the plate" in asked]
    assert text in grounded


def test_joints_of_people_become_a_pose(place):
    joints = [[40 + i, 20, 2] for i in range(6)] + [[0, 0, 0]] * 11
    person = {"id": 1, "image_id": 1, "category_id": 9, "bbox": [38, 10, 20, 20],
              "keypoints": [v for joint in joints for v in joint]}  # fmt: skip
    answers = said(read_data([write(place / "boxes.json", coco(annotations=[person]))], TWO))
    region = "Detect the key points of the person in the region [0.48,0.38,0.72,0.62]."
    items = parse(answers["a.png", region]).items
    assert [item.label for item in items] == list(COCO_KEYPOINTS[:6])
    assert items[0].points == ((0.5, 0.5),)


@pytest.mark.parametrize(
    "changes, where, why",
    [
        ({"images": [{"id": 1, "file_name": "c.png"}]}, "image 1", "no picture 'c.png'"),
        ({"images": [{"id": 1, "file_name": "a.png", "width": 40, "height": 80}]}, "image 1",
         "says 40x80 pixels.*has 80x40"),
        ({"annotations": [{"image_id": 1, "category_id": 5, "bbox": [70, 0, 20, 9]}]},
         "annotation 1", "not in the picture of 80x40 pixels"),
        ({"annotations": [{"image_id": 1, "category_id": 5, "bbox": [1, 2, 3]}]}, "annotation 1",
         "expected 4 finite numbers"),
        ({"annotations": [{"image_id": 1, "category_id": 6, "bbox": [1, 2, 3, 4]}]},
         "annotation 1", r"category_id is 6, expected one of \[5, 9\]"),
        ({"annotations": [{"image_id": 77, "category_id": 5, "bbox": [1, 2, 3, 4]}]},
         "annotation 1", "image_id is 77, which no image"),
        ({"annotations": [{"image_id": [1], "category_id": 5, "bbox": [1, 2, 3, 4]}]},
         "annotation 1", "with the image_id of an image"),
        ({"annotations": [{"image_id": 1, "category_id": {}, "bbox": [1, 2, 3, 4]}]},
         "annotation 1", "category_id is {}, expected"),
        ({"annotations": [{"image_id": 1, "category_id": 5, "bbox": [1, 2, 3, 10**400]}]},
         "annotation 1", "expected 4 finite numbers"),
        ({"annotations": [{"image_id": 1, "category_id": 5, "bbox": [1, 2, 3, 4]}] * 2},
         "annotation 2", "the same plate stands in this picture before: counted once"),
        ({"categories": [*coco()["categories"], {"id": 5, "name": "mug"}]}, "category 3",
         "its id 5 is an earlier one's"),
    ],
)  # fmt: skip
def test_a_bad_row_is_told_and_the_others_are_read(place, changes, where, why):
    value = coco(**changes)
    good = {"id": 90, "file_name": "b.png", "width": 40, "height": 80}
    value["images"] = [*value["images"][:1], good]
    data = read_data([write(place / "boxes.json", value)], TWO)
    assert [one.where for one in data.bad] == [f"{place / 'boxes.json'}, {where}"]
    with pytest.raises(AssertionError, match=why):
        raise AssertionError(data.bad[0].why)
    assert {one.image.name for one in data.examples} >= {"b.png"}


def test_nothing_is_taught_about_a_picture_with_a_crowd(place):
    crowd = coco()
    crowd["annotations"][0]["iscrowd"] = 1
    data = read_data([write(place / "boxes.json", crowd)], TWO)
    assert {one.image.name for one in data.examples} == {"b.png"}
    assert not data.bad and data.left_out == {CROWD: 1}


def test_pictures_that_are_left_out_are_counted_by_what_is_wrong(place):
    """They were passed over in silence, and a file of nothing else was said to hold no rows."""
    wrong = coco()
    wrong["annotations"][0]["iscrowd"] = 1
    wrong["annotations"][1] |= {"image_id": 2, "bbox": [0, 0, 800, 8]}
    wrong["images"].append({"id": 3, "file_name": "c.png"})
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(place / "images" / "c.png")
    data = read_data([write(place / "boxes.json", wrong)], TWO)
    assert data.left_out == {CROWD: 1, BAD_BOX: 1} and len(data.bad) == 1
    assert reasons(data.left_out).startswith("1 with a crowd (iscrowd)")
    only = coco(images=coco()["images"][:1])
    only["annotations"][0]["iscrowd"] = 1
    with pytest.raises(BadRequest, match="no picture can be used: 1 with a crowd"):
        read_data([write(place / "boxes.json", only)], TWO)


def test_yolo_gives_the_same_as_coco(place):
    (place / "labels").mkdir()
    (place / "labels" / "a.txt").write_text("0 0.625 0.375 0.25 0.25\n0 0.05 0.1 0.1 0.2\n")
    (place / "data.yaml").write_text("train: images\nnames: [plate, person]\n")
    yolo = said(read_data([place], TWO))
    (place / "data.yaml").unlink()
    both = said(read_data([write(place / "boxes.json", coco())], TWO))
    plates = {key: value for key, value in both.items() if "plate" in key[1]}
    assert {key: value for key, value in yolo.items() if "plate" in key[1]} == plates


def test_yolo_as_roboflow_exports_it_is_read(place):
    """Its data.yaml names ../train/images, which lies beside data.yaml."""
    for name in ("train", "valid"):
        (place / name / "labels").mkdir(parents=True)
        (place / name / "images").mkdir()
    (place / "images" / "a.png").rename(place / "train" / "images" / "a.png")
    (place / "images" / "b.png").rename(place / "valid" / "images" / "b.png")
    (place / "train" / "labels" / "a.txt").write_text("0 0.625 0.375 0.25 0.25\n")
    (place / "data.yaml").write_text(
        "train: ../train/images\nval: ../valid/images\ntest: ../test/images\nnames: [plate]\n"
    )
    answers = said(read_data([place], TWO))
    assert answers["a.png", "Is there a plate in the image?"] == "yes"
    assert answers["b.png", "Is there a plate in the image?"] == "no"
    (place / "data.yaml").write_text("train: ../gone/images\nnames: [plate]\n")
    with pytest.raises(BadRequest, match="names '../gone/images', which is no folder"):
        read_data([place], TWO)


def test_a_bad_line_of_yolo_is_told(place):
    (place / "labels").mkdir()
    (place / "labels" / "a.txt").write_text("7 0.5 0.5 0.1 0.1\n")
    (place / "data.yaml").write_text("train: images\nnames: {0: plate}\n")
    data = read_data([place], TWO)
    assert [one.where for one in data.bad] == [f"{place}/labels/a.txt, line 1"]
    assert "expected a class of [0]" in data.bad[0].why


ROW = {
    "image": "a.png",
    "conversations": [
        {"from": "human", "value": "<image>\nWhat is it?"},
        {"from": "gpt", "value": "a plate"},
        {"from": "human", "value": "Where?"},
        {"from": "gpt", "value": "[0.10,0.20,0.30,0.40]"},
    ],
}


def said_of(answer):
    """A row with one answer."""
    return {**ROW, "conversations": [ROW["conversations"][0], {"from": "gpt", "value": answer}]}


def test_conversations_are_taken_as_they_are(place):
    for path in (write(place / "rows.json", [ROW]), place / "rows.jsonl"):
        path.write_text(json.dumps([ROW] if path.suffix == ".json" else ROW) + "\n")
        (one,) = read_data([path], TWO).examples
        assert one.rounds == (("What is it?", "a plate"), ("Where?", "[0.10,0.20,0.30,0.40]"))


def test_the_official_meta_names_files_roots_and_shares(place):
    (place / "rows").mkdir()
    rest = ROW["conversations"][1:]
    asked = ({"from": "human", "value": f"What is {number}?"} for number in range(200))
    rows = [{**ROW, "conversations": [one, *rest]} for one in asked]
    write(place / "rows" / "many.json", rows)
    meta = "META:\n - {path: rows/many.json, type: image_text, root: images, ratio: 0.5}\n"
    (place / "data.yaml").write_text(meta)
    number = len(read_data([place], TWO).examples)
    assert 70 < number < 130 and number == len(read_data([place], TWO).examples)


@pytest.mark.parametrize(
    "row, why",
    [
        ({"conversations": ROW["conversations"]}, "key image is None"),
        ({**ROW, "image": "z.png"}, "no picture 'z.png'"),
        ({**ROW, "conversations": ROW["conversations"][:3]}, "an answer at the end"),
        ({**ROW, "conversations": [{"from": "robot", "value": "x"}]}, "from: human or gpt"),
        ({**ROW, "conversations": [{"from": "human", "value": "x"},
                                   {"from": "gpt", "value": " "}]}, "is empty"),
        ({**ROW, "conversations": []}, "from nobody"),
        (said_of("[120,30,400,200]"), "box '120,30,400,200' is not in the picture"),
        (said_of("<p>mug</p>[0.1,0.2,0.3,0.4;0.5,0.2,0.3,0.4]"), "'0.5,0.2,0.3,0.4' is not in"),
        ({**ROW, "image": "broken.png"}, "broken.png: .*replace the picture or remove it"),
        (ROW, "what .*rows.json, row 1 says"),
    ],
)  # fmt: skip
def test_bad_conversations_are_told(place, row, why):
    (place / "images" / "broken.png").write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    data = read_data([write(place / "rows.json", [ROW, row])], TWO)
    assert len(data.examples) == 1
    assert data.bad[0].where == f"{place}/rows.json, row 2" and re.search(why, data.bad[0].why)


def test_a_line_that_is_no_json_is_told(place):
    (place / "rows.jsonl").write_text(json.dumps(ROW) + "\n{oops\n")
    data = read_data([place / "rows.jsonl"], TWO)
    assert len(data.examples) == 1 and data.bad[0].where == f"{place}/rows.jsonl, line 2"


def test_label_lines_become_expressions(place):
    lines = [{"image": "images/a.png", "text": "the red mug", "box": [40, 10, 60, 20]},
             {"image": "images/a.png", "text": "the blue mug", "box": None},
             {"image": "images/a.png", "text": "the mug", "box": [0, 0, 900, 9]}]  # fmt: skip
    (place / "l.jsonl").write_text("\n".join(map(json.dumps, lines)))
    data = read_data([place / "l.jsonl"], TWO)
    answers = [one.rounds[0][1] for one in data.examples]
    assert answers == ["[0.50,0.38,0.75,0.50]", "yes", "There is no blue mug in the image.", "no"]
    assert data.bad[0].where == f"{place}/l.jsonl, line 3"


@pytest.mark.parametrize(
    "name, text, why",
    [
        ("x.json", "{", "is no JSON"),
        ("x.json", "[1, 2]", "is of no known format"),
        ("x.yaml", "a: 1", "is of no known format"),
        ("x.json", json.dumps([{"conversations": []}]), "none of 1 rows can be used"),
    ],
)
def test_what_is_no_data_is_refused(place, name, text, why):
    (place / name).write_text(text)
    with pytest.raises(BadRequest, match=why):
        read_data([place / name], TWO)
    with pytest.raises(BadRequest, match="no file or folder"):
        read_data([place / "nowhere"], TWO)


def test_a_picture_of_one_pixel_is_one(place):
    Image.fromarray(np.zeros((1, 1, 3), np.uint8)).save(place / "images" / "a.png")
    whole = {"id": 1, "image_id": 1, "category_id": 5, "bbox": [0, 0, 1, 1]}
    one = coco(images=[{"id": 1, "file_name": "a.png"}], annotations=[whole])
    data = read_data([write(place / "boxes.json", one)], TWO)
    assert said(data)["a.png", "Detect all plates shown in the image."] == (
        "<p>plate</p>[0.00,0.00,0.99,0.99]"
    )
    assert not data.bad


def test_a_picture_under_two_names_is_one(place):
    """Otherwise it could be learnt and held out."""
    (place / "images" / "copy.png").write_bytes((place / "images" / "a.png").read_bytes())
    other = {**ROW, "image": "copy.png", "conversations": ROW["conversations"][2:]}
    data = read_data([write(place / "rows.json", [ROW, other])], TWO)
    assert len(data.examples) == 2 and len(data.pictures) == 1


ODD = (None, True, -1, 0, 1.5, 10**400, float("nan"), "", "x\x00", "\ud800", "a" * 5000, [], [[]],
       {}, {"id": 1}, "../a.png", "a.png", 5, [1, 2, 3, 4], [None] * 4)  # fmt: skip


def changed(value, draw):
    """A value of JSON with an odd one somewhere in it."""
    if not isinstance(value, (dict, list)) or not value or draw.random() < 0.15:
        return ODD[draw.integers(len(ODD))]
    keys = list(value) if isinstance(value, dict) else range(len(value))
    key = keys[draw.integers(len(keys))]
    copy = value.copy()
    copy[key] = changed(value[key], draw)
    return copy


@pytest.mark.parametrize("format", ["COCO", "YOLO", "META", "conversations", "labels"])
def test_no_odd_value_ends_the_reading_but_by_name(place, format):
    """What can't be used is a bad row, or the file is refused; nothing else is raised."""
    (place / "labels").mkdir()
    joints = {
        "id": 9,
        "image_id": 2,
        "category_id": 9,
        "bbox": [0, 0, 9, 9],
        "keypoints": [0] * 51,
    }
    right = {
        "COCO": coco(annotations=[*coco()["annotations"], joints]),
        "YOLO": {"path": ".", "train": ["images"], "val": "images", "names": ["plate", "mug"]},
        "META": {"META": [{"path": "rows.jsonl", "root": "images", "ratio": 0.5}]},
        "conversations": [ROW, said_of("yes")],
        "labels": {"image": "images/a.png", "text": "the mug", "box": [1, 2, 3, 4]},
    }[format]
    (place / "labels" / "a.txt").write_bytes(b"0 0.5 0.5 0.1 0.1\n1 nan 1e999 0 0\n\xff")
    (place / "rows.jsonl").write_text(json.dumps(ROW) + "\n")
    name = {"YOLO": "data.yaml", "META": "data.yaml", "labels": "l.jsonl"}.get(format, "x.json")
    draw, read = np.random.default_rng(5), 0
    for _ in range(100):
        value = changed(right, draw)
        write(place / name, value)
        try:
            data = read_data([place / name], TWO)
            read += 1
        except BadRequest:
            continue
        data.write_bad(place / "bad.txt")
    assert read, "all was refused: the test says nothing"


def test_mirror_images_are_learnt_where_labels_are_boxes_and_joints(place):
    joints = [0.0] * 51
    for name, (x, y) in {"left wrist": (20, 30), "right wrist": (60, 30), "nose": (40, 4),
                         "left eye": (36, 4)}.items():  # fmt: skip
        at = 3 * COCO_KEYPOINTS.index(name)
        joints[at : at + 3] = [x, y, 2]
    marks = coco()["annotations"]
    marks.append({"id": 3, "image_id": 1, "category_id": 9, "bbox": [8, 0, 62, 40],
                  "keypoints": joints})  # fmt: skip
    boxes = write(place / "boxes.json", coco(annotations=marks))
    data = read_data([boxes], TWO, Views(mirror=True))
    plain, turned = (
        [e for e in data.examples if e.shown.mirrored is side] for side in (False, True)
    )
    assert (
        said(read_data([boxes], TWO)).items()
        >= {
            (e.image.name, e.rounds[0][0].split("\n")[0]): e.rounds[0][1] for e in plain[:5]
        }.items()
    )
    assert len(plain) == len(turned) and len(data.images) == 2 and len(data.pictures) == 4
    of_a = [e for e in turned if e.image.name == "a.png"]
    answers = {e.rounds[0][0].split("\n")[0]: e.rounds[0][1] for e in of_a}
    assert answers["Detect all plates shown in the image."] == (
        "<p>plate</p>[0.25,0.38,0.50,0.50;0.90,0.25,0.99,0.35]"
    )
    (pose,) = (text for asked, text in answers.items() if "key points" in asked)
    places = {item.label: item.points[0] for item in parse(pose).items}
    assert places["left wrist"] == (0.25, 0.62) and places["right wrist"] == (0.75, 0.62)
    assert places["right eye"] == (0.55, 0.3) and "left eye" not in places


def test_in_a_mirror_a_left_shoe_is_a_right_shoe(place):
    """Also of the kinds that are not there: whether a left one is there is not known."""
    kinds = [{"id": 5, "name": "left shoe"}, {"id": 9, "name": "leftmost lane"}]
    data = read_data(
        [write(place / "boxes.json", coco(categories=kinds))], TWO, Views(mirror=True)
    )
    for side, other in ((False, "right"), (True, "left")):
        asked = " ".join(e.rounds[0][0] for e in data.examples if e.shown.mirrored is side)
        assert "shoes" in asked and "most lane" in asked and other not in asked
    assert Shown("a.png", mirrored=True).kind("Left-hand drive bright light") == (
        "Right-hand drive bright light"
    )


def test_only_the_file_of_review_is_left_out(place):
    for name in ("review.json", "to_upload.json", "reviewed.json"):
        write(place / name, coco())
    (place / "images" / "a.png").rename(place / "a.png")
    row = {"image": "a.png", "text": "the mug", "box": [1, 2, 3, 4]}
    write(place / "review_2.jsonl", row)
    assert [one.name for one in files_of(place)] == ["review_2.jsonl", "reviewed.json"]


@pytest.mark.parametrize("number, held", [(0, 0), (1, 0), (2, 1), (3, 2), (10, 9)])
def test_the_only_picture_is_learnt_and_never_held_out(number, held):
    learnt, out = parted([Path(f"{n}.png") for n in range(number)], 0.9, 0)
    assert (len(learnt), len(out)) == (number - held, held)


def test_conversations_have_no_mirror_image(place):
    row = {"image": "a.png", "conversations": [{"from": "human", "value": "Which side?"},
                                               {"from": "gpt", "value": "left"}]}  # fmt: skip
    data = read_data([write(place / "images" / "said.json", [row])], TWO, Views(mirror=True))
    assert [one.shown.mirrored for one in data.examples] == [False]


def test_crops_hold_all_things_and_say_where_they_are_in_them(place):
    ramp = np.zeros((40, 80, 3), np.uint8)
    ramp[..., 0], ramp[..., 1] = (
        np.arange(80),
        np.arange(40)[:, None],
    )  # each pixel says where it is
    Image.fromarray(ramp).save(place / "images" / "a.png")
    boxes = write(place / "boxes.json", coco())
    data = read_data([boxes], TWO, Views(mirror=True, crops=6))
    crops = {one.shown for one in data.examples if one.shown.window and one.image.name == "a.png"}
    assert len(crops) == 6 and sum(shown.mirrored for shown in crops) == 3
    assert len({shown.window for shown in crops}) > 3
    plates = [Thing("plate", (0.0, 0.0, 8.0, 8.0)), Thing("plate", (40.0, 10.0, 60.0, 20.0))]
    for shown in crops:
        seen = shown.of(ramp)
        assert seen.shape[1::-1] == shown.size((80, 40))
        for plate in plates:
            x0, y0, x1, y1 = map(int, plate.shown(shown, (80, 40)).box)
            corners = sorted((seen[y0, x0, 0], seen[y0, x1 - 1, 0]))
            assert corners == [plate.box[0], plate.box[2] - 1]
            assert (seen[y0, x0, 1], seen[y1 - 1, x0, 1]) == (plate.box[1], plate.box[3] - 1)
    again = read_data([boxes], TWO, Views(mirror=True, crops=6))
    assert [one.shown for one in again.examples] == [one.shown for one in data.examples]


def test_a_crop_of_a_picture_without_things_shows_half_of_each_side():
    draw = np.random.default_rng(0)
    views = list(Views(crops=200).of("a.png", [], (80, 40), draw))
    assert views[0] == Shown("a.png") and 100 < len(views) <= 201
    assert len(set(views)) == len(views)
    for shown in views[1:]:
        wide, high = shown.size((80, 40))
        assert 40 <= wide <= 80 and 20 <= high <= 40


@pytest.mark.parametrize("mirror", [False, True])
def test_what_crops_show_is_learnt_once(place, mirror):
    """Where things fill the picture crops are equal: a row that said the same ended the others."""
    full = coco()
    full["annotations"][0]["bbox"], full["annotations"][1]["bbox"] = [0, 0, 80, 39], [0, 1, 79, 39]
    data = read_data([write(place / "boxes.json", full)], TWO, Views(mirror=mirror, crops=20))
    assert not data.bad
    shown = [one for one in data.pictures if one.image.name == "a.png"]
    windows = [one.window for one in shown]
    assert (0, 0, 80, 40) not in windows and len(shown) < 5
    assert len({one for one in data.pictures if one.image.name == "b.png"}) > 15


def test_joints_beyond_a_crop_are_not_labelled_any_more():
    joints = np.array([[30, 10, 2], [5, 5, 2], *[[0, 0, 0]] * 15], np.float32)
    thing = Thing("person", (20.0, 0.0, 60.0, 40.0), joints).shown(
        Shown("a.png", False, (10, 0, 70, 40)), (80, 40)
    )
    assert thing.box == (10, 0, 50, 40)
    assert thing.joints[0].tolist() == [20, 10, 2] and not thing.joints[1].any()
    assert joints[1].any()  # those of the picture are what they were


def test_what_is_known_alone_is_nothing_to_learn(place):
    boxes = write(place / "boxes.json", coco())
    row = {"image": "a.png", "conversations": [{"from": "human", "value": "Which side?"},
                                               {"from": "gpt", "value": "left"}]}  # fmt: skip
    said = write(place / "images" / "said.json", [row])
    data = read_data([boxes], TWO, known=[said])
    assert [one.rounds[0][1] for one in data.examples if one.known] == ["left"]
    bad = write(place / "images" / "bad.json", [row | {"image": "nowhere.png"}])
    with pytest.raises(BadRequest, match="none of 1 rows can be used"):
        read_data([bad], TWO, known=[said])


def test_tune_tells_how_many_pictures_were_left_out(tmp_path, capsys):
    done = {"examples": 1, "pictures": 1, "formats": {"COCO": 1}, "steps": 1, "minutes": 1.0,
            "share": 0.1, "bad_rows": 0, "left_out": {CROWD: 2, BAD_BOX: 1}, "before": {},
            "after": {}, "result": "adapter", "checkpoint": "demo+adapter"}  # fmt: skip
    tell(done, tmp_path)
    said = capsys.readouterr().err
    assert "3 pictures were left out: 2 with a crowd (iscrowd)" in said and BAD_BOX in said
    tell({**done, "left_out": {}}, tmp_path)
    assert not capsys.readouterr().err
