"""A run goes on with the same questions, pictures, settings and weights, and with no others."""

import json
import shutil

import pytest
from adapter_support import random_adapter
from small_network import random_checkpoint

from sphinx_ros.bags.bag_journal import Journal
from sphinx_ros.benchmarks.run_folder import ABOUT, DEPENDS, RunFolder, config_name, plan
from sphinx_ros.benchmarks.samples import Family, Picture, Sample
from sphinx_ros.checkpoint.identity import identity
from sphinx_ros.checkpoint.layout import CALIBRATION, CONFIG
from sphinx_ros.commands.cli import main
from sphinx_ros.errors import BadRequest

SETTINGS = {"checkpoint": "x", "weights": "a", "version": "1"}


def sample(folder, text="the mug", **more):
    picture = Picture(folder / "p.png", "p")
    return Sample("mine", "boxes", "1", picture, Family.BOXES, text, **more)


def begun(folder, settings, one, resume=True):
    """The jobs that are done in the folder of a run."""
    run = RunFolder(folder / "run", config_name(settings))
    done = run.begin({DEPENDS: settings}, plan([one], 1), resume)
    return run, done


@pytest.fixture
def folder(tmp_path):
    """With a picture, and a run of one answer."""
    (tmp_path / "p.png").write_bytes(b"1234")
    run, _ = begun(tmp_path, SETTINGS, sample(tmp_path), False)
    run.append([({"dataset": "mine", "split": "boxes", "id": "1", "text": ""}, {})])
    assert begun(tmp_path, SETTINGS, sample(tmp_path))[1] == 1
    return tmp_path


def test_another_truth_is_no_other_question(folder):
    assert begun(folder, SETTINGS, sample(folder, boxes=((1, 2, 3, 4),)))[1] == 1


@pytest.mark.parametrize(
    ("text", "more"),
    [("the can", {}), ("the mug", {"hint": "Look."}), ("the mug", {"choices": ("a", "b")}),
     ("the mug", {"more": {"prompt": "Where is it?"}})],
)  # fmt: skip
def test_other_words_are_refused_by_the_name_of_the_question(text, more, folder):
    with pytest.raises(BadRequest, match=r"line 1: mine.boxes 1 had other words or another pic"):
        begun(folder, SETTINGS, sample(folder, text, **more))


def test_another_picture_in_the_place_of_one_is_refused(folder):
    (folder / "p.png").write_bytes(b"12345")
    with pytest.raises(BadRequest, match="mine.boxes 1 had other words or another picture"):
        begun(folder, SETTINGS, sample(folder))


def test_other_settings_and_weights_are_refused_by_their_name(folder):
    with pytest.raises(BadRequest, match="was begun with weights 'a', and not 'b'"):
        begun(folder, SETTINGS | {"weights": "b"}, sample(folder))
    with pytest.raises(BadRequest, match="was begun by an older release.*not note its adapter"):
        begun(folder, SETTINGS | {"adapter": ""}, sample(folder))


@pytest.mark.parametrize("about", ["", "{}", "[]", '{"answers_depend_on": 5}', None])
def test_where_about_json_is_lost_the_lines_tell(about, folder):
    path = folder / "run" / ABOUT
    path.unlink() if about is None else path.write_text(about)
    with pytest.raises(BadRequest, match=r"line 1: mine.boxes 1 was asked with other settings"):
        begun(folder, SETTINGS | {"weights": "b"}, sample(folder))
    assert begun(folder, SETTINGS, sample(folder))[1] == 1


def test_a_line_of_an_older_release_is_refused(folder):
    path = folder / "run" / "answers.jsonl"
    line = json.loads(path.read_text())
    del line["asked"]
    path.write_text(json.dumps(line) + "\n")
    with pytest.raises(BadRequest, match="line 1"):
        begun(folder, SETTINGS, sample(folder))


# which model it was


@pytest.fixture
def checkpoint(tmp_path):
    """A copy of the small network's folder."""
    return shutil.copytree(random_checkpoint(), tmp_path / "checkpoint")


def other_weights(checkpoint):
    import torch

    (path,) = checkpoint.glob("*.pth")
    values = torch.load(path, weights_only=True)
    values["model"]["llma.norm.weight"] += 1
    torch.save(values, path)


def calibrated(checkpoint):
    made = {"weights": [0, 1, 0, 0, 0], "present": 0.5, "sigma": 1.0}
    (checkpoint / CALIBRATION).write_text(json.dumps(made))


def other_network(checkpoint):
    values = json.loads((checkpoint / CONFIG).read_text())
    (checkpoint / CONFIG).write_text(json.dumps(values | {"norm_eps": 1e-3}))


@pytest.mark.parametrize(
    ("change", "name"),
    [(other_weights, "weights"), (calibrated, "calibration"), (other_network, "network")],
)
def test_what_a_checkpoint_is_changes_with_its_files(change, name, checkpoint):
    before = identity(checkpoint)
    change(checkpoint)
    after = identity(checkpoint)
    assert [one for one in before if before[one] != after[one]] == [name]


def test_an_adapter_taught_anew_is_another_one(checkpoint, tmp_path):
    whole = f"{checkpoint}+{tmp_path / 'adapter'}"
    prints = []
    for seed in range(2):
        random_adapter(tmp_path / "adapter", checkpoint, seed)
        prints.append(identity(whole))
    calibrated(tmp_path / "adapter")
    prints.append(identity(whole))
    assert len({one["adapter"] for one in prints}) == 2
    assert len({one["weights"] for one in prints}) == 1
    assert prints[2]["calibration"] and not prints[1]["calibration"]


def test_a_journal_of_an_older_release_is_named(tmp_path):
    with Journal(tmp_path / "journal", {"checkpoint": "demo"}) as journal:
        journal.add({"topic": "/image", "number": 0})
    about = {"checkpoint": "demo", "weights": "a"}
    with pytest.raises(BadRequest, match="begun by an older release, which did not note its weig"):
        Journal(tmp_path / "journal", about, resume=True)


def test_labels_of_another_model_are_not_gone_on_with(checkpoint, tmp_path, capsys):
    from PIL import Image

    (tmp_path / "pictures").mkdir()
    Image.new("RGB", (64, 48)).save(tmp_path / "pictures" / "a.png")
    words = ["label", str(tmp_path / "pictures"), "--query", "detect: mug", "--device", "cpu"]
    words += ["--checkpoint", str(checkpoint), "--out", str(tmp_path / "out")]
    journal, known = tmp_path / "out" / "journal.jsonl", identity(checkpoint)
    finished = tmp_path / "out" / "labels.json"
    finished.parent.mkdir()
    told = {"source": str(tmp_path / "pictures"), "format": "coco", "checkpoint": str(checkpoint)}
    finished.write_text(json.dumps(told | known))
    calibrated(checkpoint)
    assert main([*words, "--resume"]) == 2
    assert "was labelled with calibration '' and not" in capsys.readouterr().err
    finished.unlink()
    about = {"source": str(tmp_path / "pictures"), "queries": ["detect: mug"], "topics": [],
             "every": 0.0, "checkpoint": str(checkpoint), "model": {"device": "cpu"}}  # fmt: skip
    lines = [about | known, {"topic": "a.png", "number": 0, "answers": []}]
    journal.write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert main([*words, "--resume"]) == 2
    assert "was begun with calibration ''" in capsys.readouterr().err
