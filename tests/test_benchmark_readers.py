"""Data sets in every layout give the same questions; what is broken or hostile is named."""

import base64
import json
import pickle
import random
from importlib.util import find_spec
from pathlib import Path

import pytest
from benchmark_support import written

from sphinx_ros.benchmarks.catalogue import BENCHMARKS, benchmark
from sphinx_ros.benchmarks.layouts import READERS, read_benchmark
from sphinx_ros.benchmarks.safe_pickle import read_plain
from sphinx_ros.benchmarks.samples import Family, PictureFiles
from sphinx_ros.benchmarks.written_layouts import LAYOUTS
from sphinx_ros.commands.world import WRITTEN
from sphinx_ros.errors import BadRequest, SphinxError
from sphinx_ros.image.formats import decode_file
from sphinx_ros.prompt.wording import multiple_choice

needs_parquet = pytest.mark.skipif(
    find_spec("pyarrow") is None, reason='pyarrow is missing: pip install "sphinx_ros[eval]"'
)
REFCOCO = ["refer", "eval_mm", "tsv", pytest.param("parquet", marks=needs_parquet)]


@pytest.mark.parametrize("layout", REFCOCO)
def test_refcoco_is_the_same_in_every_layout(layout, tmp_path):
    scenes = written(layout, tmp_path / "data")
    used, reading = read_benchmark(benchmark("refcoco"), tmp_path / "data")
    assert used == layout and not reading.refused
    found = sorted((s.text, s.boxes[0]) for s in reading.samples)
    true = sorted((text, box) for one in scenes for text, box, _ in one.expressions)
    assert [text for text, _ in found] == [text for text, _ in true]
    for (_, box), (_, other) in zip(found, true, strict=True):
        assert box == pytest.approx(other)
    assert {s.family for s in reading.samples} == {Family.BOXES}
    words = {(s.picture.key, s.text) for s in reading.samples}
    assert len({s.key for s in reading.samples}) == len(words), "what is officially one question"
    keys = {s.picture.key for s in reading.samples}
    assert len(keys) == len(scenes), "expressions about one picture share it"
    png = {scene.png for scene in scenes}
    assert {s.picture.read() for s in reading.samples} == png


@pytest.mark.parametrize("layout", ["eval_mm", "vqa"])
def test_questions_with_the_answers_of_ten_people(layout, tmp_path):
    scenes = written(layout, tmp_path)
    used, reading = read_benchmark(benchmark("vqav2"), tmp_path)
    assert used == layout
    true = sorted((text, (answer,) * 10) for one in scenes for text, answer in one.questions)
    assert sorted((s.text, s.answers) for s in reading.samples) == true
    asked = benchmark("vqav2").prompt(reading.samples[0])
    assert asked == (
        f"{reading.samples[0].text}\nAnswer the question using a single word or phrase."
    )


def test_coco_asks_every_category_about_every_picture(tmp_path):
    scenes = written("coco", tmp_path)
    _, reading = read_benchmark(benchmark("coco-detect"), tmp_path)
    assert len(reading.samples) == 7 * len(scenes)
    assert sum(len(s.boxes) for s in reading.samples) == sum(len(s.seen.objects) for s in scenes)
    _, reading = read_benchmark(benchmark("coco-pose"), tmp_path)
    people = [thing for s in scenes for thing in s.seen.objects if thing.keypoints is not None]
    assert len(reading.samples) == len(scenes)
    assert sum(len(s.more["keypoints"]) for s in reading.samples) == len(people)


def test_lines_of_ones_own(tmp_path):
    scenes = written("mine", tmp_path)
    choice = {"image": scenes[0].file, "question": "Which?", "choices": ["mug", "can"]}
    with open(tmp_path / "more.jsonl", "w", encoding="utf-8") as file:
        file.write(json.dumps(choice | {"answer": "can"}) + "\n")
    _, reading = read_benchmark(benchmark("mine"), tmp_path)
    counts = {split: 0 for split in ("boxes", "questions", "choices")}
    for sample in reading.samples:
        counts[sample.split] += 1
    assert counts["boxes"] == sum(len(s.expressions) + len(s.absent) for s in scenes)
    assert counts["questions"] == sum(len(s.questions) for s in scenes)
    (sample,) = (s for s in reading.samples if s.split == "choices")
    assert sample.family is Family.CHOICE and sample.answers == ("B",)
    _, reading = read_benchmark(benchmark("mine"), tmp_path, splits=["choices"])
    assert len(reading.samples) == 1


def small_png(folder, *names):
    scenes = written("mine", folder / "made", 1)
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(scenes[0].png)


def put(path, values):
    path.parent.mkdir(parents=True, exist_ok=True)
    text = values if isinstance(values, str) else json.dumps(values)
    path.write_text(text, encoding="utf-8")


PEOPLE = [{"answer": "red"}] * 10
OWN = {
    "gqa": (
        {"testdev_balanced_questions.json": {
            "1": {"imageId": "n1", "question": "Is it red?", "answer": "yes"}}},
        ["images/n1.jpg"], ("1", "Is it red?", ("yes",)),
    ),
    "vizwiz": (
        {"val.json": [{"image": "v.jpg", "question": "What is it?", "answers": PEOPLE}]},
        ["val/v.jpg"], ("0", "What is it?", ("red",) * 10),
    ),
    "textvqa": (
        {"TextVQA_0.5.1_val.json": {"data": [
            {"image_id": "t", "question": "Says?", "question_id": 4, "answers": ["a"] * 10}]}},
        ["train_images/t.jpg"], ("4", "Says?", ("a",) * 10),
    ),
    "ocrvqa": (
        {"dataset.json": {"b1": {"questions": ["Who?"], "answers": ["Me"], "split": 2},
                          "b2": {"questions": ["Who?"], "answers": ["Me"], "split": 1}}},
        ["images/b1.jpg"], ("b1.0", "Who?", ("Me",)),
    ),
    "vsr": (
        {"dev.jsonl": '{"image": "s.jpg", "caption": "The cat is on the mat.", "label": 1}\n'},
        ["images/s.jpg"], ("1", "The cat is on the mat.", ("true",)),
    ),
    "scienceqa": (
        {"problems.json": {"7": {"question": "Which?", "choices": ["x", "y"], "answer": 1,
                                 "hint": "Look.", "image": "image.png"},
                           "8": {"question": "No picture", "choices": ["x", "y"], "answer": 0,
                                 "hint": "", "image": None}},
         "pid_splits.json": {"test": ["7", "8"]}},
        ["images/test/7/image.png"], ("7", "Which?", ("B",)),
    ),
    "iconqa": (
        {"test/choose_txt/3/data.json": {"question": "How many?", "choices": ["1", "2"],
                                         "answer": 0}},
        ["test/choose_txt/3/image.png"], ("3", "How many?", ("A",)),
    ),
    "pope": (
        {"coco_pope_popular.json":
            '{"question_id": 1, "image": "p.jpg", "text": "Is there a dog?", "label": "no"}\n'},
        ["val2014/p.jpg"], ("1", "Is there a dog?", ("no",)),
    ),
    "mme": (
        {"color/0001.txt": "Is it red? Please answer yes or no.\tYes\n"},
        ["color/0001.jpg"], ("color.0001.0", "Is it red? Please answer yes or no.", ("yes",)),
    ),
    "okvqa": (
        {"OpenEnded_mscoco_val2014_questions.json": {"questions": [
            {"image_id": 5, "question": "Why?", "question_id": 50}]},
         "mscoco_val2014_annotations.json": {"annotations": [
             {"question_id": 50, "answers": PEOPLE}]}},
        ["val2014/COCO_val2014_000000000005.jpg"], ("50", "Why?", ("red",) * 10),
    ),
    "ref-l4": (
        {"ref-l4-val.json": [{"id": "9", "caption": "the thing", "bbox": [2, 3, 10, 20],
                              "file_name": "o365/x.jpg", "width": 64, "height": 48}]},
        ["images/o365/x.jpg"], ("9", "the thing", ()),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", OWN)
def test_each_data_sets_own_files(name, tmp_path):
    files, pictures, (id, text, answers) = OWN[name]
    small_png(tmp_path / "data", *pictures)
    for file, values in files.items():
        put(tmp_path / "data" / file, values)
    _, reading = read_benchmark(benchmark(name), tmp_path / "data")
    (sample,) = reading.samples
    assert not reading.refused
    assert (sample.id, sample.text, sample.answers) == (id, text, answers)
    decode_file(sample.picture.read())


def test_a_question_that_holds_its_choices_is_asked_as_it_is(tmp_path):
    small_png(tmp_path, "images/1.png")
    choices = ["in the sea", "on land"]
    text = multiple_choice("Where?", choices, "Look.")
    row = {"image_path": "images/1.png", "question": text, "question_id": 3, "gt_answers": "B"}
    put(tmp_path / "scienceqa_test_img.json", [row])
    layout, reading = read_benchmark(benchmark("scienceqa"), tmp_path)
    (sample,) = reading.samples
    assert layout == "eval_mm" and sample.choices == tuple(choices) and sample.answers == ("B",)
    assert benchmark("scienceqa").prompt(sample) == text
    assert benchmark("scienceqa").begun == " The answer is"


def test_d3_asks_for_the_sentences_of_the_pictures_group(tmp_path):
    small_png(tmp_path / "d", "d3_images/g/1.png", "d3_images/g/2.png")
    sentences = [{"id": n, "name": f"a thing of kind {n}"} for n in (1, 2, 3)]
    images = [{"id": n, "file_name": f"g/{n}.png", "width": 64, "height": 48} for n in (1, 2)]
    rows = [{"id": 1, "image_id": 1, "category_id": 2, "bbox": [4, 4, 10, 10]}]
    whole = {"images": images, "annotations": rows, "categories": sentences}
    put(tmp_path / "d/d3_json/d3_full_annotations.json", whole)
    put(tmp_path / "d/d3_json/d3_abs_annotations.json", whole | {"categories": sentences[:1]})
    _, reading = read_benchmark(benchmark("d3"), tmp_path / "d", images=tmp_path / "d/d3_images")
    assert len(reading.samples) == 6
    groups, pictures = {7: {"inner_sent_id": [1, 2]}}, {n: {"group_id": 7} for n in (1, 2)}
    (tmp_path / "d/groups.pkl").write_bytes(pickle.dumps(groups, 2))
    (tmp_path / "d/images.pkl").write_bytes(pickle.dumps(pictures, 2))
    _, reading = read_benchmark(benchmark("d3"), tmp_path / "d", images=tmp_path / "d/d3_images")
    assert len(reading.samples) == 4
    assert [s.more["halves"] for s in reading.samples[:2]] == [["abs"], []]


# what can't be used


class Runs:
    """A pickle of this would run a command."""

    def __reduce__(self):
        return exec, ("raise SystemExit('it ran')",)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_that_would_run_code_is_refused_and_runs_nothing(protocol, tmp_path):
    written("refer", tmp_path)
    path = tmp_path / "refcoco" / "refs(unc).p"
    path.write_bytes(pickle.dumps([Runs()], protocol))
    with pytest.raises(BadRequest, match="no plain data.*exec.*own source"):
        read_benchmark(benchmark("refcoco"), tmp_path)


@pytest.mark.parametrize("protocol", range(3))
def test_plain_pickles_of_old_protocols_are_read(protocol, tmp_path):
    values = [{"a": [1, 2.5, "ü", None, True, 2**70], "b": {"c": ("x",)}}]
    path = tmp_path / "x.p"
    path.write_bytes(pickle.dumps(values, protocol))
    assert read_plain(path) == values


def test_texts_of_python_2_are_latin_1(tmp_path):
    path = tmp_path / "x.p"  # what Python 2 writes of ['caf\xe9', u'caf\xe9']
    path.write_bytes(b"\x80\x02]q\x00(U\x04caf\xe9q\x01X\x05\x00\x00\x00caf\xc3\xa9q\x02e.")
    assert read_plain(path) == ["café", "café"]


@pytest.mark.parametrize("data", [b"", b"nonsense", pickle.dumps([1])[:-2], b"\x80\x02]q\x00("])
def test_a_damaged_pickle_is_named(data, tmp_path):
    path = tmp_path / "x.p"
    path.write_bytes(data)
    with pytest.raises(BadRequest, match=r"x\.p"):
        read_plain(path)


def lines(folder, *rows):
    written("mine", folder, 1)
    name = next(folder.glob("*.png")).name
    text = "".join(json.dumps({"image": name, **row}) + "\n" for row in rows)
    (folder / "labels.jsonl").write_text(text, encoding="utf-8")
    return read_benchmark(benchmark("mine"), folder)[1]


GOOD = {"text": "mug", "box": [1, 2, 30, 40]}
BAD = [
    ({"image": "no.png", **GOOD}, "missing picture", "no.png"),
    ({"image": "../../etc/passwd", **GOOD}, "missing picture", "leads out of"),
    ({"text": "mug", "box": [30, 2, 1, 40]}, "wrong box", "empty"),
    ({"text": "mug", "box": [1, 2, 3]}, "wrong box", "four finite numbers"),
    ({"text": "mug", "box": [1, 2, 3, 1e999]}, "wrong box", "four finite numbers"),
    ({"text": "mug", "box": [0, 0, 10**400, 5]}, "wrong box", "four finite numbers"),
    ({"text": "mug", "box": [0, 0, 1e12, 5]}, "wrong box", "four finite numbers"),
    ({"text": "mug", "box": "1,2,3,4"}, "wrong box", "four finite numbers"),
    ({"text": " ", "box": [1, 2, 3, 4]}, "unreadable row", "text is empty"),
    ({"question": "What?"}, "unreadable row", "answer"),
    ({"question": "What?", "answer": []}, "unreadable row", "no answer"),
    ({"question": "What?", "choices": ["a", "b"], "answer": "c"}, "unreadable row", "none of"),
    ({"question": "What?", "choices": ["a"], "answer": "a"}, "unreadable row", "choices"),
]


@pytest.mark.parametrize(("row", "kind", "said"), BAD)
def test_a_bad_row_is_named_and_counted_and_the_others_go_on(row, kind, said, tmp_path):
    reading = lines(tmp_path, GOOD, row, GOOD)
    assert len(reading.samples) == 2 and reading.refused == {kind: 1}
    (told,) = reading.told
    assert said in told and "labels.jsonl, row 2" in told
    assert reading.summary == f"1 rows refused: 1 {kind}"


def test_lines_that_are_no_json_and_ids_that_come_twice(tmp_path):
    reading = lines(tmp_path, {"id": "a", **GOOD}, {"id": "a", **GOOD})
    assert len(reading.samples) == 1 and reading.refused == {"duplicate id": 1}
    with open(tmp_path / "labels.jsonl", "a", encoding="utf-8") as file:
        file.write("{broken\n")
    reading = read_benchmark(benchmark("mine"), tmp_path)[1]
    assert reading.refused == {"duplicate id": 1, "unreadable row": 1}


def test_rows_of_refcoco_that_contradict_each_other(tmp_path):
    scenes = written("refer", tmp_path)
    path = tmp_path / "refcoco" / "instances.json"
    values = json.loads(path.read_text())
    refs = read_plain(tmp_path / "refcoco" / "refs(unc).p")
    rows = {row["id"]: row for row in values["annotations"]}
    rows[refs[0]["ann_id"]]["bbox"] = [0, 0, 5000, 10]
    values["annotations"].remove(rows[refs[1]["ann_id"]])
    path.write_text(json.dumps(values))
    (tmp_path / "images" / "train2014" / scenes[-1].file).unlink()
    _, reading = read_benchmark(benchmark("refcoco"), tmp_path)
    assert reading.refused["wrong box"] == 1 and reading.refused["unreadable row"] == 1
    assert reading.refused["missing picture"] >= 1
    assert any("reaches beyond the picture" in told for told in reading.told)
    assert any("is not in instances.json" in told for told in reading.told)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_what_is_missing_is_named_with_its_path(name, tmp_path):
    with pytest.raises(BadRequest, match="has no data of") as caught:
        read_benchmark(benchmark(name), tmp_path)
    assert str(tmp_path) in str(caught.value)


def test_other_ways_to_ask_for_what_is_not_there(tmp_path):
    for given, said in (
        ({"splits": ["testC"]}, "no split 'testC'"),
        ({"layout": "zip"}, "no layout 'zip'"),
        ({"images": tmp_path / "nowhere"}, "is no folder"),
    ):
        with pytest.raises(BadRequest, match=said):
            read_benchmark(benchmark("refcoco"), tmp_path, **given)
    with pytest.raises(BadRequest, match="no benchmark 'moon'"):
        benchmark("moon")


def test_a_folder_without_one_good_row_is_an_error(tmp_path):
    with pytest.raises(BadRequest, match="no row of labels.jsonl.*missing picture"):
        lines(tmp_path, {"image": "no.png", **GOOD})


def test_a_table_may_name_the_row_that_has_the_picture(tmp_path):
    scenes = written("tsv", tmp_path, 1)
    text = (tmp_path / "RefCOCO.tsv").read_text()
    head, *rows = text.strip().split("\n")
    cells = rows[0].split("\t")
    again = ["again", cells[0], 'the "other"\nthing', *cells[3:]]
    quoted = ['"' + one.replace('"', '""') + '"' if '"' in one else one for one in again]
    (tmp_path / "RefCOCO.tsv").write_text("\n".join([head, rows[0], "\t".join(quoted)]) + "\n")
    _, reading = read_benchmark(benchmark("refcoco"), tmp_path)
    first, second = reading.samples
    assert second.text == 'the "other"\nthing'
    assert first.picture == second.picture and second.picture.read() == scenes[0].png
    lost = ["lost", "17", "text", *cells[3:]]
    with open(tmp_path / "RefCOCO.tsv", "a", encoding="utf-8") as file:
        file.write("\t".join(lost) + "\n")
    _, reading = read_benchmark(benchmark("refcoco"), tmp_path)
    assert reading.refused == {"missing picture": 1}


def test_a_table_whose_quotation_never_ends_and_a_picture_that_is_none(tmp_path):
    written("tsv", tmp_path, 1)
    path = tmp_path / "RefCOCO.tsv"
    whole = path.read_text()
    path.write_text(whole + '9\tx\t"never\n')
    with pytest.raises(BadRequest, match="never closed"):
        read_benchmark(benchmark("refcoco"), tmp_path)
    cell = whole.split("\n")[1].split("\t")[1]
    path.write_text(whole.replace(cell, base64.b64encode(b"no picture" * 20).decode()))
    _, reading = read_benchmark(benchmark("refcoco"), tmp_path)
    with pytest.raises(SphinxError):
        decode_file(reading.samples[0].picture.read())


def hub(path, rows):
    import pyarrow
    from pyarrow import parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pyarrow.Table.from_pylist(rows), path)


@needs_parquet
def test_tables_of_the_hub_by_their_columns(tmp_path):
    png = {"bytes": written("mine", tmp_path / "made", 1)[0].png, "path": None}
    yes_no = [
        {"id": str(n), "question_id": str(n), "question": f"Is there {n}?", "answer": "no",
         "image_source": "COCO_val_1", "image": png, "category": ("random", "popular")[n % 2]}
        for n in range(4)
    ]  # fmt: skip
    hub(tmp_path / "pope" / "data" / "test-00000-of-00001.parquet", yes_no)
    pairs = [
        {"question_id": "color/1.png", "image": png, "question": f"Is it {c}?", "answer": a,
         "category": "color"} for c, a in (("red", "Yes"), ("blue", "No"))
    ]  # fmt: skip
    hub(tmp_path / "mme" / "test-00000.parquet", pairs)
    covers = [{"image": png, "image_id": "b", "questions": ["Who?", "When?"],
               "answers": ["Me", "1999"]}]  # fmt: skip
    hub(tmp_path / "ocrvqa" / "validation-00000.parquet", covers)
    hub(
        tmp_path / "okvqa" / "val2014-00000-of-00002.parquet",
        [{"question_id": "5", "question": "Why?", "answers": ["it's"] * 10, "image": png}],
    )
    hub(
        tmp_path / "scienceqa" / "test-00000.parquet",
        [{"question": "Which?", "choices": ["x", "y"], "answer": 1, "hint": "", "image": png}],
    )
    found = {}
    for name in ("pope", "mme", "ocrvqa", "okvqa", "scienceqa"):
        layout, reading = read_benchmark(benchmark(name), tmp_path / name)
        assert layout == "parquet" and not reading.refused
        found[name] = reading.samples
        assert all(s.picture.read() == png["bytes"] for s in reading.samples)
    assert [s.split for s in found["pope"]] == ["random", "popular"] * 2
    assert len({s.picture.key for s in found["pope"]}) == 1
    assert [s.group for s in found["mme"]] == ["color"] * 2
    assert len({s.picture.key for s in found["mme"]}) == 1
    assert [(s.id, s.answers) for s in found["ocrvqa"]] == [("0.0", ("Me",)), ("0.1", ("1999",))]
    assert found["okvqa"][0].answers == ("it's",) * 10
    assert found["scienceqa"][0].answers == ("B",)


def test_tables_of_vlmevalkit_by_their_columns(tmp_path):
    png = base64.b64encode(written("mine", tmp_path / "made", 1)[0].png).decode()

    def table(name, head, *rows):
        lines = ["\t".join(head), *("\t".join(map(str, row)) for row in rows)]
        put(tmp_path / name / f"{name}.tsv", "\n".join(lines) + "\n")
        folder = tmp_path / name
        (folder / f"{name}.tsv").rename(folder / f"{name.upper()}_TEST.tsv")
        return read_benchmark(benchmark(name), folder)[1].samples

    (one,) = table("scienceqa", ("index", "image", "question", "hint", "A", "B", "answer"),
                   (0, png, "Which?", "Look.", "x", "y", "A"))  # fmt: skip
    assert (one.choices, one.answers, one.hint) == (("x", "y"), ("A",), "Look.")
    two = table("mme", ("index", "image", "question", "answer", "category"),
                (0, png, "Red?", "Yes", "color"), (1, 0, "Blue?", "No", "color"))  # fmt: skip
    assert len({s.picture for s in two}) == 1 and [s.answers for s in two] == [("yes",), ("no",)]
    (one,) = table("textvqa", ("index", "image", "question", "answer"),
                   (0, png, "Says?", "['it''s', \"don't\"]"))  # fmt: skip
    assert one.answers == ("its", "don't")
    put(tmp_path / "mme" / "MME-RealWorld.tsv", "index\n")
    assert len(read_benchmark(benchmark("mme"), tmp_path / "mme")[1].samples) == 2


@needs_parquet
def test_a_damaged_parquet_file_is_named(tmp_path):
    written("parquet", tmp_path, 1)
    (path,) = tmp_path.glob("data/*.parquet")
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(BadRequest, match=r"no parquet file"):
        read_benchmark(benchmark("refcoco"), tmp_path)


STRANGE = (
    None,
    True,
    -1,
    1e308,
    float("nan"),
    "",
    [],
    {},
    "\x00",
    "../..",
    10**30,
    10**400,
    [1, 2],
    {"a": 1},
)
"""What nobody expects in a field."""


def spoilt(values, draw):
    """Values of a JSON file with one to three of them replaced, or gone."""
    values, spots, waiting = json.loads(json.dumps(values)), [], []
    waiting.append(values)
    while waiting:
        one = waiting.pop()
        inside = one.items() if isinstance(one, dict) else enumerate(one)
        for key, value in inside:
            spots.append((one, key))
            waiting += [value] if isinstance(value, (dict, list)) else []
    for _ in range(draw.randint(1, 3)):
        one, key = draw.choice(spots)
        if isinstance(one, dict) and draw.random() < 0.3:
            one.pop(key, None)
        else:
            one[key] = draw.choice(STRANGE)
    return values


@pytest.mark.parametrize(
    ("layout", "name"),
    [("eval_mm", "refcoco"), ("coco", "coco-detect"), ("coco", "coco-pose"), ("vqa", "vqav2"),
     ("refer", "refcoco")],
)  # fmt: skip
def test_whatever_a_file_holds_is_read_or_named(layout, name, tmp_path):
    written(layout, tmp_path, 2)
    draw, named = random.Random(0), 0
    for path in sorted(tmp_path.rglob("*.json")):
        whole = path.read_text()
        for _ in range(25):
            put(path, spoilt(json.loads(whole), draw))
            try:
                named += sum(read_benchmark(benchmark(name), tmp_path)[1].refused.values())
            except BadRequest:
                named += 1
        path.write_text(whole)
    assert named > 5


@pytest.mark.parametrize("name", OWN)
def test_whatever_a_data_sets_own_file_holds_is_read_or_named(name, tmp_path):
    files, pictures, _ = OWN[name]
    small_png(tmp_path / "data", *pictures)
    draw = random.Random(0)
    for file, values in files.items():
        put(tmp_path / "data" / file, values)
    for file, values in files.items():
        for _ in range(0 if file.endswith(".txt") else 15):
            whole = json.loads(values) if isinstance(values, str) else values
            made = spoilt(whole, draw)
            put(tmp_path / "data" / file, f"{json.dumps(made)}\n")
            try:
                read_benchmark(benchmark(name), tmp_path / "data")
            except BadRequest:
                continue
        put(tmp_path / "data" / file, values)


def test_paths_of_other_machines_are_found_by_their_last_parts(tmp_path):
    (tmp_path / "coco" / "train2014").mkdir(parents=True)
    (tmp_path / "coco" / "train2014" / "a.jpg").write_bytes(b"x")
    pictures = PictureFiles(tmp_path)
    found = pictures.find("/mnt/data/coco/train2014/a.jpg")
    assert found.path == tmp_path / "coco" / "train2014" / "a.jpg"
    for name in ("", None, "a\x00b", 7):
        with pytest.raises(BadRequest, match="no name of a picture"):
            pictures.find(name)


def test_the_tables_agree():
    said = (Path(__file__).parent.parent / "docs" / "evaluation.md").read_text(encoding="utf-8")
    assert not [name for name in BENCHMARKS if f"`{name}`" not in said]
    assert set(LAYOUTS) == set(WRITTEN)
    for bench in BENCHMARKS.values():
        assert set(bench.files) <= set(READERS), bench.name
        assert set(bench.counts) <= set(bench.splits)
        assert bench.source and bench.licence and bench.about
