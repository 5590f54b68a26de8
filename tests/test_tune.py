"""Teaching a checkpoint: runs, what they leave, and that they go on after they were stopped."""

import dataclasses
import json
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from adapter_support import experts_checkpoint
from process_support import until
from small_network import picture, random_checkpoint
from tune_support import (
    command_line,
    one_thread,
    plan_for,
    same,
    weights,
    write_boxes,
    write_rows,
)

from sphinx_ros import Sphinx
from sphinx_ros.checkpoint import load_checkpoint
from sphinx_ros.checkpoint.adapter import read_adapter
from sphinx_ros.errors import BadRequest, CheckpointError
from sphinx_ros.image.pixels import preprocess
from sphinx_ros.prompt.conversation import conversation
from sphinx_ros.teach.held_out import answers
from sphinx_ros.teach.plan import Plan
from sphinx_ros.teach.states import read_state, write_state
from sphinx_ros.teach.tuned import STATE, Tuned
from sphinx_ros.teach.tuning import finish, learn_all, tune

peft = pytest.importorskip("peft")

ROOT = Path(__file__).parents[1]
CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def rows_folder(tmp_path_factory):
    return write_rows(tmp_path_factory.mktemp("rows"))


@pytest.fixture(scope="module")
def whole_run(rows_folder, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run") / "whole"
    return folder, tune(plan_for(rows_folder), folder)


def test_a_run_teaches_and_leaves_an_adapter(whole_run, rows_folder):
    folder, results = whole_run
    assert results["pictures"] == 6 and results["examples"] == 12 and results["bad_rows"] == 0
    assert results["after"]["loss"] < results["before"]["loss"]
    rgb = picture(64, 48, seed=0)
    plain = Sphinx.from_pretrained(random_checkpoint()).logits([1, 5, 9], rgb)
    taught = Sphinx.from_pretrained(results["checkpoint"]).logits([1, 5, 9], rgb)
    assert not torch.allclose(plain, taught)
    lines = [json.loads(line) for line in (folder / "log.jsonl").read_text().splitlines()]
    assert [one["step"] for one in lines if "loss" in one] == [*range(1, results["steps"] + 1)]


def test_what_was_taught_in_the_run_is_what_is_loaded(whole_run, rows_folder):
    folder, results = whole_run
    tuned = Tuned(plan_for(rows_folder), folder, CPU, torch.float32)
    tuned.take_best()
    loaded, _, _ = load_checkpoint(results["checkpoint"])
    rgb = torch.from_numpy(preprocess(picture(64, 48), loaded.config.image_size))[None]
    ids = torch.tensor([[1, 5, 9, 20]])
    in_run = tuned.model(ids, tuned.model.encode_image(rgb))
    torch.testing.assert_close(in_run, loaded(ids, loaded.encode_image(rgb)), rtol=0, atol=2e-5)


def test_projections_may_have_a_rank_of_their_own(rows_folder, tmp_path):
    """What is loaded is what was taught, by this package and by peft."""
    plan = plan_for(rows_folder, projection_rank=5, ask=0)
    results = tune(plan, tmp_path)
    tuned = Tuned(plan, tmp_path, CPU, torch.float32)
    tuned.take_best()
    wanted = {key: tuned.model.get_submodule(key.removesuffix(".weight")) for key in tuned_keys()}
    stored, base = (load_checkpoint(name)[0] for name in (results["checkpoint"], plan.checkpoint))
    theirs = peft.PeftModel.from_pretrained(base, results["result"]).merge_and_unload()
    for key, layer in wanted.items():
        weight = layer.base_layer.weight + layer.get_delta_weight("default")
        for model in (stored, theirs):
            found = model.get_parameter(key)
            torch.testing.assert_close(found, weight, rtol=0, atol=1e-6)
    ranks = {key: len(a) for key, (a, _) in read_adapter(tmp_path / "adapter").factors.items()}
    assert ranks["visual_proj.0.weight"] == 5 and ranks["output.weight"] == plan.rank
    with pytest.raises(BadRequest, match="leave out --full or --projection-rank"):
        tune(dataclasses.replace(plan, full=True), tmp_path / "full")


def tuned_keys():
    """Parameters that learn, of the decoder and of the projections."""
    return "layers.0.attention.wq.weight", "output.weight", "visual_proj.0.weight"


@pytest.mark.parametrize("at", [1, 2])
def test_an_interrupted_run_goes_on_to_the_same_weights(whole_run, rows_folder, tmp_path, at):
    """Stopped behind a saved state: everything after it is lost, as by kill -9."""
    plan = plan_for(rows_folder)
    stopped = Tuned(plan, tmp_path, CPU, torch.float32)
    stopped.check()
    for step in range(at + 1):
        if step == at:
            stopped.save()
        stopped.learn()  # the last one is lost
        if stopped.epoch_ends:
            stopped.check()
    results = tune(plan, tmp_path, resume=True)
    assert same(weights(tmp_path), weights(whole_run[0]))
    told = {key: value for key, value in results.items() if key not in ("minutes", "result")}
    assert told["steps"] == whole_run[1]["steps"] and told["after"] == whole_run[1]["after"]


def test_held_out_questions_are_answered_by_what_was_taught(rows_folder, tmp_path):
    """Not by flat layers of the untaught network, which were made when it was first asked."""
    plan = plan_for(rows_folder, epochs=1, rate=0.05, ask=1)
    tuned = Tuned(plan, tmp_path / "run", CPU, torch.float32)
    tuned.folder.mkdir()
    before = answers(tuned.model, tuned.tokenizer, tuned.rows.asked)
    for _ in range(tuned.steps):
        tuned.learn()
    tuned.check()
    after = answers(tuned.model, tuned.tokenizer, tuned.rows.asked)
    tuned.checks.append(tuned.checks[0])
    loaded, tokenizer, _ = load_checkpoint(finish(tuned)["checkpoint"])
    assert after == answers(loaded, tokenizer, tuned.rows.asked) != before


def test_a_killed_process_goes_on_to_the_same_weights(rows_folder, tmp_path):
    plan = plan_for(rows_folder, epochs=4, patience=0, ask=0)
    words = [sys.executable, "-m", "sphinx_ros", "tune", *command_line(plan)]
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([*words, "--out", str(tmp_path / "killed")], env=env, cwd=ROOT)
    log = tmp_path / "killed" / "log.jsonl"
    until(lambda: log.exists() and log.read_text().count("\n") >= 3, 90)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "killed" / "adapter").exists()
    with one_thread():
        for name in ("killed", "whole"):
            tune(plan, tmp_path / name, resume=True)
    assert same(weights(tmp_path / "killed"), weights(tmp_path / "whole"))
    losses = [(tmp_path / name / "log.jsonl").read_text() for name in ("killed", "whole")]
    assert losses[0] == losses[1]


@pytest.mark.parametrize("sent", [signal.SIGINT, signal.SIGTERM])
def test_who_is_told_to_stop_makes_the_step_and_saves_it(whole_run, rows_folder, tmp_path, sent):
    class Stopped(Tuned):
        """Told so in the middle of a step, and no second time."""

        def _next_rows(self):
            if self.step == 2:
                signal.raise_signal(sent)
            return super()._next_rows()

    plan = plan_for(rows_folder)
    stopped = Stopped(plan, tmp_path, CPU, torch.float32)
    stopped.check()
    with pytest.raises(KeyboardInterrupt):
        learn_all(stopped)
    assert read_state(tmp_path / STATE)["numbers"][0] == 3
    tune(plan, tmp_path, resume=True)
    assert same(weights(tmp_path), weights(whole_run[0]))


@pytest.mark.skipif(not hasattr(resource, "RLIMIT_FSIZE"), reason="no limits of files here")
def test_a_full_disk_leaves_the_state_before_it(tmp_path):
    """As a limit of the size of files: what can't be written fails in the same way."""
    path = tmp_path / "state.pt"
    write_state(path, {"a": torch.ones(3)})
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, limits[1]))
    try:
        with pytest.raises(OSError, match="too large"):
            write_state(path, {"a": torch.ones(1 << 20)})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert torch.equal(read_state(path)["a"], torch.ones(3))
    assert list(tmp_path.iterdir()) == [path]


def test_a_damaged_state_and_other_data_are_refused_by_name(whole_run, rows_folder, tmp_path):
    plan = plan_for(write_rows(tmp_path / "rows", pictures=4), ask=0)
    stopped = Tuned(plan, tmp_path / "run", CPU, torch.float32)
    stopped.folder.mkdir()
    stopped.save()
    write_rows(tmp_path / "rows", pictures=4, seed=7)
    with pytest.raises(
        CheckpointError, match="with another data than there is now: give the data"
    ):
        tune(plan, tmp_path / "run", resume=True)
    (tmp_path / "run" / STATE).write_bytes(b"PK\x03\x04 cut off")
    with pytest.raises(CheckpointError, match=r"state.pt can't be read"):
        tune(plan, tmp_path / "run", resume=True)


def test_a_run_is_not_begun_over_another_nor_gone_on_with_other_settings(whole_run, rows_folder):
    folder, results = whole_run
    with pytest.raises(BadRequest, match="add --resume"):
        tune(plan_for(rows_folder), folder)
    with pytest.raises(BadRequest, match=r"begun with rank 2.*go on with 4"):
        tune(plan_for(rows_folder, rank=4), folder, resume=True)
    assert tune(plan_for(rows_folder), folder, resume=True) == results


def test_a_run_ends_early_where_the_held_out_loss_does_not_fall(rows_folder, tmp_path):
    plan = plan_for(rows_folder, epochs=20, rate=0.9, patience=2, ask=0)
    results = tune(plan, tmp_path)
    assert results["steps"] < plan.steps(results["rows"])
    assert results["after"]["loss"] <= results["before"]["loss"]


def test_full_teaching_makes_a_whole_checkpoint(rows_folder, tmp_path):
    results = tune(plan_for(rows_folder, full=True, rate=1e-3, epochs=2), tmp_path / "run")
    assert results["checkpoint"] == results["result"]
    base = load_checkpoint(random_checkpoint())[0].state_dict()
    made = load_checkpoint(results["checkpoint"])[0].state_dict()
    changed = {key.split(".")[0] for key in base if not torch.equal(base[key], made[key])}
    assert {"layers", "output", "norm", "visual_proj", "qformer_proj"} <= changed
    assert not {"clip", "openclip_convnext_xxl", "dinov2_vitg14", "qformer"} & changed


def test_crops_are_learnt_and_what_is_known_is_kept(tmp_path):
    """A run that is interrupted ends with the same weights; remembering holds the old answers
    nearer to what they were.
    """
    boxes, known = write_boxes(tmp_path / "rows")
    settings = {"mirror": True, "crops": 2, "epochs": 2, "ask": 0}
    moved = []
    for number, remember in enumerate(((), (str(known),))):
        plan = plan_for(boxes, **settings, remember=remember)
        results = tune(plan, tmp_path / f"{number}")
        sides = [Sphinx.from_pretrained(name) for name in (plan.checkpoint, results["checkpoint"])]
        asked = conversation([("Is three left?", None)])
        ids = sides[0].tokenizer.encode(asked, True, False)
        one, two = (side.logits(ids, picture(64, 48, seed=1)).log_softmax(-1) for side in sides)
        moved.append((one.exp() * (one - two)).sum().item())
    assert 0 < moved[1] < 0.8 * moved[0]
    stopped = Tuned(plan, tmp_path / "stopped", CPU, torch.float32)
    stopped.folder.mkdir()
    stopped.check()
    stopped.learn()
    stopped.save()
    tune(plan, tmp_path / "stopped", resume=True)
    assert same(weights(tmp_path / "1"), weights(tmp_path / "stopped"))
    with pytest.raises(BadRequest, match="leave out --full or --remember"):
        tune(dataclasses.replace(plan, full=True), tmp_path / "full")


def test_a_weaker_result_is_scored_as_it_is_used(whole_run, rows_folder, tmp_path):
    """The steps are the same; the adapter, and the scores of the run, are those of a share."""
    plan = plan_for(rows_folder, strength=0.5, patience=0, held_out=0.0, ask=0, epochs=2)
    tune(plan, tmp_path / "half")
    tune(dataclasses.replace(plan, strength=1.0), tmp_path / "whole")
    assert same(weights(tmp_path / "half"), weights(tmp_path / "whole"))
    moved = []
    plain = load_checkpoint(plan.checkpoint)[0].state_dict()
    for name in ("half", "whole"):
        taught = load_checkpoint(f"{plan.checkpoint}+{tmp_path / name / 'adapter'}")[0]
        moved.append({key: one - plain[key] for key, one in taught.state_dict().items()})
    for key, half in moved[0].items():
        torch.testing.assert_close(2 * half, moved[1][key], rtol=1e-3, atol=1e-6)
    tuned = Tuned(plan_for(rows_folder, strength=0.5), whole_run[0], CPU, torch.float32)
    tuned.take_best()
    tuned.folder = tmp_path
    half, best = tuned.check()["loss"], whole_run[1]["after"]["loss"]
    assert best < half < whole_run[1]["before"]["loss"]
    with pytest.raises(BadRequest, match="leave out --full or --strength"):
        tune(dataclasses.replace(plan, full=True), tmp_path / "full")


def test_a_run_of_an_older_release_goes_on():
    """What its settings did not say was as it is without them."""
    plan = Plan(data=("rows",), remember_weight=5.0)
    said = plan.as_json()
    del said["strength"], said["remember_weight"]
    plan.check_goes_on(said)
    with pytest.raises(BadRequest, match=r"begun with strength 1.0.*go on with 0.5"):
        dataclasses.replace(plan, strength=0.5).check_goes_on(said)


def test_towers_learn_where_they_are_asked_to(rows_folder, tmp_path):
    results = tune(plan_for(rows_folder, towers=True, epochs=1), tmp_path / "run")
    keys = weights(tmp_path / "run")
    assert any(key.startswith("dinov2_vitg14.") for key in keys)
    moved = [key for key, (_, b) in keys.items() if key.startswith("clip.") and b.any()]
    assert results["steps"] and moved


def test_a_mixture_of_experts_learns_in_its_attention(rows_folder, tmp_path):
    base = experts_checkpoint(tmp_path / "base")
    plan = Plan(**{**plan_for(rows_folder, epochs=1, ask=0).__dict__, "checkpoint": str(base)})
    results = tune(plan, tmp_path / "run")
    made = weights(tmp_path / "run")
    assert any(b.any() for key, (_, b) in made.items() if ".attention." in key)
    assert not [key for key in made if ".feed_forward." in key]
    before, after = (load_checkpoint(one)[0].state_dict() for one in (base, results["checkpoint"]))
    changed = {key for key in before if not torch.equal(before[key], after[key])}
    assert changed and changed <= made.keys()


def test_an_adapter_cannot_be_taught_once_more(whole_run, rows_folder, tmp_path):
    plan = plan_for(rows_folder)
    again = Plan(**{**plan.__dict__, "checkpoint": whole_run[1]["checkpoint"]})
    with pytest.raises(BadRequest, match="sphinx-ros merge"):
        tune(again, tmp_path)


def test_the_rate_rises_and_falls():
    plan = Plan(rate=1.0, warmup=0.1)
    rates = [plan.rate_at(step, 100) for step in range(100)]
    assert rates[0] == pytest.approx(0.1) and max(rates) == rates[10] == 1.0
    assert rates[99] < 1e-3 and rates[10:] == sorted(rates[10:], reverse=True)
