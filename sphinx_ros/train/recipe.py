"""The demonstration model's sizes and its training recipe, as plain numbers. Knows no tensor.

Every size, weight, share and rate of the training is here, so that a change of recipe is a change
of this file. The start values of the network are in :func:`sphinx_ros.train.initial.initialise`,
the mixture of questions is :data:`sphinx_ros.world.exercises.TRAINING_MIX`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

VARIANT = "llama_ens_fine"

SIZES = {
    "dim": 192,
    "n_layers": 6,
    "n_heads": 6,
    "multiple_of": 64,
    "norm_eps": 1e-5,
    "max_seq_len": 1024,
    "coordinate_decimals": 3,
    "towers": {
        "view": 168,
        "clip": {"width": 96, "layers": 2, "heads": 4, "mlp_ratio": 3.0},
        "convnext": {"dims": [24, 48, 96, 192], "depths": [2, 3, 6, 3]},
        "dinov2": {"width": 96, "layers": 2, "heads": 4, "hidden": 192, "position_grid": 12},
        "qformer": {
            "width": 96,
            "layers": 2,
            "heads": 4,
            "hidden": 192,
            "queries": 8,
            "vit_width": 64,
            "vit_layers": 1,
            "vit_heads": 4,
            "vit_hidden": 128,
        },
    },
}
"""``config.json`` of the demonstration model: all four encoders, one view. The ViTs see 168 pixels
a side, the ConvNeXt 384; most of the capacity is in the ConvNeXt, because convolutions learn from
far fewer pictures than transformers do."""

Sizes = Sequence[tuple[int, int]]
"""Widths and heights of pictures, in turn."""

RENDER_SIZES: Sizes = ((512, 384), (512, 384), (512, 288), (384, 512))
"""Width and height of training pictures, drawn with equal chance: 4:3 twice, 16:9, portrait."""

TASK_WEIGHT = {
    "exist": 4.0,
    "exist_refer": 4.0,
    "relation_yesno": 4.0,
    "count": 7.0,
    "colour": 3.0,
    "what_relation": 3.0,
    "describe": 2.0,
    "caption": 1.5,
    "detect_none": 2.0,
    "pose": 1.0,
}
"""Loss weight of an answer's tokens by kind of question (others 1): one-word answers would
otherwise drown among the digits of boxes and poses. An expression that fits nothing weighs no more
than one that fits: with 1.5 the model denied 1.8 % of the things that are there."""

TARGET_WEIGHT = {
    "count": 20.0,
    "what_relation": 4.0,
    "colour": 2.0,
    "exist": 2.0,
    "exist_refer": 2.0,
    "relation_yesno": 2.0,
}
"""Weight of an answer's attention targets by kind of question (others 1): a pose has a hundred of
them, a count has one."""

PATCH_WEIGHT = {
    "kind": 2.0,
    "empty": 1.0,
    "colour": 1.0,
    "anchor": 1.0,
    "sum": 10.0,
    "size": 0.5,
    "box": 1.0,
    "presence": 0.5,
    "offset": 2.0,
    "joint": 1.0,
}
"""Weights of the losses of :class:`sphinx_ros.train.auxiliary.PatchHead`, by name."""

FINE_WEIGHT = {"kind": 1.0, "empty": 0.5, "colour": 0.5, "presence": 0.5}
"""Weights of the losses of :class:`sphinx_ros.train.auxiliary.FineHead`, by name."""

MARKS = 24
"""Marks of the ruler on which positions are learnt; see :mod:`sphinx_ros.train.auxiliary`."""

RULER_WEIGHT = 10.0
"""Weight of a position's distance beside the cross-entropy of its marks."""

TOLD_HEADS = 2
"""The first TOLD_HEADS heads of a layer have attention targets; the others are free."""

STEPS = 2
"""Layers between that of the words and the two of the answers: they look at what an expression
passes on its way to a thing."""

COUNT_REFERENCES = (1.0, 5.0)
"""For a count the first token gets as much attention as 1 thing in the first head, and as much as
5 things in the second: one thing tells small numbers apart, five tell large ones apart."""

ANCHOR_SPREAD = 0.5
"""Standard deviation, in patches, of how much a patch stands for its thing by its distance from
the thing's middle."""

LAST_DIGIT_WEIGHT = 0.15
"""Loss weight of the third decimal: a thousandth of the picture is below what can be seen."""

POSE_FIRST_SHARE = 0.5
"""Share of the pictures that ask for a pose in which it is packed first. A pose takes more than
half of a row of text, so at a random place in the order it seldom finds room."""

WITHOUT_PEOPLE_SHARE = 0.75
"""Share of the scenes without people that are used: joints are learnt from people only."""

CROPPED_SHARE = 0.4
"""Share of the scenes that are cropped. More would leave too few small things, which are hard."""

MIRRORED_SHARE = 0.5
"""Share of the scenes that are mirrored."""

EXPOSURE, TINT = (0.85, 1.15), (0.96, 1.04)
"""Ranges of the factors on all channels of a picture, and on each of them."""

BETAS = (0.9, 0.98)
"""Of AdamW."""

GOING_ON_TOWERS_SHARE = 0.1
"""``towers_share`` of a run that begins with trained weights of these sizes: long enough for the
heads, which are new. Where ConvNeXt blocks are new as well, the share is that of a whole run."""

GOING_ON_RATE = 1.0e-3
"""``rate`` of a run that begins with trained weights of just these sizes: nothing in the network
is new, and a higher one forgets more before it learns."""


@dataclass(frozen=True)
class Schedule:
    """How a run spends its minutes.

    minutes: wall time of the whole run. towers_share: share of it in which only the towers and
    the projections learn, by an auxiliary head that reads objects off single image tokens;
    without this stage coordinates are learnt very slowly. warmup_share: of each stage. Batches are
    pictures per process: steps are what a short run lacks, so they are small. towers_final_factor,
    final_factor: the learning rate at the end of each stage as a share of its peak; the towers go
    on learning in the second stage. auxiliary, looking, placing: weights of the three losses
    beside the text's.
    """

    minutes: float = 145.0
    towers_share: float = 0.25
    warmup_share: float = 0.02
    towers_batch: int = 4
    batch: int = 4
    text_tokens: int = 400
    towers_rate: float = 1.5e-3
    rate: float = 1.5e-3
    vision_factor: float = 0.4
    towers_final_factor: float = 0.2
    final_factor: float = 0.01
    weight_decay: float = 0.05
    clip: float = 1.0
    average: float = 0.998
    auxiliary: float = 0.3
    looking: float = 0.5
    placing: float = 0.3
    save_minutes: float = 4.0
    score_minutes: float = 12.0
