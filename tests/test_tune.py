"""Teaching a checkpoint: packed losses, factors, runs that go on after they were killed."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from adapter_support import experts_checkpoint
from patience import until
from PIL import Image

from sphinx_ros import Sphinx
from sphinx_ros.checkpoint import load_checkpoint
from sphinx_ros.checkpoint.adapter import read_adapter
from sphinx_ros.errors import BadRequest
from sphinx_ros.image.pixels import preprocess
from sphinx_ros.prompt.conversation import END_SIGNAL, conversation
from sphinx_ros.teach.example import Example, Shown
from sphinx_ros.teach.learning import answers_loss, image_tokens
from sphinx_ros.teach.looks_kept import LooksKept
from sphinx_ros.teach.low_rank import add_factors, factors
from sphinx_ros.teach.packed import Packing
from sphinx_ros.teach.plan import Plan
from sphinx_ros.teach.tuned import Tuned
from sphinx_ros.teach.tuning import tune
from tests.small_network import picture, random_checkpoint

pytest.importorskip("peft")

ROOT = Path(__file__).parents[1]
CPU = torch.device("cpu")


def write_rows(folder: Path, pictures: int = 6) -> Path:
    """Pictures with two conversations each, in the official format."""
    folder.mkdir(exist_ok=True)
    rows = []
    for number in range(pictures):
        Image.fromarray(picture(64, 48, seed=number)).save(folder / f"{number}.png")
        side = 0.1 + 0.1 * (number % 5)
        rows += [
            {"image": f"{number}.png", "conversations": [
                {"from": "human", "value": "<image>\nDetect all plates shown in the image."},
                {"from": "gpt", "value": f"<p>plate</p>[{side:.3f},0.200,0.700,0.800]"}]},
            {"image": f"{number}.png", "conversations": [
                {"from": "human", "value": "Is there a plate in the image?"},
                {"from": "gpt", "value": "yes"},
                {"from": "human", "value": "how many?"},
                {"from": "gpt", "value": "1"}]},
        ]  # fmt: skip
    (folder / "rows.json").write_text(json.dumps(rows))
    return folder


@pytest.fixture(scope="module")
def rows_folder(tmp_path_factory):
    return write_rows(tmp_path_factory.mktemp("rows"))


def plan_for(data: Path, **settings) -> Plan:
    usual = {"epochs": 3, "batch": 2, "rank": 2, "alpha": 4.0, "rate": 5e-3, "ask": 2,
             "held_out": 0.34}  # fmt: skip
    return Plan(checkpoint=str(random_checkpoint()), data=(str(data),), **(usual | settings))


def examples_of(folder: Path) -> list[Example]:
    return [
        Example(folder / "0.png", (("Where is it?", "[0.100,0.200,0.300,0.400]"),), "a"),
        Example(folder / "0.png", (("Is it red?", "yes"), ("why?", "a red mug")), "b"),
        Example(folder / "1.png", (("Is there a can?", "no"),), "c"),
    ]


# the loss


def official_loss(model, tokenizer, examples) -> torch.Tensor:
    """As accessory/model/meta.py and data/conversation/dataset.py define it, example by example:
    ids with labels of the answers and 0 elsewhere, rows filled up with 0, and the cross-entropy
    of the labels that are not 0, shifted by one.
    """
    ids, labels, pictures = [], [], []
    for one in examples:
        text = conversation(one.rounds)
        row = [*tokenizer.encode(text, True, False), tokenizer.eos_id]  # the official code's eos
        label = [0] * len(row)
        for number, (asked, answer) in enumerate(one.rounds):
            before = conversation([*one.rounds[:number], (asked, None)])
            first = len(tokenizer.encode(before, True, False))
            value = tokenizer.encode(f"{before} {answer}{END_SIGNAL}", True, False)[first:]
            label[first : first + len(value)] = value
        ids.append(row)
        labels.append(label)
        rgb = np.asarray(Image.open(one.image))
        pictures.append(torch.from_numpy(preprocess(rgb, model.config.image_size)))
    width = max(map(len, ids))
    examples_in = torch.tensor([row + [0] * (width - len(row)) for row in ids])
    wanted = torch.tensor([row + [0] * (width - len(row)) for row in labels])
    logits = model(examples_in, model.encode_image(torch.stack(pictures)))[:, :-1]
    criterion = torch.nn.CrossEntropyLoss(ignore_index=0)
    return criterion(logits.reshape(-1, logits.shape[-1]), wanted[:, 1:].flatten())


@pytest.mark.parametrize("checkpointing", [False, True])
def test_the_loss_of_a_batch_is_the_official_one(rows_folder, checkpointing):
    model, tokenizer, _ = load_checkpoint(random_checkpoint())
    examples, packing = examples_of(rows_folder), Packing(tokenizer, 300)
    words = [packing.words(one) for one in examples]
    batch = packing.batch([words[:2], words[2:]], CPU)
    looks = LooksKept(model, 10**9)
    image = image_tokens(model, [looks.of(Shown(examples[i].image)) for i in (0, 2)])
    total, number, _ = answers_loss(model, batch, image, checkpointing)
    official = official_loss(model, tokenizer, examples)
    assert abs(total.item() / number - official.item()) < 1e-5


def test_the_gradient_is_that_of_the_official_loss(rows_folder):
    grads = []
    for packed in (True, False):
        model, tokenizer, _ = load_checkpoint(random_checkpoint())
        add_factors(model, 2, 4.0, towers=False, seed=0)
        with torch.no_grad():  # B begins as zeros: then A has no gradient
            for number, (_, b) in enumerate(factors(model).values()):
                b.copy_(
                    0.01 * torch.randn(b.shape, generator=torch.Generator().manual_seed(number))
                )
        examples = examples_of(rows_folder)
        if packed:
            packing = Packing(tokenizer, 300)
            words = [packing.words(one) for one in examples]
            looks = LooksKept(model, 0)
            image = image_tokens(model, [looks.of(Shown(examples[i].image)) for i in (0, 2)])
            total, number, _ = answers_loss(
                model, packing.batch([words[:2], words[2:]], CPU), image
            )
            (total / number).backward()
        else:
            official_loss(model, tokenizer, examples).backward()
        grads.append([p.grad for p in model.parameters() if p.requires_grad])
    assert len(grads[0]) == 2 * 17  # 7 layers in each of 2 blocks, the output, 2 projections
    for ours, theirs in zip(*grads, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("kind", ["int8", "int4"])
def test_gradients_pass_through_a_base_in_fewer_bits(rows_folder, kind):
    """Those of the factors are near those beside the same values as plain weights."""
    grads = []
    for quantise in (kind, None):
        model, tokenizer, _ = load_checkpoint(random_checkpoint(), quantise=quantise)
        add_factors(model, 2, 4.0, towers=False, seed=0)
        packing = Packing(tokenizer, 300)
        words = [packing.words(one) for one in examples_of(rows_folder)[:2]]
        image = image_tokens(model, [LooksKept(model, 0).of(Shown(rows_folder / "0.png"))])
        total, number, _ = answers_loss(model, packing.batch([words], CPU), image)
        (total / number).backward()
        grads.append([b.grad.flatten() for _, b in factors(model).values()])
    ours, theirs = (torch.cat(one) for one in grads)
    assert torch.cosine_similarity(ours, theirs, 0) > (0.999 if kind == "int8" else 0.95)


def test_only_answers_are_learnt(rows_folder):
    _, tokenizer, _ = load_checkpoint(random_checkpoint())
    packing = Packing(tokenizer, 300)
    words = packing.words(examples_of(rows_folder)[1])
    learnt = [i for i, is_learnt in zip(words.ids, words.learnt, strict=True) if is_learnt]
    assert tokenizer.decode(learnt).replace("\n", " ").split() == "yes ### a red mug ###".split()


def test_a_conversation_that_does_not_fit_is_refused(rows_folder):
    _, tokenizer, _ = load_checkpoint(random_checkpoint())
    with pytest.raises(BadRequest, match=r"has \d+ tokens, and a row has room for 16.*--tokens"):
        Packing(tokenizer, 16).words(examples_of(rows_folder)[0])


def test_a_picture_is_looked_at_once_where_there_is_room(rows_folder):
    model, _, _ = load_checkpoint(random_checkpoint())
    kept, anew = LooksKept(model, 10**9), LooksKept(model, 0)
    made = [[looks.of(Shown(rows_folder / "0.png")) for _ in range(3)] for looks in (kept, anew)]
    assert (kept.looks, anew.looks) == (1, 3)
    for mixed, queries in made[0] + made[1]:
        assert torch.equal(mixed, made[0][0][0]) and torch.equal(queries, made[0][0][1])


# runs


def weights(folder: Path) -> dict:
    return read_adapter(folder / "adapter").factors


def same(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(
        torch.equal(a, b) for key in one for a, b in zip(one[key], other[key], strict=True)
    )


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


@pytest.mark.parametrize("at", [1, 2, 3])
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


def test_a_killed_process_goes_on_to_the_same_weights(rows_folder, tmp_path):
    plan = plan_for(rows_folder, epochs=12, patience=0, ask=0)
    words = [sys.executable, "-m", "sphinx_ros", "tune", str(rows_folder), "--checkpoint",
             plan.checkpoint, "--epochs", "12", "--batch", "2", "--rank", "2", "--alpha", "4",
             "--rate", "0.005", "--ask", "0", "--held-out", "0.34", "--patience", "0", "--dtype",
             "float32", "--device", "cpu", "--out"]  # fmt: skip
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([*words, str(tmp_path / "killed")], env=env, cwd=ROOT)
    log = tmp_path / "killed" / "log.jsonl"
    until(lambda: (log.exists() and log.read_text().count("\n") > 4) or process.poll() is not None)
    assert process.poll() is None, "the run ended before it could be killed"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert not (tmp_path / "killed" / "adapter").exists()
    for name in ("killed", "whole"):
        resume = ["--resume"] if name == "killed" else []
        subprocess.run([*words, str(tmp_path / name), *resume], env=env, cwd=ROOT, check=True)
    assert same(weights(tmp_path / "killed"), weights(tmp_path / "whole"))
    losses = [
        (tmp_path / name / "log.jsonl").read_text().splitlines() for name in ("killed", "whole")
    ]
    assert losses[0] == losses[1]


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
