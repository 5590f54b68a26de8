"""What must not be forgotten, remembered about the mirror images and parts of pictures as well."""

import dataclasses
import json

import pytest
import torch
from tune_support import plan_for, same, weights, write_boxes

from sphinx_ros.errors import BadRequest
from sphinx_ros.teach import asked_together
from sphinx_ros.teach.example import Data, Example
from sphinx_ros.teach.own_answers import unanswered
from sphinx_ros.teach.plan import Plan
from sphinx_ros.teach.shown import Shown
from sphinx_ros.teach.tuned import Tuned
from sphinx_ros.teach.tuning import tune

pytest.importorskip("peft")

CPU = torch.device("cpu")


def test_questions_are_about_the_views_that_are_learnt(tmp_path):
    image, other = tmp_path / "a.png", tmp_path / "b.png"
    plain, mirrored, part = Shown(image), Shown(image, True), Shown(image, False, (0, 0, 9, 9))
    plate = (("Detect all plates.", "none"),)
    known = [(f"Is the {word} mug left?", "yes") for word in ("red", "blue", "green")]
    data = Data(
        [Example(shown, plate, "") for shown in (plain, mirrored, part, Shown(other, True))]
        + [Example(plain, (one, ("and now?", "no")), "row", known=True) for one in known]
    )
    found = unanswered(data, 2, seed=1)
    assert [one.shown for one in found] == [mirrored, mirrored, part, part]
    assert all(one.known and one.rounds[0][1] == "" and len(one.rounds) == 1 for one in found)
    words = [one.rounds[0][0].replace("red", "").replace("blue", "") for one in found]
    assert all("right?" in one for one in words[:2]) and all("left?" in one for one in words[2:])
    assert len({one.rounds[0][0] for one in found[:2]}) == 2
    assert found == unanswered(data, 2, seed=1)
    assert len(unanswered(data, 9, seed=1)) == 6
    again = "Is the red mug right?"
    data.examples += [
        Example(plain, ((known[0][0], "no"),), "twice", known=True),
        Example(mirrored, ((again, "yes"),), "of the view", known=True),
    ]
    found = unanswered(data, 9, seed=1)
    assert len(found) == 5 and again not in {one.rounds[0][0] for one in found}


def test_own_answers_are_kept_by_a_run_that_goes_on(tmp_path, monkeypatch):
    boxes, known = write_boxes(tmp_path / "rows")
    usual = {"mirror": True, "crops": 1, "epochs": 1, "ask": 0, "remember": (str(known),)}
    plan = plan_for(boxes, **usual, remember_views=2)
    results = tune(plan, tmp_path / "whole")
    kept = json.loads((tmp_path / "whole" / "remembered.json").read_text())
    assert len(kept["answers"]) == len(kept["asked"]) == 2 * 2 * 4  # two views of four pictures
    without = tune(dataclasses.replace(plan, remember_views=0), tmp_path / "without")
    written = sum(map(bool, kept["answers"]))
    assert 0 < results["examples"] - without["examples"] <= written
    assert not (tmp_path / "without" / "remembered.json").exists()

    stopped = Tuned(plan, made(tmp_path / "stopped"), CPU, torch.float32)
    stopped.check()
    stopped.learn()
    stopped.save()
    monkeypatch.setattr(asked_together, "answers", lambda *_: pytest.fail("they were there"))
    tune(plan, tmp_path / "stopped", resume=True)
    assert same(weights(tmp_path / "whole"), weights(tmp_path / "stopped"))


def test_answers_of_another_checkpoint_and_damaged_ones_are_asked_anew(tmp_path):
    boxes, known = write_boxes(tmp_path / "rows")
    plan = plan_for(boxes, crops=1, ask=0, remember=(str(known),), remember_views=1)
    folder = made(tmp_path / "run")
    wanted = len(Tuned(plan, folder, CPU, torch.float32).data.examples)
    file = folder / "remembered.json"
    whole = json.loads(file.read_text())
    for text in (json.dumps(whole | {"base": "another", "answers": []}), file.read_text()[:-9]):
        file.write_text(text)
        assert len(Tuned(plan, folder, CPU, torch.float32).data.examples) == wanted
        assert json.loads(file.read_text()) == whole


def test_nothing_is_asked_about_other_pictures(tmp_path):
    boxes, _ = write_boxes(tmp_path / "rows")
    _, known = write_boxes(tmp_path / "others", first=10)
    plan = plan_for(boxes, crops=1, ask=0, remember=(str(known),), remember_views=1)
    with pytest.raises(BadRequest, match="give --remember questions about the pictures in DATA"):
        Tuned(plan, made(tmp_path / "run"), CPU, torch.float32)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"mirror": True}, "give --remember, or leave out --remember-views"),
        ({"remember": ("x",)}, "give --mirror or --crops, or leave out"),
        ({"remember": ("x",), "crops": 1, "shard": True, "ask": 0}, "give --ask, or leave out"),
    ],
)
def test_settings_that_do_not_fit(settings, words):
    with pytest.raises(BadRequest, match=words):
        Plan(remember_views=1, **settings).check_works(2)


def made(folder):
    folder.mkdir()
    return folder
