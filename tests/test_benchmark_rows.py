"""Rows of the field's files that are easily read wrong: numbered choices, parts, shards, names."""

import base64
import json
from importlib.util import find_spec

import pytest
from benchmark_support import png, put, written

from sphinx_ros.benchmarks.catalogue import benchmark
from sphinx_ros.benchmarks.layouts import read_benchmark
from sphinx_ros.errors import BadRequest

needs_parquet = pytest.mark.skipif(
    find_spec("pyarrow") is None, reason='pyarrow is missing: pip install "sphinx_ros[eval]"'
)


def read(name, folder, **more):
    return read_benchmark(benchmark(name), folder, **more)[1]


def test_the_number_of_a_choice_is_no_choice_in_words(tmp_path):
    """Of IconQA's "1", "2", "3" the answer 1 is "2"; only words and letters are texts."""
    row = {"question": "How many?", "choices": ["1", "2", "3"], "answer": 1}
    png(tmp_path, "icon/test/choose_txt/3/image.png", "science/images/test/7/image.png")
    put(tmp_path / "icon/test/choose_txt/3/data.json", row)
    put(tmp_path / "science/problems.json", {"7": row | {"image": "image.png"}})
    put(tmp_path / "science/pid_splits.json", {"test": ["7"]})
    for name, folder in (("iconqa", "icon"), ("scienceqa", "science")):
        (sample,) = read(name, tmp_path / folder).samples
        assert sample.answers == ("B",)
    png(tmp_path / "own", "a.png")
    own = {"image": "a.png", **row}
    lines = [own, own | {"answer": "1"}, own | {"answer": "c"}, own | {"answer": 3}]
    put(tmp_path / "own/x.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    reading = read("mine", tmp_path / "own")
    assert [s.answers for s in reading.samples] == [("B",), ("A",), ("C",)]
    assert "right answer 3 is none of the 3 choices" in reading.told[0]


@pytest.mark.parametrize("inner", ["", "images/"])
def test_the_parts_of_mme_are_the_folders_above_the_pictures(inner, tmp_path):
    path = f"artwork/{inner}1.png"
    png(tmp_path, path)
    rows = [
        {"image_path": f"./data/{path}", "question": text, "question_id": n, "gt_answers": true}
        for n, (text, true) in enumerate((("Is it?", "Yes"), ("Is it not?", "No")))
    ]
    put(tmp_path / "MME_benchmark.json", rows)
    assert [s.group for s in read("mme", tmp_path).samples] == ["artwork"] * 2


def test_a_question_of_scienceqa_without_a_hint_has_an_empty_context(tmp_path):
    """So it is in the official data; elsewhere the official evaluation writes N/A."""
    row = {"question": "Which?", "choices": ["x", "y"], "answer": 0, "hint": ""}
    png(tmp_path, "images/test/7/image.png", "test/choose_txt/7/image.png")
    put(tmp_path / "problems.json", {"7": row | {"image": "image.png"}})
    put(tmp_path / "pid_splits.json", {"test": ["7"]})
    put(tmp_path / "test/choose_txt/7/data.json", row)
    for name, context in (("scienceqa", ""), ("iconqa", "N/A")):
        (sample,) = read(name, tmp_path).samples
        assert benchmark(name).prompt(sample).startswith(f"Context:\n{context}\nQuestion:\nWhich?")


PEOPLE = [{"answer": "two"}] * 4 + [{"answer": "2"}] * 6


@pytest.mark.parametrize("name", ["okvqa", "textvqa", "vizwiz", "vqav2"])
def test_the_official_json_needs_the_answers_of_people(name, tmp_path):
    """It has one answer for each question, and what is published is agreement with ten people."""
    png(tmp_path, "val/1.png")
    row = {"image_path": "data/val/1.png", "question": "How many?", "question_id": 5}
    put(tmp_path / f"{name}_val.json", [row | {"gt_answers": "two"}])
    with pytest.raises(BadRequest, match=rf"{name}_val.json, row 0: .*only answer.*annotations"):
        read(name, tmp_path)
    begins = {"vqav2": "v2_mscoco", "okvqa": "mscoco"}.get(name, name)
    answered = {"annotations": [{"question_id": 5, "answers": PEOPLE}]}
    put(tmp_path / "data" / name / f"{begins}_val2014_annotations.json", answered)
    (sample,) = read(name, tmp_path).samples
    assert sample.answers == ("two",) * 4 + ("2",) * 6


def test_vqav2_and_okvqa_in_one_folder_are_told_apart(tmp_path):
    """One's files begin with v2_, the other's with nothing."""
    png(tmp_path, "val2014/COCO_val2014_000000000005.png")
    for name, begins, text in (("vqav2", "v2_", "What?"), ("okvqa", "", "Why?")):
        asked = [{"image_id": 5, "question": text, "question_id": 50}]
        put(tmp_path / f"{begins}OpenEnded_mscoco_val2014_questions.json", {"questions": asked})
        answered = [{"question_id": 50, "answers": PEOPLE}]
        put(tmp_path / f"{begins}mscoco_val2014_annotations.json", {"annotations": answered})
        assert [s.text for s in read(name, tmp_path).samples] == [text]
    assert [s.text for s in read("vqav2", tmp_path).samples] == ["What?"]
    for path in [*tmp_path.glob("OpenEnded*"), *tmp_path.glob("mscoco*")]:
        path.unlink()
    with pytest.raises(BadRequest, match="no data of okvqa"):
        read("okvqa", tmp_path)


# the hub's parquet files


def hub(path, *rows):
    import pyarrow
    from pyarrow import parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pyarrow.Table.from_pylist(list(rows)), path)


@needs_parquet
def test_rows_of_several_files_without_ids_are_different_rows(tmp_path):
    image = {"bytes": png(tmp_path), "path": None}
    for shard in range(2):
        rows = [
            {"image": image, "file_name": f"COCO_train2014_{shard}_1.jpg", "answer": [f"a{shard}"],
             "bbox": [1.0, 2.0, 20.0, 30.0]}
        ]  # fmt: skip
        hub(tmp_path / f"data/val-0000{shard}-of-00002.parquet", *rows)
    reading = read("refcoco", tmp_path)
    assert [s.text for s in reading.samples] == ["a0", "a1"] and not reading.refused
    assert len({s.id for s in reading.samples}) == 2


@needs_parquet
def test_pictures_of_gqa_are_in_files_of_their_own(tmp_path):
    data = png(tmp_path)
    image = {"bytes": data, "path": None}
    row = {"id": "201", "imageId": "n1", "question": "Is it red?", "answer": "no",
           "fullAnswer": "No, it is not."}  # fmt: skip
    other = row | {"id": "202", "imageId": "n9"}
    hub(tmp_path / "testdev_balanced_instructions/testdev-00000-of-00001.parquet", row, other)
    hub(tmp_path / "testdev_balanced_images/testdev-00000-of-00001.parquet",
        {"id": "n0", "image": image | {"bytes": b"x"}}, {"id": "n1", "image": image})  # fmt: skip
    hub(tmp_path / "testdev_all_instructions/testdev-00000-of-00001.parquet", row | {"id": "7"})
    hub(tmp_path / "testdev_all_images/testdev-00000-of-00001.parquet",
        {"id": "n1", "image": image})  # fmt: skip
    reading = read("gqa", tmp_path)
    (sample,) = reading.samples
    assert (sample.id, sample.answers, sample.picture.read()) == ("201", ("no",), data)
    assert reading.refused == {"missing picture": 1}


@needs_parquet
def test_vsr_on_the_hub_names_its_pictures_or_holds_them(tmp_path):
    data = png(tmp_path, "named/images/1.png")
    row = {"caption": "The cat is on the mat.", "label": 1, "image_link": "http://x/1.png"}
    hub(tmp_path / "named/data/dev-00000-of-00001.parquet", row | {"image": "1.png"})
    hub(tmp_path / "named/default/test/0000.parquet", row | {"image": "1.png", "label": 0})
    hub(tmp_path / "held/validation-00000.parquet", row | {"image": {"bytes": data}})
    named, held = read("vsr", tmp_path / "named").samples, read("vsr", tmp_path / "held").samples
    assert [(s.split, s.answers) for s in named] == [("val", ("true",)), ("test", ("false",))]
    assert [(s.split, s.answers) for s in held] == [("val", ("true",))]
    assert {s.picture.read() for s in (*named, *held)} == {data}


def test_vsr_of_vlmevalkit_asks_questions_in_place_of_statements(tmp_path):
    image = base64.b64encode(png(tmp_path)).decode()
    put(tmp_path / "vsr_zeroshot_dataset_yn_strict.tsv",
        f"index\timage\tquestion\tanswer\n0\t{image}\tIs the cat on the mat?\tYes\n")  # fmt: skip
    (sample,) = read("vsr", tmp_path, splits=[]).samples
    assert benchmark("vsr").prompt(sample) == "Is the cat on the mat?"
    assert sample.answers == ("Yes",)


@needs_parquet
def test_iconqa_on_the_hub_has_choices_as_one_text_and_three_kinds_of_questions(tmp_path):
    image = {"bytes": png(tmp_path), "path": None}
    row = {"question_id": "8", "question": "What was done?", "choices": "turn,slide,flip",
           "answer": "flip", "query_image": image, "choice_image_0": None,
           "ques_type": "choose_txt"}  # fmt: skip
    others = [
        row | {"question_id": "9", "ques_type": "choose_img", "choices": "", "answer": "0"},
        row | {"question_id": "10", "ques_type": "fill_in_blank", "choices": None, "answer": "4"},
    ]
    hub(tmp_path / "data/test-00000-of-00001.parquet", row, *others)
    reading = read("iconqa", tmp_path)
    (sample,) = reading.samples
    assert (sample.id, sample.choices, sample.answers) == ("8", ("turn", "slide", "flip"), ("C",))
    assert not reading.refused and sample.picture.read() == image["bytes"]


@needs_parquet
def test_of_several_forms_of_a_data_set_one_is_read(tmp_path):
    image = {"bytes": png(tmp_path), "path": None}
    row = {"question": "Which?", "choices": ["x", "y"], "answer": 1, "hint": "", "image": image}
    hub(tmp_path / "s/ScienceQA-IMG/test-00000.parquet", row)
    hub(tmp_path / "s/ScienceQA-FULL/test-00000.parquet", row | {"question": "All?"}, row)
    assert [s.text for s in read("scienceqa", tmp_path / "s").samples] == ["Which?"]
    # those without a picture are not measured, as in the official evaluation
    hub(tmp_path / "f/ScienceQA-FULL/test-00000.parquet", row | {"image": None}, row)
    reading = read("scienceqa", tmp_path / "f")
    assert len(reading.samples) == 1 and not reading.refused
    asked = {"question_id": "1", "question": "Is there?", "answer": "no", "image": image}
    hub(tmp_path / "p/data/test-00000.parquet", asked | {"category": "popular"})
    hub(tmp_path / "p/Full/popular-00000.parquet", asked)
    assert len(read("pope", tmp_path / "p").samples) == 1
    for form in "ab":
        hub(tmp_path / f"v/{form}/val-00000.parquet", asked)
    with pytest.raises(BadRequest, match="all have vqav2's val: give one of them"):
        read("vqav2", tmp_path / "v")


@needs_parquet
def test_of_many_data_sets_in_one_folder_the_named_one_is_read(tmp_path):
    image = {"bytes": png(tmp_path), "path": None}
    for name in ("RefCOCO", "RefCOCOplus", "RefCOCOg", "OK-VQA"):
        row = {"image": image, "answer": [f"of {name}"], "bbox": [1.0, 2.0, 20.0, 30.0]}
        hub(tmp_path / f"all/{name}/data/val-00000-of-00001.parquet", row)
    for name, clone in (
        ("refcoco", "RefCOCO"),
        ("refcoco+", "RefCOCOplus"),
        ("refcocog", "RefCOCOg"),
    ):
        assert [s.text for s in read(name, tmp_path / "all").samples] == [f"of {clone}"]
    with pytest.raises(BadRequest, match="is called as refcocog is"):
        read("refcoco", tmp_path / "all" / "RefCOCOg")
    with pytest.raises(BadRequest, match="no data of textvqa"):
        read("textvqa", tmp_path / "all")


def test_refs_of_another_data_set_are_not_taken_for_these(tmp_path):
    written("refer", tmp_path / "x")
    (tmp_path / "x/refcoco").rename(tmp_path / "x/refcocog")
    assert len(read("refcocog", tmp_path / "x").samples) > 1
    with pytest.raises(BadRequest, match="eval refcocog"):
        read("refcoco", tmp_path / "x/refcocog", images=tmp_path / "x")


# files that are not what their names say

FILES = {
    "refcoco": ("refcoco/instances.json", "RefCOCO.tsv", "refcoco_val.json"),
    "vqav2": ("v2_val_annotations.json", "vqav2_val.json"),
    "gqa": ("testdev_balanced_questions.json",),
    "vizwiz": ("val.json",),
    "scienceqa": ("pid_splits.json",),
    "textvqa": ("TextVQA_0.5.1_val.json",),
    "ocrvqa": ("dataset.json",),
    "coco-detect": ("annotations/instances_val2017.json",),
    "d3": ("d3_json/d3_full_annotations.json",),
    "ref-l4": ("ref-l4-val.json",),
}
BESIDE = {
    "refcoco/instances.json": ("refcoco/refs(unc).p", b"]."),
    "v2_val_annotations.json": ("v2_val_questions.json", b"[]"),
    "pid_splits.json": ("problems.json", b"{}"),
}


@pytest.mark.parametrize("content", [b"", b"null", b'{"a": 1}', b"\xff\xfe", b"[" * 10**5, None])
@pytest.mark.parametrize(("name", "file"), [(n, f) for n, own in FILES.items() for f in own])
def test_a_file_of_another_kind_is_named_with_its_path(name, file, content, tmp_path):
    """Empty, of another form, no text, nested without end, a folder."""
    for path, data in ((file, content), BESIDE.get(file, (file, content))):
        target = tmp_path / path
        target.parent.mkdir(parents=True, exist_ok=True)
        if data is None:
            target.mkdir(exist_ok=True)
        else:
            target.write_bytes(data)
    with pytest.raises(BadRequest) as caught:
        read(name, tmp_path)
    said = str(caught.value)
    assert (
        str(tmp_path / file) in said
        or f"no row of {tmp_path / file}" in said
        or ("no row of" in said and (tmp_path / file).name in said)
    )
    assert "can't be read" not in said or "is no JSON" not in said, "one trouble, told once"


@needs_parquet
def test_a_table_of_other_columns_says_which_were_expected(tmp_path):
    hub(tmp_path / "p/val-0.parquet", {"words": "a", "number": 1})
    put(tmp_path / "t/RefCOCO.tsv", "words\tnumber\na\t1\n")
    for folder in ("p", "t"):
        with pytest.raises(BadRequest, match="words, number.*expected one of pictures"):
            read("refcoco", tmp_path / folder)


def test_where_no_picture_is_found_the_option_is_told(tmp_path):
    written("refer", tmp_path)
    for path in (tmp_path / "images/train2014").glob("*.png"):
        path.unlink()
    with pytest.raises(BadRequest, match=r"missing picture.*--images DIR"):
        read("refcoco", tmp_path)


def test_a_folder_without_rights_is_not_called_empty(tmp_path, monkeypatch):
    def denied(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("os.scandir", denied)
    with pytest.raises(BadRequest, match=r"can't be read: Permission denied"):
        read("refcoco", tmp_path)
