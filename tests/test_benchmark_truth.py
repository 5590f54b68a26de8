"""Nobody is measured against doubtful truth: COCO's files, one's own, sizes, parts of rows."""

import json
import pickle
from importlib.util import find_spec

import pytest
from benchmark_support import png, put, written

from sphinx_ros.benchmarks.catalogue import benchmark
from sphinx_ros.benchmarks.layouts import read_benchmark
from sphinx_ros.benchmarks.read_coco import NO_JOINTS, OF_LABEL
from sphinx_ros.benchmarks.samples import Family
from sphinx_ros.benchmarks.scoring import scores
from sphinx_ros.teach.label_folder import KEPT, TOLD

needs_parquet = pytest.mark.skipif(
    find_spec("pyarrow") is None, reason='pyarrow is missing: pip install "sphinx_ros[eval]"'
)
needs_coco = pytest.mark.skipif(
    find_spec("faster_coco_eval") is None,
    reason='faster-coco-eval is missing: pip install "sphinx_ros[eval]"',
)
JOINTS = [20.0, 20.0, 2] * 17


def thing(id, image=1, category=1, box=(5, 5, 20, 20), **more):
    row = {"id": id, "image_id": image, "category_id": category, "bbox": list(box), **more}
    return {name: value for name, value in row.items() if value is not None}


def coco(path, *things, images=("a.png", "b.png"), names=("plate",)):
    """A file of COCO with some pictures."""
    rows = [{"id": n, "file_name": name, "width": 64, "height": 48}
            for n, name in enumerate(images, 1)]  # fmt: skip
    kinds = [{"id": n, "name": name} for n, name in enumerate(names, 1)]
    put(path, {"images": rows, "annotations": list(things), "categories": kinds})


def read(name, folder, **more):
    return read_benchmark(benchmark(name), folder, **more)[1]


@pytest.fixture
def folder(tmp_path):
    png(tmp_path, "a.png", "b.png")
    return tmp_path


# COCO


@pytest.mark.parametrize("joints", [[], [5, 5, 2, 25, 25, 2], None])
def test_a_thing_without_seventeen_joints_keeps_its_box(joints, folder):
    coco(folder / "x.json", thing(1, keypoints=joints))
    reading = read("mine", folder)
    assert [(s.family, len(s.boxes)) for s in reading.samples] == [
        (Family.DETECT, 1),
        (Family.DETECT, 0),
    ]
    assert not reading.refused


def test_a_person_without_joints_beside_one_with_some_is_not_to_be_found(folder):
    people = thing(1, keypoints=JOINTS), thing(2, box=(30, 5, 9, 9), keypoints=[])
    coco(folder / "x.json", *people, names=("person",))
    (sample,) = read("mine", folder, splits=["pose"]).samples
    assert sample.more["keypoints"] == [JOINTS, NO_JOINTS]
    assert sample.sought == ((5, 5, 25, 25),)


def test_annotations_need_no_id_of_their_own(folder):
    """Many tools write none, or begin anew with each picture; a repetition counts once."""
    two = thing(None), thing(None, box=(30, 5, 9, 9))
    coco(folder / "x.json", *two, thing(1), thing(1, image=2), thing(1))
    reading = read("mine", folder)
    assert [len(s.boxes) for s in reading.samples] == [3, 1]
    assert reading.refused == {"duplicate id": 1}


@pytest.mark.parametrize(
    "bad",
    [{"box": (5, 5, -3, 20)}, {"box": (5, 5, 900, 20)}, {"box": (0, 0, 10**400, 5)},
     {"category": 7}, {"keypoints": [float("nan")] * 51}, {"keypoints": ["x"] * 51}],
)  # fmt: skip
@pytest.mark.parametrize("name", ["mine", "coco-detect", "d3"])
def test_of_a_picture_with_a_bad_annotation_nothing_is_asked(name, bad, folder):
    path = {"mine": "x.json", "d3": "d3_full_annotations.json"}.get(name, "instances_val2017.json")
    coco(folder / path, thing(1), thing(2, **bad), thing(3, **bad), thing(4, image=2))
    reading = read(name, folder)
    assert [s.picture.path.name for s in reading.samples] == ["b.png"]
    assert sum(reading.refused.values()) == 1, "one picture"
    assert "image 0: annotation 1: " in reading.told[0]


def test_pictures_that_share_an_id_and_things_of_no_picture(folder):
    coco(folder / "x.json", thing(1), thing(2, image=9), [], images=("a.png", "b.png", "a.png"))
    values = json.loads((folder / "x.json").read_text())
    values["images"][1]["id"] = 1
    put(folder / "x.json", values)
    reading = read("mine", folder)
    assert [(s.id, s.boxes) for s in reading.samples] == [("x.3.plate", ())]
    assert sum(reading.refused.values()) == 4
    assert any("2 images have the id 1" in told for told in reading.told)


def perfect(sample):
    line = {"text": "", "status": "OK", "size": [64, 48], "boxes": [list(b) for b in sample.boxes]}
    return sample, line | {"scores": [0.5] * len(sample.boxes)}


@needs_coco
def test_several_files_of_ones_own_are_told_apart(folder):
    """Each begins its ids with 1; a kind of both is one kind."""
    coco(folder / "x.json", thing(1), names=("plate",), images=["a.png"])
    coco(folder / "y.json", thing(1, category=2, box=(9, 9, 9, 9)), names=("mug", "plate"),
         images=["b.png"])  # fmt: skip
    png(folder, "annotations/b.png")
    coco(folder / "annotations" / "x.json", thing(1, category=1), names=("mug",), images=["b.png"])
    reading = read("mine", folder)
    assert [(s.id, s.text, s.picture.path.name, len(s.boxes)) for s in reading.samples] == [
        ("annotations.x.1.mug", "mug", "b.png", 1),
        ("x.1.plate", "plate", "a.png", 1),
        ("y.1.mug", "mug", "b.png", 0),
        ("y.1.plate", "plate", "b.png", 1),
    ]
    table = {one.name: one for one in scores([perfect(one) for one in reading.samples])}
    assert table["mine.detect.ap"].correct == pytest.approx(1.0)
    assert table["mine.detect.ap"].correct_n == 3


def test_categories_of_one_name_are_one_question(folder):
    coco(folder / "x.json", thing(1), thing(2, category=2, box=(30, 5, 9, 9)), images=["a.png"],
         names=("plate", "plate"))  # fmt: skip
    (sample,) = read("mine", folder).samples
    assert len(sample.boxes) == 2


def test_of_a_folder_of_labels_only_what_is_kept_counts(folder):
    """review.json and whatever else is there say it once more, or what is in doubt."""
    assert OF_LABEL == (KEPT, TOLD)
    coco(folder / KEPT, thing(1), images=["a.png"])
    for other in ("review.json", "another.json"):
        coco(folder / other, thing(1, box=(1, 1, 2, 2)), images=["b.png"])
    put(folder / TOLD, {})
    assert [s.picture.path.name for s in read("mine", folder).samples] == ["a.png"]
    (folder / TOLD).unlink()
    assert len(read("mine", folder).samples) == 3


# what is told of pictures


@pytest.mark.parametrize("layout", ["refer", "eval_mm", "tsv", "coco"])
def test_the_size_that_the_data_tells_goes_along(layout, tmp_path):
    made = written(layout, tmp_path / "data")
    reading = read("coco-detect" if layout == "coco" else "refcoco", tmp_path / "data")
    told = {s.picture.read(): s.more["size"] for s in reading.samples}
    assert told == {scene.png: scene.size for scene in made}


@needs_parquet
def test_pictures_whose_names_end_in_numbers_are_several(tmp_path):
    import pyarrow
    from pyarrow import parquet

    image = {"bytes": png(tmp_path), "path": None}
    names = [f"scene/Places365_val_0000000{n}.jpg" for n in (1, 3, 5)]
    rows = [
        {"question_id": name, "image": image, "question": said, "answer": true, "category": "OCR"}
        for name in names for said, true in (("Is it?", "Yes"), ("Is it not?", "No"))
    ]  # fmt: skip
    (tmp_path / "MME").mkdir()
    parquet.write_table(pyarrow.Table.from_pylist(rows), tmp_path / "MME" / "test-0.parquet")
    assert len({s.picture.key for s in read("mme", tmp_path / "MME").samples}) == 3


# rows with several parts


def test_one_bad_sentence_leaves_the_others(tmp_path):
    written("refer", tmp_path, 1)
    path = tmp_path / "refcoco" / "refs(unc).p"
    refs = pickle.loads(path.read_bytes())
    whole = len(read("refcoco", tmp_path).samples)
    refs[0]["sentences"] = [{"sent": w, "sent_id": 900 + n} for n, w in enumerate(["a", "", "c"])]
    path.write_bytes(pickle.dumps(refs, 2))
    reading = read("refcoco", tmp_path)
    assert {"a", "c"} <= {s.text for s in reading.samples}
    assert reading.refused == {"unreadable row": 1} and "ref 0, part 1" in reading.told[0]
    assert len(reading.samples) >= whole - 1 + 2 - 1


def test_one_bad_answer_about_a_cover_leaves_the_others(tmp_path):
    png(tmp_path, "images/b1.png")
    book = {"questions": ["q1", "q2", "q3"], "answers": ["a", None, "c"], "split": 3}
    put(tmp_path / "dataset.json", {"b1": book})
    reading = read("ocrvqa", tmp_path)
    assert [s.id for s in reading.samples] == ["b1.0", "b1.2"]
    assert sum(reading.refused.values()) == 1


@needs_parquet
def test_one_bad_part_of_a_row_of_a_table_leaves_the_others(tmp_path):
    import pyarrow
    from pyarrow import parquet

    image = {"bytes": png(tmp_path), "path": None}
    for name, row in (
        ("refcoco/val-0", {"answer": ["a", " ", "c"], "bbox": [1.0, 2.0, 9.0, 9.0]}),
        ("ocrvqa/test-0", {"questions": ["q1", "q2", "q3"], "answers": ["a", None, "c"]}),
    ):
        path = tmp_path / f"{name}.parquet"
        path.parent.mkdir()
        parquet.write_table(pyarrow.Table.from_pylist([row | {"image": image}]), path)
        reading = read(path.parent.name, path.parent)
        assert len(reading.samples) == 2 and sum(reading.refused.values()) == 1


@pytest.mark.parametrize("id", [[1], {"a": 1}, None, 10**400])
def test_an_id_that_is_none_ends_no_run(id, tmp_path):
    png(tmp_path, "a.png")
    people = {"annotations": [{"question_id": 1, "answers": ["x"] * 10}, {"answers": ["y"] * 10}]}
    put(tmp_path / "textvqa_val2014_annotations.json", people)
    row = {"image_path": "a.png", "question": "What?", "gt_answers": "x"}
    put(tmp_path / "textvqa_val.json", [row | {"question_id": 1}, row | {"question_id": id}])
    reading = read("textvqa", tmp_path)
    assert [s.answers for s in reading.samples] == [("x",) * 10]
    assert sum(reading.refused.values()) == 1


# splits


def test_people_and_several_right_answers_are_asked_about_in_splits_of_their_own(folder):
    rows = [
        {"image": "a.png", "question": "What colour?", "answer": ["red", "crimson"]},
        {"image": "a.png", "question": "What colour is it?", "answer": ["red"] * 10},
    ]
    put(folder / "labels.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    samples = read("mine", folder).samples
    lines = [{"text": "Crimson.", "status": "OK", "boxes": []} for _ in samples]
    table = {one.name: one for one in scores(list(zip(samples, lines, strict=True)))}
    assert table["mine.questions.acc"].correct == 1.0
    assert table["mine.people.acc"].correct == 0.0


def test_no_published_figure_stands_beside_other_splits(tmp_path):
    written("refer", tmp_path)
    (tmp_path / "refcoco").rename(tmp_path / "refcocog")
    for by, shown in (("google", False), ("umd", True)):
        (path,) = (tmp_path / "refcocog").glob("refs*.p")
        path.rename(path.with_name(f"refs({by}).p"))
        reading = read("refcocog", tmp_path)
        found = {one.name: one for one in scores(list(map(perfect, reading.samples)), "sphinx-1k")}
        assert bool(found["refcocog.val.acc50"].source) is shown
        assert bool(reading.remarks) is not shown
    other = path.with_name("refs(umd).p")
    other.with_name("refs(google).p").write_bytes(other.read_bytes())
    assert read("refcocog", tmp_path).files[0].name == "refs(umd).p"
