"""`sphinx-ros bag`: recordings with answers, stamped as their pictures, whole or not there."""

import errno
import fcntl
import json
import math
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rosbags", reason="rosbags is not installed: pip install sphinx_ros[bag]")

from bag_support import (
    RAW,
    START,
    compressed_image,
    film,
    header,
    raw_image,
    raw_messages,
    read_bag,
    shortened_bag,
    write_bag,
)
from patience import PATIENCE
from process_support import until
from rosbags.rosbag2 import StoragePlugin
from small_network import MUG, fresh, picture, taught_checkpoint

from sphinx_ros import Sphinx
from sphinx_ros.bags.bag_answers import DOUBTFUL, GONE
from sphinx_ros.bags.bag_fleet import Doer, do_all, in_order
from sphinx_ros.bags.bag_job import Job
from sphinx_ros.bags.bag_kinds import DEFAULTS, NAMES, Kinds, type_store
from sphinx_ros.bags.bag_run import do
from sphinx_ros.bags.bag_summary import KEY, summary_line, summary_of
from sphinx_ros.bags.bag_topics import camera_of, chosen_topics
from sphinx_ros.bags.bag_writer import BagWriter
from sphinx_ros.commands.cli import main
from sphinx_ros.errors import BadRequest, SphinxError, Status
from sphinx_ros.image.decode import decode_compressed
from sphinx_ros.image.letterbox import Letterbox
from sphinx_ros.prompt.queries import Query
from sphinx_ros.ros.annotations import image_annotations
from sphinx_ros.ros.answer_messages import AnswerMessages
from sphinx_ros.ros.outcomes import Outcome, Times
from sphinx_ros.tasks import Task
from sphinx_ros.types import (
    COCO_KEYPOINTS,
    Answer,
    Detection,
    Keypoint,
    Points,
    PointSource,
    Pose,
    Results,
)

ROOT = Path(__file__).resolve().parents[1]
LINES = ("ground: the red mug", "detect: can", "caption")
BOX = Letterbox.of(64, 48).box_to_source(MUG)


@pytest.fixture(scope="module")
def checkpoint():
    return str(taught_checkpoint())


@pytest.fixture(scope="module")
def load(taught):
    return lambda: taught


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    """Two cameras, one raw and one compressed, and a topic without pictures."""
    clock = [(START + 5, header(START))]
    folder = tmp_path_factory.mktemp("bags") / "drive"
    topics = {"/front/image_raw": film(4), "/rear/image/compressed": film(3, compressed_image)}
    return write_bag(folder, {**topics, "/clock": clock})


def job_of(bag, folder, **changed) -> Job:
    return Job(str(bag), str(Path(folder) / "out.mcap"), LINES, shown=False, **changed)


def refused(capsys, *words, said):
    assert main([str(word) for word in words]) == 2
    out, err = capsys.readouterr()
    assert said in err and err.count("\n") == 1, err
    assert out == ""


# what is written


def test_answers_stand_beside_the_pictures_at_their_times(bag, tmp_path, checkpoint, capsys):
    out = tmp_path / "out.mcap"
    words = ["bag", bag, out, "--checkpoint", checkpoint, "--annotated"]
    for line in LINES:
        words += ["--query", line]
    assert main([str(word) for word in words]) == 0
    assert "looked at 7 of 7 pictures; answers: 7 NOT_FOUND, 14 OK" in capsys.readouterr().out
    assert os.listdir(tmp_path) == ["out.mcap"], "what was needed on the way is gone"
    theirs, both = raw_messages(bag), raw_messages(out)
    assert [one for one in both if not one[0].startswith("/sphinx/")] == theirs
    made = read_bag(out)
    for camera, count in (("front", 4), ("rear", 3)):
        detections = made[f"/sphinx/{camera}/detections"]
        assert len(detections) == 2 * count, "two of the queries want boxes"
        mugs = [one for one in detections if one[1].query.text == "the red mug"]
        assert [log for log, _ in mugs] == [START + i * 10**8 for i in range(count)]
        for log, found in mugs:
            assert (found.image_width, found.image_height) == (64, 48)
            assert found.header.stamp.sec * 10**9 + found.header.stamp.nanosec == log
            assert found.header.frame_id == "camera" and found.query.camera == camera
            box = found.detections[0].box
            assert np.allclose((box.x0, box.y0, box.x1, box.y1), BOX, atol=1.0)
            assert found.timing.tokens > 0 and np.isnan(found.timing.look_ms)
        assert {m.status.code for _, m in detections if m.query.text == "can"} == {
            Status.NOT_FOUND
        }
        (answer,) = {m.text for _, m in made[f"/sphinx/{camera}/answers"]}
        assert answer.startswith("There are 2 objects")
        mirror = made[f"/sphinx/{camera}/detections_2d"][0][1]
        assert mirror.detections[0].results[0].hypothesis.class_id == "the red mug"
        assert mirror.detections[0].bbox.size_x == pytest.approx(BOX[2] - BOX[0], abs=1.0)
        drawn = made[f"/sphinx/{camera}/annotated/compressed"][0][1]
        assert decode_compressed(drawn.data, drawn.format).shape[1] == 64
        lines = made[f"/sphinx/{camera}/image_annotations"][0][1]
        assert lines.points and "the red mug" in {text.text[:11] for text in lines.texts}


def test_alone_and_at_most_that_often(bag, tmp_path, checkpoint, capsys):
    out = tmp_path / "out.mcap"
    words = ["--query", "ground: the red mug", "--topic", "/front/image_raw", "--only"]
    words += ["--every", "200ms", "--prefix", "/robot/sphinx", "--checkpoint", checkpoint]
    assert main(["bag", str(bag), str(out), *words]) == 0
    assert "looked at 2 of 4" in capsys.readouterr().out
    made = read_bag(out)
    outputs = ("detections", "detections_2d", "image_annotations")
    assert set(made) == {f"/robot/sphinx/{name}" for name in outputs}
    assert [log - START for log, _ in made["/robot/sphinx/detections"]] == [0, 2 * 10**8]
    assert made["/robot/sphinx/detections"][0][1].query.camera == "", "it is the only one"


@pytest.mark.parametrize("storage", [StoragePlugin.SQLITE3, StoragePlugin.MCAP])
@pytest.mark.parametrize("form", ["folder", "file"])
def test_kinds_of_bags(tmp_path, load, storage, form):
    folder = write_bag(tmp_path / "drive", {"/image": film(1)}, storage)
    path = folder if form == "folder" else next(p for p in folder.iterdir() if p.suffix != ".yaml")
    done = do(job_of(path, tmp_path), load)
    assert done.looked == 1 and "/sphinx/detections" in read_bag(Path(done.target))


def test_a_low_score_is_left_out(bag, tmp_path, load):
    done = do(job_of(bag, tmp_path, threshold=1.0), load)
    assert done.statuses["NOT_FOUND"] == 14
    found = read_bag(Path(done.target))["/sphinx/front/detections"]
    assert "below the threshold" in found[0][1].status.text


# pictures that can't be read


def test_bad_messages_are_counted_and_named_and_the_run_goes_on(tmp_path, checkpoint, capsys):
    rgb = picture(64, 48)
    good, stamps = film(2), [START + (i + 2) * 10**8 for i in range(5)]
    whole = bytes(type_store().serialize_cdr(raw_image(rgb, stamps[2]), RAW))
    bad = [
        (stamps[0], raw_image(rgb, stamps[0], step=7)),
        (stamps[1], raw_image(rgb, stamps[1], data=rgb.reshape(-1)[:100])),
        (stamps[2], whole[:20]),
        (stamps[3], b""),
        (stamps[4], raw_image(rgb, stamps[4])),
    ]
    bag = write_bag(tmp_path / "drive", {"/image": good + bad})
    out = tmp_path / "out.mcap"
    words = ["--query", "ground: the red mug", "--checkpoint", checkpoint]
    assert main(["bag", str(bag), str(out), *words]) == Status.BAD_IMAGE.exit_code == 2
    said, err = capsys.readouterr()
    assert "looked at 7 of 7 pictures; answers: 4 BAD_IMAGE, 3 OK" in said
    lines = [line for line in err.splitlines() if "can't be read" in line]
    assert len(lines) == 1 and "4 of the pictures on /image" in lines[0], err
    assert "number 2: " in lines[0] and "step" in lines[0]
    codes = [m.status.code for _, m in read_bag(out, "/sphinx/")["/sphinx/detections"]]
    assert codes == [Status.OK] * 2 + [Status.BAD_IMAGE] * 2 + [Status.OK]


def test_fewer_pictures_than_the_bag_counts_are_told(tmp_path, checkpoint, capsys):
    bag = shortened_bag(tmp_path / "drive", {"/image": film(5)}, {"/image": film(2)})
    out, asked = tmp_path / "out.mcap", ("--query", "pose", "--checkpoint", checkpoint)
    assert main(["bag", str(bag), str(out), *asked]) == 0
    said, err = capsys.readouterr()
    assert "looked at 2 of 2 pictures" in said
    assert "out.mcap: 2 of the 5 pictures on /image that the bag counts could be read" in err


def test_what_is_no_bag_or_damaged_is_refused_by_name(tmp_path, capsys, bag):
    asked = ("--query", "pose")
    out, text, cut = tmp_path / "o.mcap", tmp_path / "notes.mcap", tmp_path / "cut.mcap"
    text.write_text("not a bag")
    whole = next(Path(bag).glob("*.mcap")).read_bytes()
    cut.write_bytes(whole[: len(whole) // 2])
    refused(capsys, "bag", tmp_path / "none.mcap", out, *asked, said="there is no bag")
    refused(capsys, "bag", text, out, *asked, said="can't be read")
    refused(capsys, "bag", cut, out, *asked, said="mcap recover")
    refused(capsys, "bag", tmp_path, out.with_suffix(""), *asked, said="can't be read")
    refused(capsys, "bag", bag, out, said="nothing is asked")
    refused(capsys, "bag", bag, tmp_path / "o.db3", *asked, said=".mcap")
    refused(capsys, "bag", bag, tmp_path / "no" / "o.mcap", *asked, said="does not exist")
    refused(capsys, "bag", bag, out, "--query", "fly", said="is not a query")
    refused(capsys, "bag", bag, out, *asked, "--topic", "/left", said="/front/image_raw")
    refused(capsys, "bag", bag, out, *asked, "--every", "0", said="write 0.5s")
    refused(capsys, "bag", bag, out, *asked, "--prefix", "/my robot", said="can't be a topic")
    refused(capsys, "bag", bag, out, *asked, "--checkpoint", "none-such", said="none-such")
    refused(capsys, "bag", bag, *asked, said="behind it the .mcap file")
    assert not out.exists() and not Path(f"{out}.part").exists()


def test_a_topic_that_is_there_already_is_told_before_anything_is_asked(tmp_path, load, capsys):
    first = do(job_of(write_bag(tmp_path / "drive", {"/image": film(1)}), tmp_path), load).target
    again, asked = tmp_path / "again.mcap", ("--query", "detect: can", "--checkpoint", "none-such")
    refused(capsys, "bag", first, again, *asked, said="/sphinx/detections already: write the")
    refused(capsys, "bag", first, again, *asked, "--prefix", "/second", said="none-such")
    refused(capsys, "bag", first, again, *asked, "--only", said="none-such")


def test_nothing_found_anywhere_is_exit_code_1(tmp_path, checkpoint, capsys):
    bag, out = write_bag(tmp_path / "drive", {"/image": film(1)}), tmp_path / "out.mcap"
    assert (
        main(["bag", str(bag), str(out), "--query", "detect: can", "--checkpoint", checkpoint])
        == 1
    )
    assert "answers: 1 NOT_FOUND" in capsys.readouterr().out
    again = ["bag", str(bag), str(out), "--query", "detect: can", "--resume"]
    assert main(again) == 1, "that of the run which wrote it"
    assert capsys.readouterr().out.endswith("out.mcap: is there already; answers: 1 NOT_FOUND\n")


def test_the_outcomes_stand_in_the_bag(tmp_path):
    with BagWriter(tmp_path, "drive") as writer:
        writer.announce("/sphinx/answers", writer.kinds.Answer)
        writer.note("theirs", "a: [b")
        writer.note(KEY, summary_line({"OK": 3, "NOT_FOUND": 2, "A_NEW_ONE": 1}))
    whole = tmp_path / "drive" / "drive.mcap"
    assert summary_of(whole) == {"NOT_FOUND": 2, "OK": 3}
    other = tmp_path / "other.mcap"
    for data in (b"", b"x" * 99, whole.read_bytes()[:-1], whole.read_bytes()[-37:]):
        other.write_bytes(data)
        assert summary_of(other) == {}


def test_which_topics_and_what_their_cameras_are_called():
    there = {
        "/front/image_raw": 9, "/front/image_raw/compressed": 9, "/rear/image_raw/compressed": 9,
        "/depth/image_rect_raw": 9, "/camera/color/image_raw": 9, "/sphinx/annotated": 9,
        "/robot/annotated/compressed": 9, "/silent/image": 0,
    }  # fmt: skip
    assert chosen_topics(there) == {
        "camera": "/camera/color/image_raw",
        "front": "/front/image_raw",
        "rear": "/rear/image_raw/compressed",
    }
    assert chosen_topics(there, ["left=/depth/image_rect_raw", "front/image_raw"]) == {
        "left": "/depth/image_rect_raw",
        "front": "/front/image_raw",
    }
    assert chosen_topics({"/image": 1}) == {"": "/image"}
    assert camera_of("/robot1/camera/Left-Eye/image_raw") == "robot1_left_eye"
    with pytest.raises(BadRequest, match="--topic"):
        chosen_topics({"/depth/image": 3})


# whole or not there


def test_a_run_that_was_killed_goes_on_to_the_same_bytes(bag, tmp_path, load):
    """Whatever the disk holds when a process ends: lines, half a line, half a bag."""
    whole = do(job_of(bag, tmp_path / made("whole", tmp_path)), load)
    expected = Path(whole.target).read_bytes()
    kept = tmp_path / "kept.jsonl"
    stopped = job_of(bag, tmp_path / made("stopped", tmp_path))
    with pytest.raises(KeyboardInterrupt):
        do(stopped, lambda: Stopping(load(), 6))
    shutil.copy(stopped.part / "journal.jsonl", kept)
    lines = kept.read_bytes().splitlines(keepends=True)
    assert len(lines) == 7, "what it is about, and six pictures"
    cuts = [0, 10, len(lines[0]), len(lines[0]) + 5, sum(map(len, lines[:4])) + 50]
    for number, cut in enumerate([*cuts, sum(map(len, lines))]):
        job = job_of(bag, tmp_path / made(f"cut{number}", tmp_path), resume=True)
        job.part.mkdir()
        (job.part / "journal.jsonl").write_bytes(kept.read_bytes()[:cut])
        (job.part / "out").mkdir()
        (job.part / "out" / "out.mcap").write_bytes(expected[:1000])
        do(job, load)
        assert Path(job.target).read_bytes() == expected
        assert not job.part.exists()
    again = do(job, load)
    assert again.before and again.statuses == whole.statuses, "there is nothing left to do"


def made(name, folder):
    (folder / name).mkdir()
    return name


class Stopping:
    """A model at whose user somebody presses Ctrl-C after some looks."""

    def __init__(self, model, looks):
        self.engine, self._model, self._left = model.engine, model, looks

    def look(self, rgb, after=None):
        if not self._left:
            raise KeyboardInterrupt
        self._left -= 1
        return self._model.look(rgb, after=after)


def test_what_was_learnt_of_how_numbers_are_written_goes_on(taught):
    """Later answers depend on it in their cost, and by that in the last digits of scores."""
    first, second = fresh(taught), fresh(taught)
    for seed in range(2):
        first.look(picture(64, 48, seed)).detect("mug")
    told = json.loads(json.dumps(first.engine.habits.told()))
    assert [row[0] for row in told] == ["boxes"]
    second.engine.habits.begin_with(told)
    costs = [one.look(picture(64, 48, 7)).detect("mug").cost for one in (first, second)]
    assert costs[0].passes == costs[1].passes
    assert fresh(taught).look(picture(64, 48, 7)).detect("mug").cost.passes > costs[0].passes
    second.engine.habits.begin_with([])
    assert second.engine.habits.told() == []


def test_an_unfinished_run_is_not_mistaken(bag, tmp_path, load, monkeypatch):
    job = job_of(bag, tmp_path)
    with pytest.raises(KeyboardInterrupt):
        do(job, lambda: Stopping(load(), 2))
    assert not Path(job.target).exists() and job.part.exists()
    with pytest.raises(BadRequest, match="--resume"):
        do(job, load)
    other = job_of(bag, tmp_path, resume=True, every=0.2)
    with pytest.raises(BadRequest, match="every 0.0, and not 0.2"):
        do(other, load)
    with open(job.part / "journal.jsonl") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        with pytest.raises(BadRequest, match="another process"):
            do(job_of(bag, tmp_path, resume=True), load)
    assert do(job_of(bag, tmp_path, resume=True), load).looked == 7


def test_a_checkpoint_that_was_changed_goes_on_with_no_run(bag, tmp_path, checkpoint, load):
    folder = shutil.copytree(checkpoint, tmp_path / "taught")
    with pytest.raises(KeyboardInterrupt):
        do(job_of(bag, tmp_path, checkpoint=str(folder)), lambda: Stopping(load(), 2))
    (folder / "calibration.json").write_text("{}")
    with pytest.raises(BadRequest, match="was begun with calibration '', and not"):
        do(job_of(bag, tmp_path, checkpoint=str(folder), resume=True), load)


def command(bag, out, checkpoint, *more):
    words = ["bag", str(bag), str(out), "--checkpoint", checkpoint, *more]
    for line in LINES:
        words += ["--query", line]
    return [sys.executable, "-m", "sphinx_ros", *words]


def test_kill_and_ctrl_c_of_a_real_process(tmp_path, checkpoint, load):
    bag = write_bag(tmp_path / "drive", {"/image": film(40)})
    out = tmp_path / "out.mcap"
    journal = tmp_path / "out.mcap.part" / "journal.jsonl"

    def answers():
        return journal.read_bytes().count(b"\n") if journal.exists() else 0

    def stopped(process, stop):
        most = answers() + 3
        until(lambda: answers() >= most or process.poll() is not None)
        process.send_signal(stop)
        return process.communicate(timeout=PATIENCE)[1]

    for stop, more in ((signal.SIGKILL, ()), (signal.SIGINT, ("--resume",))):
        process = subprocess.Popen(
            command(bag, out, checkpoint, *more), cwd=ROOT, stderr=subprocess.PIPE, text=True
        )
        err = stopped(process, stop)
        assert process.returncode == (130 if stop == signal.SIGINT else -stop), err
        assert not out.exists()
    assert "--resume" in err and err.endswith("sphinx-ros: interrupted\n")
    asked = answers()
    do(Job(str(bag), str(out), LINES, checkpoint=checkpoint, resume=True, shown=False), load)
    whole = tmp_path / made("whole", tmp_path)
    do(job_of(bag, whole, checkpoint=checkpoint), load)
    assert asked > 4 and out.read_bytes() == (whole / "out.mcap").read_bytes()


@pytest.mark.parametrize("where", ["journal", "bag"])
def test_a_full_disk_leaves_nothing_that_looks_complete(bag, tmp_path, checkpoint, where, load):
    """By a limit on the size of files, which the system enforces."""
    limit = 1500 if where == "journal" else 20_000
    code = (
        "import resource, sys; from sphinx_ros.commands.cli import main; "
        f"resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit})); sys.exit(main())"
    )
    out = tmp_path / "out.mcap"
    words = command(bag, out, checkpoint)[3:]
    program = [sys.executable, "-c", code, *words]
    done = subprocess.run(program, cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 2 and os.strerror(errno.EFBIG) in done.stderr, done.stderr
    assert "out.mcap: " in done.stderr and "go on with --resume" in done.stderr
    assert not out.exists() and Path(f"{out}.part").exists()
    do(Job(str(bag), str(out), LINES, checkpoint=checkpoint, resume=True, shown=False), load)
    assert "/sphinx/front/detections" in read_bag(out)


@pytest.mark.parametrize("place", [0, 1])
def test_a_damaged_journal_is_told(bag, tmp_path, place):
    """Lines of zeros stand where a machine lost its power."""
    part = tmp_path / "out.mcap.part"
    part.mkdir()
    lines = [b"{}", b'{"topic": "/image", "number": 0}', b""]
    lines[place] = b"\0\0\0"
    (part / "journal.jsonl").write_bytes(b"\n".join(lines))
    with pytest.raises(BadRequest, match=r"journal.jsonl is damaged: delete it"):
        do(Job(str(bag), str(tmp_path / "out.mcap"), LINES, resume=True, shown=False), None)


# several bags


@pytest.fixture(scope="module")
def bags(tmp_path_factory):
    folder = tmp_path_factory.mktemp("several")
    write_bag(folder / "monday", {"/image": film(2)})
    write_bag(folder / "tuesday", {"/image": film(2, first=5)}, StoragePlugin.SQLITE3)
    return folder


def test_several_bags_by_one_process_and_by_two(bags, tmp_path, checkpoint, capsys):
    words = ["--query", "ground: the red mug", "--checkpoint", checkpoint]
    names = ["monday.mcap", "tuesday.mcap"]
    for count, out in (("1", tmp_path / "one"), ("2", tmp_path / "two")):
        assert main(["bag", str(bags), str(out), *words, "--workers", count]) == 0
        assert sorted(os.listdir(out)) == names
    for name in names:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    capsys.readouterr()
    refused(capsys, "bag", bags, tmp_path / "o.mcap", *words, said="go into a folder")
    refused(capsys, "bag", bags, tmp_path / "one", *words, said="is there already")


def test_one_bag_that_fails_does_not_keep_the_others(bags, tmp_path, checkpoint, capsys):
    words = ["--query", "detect: can", "--checkpoint", checkpoint, "--topic", "/image"]
    (tmp_path / "monday.mcap.part").mkdir()
    (tmp_path / "monday.mcap.part" / "journal.jsonl").write_text('{"format": 0}\n{}\n')
    assert main(["bag", str(bags), str(tmp_path), *words]) == 2
    out, err = capsys.readouterr()
    assert "tuesday.mcap: looked at 2 of 2" in out and "monday.mcap: " in err
    assert sorted(os.listdir(tmp_path)) == ["monday.mcap.part", "tuesday.mcap"]


def test_what_is_done_is_told_as_soon_as_all_before_it_is():
    came = []

    def rows():
        for number in (1, 0, 3, 2):
            came.append(number)
            yield number, f"bag {number}"

    told = [(done, len(came)) for done in in_order(rows())]
    assert told == [("bag 0", 2), ("bag 1", 2), ("bag 2", 4), ("bag 3", 4)]


def test_ray_makes_the_same_files(bags, tmp_path, checkpoint):
    pytest.importorskip("ray.data", reason="Ray Data is not installed: pip install ray[data]")

    def jobs(folder):
        made(folder, tmp_path)
        return [
            Job(str(bags / name), str(tmp_path / folder / f"{name}.mcap"), LINES,
                checkpoint=checkpoint, model={"device": "cpu"}, shown=False)
            for name in ("monday", "tuesday")
        ]  # fmt: skip

    here, there = jobs("here"), jobs("there")
    assert all(not done.error for done in map(Doer(), here))
    assert [done.looked for done in do_all(there, "ray")] == [2, 2]
    for one, other in zip(here, there, strict=True):
        assert Path(one.target).read_bytes() == Path(other.target).read_bytes()


def test_a_ray_that_is_not_there_is_told(bags, tmp_path, checkpoint, capsys, monkeypatch):
    pytest.importorskip("ray.data", reason="Ray Data is not installed: pip install ray[data]")
    monkeypatch.setenv("RAY_ADDRESS", "nowhere")
    words = ["--query", "pose", "--workers", "ray", "--checkpoint", checkpoint]
    assert main(["bag", str(bags), str(tmp_path), *words]) == Status.NOT_ACTIVE.exit_code
    assert "sphinx-ros: no Ray cluster answers at nowhere: " in capsys.readouterr().err


# messages

HEADER = {"stamp": {"sec": 12, "nanosec": 345}, "frame_id": "camera"}
FOUND = Detection("mug", (1.0, 2.0, 3.0, 4.0), 0.5, sigma=(1.0, 2.0, 3.0, 4.0))
PERSON = Pose(tuple(Keypoint(name, 5.0, 6.0, 0.5) for name in COCO_KEYPOINTS))
SPOT = Keypoint("handle", 3.0, 4.0, 0.5)
RESULTS = {
    Task.DETECT: Results((FOUND,)),
    Task.POSE: Results((PERSON,)),
    Task.POINT: Points((SPOT,), source=PointSource.MODEL),
    Task.ASK: Answer("yes", (FOUND,), (SPOT,), score=0.5),
}


def outcome(task, head) -> Outcome:
    return Outcome(
        Query(task, "mug", id="q1"), Status.OK, "", RESULTS[task], "words", ("[1",), head, 64, 48,
        Times(1.5, 2.5, 3.5, tokens=4), camera="front",
    )  # fmt: skip


@pytest.mark.parametrize("task", RESULTS)
def test_our_bytes_are_those_that_rclpy_reads(task):
    serialization = pytest.importorskip("rclpy.serialization", reason="ROS 2 is not installed")
    pytest.importorskip("sphinx_ros.msg", reason="the ROS interfaces are not built")
    from sphinx_ros.ros import messages as m
    from sphinx_ros.ros import replies

    kinds = Kinds()
    head = kinds.Header(stamp=kinds.Time(sec=12, nanosec=345), frame_id="camera")
    ours = AnswerMessages(kinds).answer_to(outcome(task, head))
    theirs = replies.answer_to(
        outcome(task, m.Header(stamp=m.Time(sec=12, nanosec=345), frame_id="camera"))
    )
    read = serialization.deserialize_message(kinds.bytes_of(ours), type(theirs))
    assert str(read) == str(theirs), "NaN is not equal to itself"
    back = kinds.store.deserialize_cdr(serialization.serialize_message(theirs), ours.__msgtype__)
    assert str(back) == str(ours)


def test_classes_have_the_fields_of_those_of_ros():
    m = pytest.importorskip("sphinx_ros.ros.messages", reason="ROS 2 is not installed")
    store, compared = type_store(), 0
    for name, kind in NAMES.items():
        theirs = getattr(m, name)
        if theirs is None:
            continue  # vision_msgs or foxglove_msgs is not installed
        module = ".".join(theirs.__module__.split(".")[:2]).replace(".", "/")
        assert kind == f"{module}/{theirs.__name__}"
        fields = [field for field, _ in store.fielddefs[kind][1]]
        assert fields == list(theirs.get_fields_and_field_types())
        compared += 1
    assert compared >= 15


def test_types_have_the_hashes_that_the_build_gives_them():
    """A reader takes a type for ours by its hash (REP 2016)."""
    import sphinx_ros

    share = next(
        (p for one in sphinx_ros.__path__ for p in Path(one).glob("../../../../share/sphinx_ros")),
        None,
    )
    if share is None:
        pytest.skip("the ROS interfaces are not built")
    store, seen = type_store(), 0
    for path in (share / "msg").glob("*.json"):
        said = json.loads(path.read_text())["type_hashes"][0]
        assert store.hash_rihs01(said["type_name"]) == said["hash_string"]
        seen += 1
    assert seen == len(list((ROOT / "msg").glob("*.msg")))


def test_fields_that_are_not_given_begin_as_their_definitions_say():
    kinds = Kinds()
    guess = kinds.ObjectHypothesisWithPose()
    assert guess.pose.pose.orientation.w == 1.0 and guess.pose.covariance.shape == (36,)
    assert set(DEFAULTS) <= set(kinds.store.fielddefs)
    with pytest.raises(TypeError, match="colour"):
        kinds.Header(colour="red")


def test_annotations_of_a_recording():
    kinds = Kinds()
    head = kinds.Header(stamp=kinds.Time(sec=12, nanosec=345), frame_id="camera")
    made = image_annotations([outcome(task, head) for task in RESULTS], head, kinds)
    read = kinds.store.deserialize_cdr(kinds.bytes_of(made), made.__msgtype__)
    corners = {(p.x, p.y) for p in read.points[0].points}
    assert corners == {(1, 2), (3, 2), (3, 4), (1, 4)} and read.points[0].type == 2
    assert read.points[0].timestamp.sec == 12 and read.circles
    assert "ask: mug -> yes" in {text.text for text in read.texts}


def test_a_model_on_a_server_answers_as_well(bag, tmp_path, taught):
    pytest.importorskip(
        "fastapi", reason="the server is not installed: pip install sphinx_ros[serve]"
    )
    from serve_support import lent, served

    with served(lent(taught)) as address:
        job = job_of(bag, tmp_path, server=address)
        done = Doer()(job)
    assert not done.error and done.statuses == {"OK": 14, "NOT_FOUND": 7}
    mugs = read_bag(Path(job.target))["/sphinx/front/detections"]
    box = mugs[0][1].detections[0].box
    assert np.allclose((box.x0, box.y0, box.x1, box.y1), BOX, atol=1.0)


def test_a_server_that_is_lost_ends_the_job_and_keeps_what_was_answered(tmp_path):
    bag = write_bag(tmp_path / "drive", {"/image": film(1)})
    done = Doer()(job_of(bag, tmp_path, server="http://127.0.0.1:1"))
    assert done.status == "NOT_ACTIVE" and "127.0.0.1:1" in done.error
    assert not Path(done.target).exists()


class Stumbling:
    """A model that fails at its first picture, so often."""

    def __init__(self, status, times):
        self.status, self.left = status, times

    def look(self, rgb, after=None):
        return self

    def answer(self, queries, **_):
        self.left -= 1
        if self.left >= 0:
            return [SphinxError("it failed", status=self.status) for _ in queries]
        return [Answer("a mug", raw_text="a mug") for _ in queries]


@pytest.mark.parametrize("status", [*GONE, *DOUBTFUL])
def test_what_is_not_the_pictures_own_is_asked_again(tmp_path, status):
    """One run after another; what the same picture has twice, though, may be its own."""
    bag = write_bag(tmp_path / "drive", {"/image": film(2)})
    job = Job(str(bag), str(tmp_path / "out.mcap"), ("caption",), shown=False)
    with pytest.raises(SphinxError, match="it failed") as ended:
        do(job, lambda: Stumbling(status, 1))
    assert ended.value.status is status and not Path(job.target).exists()
    again = replace(job, resume=True)
    if status in GONE:
        with pytest.raises(SphinxError, match="it failed"):
            do(again, lambda: Stumbling(status, 1))
        assert do(again, lambda: Stumbling(status, 0)).statuses == {"OK": 2}
    else:
        assert do(again, lambda: Stumbling(status, 1)).statuses == {status.name: 1, "OK": 1}


def test_a_time_limit_of_ones_own_is_an_outcome(tmp_path):
    bag = write_bag(tmp_path / "drive", {"/image": film(1)})
    job = Job(str(bag), str(tmp_path / "out.mcap"), ("caption",), asking={"timeout": 5.0})
    done = do(job, lambda: Stumbling(Status.TIMEOUT, 1))
    assert done.statuses == {"TIMEOUT": 1}


def test_a_busy_server_is_waited_for(tmp_path, monkeypatch):
    given = {}
    monkeypatch.setattr(Sphinx, "connect", lambda server, **options: given.update(options))
    Doer()._load(job_of("drive", tmp_path, server="http://127.0.0.1:1"))
    assert given["busy"] == math.inf
