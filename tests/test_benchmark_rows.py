"""Rows of the field's files that are easily read wrong: numbered choices, parts, shards, names."""

import json

import pytest
from benchmark_support import written

from sphinx_ros.benchmarks.catalogue import benchmark
from sphinx_ros.benchmarks.layouts import read_benchmark


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
