"""Labels that a person has corrected, in files as CVAT and Label Studio write them."""

import json
import math
import zipfile

import cv2
import numpy as np
import pytest

from sphinx_ros.commands.cli import main
from sphinx_ros.errors import BadRequest
from sphinx_ros.teach import label_folder
from sphinx_ros.teach.dataset import read_data
from sphinx_ros.teach.label_corrections import corrected
from sphinx_ros.teach.label_folder import read_sheets, write_folder
from sphinx_ros.teach.labelling import Found, Sheet
from sphinx_ros.teach.said import Writing

SIZE = (64, 48)
MARK = {"id": 1, "image_id": 1, "category_id": 1, "bbox": [3, 4, 10, 11]}


@pytest.fixture
def folder(tmp_path):
    """Two pictures that are sure, two in doubt, of mugs and cans."""
    box, nan = (10.0, 12.0, 30.0, 40.0), float("nan")
    sheets = [
        Sheet("sure.png", SIZE, [Found("mug", box, 0.9), Found("can", (1, 2, 9, 9), 0.8)]),
        Sheet("empty.png", SIZE),
        Sheet("doubt.png", SIZE, [Found("mug", box, 0.9)], [Found("mug", (2, 2, 20, 20), nan)]),
        Sheet("my desk.png", SIZE, trouble="detect: mug: 'eight'"),
    ]
    made = tmp_path / "lab"
    (made / "images").mkdir(parents=True)
    for grey, sheet in enumerate(sheets):
        cv2.imwrite(str(made / "images" / sheet.name), np.full((48, 64, 3), grey, np.uint8))
    write_folder(made, sheets, ["mug", "can"], "coco", Writing(2))
    (made / "labels.json").write_text(json.dumps({"format": "coco", "checkpoint": "demo"}))
    return made


def cvat(names, marks):
    """instances_default.json of CVAT 2 (datumaro), for marks of (picture, category, box, turn)."""
    return {
        "licenses": [{"name": "", "id": 0, "url": ""}],
        "info": {"contributor": "", "date_created": "", "description": "", "url": "",
                 "version": "", "year": ""},
        "categories": [{"id": n, "name": name, "supercategory": ""}
                       for n, name in enumerate(("mug", "can", "plate"), 1)],
        "images": [{"id": n, "width": 64, "height": 48, "file_name": name, "license": 0,
                    "flickr_url": "", "coco_url": "", "date_captured": 0}
                   for n, name in enumerate(names, 1)],
        "annotations": [{"id": n, "image_id": image, "category_id": kind, "segmentation": [],
                         "area": float(box[2] * box[3]), "bbox": box, "iscrowd": 0,
                         "attributes": {"occluded": False, "rotation": turn}}
                        for n, (image, kind, box, turn) in enumerate(marks, 1)],
    }  # fmt: skip


def label_studio(names, marks):
    """result.json of Label Studio 1.x, for marks of (picture, category, box)."""
    return {
        "images": [{"width": 64, "height": 48, "id": n, "file_name": name}
                   for n, name in enumerate(names)],
        "categories": [{"id": 0, "name": "can"}, {"id": 1, "name": "mug"}],
        "annotations": [{"id": n, "image_id": image, "category_id": kind, "segmentation": [],
                         "bbox": box, "ignore": 0, "iscrowd": 0, "area": box[2] * box[3]}
                        for n, (image, kind, box) in enumerate(marks)],
        "info": {"year": 2026, "version": "1.0", "description": "", "contributor": "Label Studio",
                 "url": "", "date_created": "2026-11-27 02:04:54.513"},
    }  # fmt: skip


def archive(path, name, value):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("images/doubt.png", b"no JSON")
        file.writestr(name, json.dumps(value))
    return path


def kept(folder, name):
    sheets, _ = read_sheets(folder / "annotations.json")
    return next([(f.kind, f.box, f.score) for f in one.kept] for one in sheets if one.name == name)


def in_review(folder):
    return [one.name for one in read_sheets(folder / "review.json")[0]]


def test_what_is_written_is_what_both_tools_import(folder):
    """CVAT wants segmentation, a list, and a number as score; Label Studio's converter both keys,
    and sizes of pictures.
    """
    for name in ("annotations.json", "review.json", "to_upload.json"):
        value = json.loads((folder / name).read_text())
        for one in value["annotations"]:
            assert one["segmentation"] == [] and one["iscrowd"] == 0
            assert isinstance(one["score"], float) and isinstance(one["id"], int)
            assert len(one["bbox"]) == 4 and one["category_id"] in (1, 2)
        assert all((i["width"], i["height"]) == SIZE for i in value["images"])
    doubt = read_sheets(folder / "review.json")[0][0]
    assert doubt.kept[0].score == 0.9 and math.isnan(doubt.kept[1].score)


def test_an_archive_of_cvat_settles_what_was_in_doubt(folder, tmp_path, capsys):
    marks = [(1, 1, [3.0, 4.0, 10.0, 11.0], 0.0), (1, 3, [20.0, 10.0, 20.0, 10.0], 90.0)]
    value = cvat(["images/doubt.png", "images/my desk.png"], marks)
    made = archive(tmp_path / "task.zip", "annotations/instances_default.json", value)
    assert main(["label", str(folder), "--corrections", str(made)]) == 0
    said = capsys.readouterr()
    assert "2 pictures corrected, 0 still to be reviewed" in said.out
    assert "nobody has looked for plate in the 2 pictures" in said.err
    assert kept(folder, "doubt.png") == [
        ("mug", (3.0, 4.0, 13.0, 15.0), 1.0),
        ("plate", (25.0, 5.0, 35.0, 25.0), 1.0),  # turned by a quarter about its middle
    ]
    assert kept(folder, "my desk.png") == [] and in_review(folder) == []
    assert [one[2] for one in kept(folder, "sure.png")] == [0.9, 0.8]
    data = read_data([folder], Writing(3))
    assert not data.bad and len(data.pictures) == 4


@pytest.mark.parametrize(
    "name",
    ["doubt.png", "images/0a1b2c3d-doubt.png", "images\\0a1b2c3d-doubt.png",
     "images/0a1b2c3d__doubt.png", "../../lab/images/doubt.png"],
)  # fmt: skip
def test_a_picture_of_label_studio_is_known_by_its_name(folder, tmp_path, name, capsys):
    export = tmp_path / "result.json"
    export.write_text(json.dumps(label_studio([name], [(0, 1, [3.0, 4.0, 10.0, 11.0])])))
    assert main(["label", str(folder), "--corrections", str(export)]) == 0
    assert "1 pictures corrected, 1 still to be reviewed" in capsys.readouterr().out
    assert kept(folder, "doubt.png") == [("mug", (3.0, 4.0, 13.0, 15.0), 1.0)]
    assert in_review(folder) == ["my desk.png"]


def test_a_kill_between_the_files_loses_no_settled_picture(folder, tmp_path, monkeypatch, capsys):
    export = tmp_path / "result.json"
    export.write_text(json.dumps(cvat(["doubt.png"], [(1, 1, [3.0, 4.0, 10.0, 11.0], 0.0)])))
    write, calls = label_folder._write_json, []

    def killed(path, value):
        calls.append(path)
        if path.name == "review.json":
            raise KeyboardInterrupt
        write(path, value)

    with monkeypatch.context() as patched:
        patched.setattr(label_folder, "_write_json", killed)
        assert main(["label", str(folder), "--corrections", str(export)]) == 130
    assert main(["label", str(folder), "--corrections", str(export)]) == 0
    assert "1 pictures corrected, 1 still to be reviewed" in capsys.readouterr().out
    sure = [one.name for one in read_sheets(folder / "annotations.json")[0]]
    assert sorted(sure) == ["doubt.png", "empty.png", "sure.png"]
    assert in_review(folder) == ["my desk.png"]


def test_a_task_of_all_pictures_comes_back_without_losing_what_is_kept(folder, tmp_path, capsys):
    """CVAT exports every picture of a task, also those without boxes."""
    uploaded = json.loads((folder / "to_upload.json").read_text())
    names = [one["file_name"] for one in uploaded["images"]]
    assert names == [f"images/{n}.png" for n in ("sure", "empty", "doubt", "my desk")]
    assert [one["image_id"] for one in uploaded["annotations"]] == [1, 1, 3, 3]
    assert [one["score"] for one in uploaded["annotations"]] == [0.9, 0.8, 0.9, -1]
    before, read_back = kept(folder, "sure.png"), tmp_path / "all.json"
    read_back.write_text(json.dumps(uploaded))
    only_review = cvat(names, [(3, 1, [3.0, 4.0, 10.0, 11.0], 0.0)])
    export = tmp_path / "result.json"
    export.write_text(json.dumps(only_review))
    words = ["label", str(folder), "--corrections", str(export)]
    assert main(words) == 0
    said = capsys.readouterr()
    assert "3 pictures corrected, 0 still to be reviewed" in said.out
    assert "1 pictures with kept boxes have none in the file" in said.err
    assert "--empty-is-none" in said.err
    assert kept(folder, "sure.png") == before and kept(folder, "my desk.png") == []
    assert main([*words, "--empty-is-none"]) == 0
    assert kept(folder, "sure.png") == [] and "--empty-is-none" not in capsys.readouterr().err
    assert main(["label", str(folder), "--corrections", str(read_back)]) == 0
    assert [one[:2] for one in kept(folder, "sure.png")] == [one[:2] for one in before]


def test_a_file_without_boxes_is_refused_where_all_is_kept(folder, tmp_path, capsys):
    export = tmp_path / "result.json"
    export.write_text(json.dumps(cvat(["sure.png"], [])))
    assert main(["label", str(folder), "--corrections", str(export)]) == 2
    assert "corrects no picture" in (said := capsys.readouterr().err) and "--empty-is-none" in said
    assert main(["label", str(folder), "--empty-is-none"]) == 2
    assert "--corrections" in capsys.readouterr().err


def test_counts_are_those_of_the_corrected_labels(folder, tmp_path):
    told = {"format": "coco", "checkpoint": "demo", "keep": 0.7, "pictures": 4, "to_review": 2,
            "failed": 1, "boxes": {"kept": 3, "in_doubt": 1, "dropped": 5}}  # fmt: skip
    (folder / "labels.json").write_text(json.dumps(told))
    export = tmp_path / "result.json"
    for name, boxes in (("my desk.png", {"kept": 4, "in_doubt": 1, "dropped": 5}),
                        ("doubt.png", {"kept": 4, "in_doubt": 0, "dropped": 5})):  # fmt: skip
        export.write_text(json.dumps(cvat([name], [(1, 1, [3.0, 4.0, 10.0, 11.0], 0.0)])))
        assert main(["label", str(folder), "--corrections", str(export)]) == 0
        found = json.loads((folder / "labels.json").read_text())
        left = len(in_review(folder))
        assert found == told | {"to_review": left, "boxes": boxes}


def test_what_corrections_would_pass_over_is_refused(folder, tmp_path, capsys):
    words = ["label", str(folder), "--corrections", "gone.json", "--out", str(tmp_path / "new")]
    assert main(words) == 2
    assert "--out is for labelling" in capsys.readouterr().err


def test_a_box_that_was_pasted_twice_is_one_thing(folder, tmp_path):
    marks = [(1, 1, [3.0, 4.0, 10.0, 11.0], 0.0), (1, 1, [3.0, 4.0, 10.0, 11.001], 0.0)]
    export = tmp_path / "result.json"
    export.write_text(json.dumps(cvat(["doubt.png"], marks)))
    for _ in range(2):  # the folder can be read again
        assert main(["label", str(folder), "--corrections", str(export)]) == 0
    assert kept(folder, "doubt.png") == [("mug", (3.0, 4.0, 13.0, 15.0), 1.0)]


@pytest.mark.parametrize(
    "checkpoint", ["hf://owner/repo/folder", "http://gpu-box:8000", "/gone/since"]
)
def test_texts_are_written_anew_as_they_were(folder, tmp_path, checkpoint):
    told = {"format": "llava", "checkpoint": checkpoint, "decimals": 1, "comma": ", "}
    (folder / "labels.json").write_text(json.dumps(told))
    export = tmp_path / "result.json"
    export.write_text(json.dumps(cvat(["doubt.png"], [(1, 1, [8.0, 4.0, 16.0, 16.0], 0.0)])))
    assert main(["label", str(folder), "--corrections", str(export)]) == 0
    assert "<p>mug</p>[0.1, 0.2, 0.4, 0.4]" in (folder / "conversations.json").read_text()


def test_spaces_in_names_come_back_as_signs_of_the_web(folder, tmp_path):
    value = label_studio(["images/0a1b2c3d-my%20desk.png"], [(0, 0, [0.0, 0.0, 64.0, 48.4])])
    made = archive(tmp_path / "project.zip", "result.json", value)
    done = corrected(folder, made)
    assert done.count == 1 and not done.bad.bad and done.new == []
    desk = next(one for one in done.sheets if one.name == "my desk.png")
    assert desk.kept == [Found("can", (0.0, 0.0, 64.0, 48.0), 1.0)] and desk.sure


def test_a_row_that_cannot_be_used_leaves_its_picture_as_it_was(folder, tmp_path, capsys):
    marks = [(1, 1, [3.0, 4.0, 100.0, 11.0], 0.0), (2, 2, [1.0, 1.0, 5.0, 5.0], 0.0)]
    value = cvat(["doubt.png", "my desk.png", "other.png"], marks)
    export = tmp_path / "instances_default.json"
    export.write_text(json.dumps(value))
    assert main(["label", str(folder), "--corrections", str(export)]) == 0
    said = capsys.readouterr()
    assert "1 pictures corrected, 1 still to be reviewed; 2 rows could not be used" in said.out
    assert "image 1: the box 3,4,103,15" in said.err and "no picture 'other.png'" in said.err
    assert in_review(folder) == ["doubt.png"]


@pytest.mark.parametrize(
    "value, said",
    [
        (cvat(["x.png"], []), "there is no picture 'x.png' in the folder"),
        (cvat([], []), "it has no images"),
        ([1, 2], "is no file of COCO: export COCO 1.0 from CVAT"),
        ({"images": [1], "annotations": [], "categories": []}, "that are no objects"),
        ({"categories": [{"name": "mug"}, {"id": 2, "name": "can"}]}, "id in row 1 of categories"),
        ({"categories": [{"id": [1], "name": "mug"}]}, "id in row 1 of categories is .1."),
        ({"categories": [{"id": 1, "name": "mug"}] * 2}, "id in row 2 of categories is 1"),
        ({"images": [{"id": {}, "file_name": "doubt.png"}]}, "id in row 1 of images is {}"),
        ({"annotations": [MARK | {"image_id": [1]}]}, "image_id in row 1 of annotations"),
        (
            {"annotations": [MARK | {"category_id": [1]}]},
            "category_id .1., expected one of .1, '2'",
        ),
        ({"annotations": [MARK | {"attributes": {"rotation": float("inf")}}]}, "rotation is .inf"),
        ({"annotations": [MARK | {"bbox": [3, 4, 10, 0.001]}]}, "narrower than a hundredth"),
        (
            {"images": [{"id": 1, "file_name": "doubt.png", "width": 640, "height": 480}]},
            "the file says 640x480 pixels, but the folder's picture has 64x48",
        ),
    ],
)
def test_files_that_correct_nothing_are_refused(folder, tmp_path, value, said):
    if isinstance(value, dict) and len(value) == 1:
        mugs = [{"id": 1, "name": "mug"}, {"id": "2", "name": "can"}]
        images = [{"id": 1, "file_name": "doubt.png"}]
        value = {"images": images, "annotations": [], "categories": mugs} | value
    export = tmp_path / "export.json"
    export.write_text(json.dumps(value))
    before = (folder / "review.json").read_bytes()
    with pytest.raises(BadRequest, match=said):
        corrected(folder, export)
    assert main(["label", str(folder), "--corrections", str(export)]) == 2
    assert (folder / "review.json").read_bytes() == before


@pytest.mark.parametrize(
    "before, said",
    [(b"result.json", "is no file of COCO"), (b"PK\1\2", "is a damaged archive")],
    ids=["packed data", "list of files"],
)
def test_a_damaged_archive_is_refused(folder, tmp_path, before, said):
    made = archive(tmp_path / "task.zip", "result.json", cvat(["doubt.png"], []))
    data = made.read_bytes()
    at = data.index(before) + len(before) - (before == b"PK\1\2")
    made.write_bytes(data[:at] + b"\xff\xff" + data[at + 2 :])
    with pytest.raises(BadRequest, match=said):
        corrected(folder, made)


def test_an_archive_without_labels_is_refused(folder, tmp_path):
    made = archive(tmp_path / "task.zip", "data.json", {"dataset": []})
    with pytest.raises(BadRequest, match="is no file of COCO"):
        corrected(folder, made)
