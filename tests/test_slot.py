"""What a camera brings, in whatever order: newest frames, stamps that jump, turns of several."""

import math
import time

import numpy as np
import pytest

from sphinx_ros.errors import BadRequest, SphinxError, Status
from sphinx_ros.ros.counts import Counts
from sphinx_ros.ros.outcomes import Frame
from sphinx_ros.ros.params import Config, read
from sphinx_ros.ros.slot import Slot
from sphinx_ros.ros.waiting import Inbox

NOW = 1000.0


def frame(stamp, value=0, camera=""):
    data = bytes([value] * 12)
    picture = np.frombuffer(data, np.uint8).reshape(2, 2, 3)
    return Frame(lambda: picture, NOW, stamp, camera=camera, data=data)


def taken(stamps, values=None):
    """Which of some pictures are taken, and what was counted of them."""
    slot = Slot("front", Config(), Counts())
    values = range(len(stamps)) if values is None else values
    kept = [slot.offer(frame(*one)) for one in zip(stamps, values, strict=True)]
    return kept, slot.counts


def test_a_picture_that_comes_late_is_left_out():
    kept, counts = taken([1.0, 1.1, 1.05, 1.2])
    assert kept == [True, True, False, True] and counts["late"] == 1


def test_the_same_picture_again_is_left_out():
    kept, counts = taken([1.0, 1.0, 1.0], [5, 5, 6])
    assert kept == [True, False, True], "another picture under an old stamp is news"
    assert counts["repeated"] == 1 and counts["dropped"] == 1


@pytest.mark.parametrize(
    "stamps, kept",
    [
        ([10.0, 11.0, 2.0, 3.0], [True] * 4),  # a bag begins anew
        (
            [10.0, 10.3, 10.0, 10.1, 10.2, 10.3, 10.0],
            [True, True, False, False, True, True, False],
        ),
    ],
)
def test_a_recording_that_loops_goes_on(stamps, kept):
    assert taken(stamps)[0] == kept


def test_pictures_without_a_stamp_are_taken():
    assert all(taken([math.nan, math.nan, 5.0, math.nan])[0])


def test_a_picture_of_the_future_is_taken():
    assert all(taken([NOW + 100, NOW + 101])[0])


def test_a_picture_may_be_forgotten_while_its_age_is_asked():
    class Vanishing(Slot):
        """Its newest picture is there once."""

        left = ()
        newest = property(lambda self: self.left.pop() if self.left else None, lambda *_: None)

    slot = Vanishing("front", Config(), Counts())
    slot.left = [frame(NOW)]
    assert slot.age(NOW) <= 0
    slot.left, slot.arrived = [frame(NOW)], time.monotonic()
    assert slot.fresh_frame(NOW, lambda _: "").stamp == NOW


def test_a_node_counts_what_its_cameras_count():
    whole = Counts()
    inbox = Inbox(read({"cameras": ["front", "wrist"]}), whole)
    for camera in ("front", "wrist", "front"):
        inbox.offer(frame(time.time(), camera=camera))
    inbox.offer(frame(1.0, camera="gone"))
    assert whole["received"] == 3 and whole["dropped"] == 1
    assert inbox.slots["front"].counts["received"] == 2


def test_the_camera_that_waited_longest_is_next():
    """A fast camera does not starve a slow one."""
    config = read({"cameras": ["fast", "slow"], "queries": ["detect: mug"]})
    inbox = Inbox(config, Counts())
    turns = []
    for number in range(6):
        inbox.offer(frame(NOW + number, number, "fast"))
        if number in (0, 3):
            inbox.offer(frame(NOW + number, number, "slow"))
        turns.append(inbox.begin_pass().frame.camera)
    assert turns.count("slow") == 2 and turns[:2] == ["fast", "slow"]


def test_each_camera_has_its_own_rate_and_queries():
    own = {"front.max_rate": 0.001, "front.queries": ["detect: mug"], "wrist.queries": []}
    inbox = Inbox(read({"cameras": ["front", "wrist"], "queries": ["pose"], **own}), Counts())
    for number in range(2):
        for camera in ("front", "wrist"):
            inbox.offer(frame(NOW + number, number, camera))
        due = inbox.begin_pass()
        assert (due is not None) == (number == 0), "the next one is due in a quarter of an hour"
        if due:
            assert [query.line() for query in due.queries] == ["detect: mug"]


def test_a_change_of_parameters_keeps_the_pictures():
    inbox = Inbox(read({"cameras": ["front"]}), Counts())
    inbox.offer(frame(NOW, camera="front"))
    inbox.change(read({"cameras": ["front", "wrist"], "front.queries": ["pose"]}))
    assert inbox.slots["front"].newest is not None and inbox.slots["wrist"].newest is None
    assert inbox.begin_pass().frame.camera == "front"


def test_who_publishes_is_looked_up_for_a_reason_alone():
    """It takes longer than all else of a request that is about to be answered."""
    asked = []
    inbox = Inbox(Config(), Counts(), lambda name: asked.append(name) or " on /somewhere")
    with pytest.raises(SphinxError, match="yet on /somewhere"):
        inbox.fresh_frame(NOW)
    inbox.offer(frame(NOW))
    assert inbox.fresh_frame(NOW) is inbox.slots[""].newest and asked == [""]


def test_all_cameras_are_there_while_parameters_change(monkeypatch):
    """Whoever goes through them meanwhile, in another thread, finds each."""
    config = read({"cameras": ["front", "wrist"]})
    inbox, there = Inbox(config, Counts()), []
    monkeypatch.setattr(Slot, "change", lambda *_: there.append(list(inbox.slots)))
    inbox.change(config)
    assert there == [["front", "wrist"]] * 2


def test_a_request_has_to_name_one_of_several_cameras():
    inbox = Inbox(read({"cameras": ["front", "wrist"]}), Counts())
    for name in ("", "nose"):
        with pytest.raises(BadRequest, match="front, wrist"):
            inbox.slot_of(name)
    with pytest.raises(SphinxError, match="picture of wrist") as caught:
        inbox.fresh_frame(NOW, "wrist")
    assert caught.value.status is Status.NO_IMAGE
    assert Inbox(read({"cameras": ["front"]}), Counts()).slot_of("").name == "front"


def test_a_clock_that_is_set_back_forgets_the_pictures():
    inbox = Inbox(Config(), Counts())
    inbox.offer(frame(NOW))
    inbox.forget_frames()
    with pytest.raises(SphinxError) as caught:
        inbox.fresh_frame(10.0)
    assert caught.value.status is Status.NO_IMAGE


@pytest.mark.parametrize(
    "names", [["Front"], ["a b"], ["front", "front"], ["_x"], ["queries"], ["a__b"], ["x"] * 17]
)
def test_names_that_no_camera_can_have(names):
    with pytest.raises(BadRequest):
        read({"cameras": names})


def test_values_of_one_camera():
    config = read({"cameras": ["front"], "max_rate": 2, "front.max_rate": 5})
    assert config.of("front").max_rate == 5.0 and config.max_rate == 2.0
    with pytest.raises(BadRequest, match="front.max_rate is -1"):
        read({"cameras": ["front"], "front.max_rate": -1})


@pytest.mark.parametrize("topic", ["no topic!", "a//b", "/", "1a", "a/", "a b"])
def test_topics_that_there_can_t_be(topic):
    with pytest.raises(BadRequest, match="front.image: .* can't be a topic"):
        read({"cameras": ["front"], "front.image": topic})


@pytest.mark.parametrize("topic", ["", "image", "/a/b_1/c", "~/image"])
def test_topics_that_there_can_be(topic):
    config = read({"cameras": ["front"], "front.image": topic})
    assert config.topic("front", "image") == topic
