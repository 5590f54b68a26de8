"""Rows of the field's files that are easily read wrong: numbered choices, parts, shards, names."""

import json

import pytest
from benchmark_support import written

from sphinx_ros.benchmarks.catalogue import benchmark
from sphinx_ros.benchmarks.layouts import read_benchmark
from sphinx_ros.errors import BadRequest


def put(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    text = values if isinstance(values, str) else json.dumps(values)
    path.write_text(text, encoding="utf-8")


def png(folder, *names):
    """The same small picture under each name."""
    data = written("mine", folder / "made", 1)[0].png
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    return data


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
