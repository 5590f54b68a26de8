"""Questions about the simulated world: every answer is worked out again from the words alone.

The reader below knows English, not the code that made the phrases: it finds what an expression is
true of without any margin, so an expression passes only if exactly one thing answers to it.
"""

import re
from collections import Counter

import numpy as np
import pytest
from synthetic import random_observation

from sphinx_ros.image.letterbox import Letterbox
from sphinx_ros.prompt.parse import denies, parse
from sphinx_ros.prompt.results import to_detections, to_poses
from sphinx_ros.prompt.wording import question
from sphinx_ros.tasks import Task
from sphinx_ros.world.exercises import MAKERS, TRAINING_MIX, turns
from sphinx_ros.world.phrases import EXPRESSION_KINDS
from sphinx_ros.world.truth import COLOURS, KINDS, SIZES

SIZES_WH = ((640, 480), (480, 640), (320, 320), (224, 168))
ORDER = {"first": 0, "second": 1, "third": 2, "fourth": 3, "fifth": 4}
SIDE = r"(?:to the )?(left|right) of|(above)|(below)"
KEYS = {
    "leftmost": lambda t: t.centre[0],
    "rightmost": lambda t: -t.centre[0],
    "topmost": lambda t: t.centre[1],
    "highest": lambda t: t.centre[1],
    "lowest": lambda t: -t.centre[1],
    "nearest": lambda t: t.depth,
    "closest": lambda t: t.depth,
    "farthest": lambda t: -t.depth,
    "largest": lambda t: -area(t),
    "biggest": lambda t: -area(t),
}


def area(thing):
    x0, y0, x1, y1 = thing.box
    return (x1 - x0) * (y1 - y0)


@pytest.fixture(scope="module")
def pairs():
    """(observation, turn) of a few hundred observations of four sizes."""
    rng, made = np.random.default_rng(5), []
    for seed in range(400):
        observation = random_observation(seed, *SIZES_WH[seed % len(SIZES_WH)])
        made += [(observation, turn) for turn in turns(observation, rng)]
    return made


def of_kind(pairs, *kinds):
    chosen = [(observation, turn) for observation, turn in pairs if turn.kind in kinds]
    assert len(chosen) > 30, f"too few turns of {kinds} to test"
    return chosen


def is_(side, one, other):
    """Is one thing on that side of the other, by the middles of the boxes?"""
    axis = 0 if side in ("left", "right") else 1
    ahead = other.centre[axis] - one.centre[axis]
    return ahead > 0 if side in ("left", "above") else ahead < 0


def named(things, words):
    """Things a plain name is true of: "mug", "small red mug", "person in a red shirt"."""
    said = words.replace("people", "person").split()
    nouns = [word for word in said if word.rstrip("s") in (*KINDS, "object")]
    assert len(nouns) == 1, words
    kind = nouns[0].rstrip("s")
    colours = [word for word in said if word in COLOURS]
    sizes = [word for word in said if word in SIZES]
    rest = set(said) - {*nouns, *colours, *sizes, "in", "a", "an", "the", "shirt", "shirts"}
    assert not rest, f"{words!r} holds {rest}, which this test does not understand"
    return [
        thing
        for thing in things
        if kind in (thing.kind, "object")
        and (not colours or thing.colour == colours[0])
        and (not sizes or thing.size == sizes[0])
    ]


def meant(things, words):
    """Things a referring expression is true of."""
    words = words.removeprefix("the ")
    link = re.match(rf"(.*?) (?:{SIDE}) the (.*)$", words)
    if link and "farthest to" not in words:
        marks = meant(things, link.group(5))
        if not marks:
            return []
        (mark,) = marks
        side = link.group(2) or link.group(3) or link.group(4)
        return [
            thing
            for thing in named(things, link.group(1))
            if thing is not mark and is_(side, thing, mark)
        ]
    row = re.match(r"(\w+) (.*) from the (left|right)$", words)
    if row:
        group = sorted(named(things, row.group(2)), key=lambda thing: thing.centre[0])
        nth = ORDER[row.group(1)]
        return (group if row.group(3) == "left" else group[::-1])[nth : nth + 1]
    end = re.match(r"(?:(left|right) )?(.*?)(?: (?:farthest to|on) the (left|right))?$", words)
    if end.group(1) or end.group(3):
        group = named(things, end.group(2))
        assert "farthest" in words or len(group) in (0, 2)  # "the left cube" is one of two
        towards = "leftmost" if "left" in (end.group(1), end.group(3)) else "rightmost"
        return sorted(group, key=KEYS[towards])[:1]
    first, _, rest = words.partition(" ")
    if first in KEYS:
        return sorted(named(things, rest), key=KEYS[first])[:1]
    return named(things, words)


def asked(turn):
    """The words of a turn that differ from the fixed prompt."""
    return turn.question.split("describes: ")[-1].split("\n")[0].rstrip(".?")


def test_expressions_mean_exactly_one_thing(pairs):
    kinds = ("attribute", "size", "ordinal", "relation", "superlative")
    for observation, turn in of_kind(pairs, *kinds):
        things = observation.objects
        (index,) = turn.target["objects"]
        found = meant(things, asked(turn))
        assert len(found) == 1 and found[0] is things[index], (turn, things)
        assert turn.question == question(Task.GROUND, asked(turn))


def plain(words):
    """An expression without the liberties of :mod:`sphinx_ros.world.wordings`."""
    words = words.lower().removeprefix("find ").removeprefix("the ")
    return re.sub(r"^(\w+) that is (\w+)$", r"\2 \1", words)


def test_expressions_that_fit_nothing(pairs):
    near = 0
    for observation, turn in of_kind(pairs, *(f"no_{kind}" for kind in EXPRESSION_KINDS)):
        things, words = observation.objects, plain(asked(turn))
        assert not meant(things, words), (turn, things)
        assert turn.answer == f"There is no {words} in the image." and denies(turn.answer)
        assert turn.target["objects"] == turn.target["boxes"] == []
        near += any(thing.kind in words for thing in things)
    assert near > 100  # most are near misses


def test_expressions_in_free_words(pairs):
    changed = set()
    for observation, turn in of_kind(pairs, "worded"):
        (index,), words = turn.target["objects"], asked(turn)
        assert meant(observation.objects, plain(words)) == [observation.objects[index]]
        if "find" in words.lower():
            changed.add("find")
        if "that is" in words:
            changed.add("that is")
        changed.add("upper" if words.isupper() else "title" if words.istitle() else "other")
    assert {"find", "that is", "upper", "title", "other"} <= changed


def test_whether_there_is_what_an_expression_describes(pairs):
    answers = Counter()
    for observation, turn in of_kind(pairs, "exist_refer"):
        words = re.fullmatch(r"Is there an? (.*) in the image", asked(turn)).group(1)
        found = meant(observation.objects, plain(words))
        assert turn.answer == ("yes" if found else "no"), turn
        assert [observation.objects[i] for i in turn.target["objects"]] == found
        answers[turn.answer] += 1
    assert min(answers.values()) > 0.35 * answers.total()


def test_answers_are_the_true_boxes(pairs):
    for observation, turn in pairs:
        if turn.task not in (Task.GROUND, Task.DETECT, Task.CAPTION):
            continue
        place = Letterbox.of(observation.camera.width, observation.camera.height)
        detections, keypoints, unread = to_detections(parse(turn.answer), place)
        assert not keypoints and not unread
        boxes = [observation.objects[i].box for i in turn.target["objects"]]
        assert boxes == turn.target["boxes"] and len(boxes) == len(detections)
        for detection, box in zip(detections, boxes, strict=True):
            assert np.abs(np.subtract(detection.box, box)).max() <= 0.0011 * place.side
        if turn.task is not Task.GROUND:
            assert [detection.label for detection in detections] == turn.target["labels"]
            assert denies(turn.answer) == (not boxes)
            lefts = [box[0] for box in boxes]
            assert lefts == sorted(lefts)


def test_detection_is_complete(pairs):
    for observation, turn in of_kind(pairs, "detect", "detect_none"):
        words = re.fullmatch(r"Detect all (.*) shown in the image\.", turn.question).group(1)
        expected = {thing.box for thing in named(observation.objects, words)}
        assert expected == set(turn.target["boxes"]), turn
        assert bool(expected) == (turn.kind == "detect")
    for observation, turn in of_kind(pairs, "detect_all", "caption"):
        assert len(turn.target["boxes"]) == len(observation.objects)
        for label, index in zip(turn.target["labels"], turn.target["objects"], strict=True):
            assert observation.objects[index] in named(observation.objects, label)


def test_joints(pairs):
    for observation, turn in of_kind(pairs, "pose"):
        place = Letterbox.of(observation.camera.width, observation.camera.height)
        (pose,), unread = to_poses(parse(turn.answer), place)
        truth = observation.objects[turn.target["person"]].keypoints
        assert not unread
        for joint, (x, y, visibility) in zip(pose.keypoints, truth, strict=True):
            assert np.isnan(joint.x) == (visibility == 0)
            if visibility > 0:
                assert abs(joint.x - x) <= 0.0101 * place.side
                assert abs(joint.y - y) <= 0.0101 * place.side


def test_regions_lie_on_their_object(pairs):
    exact = 0
    chosen = of_kind(pairs, "describe", "pose")
    for observation, turn in chosen:
        place = Letterbox.of(observation.camera.width, observation.camera.height)
        regions = parse(turn.question).items
        if not regions:
            people = [thing for thing in observation.objects if thing.kind == "person"]
            assert turn.kind == "pose" and len(people) == 1
            continue
        (box,), truth = turn.target["boxes"], regions[0].boxes[0]
        shift = np.abs(np.subtract(place.box_to_source(truth), box))
        assert (shift <= 0.051 * np.ptp(np.reshape(box, (2, 2)), 0).max() + place.side / 900).all()
        exact += shift.max() <= 0.0011 * place.side
    assert 0.4 < exact / len(chosen) < 0.75


def test_descriptions(pairs):
    for observation, turn in of_kind(pairs, "describe"):
        thing = observation.objects[turn.target["objects"][0]]
        start, _, words = turn.answer.partition(" ")
        assert start == ("an" if words[0] in "aeiou" else "a")
        assert thing in named(observation.objects, words)
        assert thing.colour in words and thing.size in words


def test_counts(pairs):
    for observation, turn in of_kind(pairs, "count"):
        words = re.match(r"How many (.*?) (?:are there|are in|can you)", turn.question).group(1)
        expected = named(observation.objects, words)
        assert turn.answer == str(len(expected)), turn
        if "objects" in words and words != "objects":
            assert all(thing.kind != "person" for thing in expected)


def test_colours(pairs):
    for observation, turn in of_kind(pairs, "colour"):
        words = re.match(
            r"(?:What|Which) colou?r is (?:the shirt of )?the (.*?)\?", turn.question
        ).group(1)
        (thing,) = meant(observation.objects, words)
        assert turn.answer == thing.colour, turn
        assert ("shirt of" in turn.question) == (thing.kind == "person")


def test_existence(pairs):
    for observation, turn in of_kind(pairs, "exist"):
        words = re.match(
            r"(?:Is there|Can you see) an? (.*?)(?: in the image)?\?", turn.question
        ).group(1)
        assert turn.answer == ("yes" if named(observation.objects, words) else "no"), turn


def test_relations(pairs):
    for observation, turn in of_kind(pairs, "relation_yesno"):
        found = re.match(rf"Is the (.*?) (?:{SIDE}) the (.*)\?", turn.question)
        (one,), (other,) = (meant(observation.objects, found.group(g)) for g in (1, 5))
        side = found.group(2) or found.group(3) or found.group(4)
        assert turn.answer == ("yes" if is_(side, one, other) else "no"), turn
        axis = 0 if side in ("left", "right") else 1
        apart = abs(one.centre[axis] - other.centre[axis])
        assert apart > 0.06 * observation.camera.width


def test_what_lies_beside(pairs):
    for observation, turn in of_kind(pairs, "what_relation"):
        found = re.match(rf"(?:What|Which object) is (?:{SIDE}) the (.*)\?", turn.question)
        (mark,) = meant(observation.objects, found.group(4))
        side = found.group(1) or found.group(2) or found.group(3)
        there = [t for t in observation.objects if t is not mark and is_(side, t, mark)]
        nearest = min(there, key=lambda t: np.hypot(*np.subtract(t.centre, mark.centre)))
        assert nearest in named(observation.objects, turn.answer), turn
        assert nearest is observation.objects[turn.target["objects"][0]]


def shares(pairs, *kinds):
    answers = Counter(turn.answer for _, turn in of_kind(pairs, *kinds))
    return {answer: number / sum(answers.values()) for answer, number in answers.items()}


def test_balance(pairs):
    for kind in ("exist", "relation_yesno"):
        assert 0.42 < shares(pairs, kind)["yes"] < 0.58, kind
    counts = shares(pairs, "count")
    assert counts["0"] < 0.4 and min(counts[str(n)] for n in range(4)) > 0.07
    assert sum(share for answer, share in counts.items() if int(answer) > 3) > 0.15
    assert max(shares(pairs, "colour").values()) < 0.25
    none, there = (
        sum(turn.kind in kinds for _, turn in pairs)
        for kinds in (("detect_none",), ("detect", "detect_all"))
    )
    # things to detect run out sooner than things that are not there
    assert 0.18 < none / (none + there) < 0.4
    for chosen in (EXPRESSION_KINDS, [f"no_{kind}" for kind in EXPRESSION_KINDS]):
        turns_ = [turn for _, turn in pairs if turn.kind in chosen]
        kinds = Counter(turn.kind for turn in turns_)
        assert min(kinds.values()) > 0.07 * len(turns_) and len(kinds) == 5
        leading = [asked(turn).startswith("the ") for turn in turns_]
        assert 0.38 < np.mean(leading) < 0.58
    fits_nothing = np.mean(
        [not turn.target["objects"] for _, turn in pairs if turn.task is Task.GROUND]
    )
    assert 0.2 < fits_nothing < 0.4


def test_half_of_the_false_existences_are_near_misses(pairs):
    near = []
    for observation, turn in of_kind(pairs, "exist"):
        if turn.answer == "no" and observation.objects:
            words = set(re.findall(r"\w+", turn.question))
            near.append(any({t.kind, t.colour} & words for t in observation.objects))
    assert np.mean(near) > 0.4


def test_the_same_seed_asks_the_same(pairs):
    observation = random_observation(3)
    first, again, other = (turns(observation, np.random.default_rng(s)) for s in (1, 1, 2))
    assert first == again != other


@pytest.mark.parametrize("kind", sorted(MAKERS))
def test_each_maker_alone(kind):
    rng, found = np.random.default_rng(0), []
    for seed in range(60):
        made = turns(random_observation(seed), rng, {kind: 2})
        assert len(made) <= 2 and len({turn.question for turn in made}) == len(made)
        found += made
    assert found
    if kind not in ("grounding", "denial", "detection"):
        assert {turn.kind for turn in found} == {kind}


def test_an_empty_table():
    empty = next(o for o in map(random_observation, range(99)) if not o.objects)
    rng = np.random.default_rng(0)
    made = [turn for _ in range(5) for turn in turns(empty, rng, dict.fromkeys(TRAINING_MIX, 3))]
    kinds = {turn.kind for turn in made}
    denials = {f"no_{kind}" for kind in EXPRESSION_KINDS}
    assert kinds & denials
    either = {"exist", "exist_refer"}  # the same question may come from either
    assert kinds & either
    assert kinds - denials - either == {"detect_all", "detect_none", "count", "caption"}
    answers = {turn.answer for turn in made if turn.task is Task.ASK}
    assert answers == {"0", "no"}


def test_fractions_of_a_turn():
    rng, observation = np.random.default_rng(0), random_observation(3)
    number = sum(len(turns(observation, rng, {"exist": 0.3})) for _ in range(500))
    assert 100 < number < 200
