"""`sphinx-ros` as people type it: real runs, on a small network that knows some answers."""

import errno
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
from patience import PATIENCE, until
from small_network import ANSWERS, MUG, PERSON, picture, taught_checkpoint

from sphinx_ros.checkpoint.layout import ASSETS
from sphinx_ros.commands.cli import VERBS, main
from sphinx_ros.image.letterbox import Letterbox
from sphinx_ros.prompt.wording import question
from sphinx_ros.runtime.interrupts import held_back
from sphinx_ros.tasks import Task
from sphinx_ros.types import COCO_KEYPOINTS

KEYS = ["image", "width", "height", "task", "text", "status", "answer", "results", "score",
        "raw_text", "unread", "milliseconds", "tokens"]  # fmt: skip
BOX_OF = {
    name: ",".join(f"{v:.1f}" for v in Letterbox.of(64, 48).box_to_source(box))
    for name, box in (("mug", MUG), ("person", PERSON))
}


@pytest.fixture(scope="module")
def checkpoint():
    """A checkpoint that answers ANSWERS."""
    return str(taught_checkpoint())


@pytest.fixture(scope="session")
def demo():
    """The bundled checkpoint."""
    if not (ASSETS / "demo" / "config.json").exists():
        pytest.skip("sphinx_ros/assets/demo is not there: the model is not trained yet")
    return "demo"


@pytest.fixture
def photo(tmp_path):
    """A picture file of 64x48."""
    path = tmp_path / "photo.png"
    cv2.imwrite(str(path), picture(64, 48)[:, :, ::-1])
    return path


@pytest.fixture
def run(capsys):
    """main([...]) -> (exit code, stdout, stderr)."""

    def run(*words):
        code = main([str(word) for word in words])
        out, err = capsys.readouterr()
        return code, out, err

    return run


def pixels(box_words):
    """The four numbers in "box 1.0,2.0,3.0,4.0"."""
    return [float(v) for v in re.search(r"box ([\d.,]+)", box_words)[1].split(",")]


# what each verb prints


def test_every_verb_answers(run, photo, checkpoint):
    expected = {
        ("ground", photo, "the red mug"): f"OK the red mug box {BOX_OF['mug']} score",
        ("detect", photo, "mug"): "OK mug box ",
        ("detect", photo, "can"): "NOT_FOUND There is no can in the image.",
        ("pose", photo): f"OK person box {BOX_OF['person']} score",
        ("pose", photo, BOX_OF["person"]): f"OK person box {BOX_OF['person']} score",
        ("describe", photo, BOX_OF["mug"]): "OK a small red mug score",
        ("caption", photo): "OK There are 2 objects",
        ("ask", photo, "how", "many", "mugs", "are", "there?"): "OK 2 score",
    }
    for words, start in expected.items():
        code, out, err = run(*words, "--checkpoint", checkpoint, "--device", "cpu")
        assert out.startswith(f"{photo}: {start}"), words
        assert code == (1 if "NOT_FOUND" in start else 0) and err == ""
    assert len(run("detect", photo, "mug", "--checkpoint", checkpoint)[1].splitlines()) == 2


def test_words_may_stand_behind_options(run, photo, checkpoint):
    there = run("detect", photo, "mug", "--checkpoint", checkpoint)
    behind = run("detect", "--checkpoint", checkpoint, photo, "--timeout", "60", "mug")
    assert there == behind and there[0] == 0


def test_json_of_boxes(run, photo, checkpoint):
    code, out, _ = run("ground", photo, "the red mug", "--json", "--checkpoint", checkpoint)
    (line,) = out.splitlines()
    said = json.loads(line)
    assert code == 0 and list(said) == KEYS
    assert (said["image"], said["width"], said["height"]) == (str(photo), 64, 48)
    assert (said["task"], said["text"], said["status"]) == ("ground", "the red mug", "OK")
    (found,) = said["results"]
    assert found["box"] == [float(v) for v in BOX_OF["mug"].split(",")]
    assert found["label"] == "the red mug" and 0 < found["score"] <= 1
    assert said["raw_text"].strip() == ANSWERS[question(Task.GROUND, "the red mug")]
    assert said["unread"] == [] and said["milliseconds"] > 0 and said["tokens"] > 4
    assert said["answer"] is None and said["score"] is None


def test_json_of_people_has_null_for_unknown(run, photo, checkpoint):
    said = json.loads(run("pose", photo, "--json", "--checkpoint", checkpoint)[1])
    joints = said["results"][0]["keypoints"]
    assert [joint["name"] for joint in joints] == list(COCO_KEYPOINTS)
    assert joints[0]["x"] > 0 and joints[0]["visibility"] == "UNKNOWN"
    last = joints[16]
    assert (last["x"], last["score"], last["visibility"]) == (None, None, "ABSENT")


def test_json_of_words(run, photo, checkpoint):
    said = json.loads(run("caption", photo, "--json", "--checkpoint", checkpoint)[1])
    assert said["answer"] == ANSWERS[question(Task.CAPTION)] and 0 < said["score"] <= 1
    assert [found["label"] for found in said["results"]] == ["can", "red mug"]


def test_words_that_hold_no_result(run, photo, checkpoint):
    code, out, err = run("detect", photo, "cone", "--json", "--checkpoint", checkpoint)
    said = json.loads(out)
    assert code == 3 and said["status"] == "PARSE_FAILED" and said["unread"] == ["[0.2,0.3,0.4]"]
    assert "[0.2,0.3,0.4]" in said["raw_text"] and "no readable result" in said["message"]
    code, out, _ = run("detect", photo, "cone", "--checkpoint", checkpoint)
    assert code == 3 and "PARSE_FAILED" in out and "[0.2,0.3,0.4]" in out


def test_time_limit(run, photo, checkpoint):
    words = ("caption", photo, "--timeout", "0.001", "--json", "--checkpoint", checkpoint)
    code, out, err = run(*words)
    said = json.loads(out)
    assert code == 3 and said["status"] == "TIMEOUT" and "0.001 s" in said["message"]
    assert err.startswith("sphinx-ros: ") and err.count("\n") == 1


def test_token_limit(run, photo, checkpoint):
    words = ("caption", photo, "--json", "--max-new-tokens", "3", "--checkpoint", checkpoint)
    assert json.loads(run(*words)[1])["tokens"] == 3


def test_every_task_is_a_verb(run, photo, checkpoint):
    overview = run("--help")[1]
    for task in Task:
        assert task.row.about in overview and task.row.about in run(task.value, "--help")[1]
        mug = ["the red mug"]
        given = {"text": mug, "question": mug, "kind": ["mug"], "box": [BOX_OF["mug"]]}
        words = given.get(task.row.takes.value, [])
        code, out, _ = run(task.value, photo, *words, "--json", "--checkpoint", checkpoint)
        assert code in (0, 1, 3) and json.loads(out)["task"] == task.value


# pictures and folders


def test_save_draws(run, photo, tmp_path, checkpoint):
    out = tmp_path / "out.png"
    assert run("ground", photo, "the red mug", "--save", out, "--checkpoint", checkpoint)[0] == 0
    drawn, plain = cv2.imread(str(out)), cv2.imread(str(photo))
    assert drawn.shape[1] == 64 and drawn.shape[0] > 48, "the words stand below the picture"
    x0, y0, x1, y1 = (round(v) for v in pixels(f"box {BOX_OF['mug']}"))
    changed = np.abs(drawn[:48].astype(int) - plain).sum(-1) > 60
    assert changed[y0 : y1 + 1, x0].mean() > 0.8 and changed[y1, x0 : x1 + 1].mean() > 0.8
    assert not changed[y1 + 6 :].any()


def test_folder(run, tmp_path, checkpoint):
    folder, saved = tmp_path / "pictures", tmp_path / "saved"
    folder.mkdir()
    for name, (width, height) in {"b.jpg": (48, 64), "a.png": (64, 48)}.items():
        cv2.imwrite(str(folder / name), picture(width, height))
    (folder / "notes.txt").write_text("no picture")
    words = ("detect", folder, "mug", "--json", "--save", saved, "--checkpoint", checkpoint)
    code, out, _ = run(*words)
    said = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and [Path(s["image"]).name for s in said] == ["a.png", "b.jpg"]
    assert [(s["width"], s["height"]) for s in said] == [(64, 48), (48, 64)]
    assert sorted(p.name for p in saved.iterdir()) == ["a.png", "b.jpg"]
    (folder / "c.png").write_text("not a picture at all")
    code, out, err = run(*words)
    said = [json.loads(line) for line in out.splitlines()]
    assert code == 2 and [s["status"] for s in said] == ["OK", "OK", "BAD_IMAGE"]
    assert said[2]["width"] is None and "c.png" in said[2]["message"] and "c.png" in err


def test_several_pictures(run, photo, tmp_path, checkpoint):
    other, folder, saved = tmp_path / "other.png", tmp_path / "more", tmp_path / "saved"
    folder.mkdir()
    shutil.copy(photo, other)
    shutil.copy(photo, folder / "third.png")
    pictures, ending = (photo, other, f"{folder}/"), ("--json", "--checkpoint", checkpoint)
    code, out, _ = run("ground", *pictures, "the red mug", *ending, "--save", saved)
    said = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and [s["text"] for s in said] == ["the red mug"] * 3
    assert [s["image"] for s in said] == [str(photo), str(other), str(folder / "third.png")]
    assert sorted(p.name for p in saved.iterdir()) == ["other.png", "photo.png", "third.png"]
    shutil.copy(photo, folder / "photo.png")
    twice = run("caption", photo, folder / "photo.png", "--save", saved)
    check_refused(twice, "several pictures are named photo.png")
    assert len(run("caption", photo, other, *ending)[1].splitlines()) == 2


def test_standard_input(run, photo, tmp_path, checkpoint, monkeypatch):
    def stdin(content, terminal=False):
        stream = io.TextIOWrapper(io.BytesIO(content))
        stream.isatty = lambda: terminal
        monkeypatch.setattr(sys, "stdin", stream)

    stdin(photo.read_bytes())
    words = ("ground", "-", "the red mug", "--checkpoint", checkpoint)
    code, out, _ = run(*words, "--save", tmp_path / "seen.png")
    assert code == 0 and out.startswith(f"-: OK the red mug box {BOX_OF['mug']}")
    assert (tmp_path / "seen.png").exists()
    stdin(b"no picture")
    check_refused(run(*words), "standard input")
    stdin(b"", terminal=True)
    check_refused(run(*words), "terminal")


@pytest.mark.parametrize("box", ["[{}]", "({})", " {} "])
def test_boxes_as_they_are_copied(run, photo, checkpoint, box):
    words = ("describe", photo, box.format(BOX_OF["mug"]), "--checkpoint", checkpoint)
    assert run(*words)[1].startswith(f"{photo}: OK a small red mug")


def test_a_box_may_begin_left_of_the_picture(run, photo, checkpoint):
    words = ("describe", photo, "-10,-2.5,20,30", "--json", "--checkpoint", checkpoint)
    code, out, _ = run(*words)
    assert code == 0 and json.loads(out)["text"] == "-10,-2.5,20,30"
    assert run("describe", photo, *"-10 -2.5 20 30".split(), "--checkpoint", checkpoint)[0] == 0


def test_a_photograph_is_seen_upright(run, tmp_path, checkpoint):
    """EXIF orientation 6: the camera was turned; viewers and we show it upright."""
    from PIL import Image

    path = tmp_path / "turned.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    lying = picture(64, 48)
    Image.fromarray(lying).save(path, exif=exif, quality=95)
    said = json.loads(run("detect", path, "mug", "--json", "--checkpoint", checkpoint)[1])
    assert (said["width"], said["height"]) == (48, 64)
    from sphinx_ros.commands.pictures import read_picture

    upright = np.rot90(lying, 3)  # a quarter turn clockwise
    assert np.abs(read_picture(path).astype(int) - upright).mean() < 12


@pytest.mark.parametrize("suffix", [".jpg", ".png", ".webp", ".tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_each_orientation_is_turned_once(tmp_path, suffix, orientation):
    from PIL import Image

    from sphinx_ros.commands.pictures import read_picture

    up = np.zeros((40, 60, 3), np.uint8)
    up[:16, :16] = (250, 0, 0)
    up[-8:, :24] = (0, 0, 250)
    stored = Image.fromarray(up)
    for turn in {2: [0], 3: [3], 4: [1], 5: [5], 6: [2], 7: [6], 8: [4]}.get(orientation, []):
        stored = stored.transpose(turn)
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = tmp_path / f"photo{suffix}"
    options = {"tiffinfo": {0x0112: orientation}} if suffix == ".tif" else {"exif": exif.tobytes()}
    stored.save(path, quality=100, lossless=True, **options)
    seen = read_picture(path)
    assert seen.shape == up.shape and np.abs(seen.astype(int) - up).mean() < 6


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "I;16"])
@pytest.mark.parametrize("suffix", [".bmp", ".tiff", ".ppm", ".png"])
def test_kinds_of_pixels(tmp_path, suffix, mode):
    from PIL import Image

    from sphinx_ros.commands.pictures import read_picture

    if mode == "I;16":
        if suffix == ".bmp":
            pytest.skip("BMP has no such pixels")
        kept = Image.fromarray(np.full((5, 7), 40_000, np.uint16))
    else:
        kept = Image.new("RGB", (7, 5), (255, 255, 255)).convert(mode)
    path = tmp_path / f"x{suffix}"
    kept.convert("RGB" if (mode, suffix) == ("P", ".ppm") else mode).save(path)
    assert (read_picture(path) == (156 if mode == "I;16" else 255)).all()


@pytest.mark.parametrize("suffix", [".bmp", ".tiff", ".ppm", ".webp"])
def test_damaged_files_of_other_formats(tmp_path, suffix):
    from sphinx_ros.commands.pictures import read_picture
    from sphinx_ros.errors import BadImage

    whole = cv2.imencode(suffix, picture(64, 48))[1].tobytes()
    path = tmp_path / f"x{suffix}"
    for end in (3, 20, len(whole) // 2):
        path.write_bytes(whole[:end])
        with pytest.raises(BadImage, match=path.name):
            read_picture(path)


def test_formats(run, tmp_path, checkpoint):
    for suffix in (".jpg", ".png", ".bmp", ".webp", ".tiff", ".ppm"):
        path = tmp_path / f"photo{suffix}"
        assert cv2.imwrite(str(path), picture(64, 48))
        assert run("detect", path, "mug", "--checkpoint", checkpoint)[0] == 0, suffix


# bad input: one line, exit code 2, no traceback


def bad_files(folder):
    """Name -> file that is no picture."""
    whole = cv2.imencode(".jpg", picture(640, 480))[1].tobytes()
    contents = {
        "missing.png": None,
        "text.png": b"this is a text\n" * 20,
        "empty.jpg": b"",
        "truncated.jpg": whole[: len(whole) // 2],
        "header.png": b"\x89PNG\r\n\x1a\n",
        "random.bmp": bytes(range(256)) * 8,
    }
    for name, content in contents.items():
        if content is not None:
            (folder / name).write_bytes(content)
    return {name: folder / name for name in contents}


def check_refused(result, *named):
    """Exit code 2 and one line on stderr that names what is wrong."""
    code, _, err = result
    assert code == 2, err
    assert err.startswith("sphinx-ros: ") and err.count("\n") == 1 and "Traceback" not in err
    for part in named:
        assert part in err, err


def test_bad_picture_files(run, tmp_path):
    for name, path in bad_files(tmp_path).items():
        check_refused(run("detect", path, "mug", "--checkpoint", "no/such/model"), name)


def test_bad_sources(run, tmp_path, photo):
    (tmp_path / "nothing").mkdir()
    check_refused(run("detect", tmp_path / "nothing"), "holds no picture")
    check_refused(run("detect", "77"), "webcam 77")
    check_refused(run("detect", photo, "--watch"), "--watch")
    check_refused(run("detect"), "required", "sphinx-ros detect --help")


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["ground", "{photo}"], "empty"),
        (["ground", "{photo}", ""], "empty"),
        (["ask", "{photo}", "   "], "empty"),
        (["describe", "{photo}"], "a box is needed"),
        (["describe", "{photo}", "1,2,3"], "x0,y0,x1,y1"),
        (["describe", "{photo}", "1,2,3,nan"], "x0,y0,x1,y1"),
        (["pose", "{photo}", "a mug"], "x0,y0,x1,y1"),
        (["caption", "{photo}", "--timeout", "-1"], "--timeout"),
        (["caption", "{photo}", "--timeout", "nan"], "--timeout"),
        (["caption", "{photo}", "--max-new-tokens", "0"], "--max-new-tokens"),
        (["caption", "{photo}", "--max-new-tokens", "2.5"], "whole number"),
        (["describe", "{photo}", "5,5,5,9"], "x0 < x1"),
        (["pose", "{photo}", ""], "x0,y0,x1,y1"),
        (["detect", "{photo}", ""], "empty"),
        (["detect", "", "a mug"], "IMAGE is empty"),
        (["ground", "{photo}", "m\udcfcg"], "write it in UTF-8"),
        (["detect", "x" * 5000, "mug"], "no file or folder"),
        (["detect", "1" * 5000, "mug"], "cameras are numbered from 0"),
        (["detect", "caf\udce9.png", "mug"], "caf\\xe9.png"),
        (["detect", "-", "-", "mug"], "give it once"),
        (["detect", "{photo}", "gone.png", "mug"], "gone.png"),
        (["detect", "{photo}", "mug", "--save", ""], "--save is empty"),
        (["caption", "{photo}", "mug"], "unrecognized arguments: mug"),
        (["caption", "{photo}", "--colour"], "--colour"),
        (["look", "{photo}"], "no verb 'look'"),
        ([], "a verb is missing"),
        (["world", "-1"], ""),
        (["world", "1", "--size", "10x10"], "64..4096"),
        (["world", "1", "--save", "/no/such/folder/x.png"], "/no/such/folder"),
        (["train", "--minutes", "0"], "--minutes"),
        (["train", "--folder", "/dev/null/x"], "/dev/null/x"),
        (["train", "--start", "no/such/model"], "no/such/model"),
        (["eval"], "required"),
        (["eval", "moon"], "moon"),
        (["eval", "world", "--scenes", "0"], "--scenes"),
        (["eval", "world", "--checkpoint", "no/such/model"], "no/such/model"),
        (["eval", "world", "--json", "/no/such/folder/x.json"], "/no/such/folder"),
        (["eval", "world", "--limit", "9"], "--limit is for benchmarks"),
        (["eval", "world", "--device", "cuda"], "--device is for benchmarks"),
        (["eval", "world", "--calibrate"], "--calibrate is for benchmarks"),
        (["serve", "--join"], "give --replicas as well"),
        (["serve", "--address", "auto"], "give --replicas as well"),
        (["serve", "--replica-gpus", "0"], "give --replicas as well"),
    ],
)
def test_bad_usage(run, photo, words, named):
    check_refused(run(*(str(photo) if word == "{photo}" else word for word in words)), named)


def test_bad_checkpoints_and_devices(run, photo, tmp_path, checkpoint):
    ask = ("caption", photo, "--checkpoint")
    check_refused(run(*ask, "no/such/model"), "no/such/model")
    check_refused(run(*ask, photo), "photo.png")
    check_refused(run(*ask, tmp_path), "holds no .pth")
    check_refused(run(*ask, checkpoint, "--device", "banana"), "banana")
    check_refused(run(*ask, checkpoint, "--device", "cuda:99"), "cuda:99")
    check_refused(run(*ask, checkpoint, "--dtype", "int3"), "int3")
    broken = tmp_path / "broken"
    shutil.copytree(checkpoint, broken)
    (shard,) = broken.glob("*.pth")
    shard.write_bytes(shard.read_bytes()[:5000])
    check_refused(run(*ask, broken), shard.name, "truncated")
    shard.unlink()
    check_refused(run(*ask, broken), "consolidated")
    (broken / "config.json").write_text("{")
    check_refused(run(*ask, broken), "config.json", "JSON")


def test_bad_save_targets(run, photo, tmp_path):
    (tmp_path / "folder").mkdir()
    shutil.copy(photo, tmp_path / "folder")
    for target in (
        tmp_path / "out.txt",
        tmp_path / "out",
        tmp_path / "folder",
        photo,
        tmp_path / "no" / "such" / "out.png",
    ):
        check_refused(run("caption", photo, "--save", target, "--checkpoint", "none"), str(target))
    check_refused(run("caption", tmp_path / "folder", "--save", tmp_path / "folder"), "overwrite")
    check_refused(run("caption", tmp_path / "folder", "--save", photo), "folder")
    assert cv2.imread(str(photo)).shape == (48, 64, 3), "nothing was overwritten"


def test_save_that_fails_only_when_written(run, photo, checkpoint):
    """A folder that looks writable and is not: the answer is printed, then the reason."""
    result = run("caption", photo, "--save", "/proc/out.png", "--checkpoint", checkpoint)
    check_refused(result, "/proc/out.png")
    assert "OK There are 2 objects" in result[1]


def test_a_full_disk_leaves_the_old_picture(run, photo, tmp_path, checkpoint, monkeypatch):
    from sphinx_ros.runtime import files

    target, real = tmp_path / "seen.png", files.os.replace
    words = ("caption", photo, "--save", target, "--checkpoint", checkpoint)
    assert run(*words)[0] == 0
    before = target.read_bytes()

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(files.os, "replace", full)
    result = run("detect", *words[1:])
    monkeypatch.setattr(files.os, "replace", real)
    check_refused(result, "seen.png", "No space left")
    assert target.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["photo.png", "seen.png"]


def test_output_that_can_not_be_written():
    with open("/dev/full", "w") as full:
        process = start("--help", stdout=full)
        _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 2 and err == "sphinx-ros: No space left on device\n"


def test_names_that_are_no_unicode(run, photo, tmp_path, checkpoint):
    name = os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9 \xe6\xbc\xa2\n.png")
    shutil.copy(photo, name)
    saved = tmp_path / os.fsdecode(b"s\xfc.png")
    words = ("detect", name, "mug", "--checkpoint", checkpoint)
    code, out, _ = run(*words, "--save", saved)
    assert code == 0 and "caf\\xe9 漢\\n.png: OK mug" in out and saved.exists()
    said = json.loads(run(*words, "--json")[1])
    assert said["image"].endswith("caf\\xe9 漢\\n.png") and said["image"].encode()


@pytest.mark.parametrize("encoding", ["ascii", "latin-1", "utf-8"])
def test_terminals_of_any_encoding(photo, tmp_path, checkpoint, encoding, monkeypatch):
    path = tmp_path / "tür 漢.png"
    shutil.copy(photo, path)
    words = ["detect", str(path), "mug", "--checkpoint", checkpoint]
    for more in ([], ["--json"]):
        stream = io.TextIOWrapper(io.BytesIO(), encoding=encoding)
        monkeypatch.setattr(sys, "stdout", stream)
        assert main([*words, *more]) == 0
        out = stream.buffer.getvalue()
    assert json.loads(out.decode("utf-8"))["image"] == str(path), "JSON is UTF-8 or ASCII"


def test_box_outside_the_picture(run, photo, checkpoint):
    result = run("describe", photo, "100,100,200,200", "--checkpoint", checkpoint)
    check_refused(result, "64x48")


# help, and other processes


def test_help_names_every_verb_and_option(run):
    code, out, _ = run("--help")
    assert code == 0 and all(re.search(rf"^  {verb} ", out, re.M) for verb in VERBS)
    for verb in VERBS:
        code, out, _ = run(verb, "--help")
        assert code == 0 and f"sphinx-ros {verb}" in out
    code, out, _ = run("ground", "--help")
    for word in (*KEYS, "--save", "--json", "--timeout", "--device", "--dtype", "webcam"):
        assert word in out
    assert run("--version")[:2] == (0, "0.1.0\n")


def start(*words, **options):
    """A fresh process with this checkout's package."""
    root = str(Path(__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "sphinx_ros", *map(str, words)]
    # tests that run in the background have Ctrl-C ignored, and would hand that down
    options["preexec_fn"] = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)
    environment |= options.pop("env", {})
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen(
        command, env=environment, text=True, encoding="utf-8", **(pipes | options)
    )


def test_help_is_quick_and_loads_nothing_heavy():
    names = "torch numpy cv2 timm transformers open_clip mujoco rclpy"
    script = (
        "import sys; from sphinx_ros.commands.cli import main; main(['--help']); "
        f"sys.exit(' '.join(n for n in {names.split()!r} if n in sys.modules) or 0)"
    )
    root = str(Path(__file__).parents[1])
    done = subprocess.run([sys.executable, "-c", script], text=True, capture_output=True, cwd=root)
    assert done.returncode == 0 and done.stderr == "" and "ground" in done.stdout


@pytest.mark.parametrize(
    "words",
    [
        ["ground", "gone.png", "a mug"],
        ["ground", "{photo}"],
        ["describe", "{photo}", "1,2,3"],
        ["detect", "{photo}", "mug", "--save", "/no/such/folder/x.png"],
        ["detect", "{photo}", "mug", "--checkpoint", "no/such/model"],
        ["detect", "{broken}", "mug"],
    ],
)
def test_what_is_wrong_is_said_before_torch_is_loaded(photo, tmp_path, words):
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no picture")
    words = [word.format(photo=photo, broken=broken) for word in words]
    script = (
        f"import sys; from sphinx_ros.commands.cli import main; code = main({words!r}); "
        "sys.exit('torch' if 'torch' in sys.modules else code)"
    )
    root = str(Path(__file__).parents[1])
    done = subprocess.run([sys.executable, "-c", script], text=True, capture_output=True, cwd=root)
    assert done.returncode == 2 and "torch" not in done.stderr and done.stderr.count("\n") == 1


def test_in_a_process_of_its_own(photo, checkpoint):
    process = start("ground", photo, "the red mug", "--json", "--checkpoint", checkpoint)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0 and json.loads(out)["status"] == "OK", err
    assert err == "", "libraries' chatter does not belong into a pipe"


def test_ctrl_c(photo):
    """Ctrl-C while the model loads or answers: one line and 130."""
    process = start("caption", photo, "--checkpoint", taught_checkpoint())
    maps = Path(f"/proc/{process.pid}/maps")
    until(lambda: process.poll() is not None or "libtorch" in maps.read_text())
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130 and err.strip().endswith("sphinx-ros: interrupted"), err
    assert "Traceback" not in err


# the demonstration model and its world


def test_world_prints_what_is_there(run, tmp_path):
    pytest.importorskip("mujoco", reason="the simulated tabletop needs mujoco")
    save, truth = tmp_path / "scene.png", tmp_path / "truth.png"
    words = ("world", "7", "--size", "320x240")
    code, out, _ = run(*words, "--save", save, "--truth", truth, "--json")
    things = [json.loads(line) for line in out.splitlines()]
    assert code == 0 and things and all(len(thing["box"]) == 4 for thing in things)
    scene, marked = cv2.imread(str(save)), cv2.imread(str(truth))
    assert scene.shape == marked.shape == (240, 320, 3) and (scene != marked).any()
    plain = run(*words)[1].splitlines()
    assert len(plain) == len(things) and things[0]["kind"] in plain[0]


@pytest.mark.demo
def test_the_bundled_model_scores_what_its_card_says(run, tmp_path, demo):
    """On other scenes, within what so few can tell; too good is a wrong card as well."""
    pytest.importorskip("mujoco", reason="the simulated tabletop needs mujoco")
    stated = json.loads((ASSETS / "demo" / "scores.json").read_text())
    target = tmp_path / "scores.json"
    code, _, _ = run(
        "eval",
        "world",
        "--checkpoint",
        demo,
        "--scenes",
        "24",
        "--seed",
        "77",
        "--processes",
        "1",
        "--json",
        target,
    )
    measured = json.loads(target.read_text())
    assert code == 0
    for name, slack in (("refer.acc50", 0.2), ("detect.f1", 0.2), ("qa.acc", 0.15)):
        assert measured[name] == pytest.approx(stated[name], abs=slack), name


@pytest.mark.parametrize("handler", [signal.default_int_handler, signal.SIG_IGN])
def test_ctrl_c_waits_for_a_library_that_loads(handler):
    """An exception inside C++ that registers itself ends a process with an abort."""
    seen, before = [], signal.signal(signal.SIGINT, handler)
    try:
        with held_back():
            os.kill(os.getpid(), signal.SIGINT)
            time.sleep(0.05)
            seen.append("the block")
        seen.append("what follows")
    except KeyboardInterrupt:
        seen.append("interrupted")
    finally:
        assert signal.signal(signal.SIGINT, before) is handler
    ignored = handler is signal.SIG_IGN
    assert seen == ["the block", "what follows" if ignored else "interrupted"]
