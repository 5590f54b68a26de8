"""Teaching a checkpoint: the loss of packed rows and its gradient are the official ones."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from small_network import random_checkpoint
from tune_support import write_rows

from sphinx_ros.checkpoint import load_checkpoint
from sphinx_ros.errors import BadRequest
from sphinx_ros.image.pixels import preprocess
from sphinx_ros.prompt.conversation import END_SIGNAL, conversation
from sphinx_ros.teach.example import Example
from sphinx_ros.teach.learning import answers_logits, answers_loss, image_tokens
from sphinx_ros.teach.looks_kept import LooksKept
from sphinx_ros.teach.low_rank import add_factors, factors, weakened
from sphinx_ros.teach.packed import Packing
from sphinx_ros.teach.shown import Shown

pytest.importorskip("peft")

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def rows_folder(tmp_path_factory):
    return write_rows(tmp_path_factory.mktemp("rows"))


def examples_of(folder: Path) -> list[Example]:
    return [
        Example(Shown(folder / "0.png"), (("Where is it?", "[0.100,0.200,0.300,0.400]"),), "a"),
        Example(Shown(folder / "0.png"), (("Is it red?", "yes"), ("why?", "a red mug")), "b"),
        Example(Shown(folder / "1.png"), (("Is there a can?", "no"),), "c"),
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


@pytest.mark.parametrize("kind", ["int8", "int4", "nf4"])
def test_gradients_pass_through_a_base_in_fewer_bits(rows_folder, kind):
    """Those of the factors are near those beside the same values as plain weights."""
    if kind == "nf4":
        pytest.importorskip("bitsandbytes")
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


def test_known_answers_cost_what_their_probabilities_have_moved(rows_folder):
    """Nothing, and no gradient, while the network is as it was; then the divergence."""
    model, tokenizer, _ = load_checkpoint(random_checkpoint())
    add_factors(model, 2, 4.0, towers=False, seed=0)
    new, old, _ = examples_of(rows_folder)
    packing = Packing(tokenizer, 300)
    words = [packing.words(new), packing.words(dataclasses.replace(old, known=True))]
    batch = packing.batch([words], CPU)
    looks = LooksKept(model, 10**9)

    def losses() -> list[float]:
        image = image_tokens(model, [looks.of(Shown(new.image))])
        with weakened(model, 0.0):
            before = answers_logits(model, batch, image_tokens(model, [looks.of(new.shown)]))
        total, _, _ = answers_loss(model, batch, image, False, before, 3.0)
        plain, _, _ = answers_loss(model, packing.batch([words[:1]], CPU), image)
        now = answers_logits(model, packing.batch([words[1:]], CPU), image).log_softmax(-1)
        then = before[-len(now) :].log_softmax(-1)
        return [total.item() - plain.item(), (then.exp() * (then - now)).sum().item()]

    assert losses() == pytest.approx([0, 0], abs=1e-5)
    with torch.no_grad():
        for number, (_, b) in enumerate(factors(model).values()):
            b.copy_(0.1 * torch.randn(b.shape, generator=torch.Generator().manual_seed(number)))
    moved, wanted = losses()
    assert wanted > 0.01 and moved == pytest.approx(3.0 * wanted, rel=1e-4)
    assert all(p.requires_grad for name, p in model.named_parameters() if ".lora_" in name)


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
