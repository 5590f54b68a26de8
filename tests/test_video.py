"""The picture verbs on videos: frames with their times, drawn into a video that is whole."""

import io
import itertools
import json
import os
import re
import signal
import struct
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
from patience import PATIENCE
from small_network import picture, taught_checkpoint

from sphinx_ros.commands.cli import main
from sphinx_ros.commands.pictures import Source
from sphinx_ros.commands.videos import WRITTEN, VideoFile, begins_video, opened

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def checkpoint():
    return str(taught_checkpoint())


def film(path, count=6, rate=10.0, size=(64, 48)):
    """A video of grey frames, 0, 20, 40, ..."""
    codec = cv2.VideoWriter_fourcc(*WRITTEN.get(path.suffix, "VP80"))
    writer = cv2.VideoWriter(str(path), codec, rate, size)
    for number in range(count):
        writer.write(np.full((size[1], size[0], 3), 20 * number % 256, np.uint8))
    writer.release()
    return path


@pytest.fixture(scope="module")
def clip(tmp_path_factory):
    return film(tmp_path_factory.mktemp("video") / "clip.mp4")


@pytest.fixture
def run(capsys, checkpoint):
    def run(*words):
        code = main([*map(str, words), "--checkpoint", checkpoint])
        return code, *capsys.readouterr()

    return run


def frames(path):
    with opened(str(path), "it") as clip:
        return clip.rate, list(clip)


def test_each_frame_is_answered_with_its_time_and_drawn(run, clip, tmp_path):
    out = tmp_path / "seen.mp4"
    code, said, _ = run("ground", clip, "the red mug", "--json", "--save", out)
    rows = [json.loads(line) for line in said.splitlines()]
    assert code == 0 and [row["time"] for row in rows] == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
    assert {row["status"] for row in rows} == {"OK"} and list(rows[0])[:2] == ["image", "time"]
    rate, drawn = frames(out)
    assert rate == 10 and len(drawn) == 6
    assert drawn[0][1].shape[1] == 64 and drawn[0][1].shape[0] > 48, "words stand below"
    assert abs(int(np.median(drawn[3][1][:40])) - 60) < 12
    assert sorted(os.listdir(tmp_path)) == ["seen.mp4"]


def test_some_frames_only(run, clip, tmp_path):
    out = tmp_path / "seen.avi"
    code, said, _ = run("ground", clip, "the red mug", "--every", "0.2s", "--save", out)
    lines = said.splitlines()
    assert code == 0 and [line.split()[1:3] for line in lines] == [
        ["0.00", "s:"], ["0.20", "s:"], ["0.40", "s:"],
    ]  # fmt: skip
    rate, drawn = frames(out)
    assert rate == 5 and len(drawn) == 3, "it plays as long as the video"


def uneven(path):
    """A video of 12 frames: at 0, 0.1 ... 0.5 s, and then at 1.5, 2.5 ... 6.5 s."""
    data = film(path, 12).read_bytes().replace(b"edts", b"free")  # or it ends after 1.2 s
    at = data.index(b"stts") + 8  # behind the version: entries, of a count and a step each
    entries, count, step = struct.unpack_from(">3I", data, at)
    assert (entries, count) == (1, 12)
    entries = struct.pack(">5I", 2, 5, step, 7, 10 * step)
    data = bytearray(data[:at] + entries + data[at + 12 :])
    for box in (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stts"):
        place = data.index(box) - 4
        (size,) = struct.unpack_from(">I", data, place)
        struct.pack_into(">I", data, place, size + 8)
    path.write_bytes(data)
    return path


def test_frames_that_come_at_uneven_times_are_chosen_by_their_times(tmp_path):
    path = uneven(tmp_path / "uneven.mp4")
    for every, chosen in ((0.0, 12), (0.25, 8), (2.0, 4)):
        with opened(str(path), "it", every) as clip:
            times = [time for time, _ in clip]
        assert len(times) == chosen, times
        assert all(b - a >= every - 1e-3 for a, b in itertools.pairwise(times)), times
        assert not clip.lacking


def test_several_paths(run, clip, tmp_path):
    photo = tmp_path / "photo.png"
    cv2.imwrite(str(photo), picture(64, 48))
    other, out = film(tmp_path / "other.webm", 2), tmp_path / "out"
    code, said, _ = run("caption", clip, photo, other, "--every", "0.3s", "--save", out, "--json")
    rows = [json.loads(line) for line in said.splitlines()]
    assert code == 0 and [row.get("time") for row in rows] == [0.0, 0.3, None, 0.0]
    assert sorted(os.listdir(out)) == ["clip.mp4", "other.webm.mp4", "photo.png"]
    assert len(frames(out / "clip.mp4")[1]) == 2
    assert len(Source.of([str(clip), str(photo)], every=0.3)) == 3


def test_standard_input_may_be_a_video(run, clip, monkeypatch):
    stdin = io.BufferedReader(io.BytesIO(clip.read_bytes()))
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=stdin, isatty=lambda: False))
    code, said, _ = run("ground", "-", "the red mug", "--json", "--every", "0.3s")
    assert code == 0 and [json.loads(row)["time"] for row in said.splitlines()] == [0.0, 0.3]


def test_which_bytes_begin_a_video(clip, tmp_path):
    for suffix in (".mov", ".mkv", ".avi", ".webm"):
        assert begins_video(film(tmp_path / f"a{suffix}", 1).read_bytes()[:16]), suffix
    webp = cv2.imencode(".webp", picture(64, 48))[1].tobytes()
    assert not begins_video(webp[:16]) and not begins_video(b"\xff\xd8\xff\xe0")


def test_what_is_no_video_or_can_not_be_saved(run, clip, tmp_path):
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(clip.read_bytes()[:200])
    code, said, err = run("caption", broken)
    assert code == 2 and "BAD_IMAGE" in said and err.count("\n") == 1, err
    for words, named in (
        (("--save", tmp_path / "out.png"), ".mp4"),
        (("--save", clip), "overwrite"),
        (("--every", "0s"), "write 0.5s"),
    ):
        code, said, err = run("caption", clip, *words)
        assert code == 2 and said == "" and named in err, err


@pytest.mark.parametrize("suffix", [".avi", ".mkv", ".webm"])
def test_a_video_that_ends_before_its_end_is_one_line(run, tmp_path, suffix):
    """As after a download that stopped: what is there is answered, and what is missing is said."""
    whole = film(tmp_path / f"whole{suffix}", 60)
    cut = tmp_path / f"cut{suffix}"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size // 2])
    assert run("caption", whole, "--every", "2s")[::2] == (0, "")
    code, said, err = run("caption", cut, "--every", "2s")
    assert code == 0 and said and err.count("\n") == 1 and err.startswith("sphinx-ros: "), err
    counted, lasting = (
        r"\d\d of the 60 frames that it counts",
        r"end after [123]\.\d s.* has 6\.0 s",
    )
    assert re.search(counted if suffix == ".avi" else lasting, err) and cut.name in err


def test_damaged_frames_are_not_a_flood_of_lines(tmp_path):
    """FFmpeg would have one for each of them."""
    video = film(tmp_path / "a.mkv", 60)
    data = bytearray(video.read_bytes())
    middle = len(data) // 2
    data[middle : middle + 500] = bytes(500)
    video.write_bytes(data)
    code = (
        "from sphinx_ros.commands.pictures import Source\n"
        f"print(len(list(Source.of([{str(video)!r}]))))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True)
    assert int(done.stdout) > 30 and done.stderr.count(b"\n") <= 1, done.stderr


def test_frames_that_grow_and_odd_sides_keep_the_size_of_the_first(tmp_path):
    video = VideoFile(tmp_path / "a.mp4", 10.0)
    for height in (49, 80, 30):
        video.add(np.full((height, 63, 3), 200, np.uint8))
    video.close()
    rate, drawn = frames(tmp_path / "a.mp4")
    assert [frame.shape for _, frame in drawn] == [(50, 64, 3)] * 3
    assert drawn[2][1][40, 30].max() < 60, "below a lower one it is black"


def test_a_full_disk_leaves_the_old_video(tmp_path, monkeypatch):
    """OpenCV writes on without a word: what was written is counted."""
    target = tmp_path / "a.mp4"
    target.write_bytes(b"old")
    code = (
        "import resource, sys; import numpy as np; from pathlib import Path\n"
        "from sphinx_ros.commands.videos import VideoFile\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))\n"
        f"video = VideoFile(Path({str(target)!r}), 10.0)\n"
        "draw = np.random.default_rng(0)\n"
        "for _ in range(20): video.add(draw.integers(0, 255, (96, 128, 3), np.uint8))\n"
        "video.close()"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode and "a.mp4: 20 frames" in done.stderr, done.stderr
    assert target.read_bytes() == b"old" and os.listdir(tmp_path) == ["a.mp4"]


def test_ctrl_c_leaves_no_video(tmp_path, checkpoint):
    clip, out = film(tmp_path / "long.mp4", 2000), tmp_path / "seen.mp4"
    words = ["caption", str(clip), "--save", str(out), "--checkpoint", checkpoint]
    process = subprocess.Popen(
        [sys.executable, "-m", "sphinx_ros", *words],
        cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "TMPDIR": str(tmp_path)},
    )  # fmt: skip
    assert "long.mp4 0.00 s: OK" in process.stdout.readline()
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 130 and err == "sphinx-ros: interrupted\n"
    assert os.listdir(tmp_path) == ["long.mp4"]


def test_each_frame_is_looked_at_after_the_one_before(clip, checkpoint, monkeypatch):
    """What was written about it is a guess: the same answers, by fewer passes."""
    from sphinx_ros.pipeline import Sphinx

    looked, real = [], Sphinx.look

    def look(self, rgb, after=None):
        looked.append(after)
        return real(self, rgb, after=after)

    monkeypatch.setattr(Sphinx, "look", look)
    assert main(["caption", str(clip), "--checkpoint", checkpoint, "--json"]) == 0
    assert looked[0] is None and len(looked) == 6 and all(looked[1:])
