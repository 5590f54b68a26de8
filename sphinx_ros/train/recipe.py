"""The demonstration model's sizes and its training recipe, as plain numbers. Knows no tensors.

Every choice that was made by measuring stands here, so that a change of recipe is a change of
this file.
"""

from __future__ import annotations

from dataclasses import dataclass

VARIANT = "llama_ens_fine"

SIZES = {
    "dim": 192,
    "n_layers": 4,
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

RENDER_SIZES = ((512, 384), (512, 384), (512, 288), (384, 512))
"""Width and height of training pictures, drawn with equal chance: 4:3 twice, 16:9, portrait."""

TASK_WEIGHT = {
    "exist": 4.0,
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
otherwise drown among the digits of boxes and poses."""

LOOK_WEIGHT = {
    "count": 20.0,
    "what_relation": 4.0,
    "colour": 2.0,
    "exist": 2.0,
    "relation_yesno": 2.0,
}
"""Weight of where an answer looks, by kind of question (others 1): a pose looks a hundred times,
a count once."""

LAST_DIGIT_WEIGHT = 0.15
"""Loss weight of the third decimal: a thousandth of the picture is below what can be seen."""

POSE_FIRST_SHARE = 0.5
"""A pose takes more than half of a row of text, so drawn at its turn it seldom finds room: in so
many of the pictures that ask for one it is packed before the rest."""

WITHOUT_PEOPLE_SHARE = 0.75
"""So many of the scenes without people are used: joints are learnt from people only."""


GOING_ON_TOWERS_SHARE = 0.12
"""``towers_share`` of a run that begins with trained weights of these sizes: long enough for the
heads, which are new. Where ConvNeXt blocks are new as well, the share is that of a whole run."""


@dataclass(frozen=True)
class Schedule:
    """How a run spends its minutes.

    minutes: wall time of the whole run. towers_share: share of it in which only the towers and
    the projections learn, by an auxiliary head that reads objects off single image tokens;
    without this stage coordinates are very slow to come. warmup_share: of each stage. Batches are
    pictures per process: steps are what a short run lacks, so they are small. auxiliary, looking,
    placing: weights of the three losses beside the text's.
    """

    minutes: float = 145.0
    towers_share: float = 0.25
    warmup_share: float = 0.02
    towers_batch: int = 4
    batch: int = 4
    text_tokens: int = 336
    towers_rate: float = 1.5e-3
    rate: float = 1.5e-3
    vision_factor: float = 0.4
    final_factor: float = 0.01
    weight_decay: float = 0.05
    clip: float = 1.0
    average: float = 0.998
    auxiliary: float = 0.3
    looking: float = 0.5
    placing: float = 0.3
    save_minutes: float = 4.0
    score_minutes: float = 12.0
