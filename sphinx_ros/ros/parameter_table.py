"""The node's parameters: one row each, which checks, reads and documents it.

A row is a field of :class:`Config`. Launch arguments, config/sphinx.yaml, `sphinx_node --help` and
the documents follow from :data:`TABLE` or are compared with it by tests. Values are read by
:mod:`sphinx_ros.ros.params`. Knows no model and no ROS.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from sphinx_ros.image.picture_size import MAX_PIXELS, SAMPLE_BITS
from sphinx_ros.model.quantities import KINDS
from sphinx_ros.prompt.checks import MAX_SECONDS, MAX_TOKENS
from sphinx_ros.prompt.queries import LINES, read_queries
from sphinx_ros.ros.camera_names import read_cameras
from sphinx_ros.ros.parameter_row import Parameter, When

DTYPES = ("auto", "float32", "bfloat16", "float16")


def _row(default: Any, description: str, **settings: Any) -> Any:
    return field(default=default, metadata={"description": description, **settings})


@dataclass(frozen=True)
class Config:
    """All parameters as read at one moment. Each field is a row: see `parameter_row.Parameter`."""

    autostart: bool = _row(
        True,
        "Load the model and hear the cameras at once. False: whoever manages the node does it, by "
        "`ros2 lifecycle set`, or Nav2's lifecycle manager.",
        when=When.START,
    )
    checkpoint: str = _row(
        "demo",
        'What to load: "demo" (the bundled demonstration model), a published name such as '
        '"sphinx-tiny-1k" (downloaded when it is not there), "hf://owner/repo/folder", or a '
        "folder.",
        when=When.UNCONFIGURED,
    )
    variant: str = _row(
        "",
        "Variant (llama_type) of a checkpoint folder that does not say it; empty: as it says, or "
        "what its tensors can only be.",
        when=When.UNCONFIGURED,
    )
    tokenizer: str = _row(
        "",
        "Path of the sentencepiece model, for a checkpoint folder without tokenizer.model.",
        when=When.UNCONFIGURED,
    )
    device: str = _row(
        "auto",
        'Where the model runs: "auto" (CUDA if there is any), "cpu", "cuda", "cuda:1", ...',
        when=When.UNCONFIGURED,
    )
    devices: tuple[str, ...] = _row(
        (),
        'Several devices that share one network, ["cuda:0", "cuda:1"], in place of device.',
        when=When.UNCONFIGURED,
    )
    dtype: str = _row(
        "auto",
        "Number format of the weights; auto: bfloat16 on CUDA, float32 on the CPU.",
        choices=DTYPES,
        when=When.UNCONFIGURED,
    )
    quantise: str = _row(
        "none",
        "Store the decoder in fewer bits: int8 hardly changes answers, int4 does; nf4 needs "
        "bitsandbytes.",
        choices=("none", *KINDS),
        when=When.UNCONFIGURED,
    )
    threads: int = _row(
        0,
        "CPU threads of the model; 0 leaves it to torch.",
        low=0,
        high=1024,
        when=When.UNCONFIGURED,
    )
    cameras: tuple[str, ...] = _row(
        (),
        'Names of several cameras, ["front", "wrist"], each with topics, queries and outputs of '
        "its own, as `front/image` and `~/front/detections`; []: one camera without a name.",
        when=When.UNCONFIGURED,
        reads=read_cameras,
    )
    image_transport: str = _row(
        "raw",
        "raw: subscribe to `image` (sensor_msgs/Image). compressed: to `image`/compressed "
        "(sensor_msgs/CompressedImage, JPEG or PNG).",
        choices=("raw", "compressed"),
        when=When.INACTIVE,
        per_camera=True,
    )
    image_qos: str = _row(
        "sensor_data",
        "Quality of service of the camera's topics. sensor_data: best effort, hears every camera. "
        "reliable: lost parts are sent again. latched: also what was published before.",
        choices=("sensor_data", "reliable", "latched", "system_default"),
        when=When.INACTIVE,
        per_camera=True,
    )
    rectified: bool = _row(
        False,
        "Whether the pictures are rectified (image_rect): their pixels are those of P in "
        "camera_info, without its distortion.",
        per_camera=True,
    )
    image_bits: int = _row(
        0,
        "Significant bits of pictures with 16 bits per sample: 12 for a 12 bit camera; 0: as the "
        "encoding says.",
        low=SAMPLE_BITS[0],
        high=SAMPLE_BITS[1],
        or_zero=True,
        per_camera=True,
    )
    max_image_age: float = _row(
        5.0,
        "Seconds of the node's clock after which the newest picture is refused as STALE_IMAGE, by "
        "its stamp and by its arrival; 0: never.",
        low=0.0,
        high=MAX_SECONDS,
        per_camera=True,
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
        per_camera=True,
    )
    max_rate: float = _row(
        0.0,
        "Most passes of the standing queries per second; 0: as many as the model manages.",
        low=0.0,
        high=1000.0,
        per_camera=True,
    )
    skip_still: bool = _row(
        False,
        "True: a picture that differs from the last one looked at by no more than the camera's "
        "noise is not looked at; the last answers are published anew with its stamp, as `reused`.",
        per_camera=True,
    )
    still_seconds: float = _row(
        60.0,
        "Seconds after which `skip_still` looks anew all the same; 0: never.",
        low=0.0,
        high=MAX_SECONDS,
        per_camera=True,
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
        when=When.START,
    )
    hang_seconds: float = _row(
        600.0,
        "Seconds without a step of the work under way after which the model is given up and "
        "loaded anew; more than the look at one picture takes. 0: never.",
        low=0.0,
        high=MAX_SECONDS,
    )
    target_frame: str = _row(
        "",
        "Frame in which positions in space are given, by TF at the picture's stamp; they are "
        "unknown where there is no TF. Empty: the camera's optical frame.",
        per_camera=True,
    )
    marker_depth: float = _row(
        1.0,
        "Metres in front of the camera at which ~/markers draws the boxes.",
        low=0.02,
        high=100.0,
        per_camera=True,
    )

    own: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Camera -> what is set for it alone. No parameter of the node itself."""

    @property
    def camera_names(self) -> tuple[str, ...]:
        """The cameras; "" is the name of the only one."""
        return self.cameras or ("",)

    def of(self, camera: str) -> Config:
        """The parameters of one camera: its own, else those of the node."""
        own = self.own.get(camera, {})
        return replace(self, **{name: own[name] for name in own if name not in TOPICS})

    def topic(self, camera: str, name: str) -> str:
        """The topic that is set for a camera, of :data:`TOPICS`; "" where none is."""
        return self.own.get(camera, {}).get(name, "")


TABLE = tuple(
    Parameter(row.name, row.default, **row.metadata) for row in fields(Config) if row.metadata
)
"""All parameters in the order in which documents list them."""

ROWS = {row.name: row for row in TABLE}
"""The same by name."""

TOPICS = {
    row.name: row
    for row in (
        Parameter(
            "image",
            "",
            "Topic of the camera's pictures; empty: `<camera>/image`, which can be remapped.",
            when=When.INACTIVE,
            per_camera=True,
        ),
        Parameter(
            "camera_info",
            "",
            "Topic of the camera's calibration; empty: camera_info beside its pictures.",
            when=When.INACTIVE,
            per_camera=True,
        ),
        Parameter(
            "depth",
            "",
            "Topic of the camera's depth; empty: `<camera>/depth`, which can be remapped.",
            when=When.INACTIVE,
            per_camera=True,
        ),
    )
}
"""What a camera by name has besides, below its name: `front.image`."""

CAMERA_ROWS = {**TOPICS, **{row.name: row for row in TABLE if row.per_camera}}
"""Name -> row of what can be set for one camera alone."""
