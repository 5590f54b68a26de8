"""The node's parameters: one row each, which checks, reads and documents it.

A row is a field of :class:`Config`. Launch arguments, config/sphinx.yaml, `sphinx_node --help` and
the documents follow from :data:`TABLE` or are compared with it by tests. Values are read by
:mod:`sphinx_ros.ros.params`. Knows no model and no ROS.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from typing import Any

from sphinx_ros.image.picture_size import MAX_PIXELS, SAMPLE_BITS
from sphinx_ros.model.quantities import KINDS
from sphinx_ros.prompt.checks import MAX_SECONDS, MAX_TOKENS
from sphinx_ros.prompt.queries import LINES, read_queries
from sphinx_ros.ros.parameter_row import Parameter

DTYPES = ("auto", "float32", "bfloat16", "float16")


def _row(default: Any, description: str, **settings: Any) -> Any:
    return field(default=default, metadata={"description": description, **settings})


@dataclass(frozen=True)
class Config:
    """All parameters as read at one moment. Each field is a row: see `parameter_row.Parameter`."""

    checkpoint: str = _row(
        "demo",
        'What to load: "demo" (the bundled demonstration model), a published name such as '
        '"sphinx-tiny-1k" (downloaded when it is not there), "hf://owner/repo/folder", or a '
        "folder.",
        read_only=True,
    )
    variant: str = _row(
        "",
        "Variant (llama_type) of a checkpoint folder that does not say it; empty: as it says, or "
        "what its tensors can only be.",
        read_only=True,
    )
    tokenizer: str = _row(
        "",
        "Path of the sentencepiece model, for a checkpoint folder without tokenizer.model.",
        read_only=True,
    )
    device: str = _row(
        "auto",
        'Where the model runs: "auto" (CUDA if there is any), "cpu", "cuda", "cuda:1", ...',
        read_only=True,
    )
    devices: tuple[str, ...] = _row(
        (),
        'Several devices that share one network, ["cuda:0", "cuda:1"], in place of device.',
        read_only=True,
    )
    dtype: str = _row(
        "auto",
        "Number format of the weights; auto: bfloat16 on CUDA, float32 on the CPU.",
        choices=DTYPES,
        read_only=True,
    )
    quantise: str = _row(
        "none",
        "Store the decoder in fewer bits: int8 hardly changes answers, int4 does; nf4 needs "
        "bitsandbytes.",
        choices=("none", *KINDS),
        read_only=True,
    )
    threads: int = _row(
        0, "CPU threads of the model; 0 leaves it to torch.", low=0, high=1024, read_only=True
    )
    image_transport: str = _row(
        "raw",
        "raw: subscribe to `image` (sensor_msgs/Image). compressed: to `image`/compressed "
        "(sensor_msgs/CompressedImage, JPEG or PNG).",
        choices=("raw", "compressed"),
        read_only=True,
    )
    image_bits: int = _row(
        0,
        "Significant bits of pictures with 16 bits per sample: 12 for a 12 bit camera; 0: as the "
        "encoding says.",
        low=SAMPLE_BITS[0],
        high=SAMPLE_BITS[1],
        or_zero=True,
    )
    max_image_age: float = _row(
        5.0,
        "Seconds of the node's clock after which the newest picture is refused as STALE_IMAGE, by "
        "its stamp and by its arrival; 0: never.",
        low=0.0,
        high=MAX_SECONDS,
    )
    max_image_pixels: int = _row(
        MAX_PIXELS,
        "Larger pictures are refused as BAD_IMAGE before they are decoded.",
        low=1,
        high=1_000_000_000,
    )
    queries: tuple[str, ...] = _row(
        (),
        f"Standing queries, run on every picture the node looks at: {LINES}.",
        reads=read_queries,
    )
    max_rate: float = _row(
        0.0,
        "Most passes of the standing queries per second; 0: as many as the model manages.",
        low=0.0,
        high=1000.0,
    )
    active: bool = _row(True, "False: requests are answered NOT_ACTIVE, standing queries rest.")
    default_timeout: float = _row(
        30.0,
        "Seconds that a query may take, waiting included, when its request does not say.",
        low=0.01,
        high=MAX_SECONDS,
    )
    max_new_tokens: int = _row(
        0, "Longest answer in tokens; 0: the usual length of each task.", low=0, high=MAX_TOKENS
    )
    max_pending: int = _row(
        8,
        "Requests that may be under way beside one, waiting or being answered; further ones are "
        "answered BUSY.",
        low=1,
        high=64,
        read_only=True,
    )
    marker_depth: float = _row(
        1.0,
        "Metres in front of the camera at which ~/markers draws the boxes.",
        low=0.02,
        high=100.0,
    )


TABLE = tuple(Parameter(row.name, row.default, **row.metadata) for row in fields(Config))
"""All parameters in the order in which documents list them."""

ROWS = {row.name: row for row in TABLE}
"""The same by name."""
