"""A network of a few seconds: the real code at toy sizes, taught a dozen answers by heart.

It answers the questions in :data:`ANSWERS` in exactly these words, whatever the picture, so that
tests know what must come out of the real path. It sees nothing.
"""

import atexit
import functools
import shutil
import tempfile
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F

from sphinx_ros import Sphinx
from sphinx_ros.checkpoint import save_checkpoint
from sphinx_ros.image.pixels import preprocess
from sphinx_ros.model.config import ModelConfig
from sphinx_ros.model.sphinx import SphinxModel
from sphinx_ros.prompt.conversation import END_SIGNAL, conversation
from sphinx_ros.prompt.tokenizer import Tokenizer
from sphinx_ros.prompt.wording import question
from sphinx_ros.tasks import Task
from sphinx_ros.train.initial import initialise
from sphinx_ros.types import COCO_KEYPOINTS
from sphinx_ros.world.demo_tokenizer import train_tokenizer

VARIANT = "llama_ens"
SIZES = {
    "dim": 64,
    "n_layers": 2,
    "n_heads": 4,
    "multiple_of": 32,
    "max_seq_len": 640,
    "coordinate_decimals": 3,
    "towers": {
        "view": 56,
        "clip": {"width": 32, "layers": 1, "heads": 2, "mlp_ratio": 2.0},
        "convnext": {"dims": [8, 8, 16, 16], "depths": [1, 1, 1, 1]},
        "dinov2": {"width": 32, "layers": 1, "heads": 2, "hidden": 32, "position_grid": 4},
        "qformer": {"width": 16, "layers": 1, "heads": 2, "hidden": 32, "queries": 2,
                    "vit_width": 16, "vit_layers": 1, "vit_heads": 2, "vit_hidden": 32},
    },
}  # fmt: skip
"""``config.json`` of the toy: all four towers, one view of 56 pixels, 16 patches."""

MUG = (0.25, 0.4, 0.5, 0.6)  # boxes in fractions of the padded square, inside it for 4:3 pictures
CAN = (0.1, 0.3, 0.2, 0.45)
PERSON = (0.3, 0.3, 0.6, 0.7)
JOINTS = {name: (0.4 + 0.01 * i, 0.6 - 0.02 * i) for i, name in enumerate(COCO_KEYPOINTS[:7])}


def _box(box) -> str:
    return ",".join(f"{v:.3f}" for v in box)


ANSWERS = {
    question(Task.GROUND, "the red mug"): f"[{_box(MUG)}]",
    question(Task.GROUND, "the blue ball"): "There is no blue ball in the image.",
    question(Task.DETECT, "mug"): f"<p>mug</p>[{_box(CAN)};{_box(MUG)}]",
    question(Task.DETECT, "can"): "There is no can in the image.",
    question(Task.DETECT, "cone"): "<p>cone</p>[0.2,0.3,0.4]",
    question(Task.DETECT, "person"): f"<p>person</p>[{_box(PERSON)}]",
    question(Task.POSE, box=PERSON): "".join(
        f"<p>{name}</p>[{x:.2f},{y:.2f}]" for name, (x, y) in JOINTS.items()
    ),
    question(Task.DESCRIBE, box=MUG, decimals=3): "a small red mug",
    question(Task.CAPTION): f"There are 2 objects: <p>can</p>[{_box(CAN)}], "
    f"<p>red mug</p>[{_box(MUG)}].",
    question(Task.ASK, "how many mugs are there?"): "2",
}
"""Human text -> what the toy answers."""

PICTURE_SIZES = ((64, 48), (48, 64), (40, 40), (641, 479), (120, 160), (90, 160))
"""Width and height of the pictures it was taught on."""


def picture(width: int, height: int, seed: int = 0) -> np.ndarray:
    """Coloured noise [height, width, 3] uint8 in blocks, so that a resize leaves some of it."""
    draw = np.random.default_rng(seed)
    small = draw.integers(0, 256, (-(-height // 8), -(-width // 8), 3), np.uint8)
    return np.kron(small, np.ones((8, 8, 1), np.uint8))[:height, :width]


def build(folder: Path, seed: int = 0) -> tuple[SphinxModel, Tokenizer]:
    """The toy with random weights, and its tokenizer (written into ``folder``)."""
    train_tokenizer(folder / "tokenizer.model")
    tokenizer = Tokenizer(folder / "tokenizer.model")
    config = ModelConfig.from_json(SIZES, VARIANT, tokenizer.n_words)
    model = SphinxModel(config).eval()
    initialise(model, seed)
    return model, tokenizer


def teach(model: SphinxModel, tokenizer: Tokenizer, answers: dict, steps: int = 120) -> float:
    """Teach answers by heart; returns the least probability of any token of them."""
    rows, starts = [], []
    for asked, answer in answers.items():
        prompt = conversation([(asked, None)])
        rows.append(tokenizer.encode(f"{prompt} {answer}{END_SIGNAL}", True, False))
        starts.append(len(tokenizer.encode(prompt, True, False)))
    width = max(map(len, rows))
    tokens = torch.tensor([row + [0] * (width - len(row)) for row in rows])
    learnt = torch.tensor(
        [[s <= i < len(r) for i in range(width)] for s, r in zip(starts, rows, strict=True)]
    )
    size = model.config.image_size
    seen = [preprocess(picture(*wh, seed=i), size) for i in range(2) for wh in PICTURE_SIZES]
    with torch.no_grad():
        images = model.encode_image(torch.from_numpy(np.stack(seen)))
    decoder = [
        p
        for n, p in model.named_parameters()
        if n.startswith(("layers", "norm", "output", "tok_emb"))
    ]
    optimizer = torch.optim.AdamW(decoder, lr=6e-3, weight_decay=0.0)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 6e-3, total_steps=steps)
    draw = torch.Generator().manual_seed(0)
    for _ in range(steps):
        chosen = torch.randint(len(images), (len(rows),), generator=draw)
        noise = 0.3 * torch.randn(images[chosen].shape, generator=draw)  # any picture will do
        logits = model(tokens, images[chosen] + noise)[:, :-1]
        loss = F.cross_entropy(logits[learnt[:, 1:]], tokens[:, 1:][learnt[:, 1:]])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(decoder, 1.0)
        optimizer.step()
        schedule.step()
    with torch.no_grad():
        chances = model(tokens, images[torch.arange(len(rows)) % len(images)])[:, :-1].softmax(-1)
        right = chances.gather(-1, tokens[:, 1:, None])[..., 0][learnt[:, 1:]]
    return right.min().item()


@functools.cache
def taught_checkpoint(other: tuple[tuple[str, str], ...] = ()) -> Path:
    """A folder in the released layout with the taught toy; made once per session.

    other: pairs of a Human text and an answer that differ from :data:`ANSWERS`.
    """
    folder = Path(tempfile.mkdtemp(prefix="sphinx_small_"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    torch.manual_seed(0)
    model, tokenizer = build(folder)
    least = teach(model, tokenizer, {**ANSWERS, **dict(other)})
    if least < 0.6:
        raise RuntimeError(f"the toy did not learn its answers: least probability {least:.3f}")
    return save_checkpoint(model, SIZES, VARIANT, tokenizer.path, folder, dtype=torch.float32)


@functools.cache
def random_checkpoint() -> Path:
    """A folder in the released layout with random weights; made once per session."""
    folder = Path(tempfile.mkdtemp(prefix="sphinx_random_"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    model, tokenizer = build(folder)
    return save_checkpoint(model, SIZES, VARIANT, tokenizer.path, folder, dtype=torch.float32)


def fresh(sphinx: Sphinx, calibration=None) -> Sphinx:
    """The same network with an engine that knows no picture and no habit."""
    return Sphinx(sphinx.model, sphinx.tokenizer, calibration=calibration)
