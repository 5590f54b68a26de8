"""The node's parameters: one table, from which they are declared, checked and read.

Knows no message of ours and no model.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, fields
from typing import Any

from sphinx_ros.errors import BadRequest
from sphinx_ros.model.quantities import KINDS
from sphinx_ros.prompt.queries import MAX_TOKENS, read_queries
from sphinx_ros.ros.waiting import Settings

DTYPES = ("auto", "float32", "bfloat16", "float16")


@dataclass(frozen=True)
class Parameter:
    """One row of the table. low and high are inclusive; read_only ones are set at the start."""

    name: str
    default: Any
    description: str
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    read_only: bool = False

    def check(self, value: Any) -> str:
        """Why the value can't be used, "" when it can."""
        if self.choices and value not in self.choices:
            return f"{self.name} is {value!r}; it must be one of {', '.join(self.choices)}"
        if isinstance(self.default, (int, float)) and not isinstance(self.default, bool):
            if not math.isfinite(value) or not self.low <= value <= self.high:
                return f"{self.name} is {value}; it must be {self.low:g}..{self.high:g}"
        if self.name == "queries":
            try:
                read_queries(value)
            except BadRequest as error:
                return f"queries: {error}"
        return ""


TABLE = (
    Parameter(
        "checkpoint",
        "demo",
        'What to load: "demo" (the bundled demonstration model), a published name such as '
        '"sphinx-tiny-1k" (downloaded when it is not there), "hf://owner/repo/folder", or a '
        "folder.",
        read_only=True,
    ),
    Parameter(
        "device",
        "auto",
        'Where the model runs: "auto" (CUDA if there is any), "cpu", "cuda", "cuda:1", ...',
        read_only=True,
    ),
    Parameter(
        "devices",
        [""],
        'Several devices that share one network, ["cuda:0", "cuda:1"], in place of device; an '
        "empty string is none.",
        read_only=True,
    ),
    Parameter(
        "dtype",
        "auto",
        "Number format of the weights; auto: bfloat16 on CUDA, float32 on the CPU.",
        choices=DTYPES,
        read_only=True,
    ),
    Parameter(
        "quantise",
        "none",
        "Store the decoder in fewer bits: int8 hardly changes answers, int4 does; nf4 needs "
        "bitsandbytes.",
        choices=("none", *KINDS),
        read_only=True,
    ),
    Parameter(
        "threads",
        0,
        "CPU threads of the model; 0 leaves it to torch.",
        low=0,
        high=1024,
        read_only=True,
    ),
    Parameter(
        "image_transport",
        "raw",
        "raw: subscribe to `image` (sensor_msgs/Image). compressed: to `image`/compressed "
        "(sensor_msgs/CompressedImage, JPEG or PNG).",
        choices=("raw", "compressed"),
        read_only=True,
    ),
    Parameter(
        "queries",
        [""],
        'Standing queries, run on every picture the node looks at: "ground: the red mug", '
        '"detect: mug", "pose", "describe: x0,y0,x1,y1", "caption", "read_text", '
        '"ask: how many mugs are there?". An empty string is none.',
    ),
    Parameter("active", True, "False: requests are answered NOT_ACTIVE, standing queries rest."),
    Parameter(
        "max_rate",
        0.0,
        "Most passes of the standing queries per second; 0: as many as the model manages.",
        low=0.0,
        high=1000.0,
    ),
    Parameter(
        "max_image_age",
        5.0,
        "Seconds after which the newest picture is refused as STALE_IMAGE, by its stamp and by "
        "its arrival; 0: never.",
        low=0.0,
        high=86400.0,
    ),
    Parameter(
        "default_timeout",
        30.0,
        "Seconds that a query may take, waiting included, when its request does not say.",
        low=0.01,
        high=86400.0,
    ),
    Parameter(
        "max_new_tokens",
        0,
        "Longest answer in tokens; 0: the usual length of each task.",
        low=0,
        high=MAX_TOKENS,
    ),
    Parameter(
        "max_pending",
        8,
        "Requests that may wait while one is worked on; further ones are answered BUSY.",
        low=1,
        high=64,
        read_only=True,
    ),
    Parameter(
        "max_image_pixels",
        64_000_000,
        "Larger pictures are refused as BAD_IMAGE before they are decoded.",
        low=1,
        high=1_000_000_000,
    ),
    Parameter(
        "marker_depth",
        1.0,
        "Metres in front of the camera at which ~/markers draws the boxes.",
        low=0.02,
        high=100.0,
    ),
)


@dataclass(frozen=True)
class Config:
    """All parameters as read at one moment; the fields are the names of :data:`TABLE`."""

    checkpoint: str
    device: str
    devices: tuple[str, ...]
    dtype: str
    quantise: str
    threads: int
    image_transport: str
    queries: tuple[str, ...]
    active: bool
    max_rate: float
    max_image_age: float
    default_timeout: float
    max_new_tokens: int
    max_pending: int
    max_image_pixels: int
    marker_depth: float

    def settings(self) -> Settings:
        """The part that the worker follows while it runs."""
        return Settings(**{f.name: getattr(self, f.name) for f in fields(Settings)})


def check(parameters: Iterable) -> str:
    """The first reason against a set of (name, value) holders, "" when there is none."""
    table = {row.name: row for row in TABLE}
    for item in parameters:
        if item.name in table and (reason := table[item.name].check(item.value)):
            return reason
    return ""


def declare(node) -> Config:
    """Declare the table on a node, described and with ranges. Raises ValueError with a reason."""
    from rcl_interfaces.msg import FloatingPointRange, IntegerRange, ParameterDescriptor

    for row in TABLE:
        about = ParameterDescriptor(description=row.description, read_only=row.read_only)
        if row.choices:
            about.additional_constraints = f"one of: {', '.join(row.choices)}"
        if isinstance(row.default, float):
            limits = FloatingPointRange(from_value=row.low, to_value=row.high)
            about.floating_point_range = [limits]
        elif isinstance(row.default, int) and not isinstance(row.default, bool):
            about.integer_range = [IntegerRange(from_value=row.low, to_value=row.high, step=1)]
        value = node.declare_parameter(row.name, row.default, about).value
        if reason := row.check(value):
            raise ValueError(f"parameter {reason}")
    return read(node)


def read(node) -> Config:
    """All parameters of the node as they are now."""
    values = {row.name: node.get_parameter(row.name).value for row in TABLE}
    devices = tuple(filter(None, values["devices"]))
    return Config(**{**values, "queries": tuple(values["queries"]), "devices": devices})
