"""Runs of `sphinx-ros eval NAME DIR`: their files, resuming, and what sharing a look changes."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace

import pytest
from benchmark_support import written
from patience import until
from PIL import Image
from small_network import picture, taught_checkpoint

from sphinx_ros.answer.together import answer_together
from sphinx_ros.benchmarks.answering import Answerer, Settings
from sphinx_ros.benchmarks.catalogue import benchmark
from sphinx_ros.benchmarks.exported_scenes import scenes
from sphinx_ros.benchmarks.layouts import read_benchmark
from sphinx_ros.benchmarks.run_folder import (
    ABOUT,
    ANSWERS,
    RESULTS,
    TABLE,
    TIMES,
    WORST,
    RunFolder,
    plan,
)
from sphinx_ros.benchmarks.samples import Family, Picture, Sample
from sphinx_ros.benchmarks.scoring import scores
from sphinx_ros.benchmarks.written_layouts import export
from sphinx_ros.commands.cli import main
from sphinx_ros.errors import BadRequest, Status
from sphinx_ros.evaluate.asker import BatchAsker
from sphinx_ros.evaluate.metrics import match, near_joints, table
from sphinx_ros.evaluate.tabletop import PER_SCENE, ask_scenes
from sphinx_ros.image.letterbox import Letterbox
from sphinx_ros.prompt.conversation import END_SIGNAL, conversation
from sphinx_ros.prompt.parse import parse
from sphinx_ros.prompt.queries import Query
from sphinx_ros.prompt.results import to_detections
from sphinx_ros.prompt.wording import CHOOSING_BEGINS, multiple_choice, question
from sphinx_ros.tasks import Language, Task
from sphinx_ros.world.truth import KINDS

SAME = (ABOUT, ANSWERS, RESULTS, TABLE, WORST)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A folder with six pictures and all that is asked about them."""
    folder = tmp_path_factory.mktemp("mine")
    written("mine", folder, 6)
    return folder


def command(data, out, *more):
    return ["eval", "mine", str(data), "--checkpoint", str(taught_checkpoint()), "--device", "cpu",
            "--out", str(out), "--batch", "2", *more]  # fmt: skip


def run(data, out, *more):
    assert main(command(data, out, *more)) == 0


def files(out):
    return {name: (out / name).read_bytes() for name in SAME}


@pytest.fixture(scope="module")
def whole(data, tmp_path_factory):
    """A run that nobody interrupted."""
    out = tmp_path_factory.mktemp("runs") / "whole"
    run(data, out)
    return out


def test_a_run_is_a_folder(data, whole):
    lines = [json.loads(line) for line in (whole / ANSWERS).read_text().splitlines()]
    _, reading = read_benchmark(benchmark("mine"), data)
    assert len(lines) == len(reading.samples)
    first = lines[0]
    assert {"dataset", "split", "id", "config", "text", "status", "boxes", "scores"} <= set(first)
    about = json.loads((whole / ABOUT).read_text())
    assert about["config"] == first["config"] and about["versions"]["sphinx_ros"]
    times = [json.loads(line) for line in (whole / TIMES).read_text().splitlines()]
    assert [one["id"] for one in times] == [one["id"] for one in lines]
    assert all(one["milliseconds"] > 0 for one in times)
    scores = json.loads((whole / RESULTS).read_text())
    asked = scores["mine.boxes.acc50"]["questions"]
    assert asked == sum(bool(s.boxes) for s in reading.samples)
    assert "| mine.boxes.acc50 |" in (whole / TABLE).read_text()


def test_a_run_that_was_cut_anywhere_ends_with_the_same_files(data, whole, tmp_path):
    before = files(whole)
    answers, times = before[ANSWERS], (whole / TIMES).read_bytes()
    for number, share in enumerate((0.0, 0.35, 0.8, 1.0)):
        out = tmp_path / f"cut{number}"
        out.mkdir()
        (out / ABOUT).write_bytes(before[ABOUT])
        (out / ANSWERS).write_bytes(answers[: int(share * len(answers))])
        (out / TIMES).write_bytes(times[: int(min(1.0, share + 0.1) * len(times))])
        run(data, out, "--resume")
        after = files(out)
        # the folder's own name stands in about.json
        after[ABOUT] = after[ABOUT].replace(str(out).encode(), str(whole).encode())
        assert after == before
        assert (out / TIMES).read_bytes().count(b"\n") == answers.count(b"\n")


def test_a_run_of_two_processes_that_was_killed_ends_with_the_same_files(data, whole, tmp_path):
    out = tmp_path / "killed"
    code = "import sys; from sphinx_ros.commands.cli import main; main(sys.argv[1:])"
    words = [sys.executable, "-c", code, *command(data, out, "--workers", "2")]
    with subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        answers = out / ANSWERS
        assert until(
            lambda: process.poll() is not None or (answers.exists() and answers.stat().st_size)
        )
        assert process.poll() is None, "it ended before it could be killed"
        os.kill(process.pid, signal.SIGKILL)
    assert not (out / RESULTS).exists()
    run(data, out, "--resume")
    assert files(out)[ANSWERS] == files(whole)[ANSWERS]
    assert files(out)[RESULTS] == files(whole)[RESULTS]


def test_a_full_disk_and_ctrl_c_say_how_to_go_on(data, tmp_path, capsys):
    """A limit on the size of files stands for the disk: both let the first bytes through."""
    resource = pytest.importorskip("resource", reason="no limits on this system")
    jobs = plan(read_benchmark(benchmark("mine"), data)[1].samples, 1)
    folder = RunFolder(tmp_path / "run", "a")
    assert folder.begin({}, jobs, False) == 0

    def answered(job):
        lines = [{"dataset": s.dataset, "split": s.split, "id": s.id, "text": ""} for s in job]
        return [(line, {}) for line in lines]

    folder.append(answered(jobs[0]))
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = (folder.path / ANSWERS).stat().st_size
    resource.setrlimit(resource.RLIMIT_FSIZE, (size + 50, limits[1]))
    try:
        with pytest.raises(BadRequest, match=r"run: .*--resume"), folder.kept():
            folder.append(answered(jobs[1]))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert folder.begin({}, jobs, True) == 1
    folder.append(answered(jobs[1]))
    assert len(folder.answers()) == len(jobs[0]) + len(jobs[1])
    with pytest.raises(KeyboardInterrupt), folder.kept():
        raise KeyboardInterrupt
    assert "go on with --resume" in capsys.readouterr().err


def test_actors_of_ray_write_what_one_process_writes(data, whole, tmp_path):
    ray = pytest.importorskip("ray", reason="Ray is missing: the extra [fleet]")
    before = ray.is_initialized()
    run(data, tmp_path / "ray", "--ray", "--pictures", "0")
    assert ray.is_initialized() is before, "what it has started has ended"
    assert (tmp_path / "ray" / ANSWERS).read_bytes() == (whole / ANSWERS).read_bytes()


def test_boxes_of_data_sets_belong_to_the_pixels_as_they_are_stored(tmp_path):
    """A JPEG that is to be shown turned: one's own boxes are as shown, those of data sets not."""
    image = Image.fromarray(picture(64, 48))
    exif = Image.Exif()
    exif[0x0112] = 6
    image.save(tmp_path / "t.jpg", exif=exif)
    answerer = Answerer(Settings({"checkpoint": taught_checkpoint(), "device": "cpu"}))
    shown = Picture(tmp_path / "t.jpg", "t")
    sizes, refused = {}, {}
    for dataset in ("mine", "refcoco"):
        given = dataset, "val", "1", shown, Family.BOXES, "the red mug"
        one = Sample(*given, boxes=((1, 2, 3, 4),))
        ((line, _),) = answerer.answers([one])
        sizes[dataset] = line["size"]
        ((line, _),) = answerer.answers([replace(one, more={"size": (64, 48)})])
        refused[dataset] = line.get("refused", "")
    assert sizes == {"mine": [48, 64], "refcoco": [64, 48]}
    # who labelled another size drew the box elsewhere
    assert refused == {
        "mine": "the data says 64x48 pixels of t.jpg, which has 48x64 pixels as it is shown",
        "refcoco": "",
    }


def test_what_does_not_belong_to_a_run_is_refused(data, whole, tmp_path, capsys):
    assert main(command(data, whole)) == 2
    assert "--resume" in capsys.readouterr().err
    assert main([*command(data, whole, "--resume"), "--free"]) == 2
    assert "was begun with free False, and not True" in capsys.readouterr().err
    for words, said in (
        (["eval", "mine"], "where is the data"),
        (["eval", "mine", str(data), "--scenes", "3"], "--scenes"),
        (["eval", "world", str(data)], "takes no folder"),
        (["eval", "refcoco", str(tmp_path)], str(tmp_path / "refcoco" / "instances.json")),
    ):
        assert main(words) == 2
        assert said in capsys.readouterr().err


def test_the_list_says_where_each_benchmark_comes_from(capsys, tmp_path):
    assert main(["eval", "--list"]) == 0
    said = capsys.readouterr().out
    assert "refcoco: " in said and "github.com/lichengunc/refer" in said and "CC BY-NC" in said
    assert "testA (5657)" in said and "coco_pope_{split}.json" in said


def test_pictures_that_are_none_and_boxes_of_other_pictures_are_told(tmp_path, capsys):
    data = tmp_path / "data"
    (scene, *_) = written("mine", data, 2)
    (data / "broken.png").write_bytes(b"no picture")
    rows = [
        {"image": "broken.png", "text": "mug", "box": [1, 2, 3, 4]},
        {"image": scene.file, "text": "mug", "box": [1, 2, 3000, 4]},
        {"image": scene.file, "text": "mug", "box": [1, 2, 30, 40]},
    ]
    (data / "labels.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run(data, tmp_path / "out")
    lines = [json.loads(line) for line in (tmp_path / "out" / ANSWERS).read_text().splitlines()]
    assert "broken.png" in lines[0]["refused"] and "reaches beyond" in lines[1]["refused"]
    assert (
        json.loads((tmp_path / "out" / RESULTS).read_text())["mine.boxes.acc50"]["questions"] == 1
    )
    assert "2 questions could not be asked" in capsys.readouterr().out


def test_questions_share_a_look_and_get_the_same_answers(data):
    _, reading = read_benchmark(benchmark("mine"), data)
    jobs = plan(reading.samples, 3)
    assert [len({s.picture.key for s in job}) for job in jobs] == [3, 3]
    load = {"checkpoint": taught_checkpoint(), "device": "cpu"}
    together, apart = Answerer(Settings(load)), Answerer(Settings(load, apart=True))
    for job in jobs:
        shared = [line for line, _ in together.answers(job)]
        alone = [line for line, _ in apart.answers(job)]
        for one, other in zip(shared, alone, strict=True):
            assert one["text"] == other["text"]
            for mine, theirs in zip(one["boxes"], other["boxes"], strict=True):
                assert mine == pytest.approx(theirs, abs=1e-2)
            for mine, theirs in zip(one["scores"], other["scores"], strict=True):
                assert mine == pytest.approx(theirs, abs=1e-4)


def test_an_answer_may_be_begun_for_the_model(random_one):
    """ScienceQA's: what is written goes on from " The answer is", as the official code does it."""
    rgb, text = picture(64, 48), "Which?"
    official = random_one.generate(
        [conversation([(text, None)]) + CHOOSING_BEGINS], [rgb], max_new_tokens=12,
        stop=[END_SIGNAL],
    )  # fmt: skip
    subject = random_one.look(rgb)._subject
    (answer,) = answer_together(
        [(subject, Query(Task.ASK, text))], short=False, begun=CHOOSING_BEGINS, max_new_tokens=12
    )
    assert answer.raw_text.strip() == official[0].strip()
    (other,) = answer_together([(subject, Query(Task.ASK, text))], short=False, max_new_tokens=12)
    assert other.raw_text != answer.raw_text


def test_a_question_with_choices_is_asked_in_the_official_words(random_one):
    choices, seen = ["cat", "mug"], random_one.look(picture(64, 48))
    answer = seen.ask("Which?", choices=choices, max_new_tokens=8)
    plain = seen.ask(multiple_choice("Which?", choices), short=False, max_new_tokens=8)
    assert answer.raw_text == plain.raw_text
    assert (answer.text, answer.status) == (plain.text, Status.PARSE_FAILED)


def test_a_job_holds_whole_pictures_and_not_too_many_questions(data):
    _, reading = read_benchmark(benchmark("mine"), data)
    jobs = plan(reading.samples, 100, most=10)
    assert sorted(s.name for job in jobs for s in job) == sorted(s.name for s in reading.samples)
    owners = [{s.picture.key for s in job} for job in jobs]
    assert sum(map(len, owners)) == len(set().union(*owners))
    assert all(len(job) <= 10 or len(own) == 1 for job, own in zip(jobs, owners, strict=True))


LAYOUTS = ("refer", "eval_mm", "tsv", "mine", "parquet")


@pytest.fixture(scope="module")
def demonstrated():
    """The demonstration model and two scenes, with the rows of eval world about them."""
    pytest.importorskip("mujoco", reason="mujoco is missing: the simulated camera")
    made = scenes(2, seed=3)
    answerer = Answerer(Settings({"checkpoint": "demo", "device": "cpu"}))
    sphinx = answerer.sphinx
    asker = BatchAsker(sphinx.model, sphinx.tokenizer, sphinx.judge.calibration)
    observed = [scene.seen for scene in made]
    rows = ask_scenes(asker, observed, sphinx.config.image_size, 3, PER_SCENE)
    return answerer, asker, made, table(rows)


def scored(answerer, name, folder, kept=lambda sample: True):
    """The last part of a score's name -> what every question counts."""
    samples = [s for s in read_benchmark(benchmark(name), folder)[1].samples if kept(s)]
    jobs = plan(samples, 8)
    lines = [line for job in jobs for line, _ in answerer.answers(job)]
    ordered = [s for job in jobs for s in job]
    found = scores(list(zip(ordered, lines, strict=True)))
    return {one.name.rpartition(".")[2]: one.correct for one in found}, len(samples)


@pytest.mark.demo
@pytest.mark.parametrize("layout", LAYOUTS)
def test_expressions_score_in_every_layout_what_they_do_in_eval_world(
    layout, demonstrated, tmp_path
):
    answerer, _, made, world = demonstrated
    if layout == "parquet":
        pytest.importorskip("pyarrow", reason="pyarrow is missing: the extra [eval]")
    export(layout, tmp_path / layout, lambda: made)
    name = "mine" if layout == "mine" else "refcoco"
    found, number = scored(answerer, name, tmp_path / layout, lambda sample: bool(sample.boxes))
    assert found["acc50"] == pytest.approx(world["refer.acc50"])
    assert found["miou"] == pytest.approx(world["refer.miou"], abs=1e-5)
    assert number == world["refer.n"] > 3


def _near_by_look(sphinx, seen):
    """(joints that the pose of a robot's question is near to, labelled joints) of one person."""
    people = [thing for thing in seen.objects if thing.keypoints is not None]
    if not people:
        return 0, 0
    (person,) = people
    known = person.keypoints[:, 2] > 0
    near = [
        (near_joints(pose, person.keypoints[:, :2], person.box) & known).sum()
        for pose in sphinx.look(seen.rgb).pose()
    ]
    return max(near, default=0), known.sum()


@pytest.mark.demo
def test_questions_and_things_score_what_they_do_in_eval_world(demonstrated, tmp_path):
    answerer, asker, made, world = demonstrated
    export("vqa", tmp_path / "vqa", lambda: made)
    found, number = scored(answerer, "vqav2", tmp_path / "vqa")
    assert found["acc"] == pytest.approx(world["qa.acc"]) and number == world["qa.n"]
    pytest.importorskip("faster_coco_eval", reason="faster-coco-eval is missing: [eval]")
    export("coco", tmp_path / "coco", lambda: made)
    as_written = Answerer(Settings(coordinates="greedy"), answerer.sphinx)
    posed, _ = scored(answerer, "coco-pose", tmp_path / "coco")
    # not as eval world, which gives the person's true box: the model finds the person here
    looked = [_near_by_look(answerer.sphinx, scene.seen) for scene in made]
    near, known = (sum(column) for column in zip(*looked, strict=True))
    assert posed["pck"] == pytest.approx(near / known) and near > 0
    found, _ = scored(as_written, "coco-detect", tmp_path / "coco")
    asked = [(n, question(Task.DETECT, kind), Language.BOXES) for n in (0, 1) for kind in KINDS]
    hits, total = 0, 0
    for (number, _, _), kind, text in zip(asked, KINDS * 2, asker.ask(asked), strict=True):
        camera = made[number].seen.camera
        boxes, _, _ = to_detections(parse(text), Letterbox.of(camera.width, camera.height))
        true = [("", one.box) for one in made[number].seen.objects if one.kind == kind]
        right, false, missed = match([("", one.box) for one in boxes], true)
        hits, total = hits + 2 * right, total + 2 * right + false + missed
    assert found["f1"] == pytest.approx(hits / total) and total > 10
    assert found["ap50"] >= found["ap75"] >= 0 and found["ap"] <= 1
