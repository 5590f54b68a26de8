"""`sphinx-ros find`: spans of time in which a thing is seen, as a table, as JSON, as a sheet."""

import json
import sys

import cv2
import numpy as np
import pytest

pytest.importorskip("rosbags", reason="rosbags is not installed: pip install sphinx_ros[bag]")

from bag_support import START, compressed_image, film, raw_image, shortened_bag, write_bag
from small_network import MUG, taught_checkpoint

from sphinx_ros.bags.bag_reader import Bag
from sphinx_ros.bags.contact_sheet import GAP, WIDTH, Best, sheet
from sphinx_ros.bags.sightings import Search
from sphinx_ros.commands.cli import main
from sphinx_ros.commands.find import moment
from sphinx_ros.errors import SphinxError, Status
from sphinx_ros.image.letterbox import Letterbox
from sphinx_ros.types import Detection, Results

BOX = Letterbox.of(64, 48).box_to_source(MUG)


@pytest.fixture(scope="module")
def checkpoint():
    return str(taught_checkpoint())


@pytest.fixture(scope="module")
def bag(tmp_path_factory):
    folder = tmp_path_factory.mktemp("find") / "drive"
    topics = {"/front/image_raw": film(4), "/rear/image/compressed": film(2, compressed_image)}
    return write_bag(folder, topics)


@pytest.fixture
def run(capsys, checkpoint):
    def run(*words):
        code = main(["find", *map(str, words), "--checkpoint", checkpoint])
        return code, *capsys.readouterr()

    return run


def test_table_json_and_sheet_tell_where_and_when(run, bag, tmp_path):
    target = tmp_path / "sheet.png"
    code, out, _ = run(bag, "the red mug", "--save", target)
    heads, *rows = out.splitlines()
    assert code == 0 and heads.split()[:3] == ["topic", "from", "to"]
    assert [row.split()[0] for row in rows] == ["/front/image_raw", "/rear/image/compressed"]
    assert rows[0].split()[1:6] == ["0.00", "s", "0.30", "s", "4"]
    assert rows[0].split()[-1].startswith("2023-11-14T22:13:20.")
    drawn = cv2.imread(str(target))
    assert drawn.shape[1] == 3 * GAP + 2 * WIDTH, "two pictures beside each other"

    code, out, _ = run(bag, "the", "red", "mug", "--json", "--every", "0.2s")
    front, rear = map(json.loads, out.splitlines())
    assert (front["topic"], front["from"], front["to"], front["pictures"]) == (
        "/front/image_raw", 0.0, 0.2, 2,
    )  # fmt: skip
    assert rear["pictures"] == 1 and rear["best"]["stamp_ns"] == START
    assert front["best"]["box"] == pytest.approx(BOX, abs=1.0)
    assert 0 < front["best"]["score"] <= 1 and 0 <= front["best"]["presence"] <= 1


def test_what_the_model_denies_is_not_listed(run, bag, tmp_path):
    target = tmp_path / "sheet.png"
    assert run(bag, "the blue ball", "--save", target)[:2] == (1, "")
    assert not target.exists()
    assert run(bag, "the red mug", "--threshold", 1)[:2] == (1, "")


def test_what_can_not_be_searched_is_said_before_a_model_is_loaded(run, bag, tmp_path):
    for words, said in (
        ((tmp_path / "none.mcap", "a mug"), "there is no bag"),
        ((bag, "a mug", "--topic", "/left"), "/front/image_raw"),
        ((bag, "a mug", "--save", "sheet.txt"), "--save sheet.txt"),
        ((bag, "a mug", "--save", tmp_path / "no" / "sheet.png"), "in a folder that is there"),
        ((bag, " "), "empty"),
    ):
        code, out, err = run(*words)
        assert code == 2 and out == "" and said in err, err


class Model:
    """Sees what the upper left pixel of a picture says: nothing, or a mug with a score."""

    def look(self, rgb, after=None):
        self.score = rgb[0, 0, 0] / 100
        return self

    def answer(self, queries, **_):
        if not self.score:
            return [Results((), status=Status.NOT_FOUND)]
        boxes = [Detection("mug", (1.0, 2.0, 3.0, 4.0), score) for score in (0.01, self.score)]
        return [Results(tuple(boxes))]


def shot(score, stamp, **changed):
    return stamp, raw_image(np.full((48, 64, 3), round(100 * score), np.uint8), stamp, **changed)


def test_sightings_one_after_another_are_a_span_and_a_bad_picture_ends_none(tmp_path):
    scores = [0.5, 0.9, 0.7, 0, 0, 0.6, 0, 0.3, 0.2]
    shots = [shot(score, START + i * 10**9) for i, score in enumerate(scores)]
    shots[1:1] = [shot(0.9, START + 10**8, step=3)]
    bag = write_bag(tmp_path / "drive", {"/image": shots})
    best, passed = [], []
    search = Search("a mug", ["/image"], on_best=lambda span, rgb: best.append(rgb[0, 0, 0]))
    with Bag(bag) as opened:
        spans = list(search.spans(opened, Model(), lambda: passed.append(1)))
    found = [(s.first.number, s.last.number, s.pictures, s.best.found.score) for s in spans]
    assert found == [(0, 3, 3, 0.9), (6, 6, 1, 0.6), (8, 9, 2, 0.3)]
    assert best == [50, 90, 60, 30] and len(passed) == 10
    assert search.statuses == {Status.OK: 6, Status.NOT_FOUND: 3, Status.BAD_IMAGE: 1}
    assert "number 1" in search.troubles["/image"]


@pytest.mark.parametrize(
    "end", [KeyboardInterrupt(), SphinxError("lost", status=Status.NOT_ACTIVE)]
)
def test_what_was_found_is_printed_where_the_search_is_broken_off(
    end, tmp_path, capsys, monkeypatch
):
    class Ending(Model):
        def look(self, rgb, after=None):
            if rgb[0, 0, 0] == 90:
                raise end
            return super().look(rgb)

    scores = [0.5, 0, 0.6, 0.7, 0.9, 0.5]
    shots = [shot(score, START + i * 10**9) for i, score in enumerate(scores)]
    bag = write_bag(tmp_path / "drive", {"/image": shots})
    monkeypatch.setattr("sphinx_ros.commands.find.AskedModel", lambda *_, **__: Ending)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    assert main(["find", str(bag), "a mug"]) not in (0, 1)
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert [row[1:6] for row in rows[1:]] == [
        ["0.00", "s", "0.00", "s", "1"], ["2.00", "s", "3.00", "s", "2"],
    ]  # fmt: skip


def test_fewer_pictures_than_the_bag_counts_are_told(run, tmp_path):
    bag = shortened_bag(tmp_path / "drive", {"/image": film(5)}, {"/image": film(2)})
    code, out, err = run(bag, "the red mug")
    assert code == 0 and out and "2 of the 5 pictures on /image that the bag counts" in err


def test_a_sheet_has_a_place_for_each_picture():
    tiles = [
        np.full((high, WIDTH, 3), grey, np.uint8) for high, grey in ((50, 1), (70, 2), (60, 3))
    ]
    made = sheet(tiles)
    assert made.shape == (70 + 60 + 3 * GAP, 2 * WIDTH + 3 * GAP, 3)
    assert [np.count_nonzero(made[..., 0] == grey) // WIDTH for grey in (1, 2, 3)] == [50, 70, 60]


def test_a_sheet_shows_the_best_pictures_and_keeps_no_more():
    shown, rgb = Best(2), np.zeros((24, 32, 3), np.uint8)
    for key, score in (("a", 0.5), ("b", 0.9), ("c", 0.6), ("a", 0.8), ("d", 0.1)):
        shown.add(key, score, rgb)
    assert set(shown.tiles) == {"a", "b"}


def test_moments():
    assert moment(1_700_000_000_250_999_999) == "2023-11-14T22:13:20.250Z"
    assert moment(12_340_000_000) == "12.34 s", "the clock of a simulation"
