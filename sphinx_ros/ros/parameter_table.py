"""The node's parameters: one row each, which checks, reads and documents it.

A row is a field of :class:`Config`. Launch arguments and `sphinx_node --help` follow from
:data:`TABLE`; config/sphinx.yaml and docs/parameters.md are written from it by
:mod:`sphinx_ros.ros.parameter_docs`. Values are read by :mod:`sphinx_ros.ros.params`. Knows no
model and no ROS.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from sphinx_ros.image.picture_size import MAX_PIXELS, SAMPLE_BITS
from sphinx_ros.model.quantities import KINDS
from sphinx_ros.prompt.checks import MAX_SECONDS, MAX_TOKENS
from sphinx_ros.prompt.queries import LINES, read_queries
from sphinx_ros.ros.camera_names import read_cameras, read_frame
from sphinx_ros.ros.camera_topics import TOPICS
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
        heading="The node",
    )
    checkpoint: str = _row(
        "demo",
        'What to load: "demo" (the bundled demonstration model), a published name such as '
        '"sphinx-tiny-1k" (downloaded when it is not there), "hf://owner/repo/folder", or a '
        "folder.",
        when=When.UNCONFIGURED,
        heading="The model",
        more="The demonstration model knows a simulated tabletop and nothing else. The published "
        "names are listed in docs/checkpoints.md; `sphinx-ros fetch` downloads them beforehand. "
        "A folder has config.json, meta.json, tokenizer.model and "
        "consolidated.NN-of-MM.model.pth or model.safetensors.",
    )
    variant: str = _row(
        "",
        "Variant (llama_type) of a checkpoint folder that does not say it; empty: as it says, or "
        "what its tensors can only be.",
        when=When.UNCONFIGURED,
        more="Only for a folder that holds weights and nothing else: llama_ens, llama_ens5, ...",
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
        more="Their number must divide the network's heads.",
    )
    dtype: str = _row(
        "auto",
        "Number format of the weights; auto: bfloat16 on CUDA, float32 on the CPU.",
        choices=DTYPES,
        when=When.UNCONFIGURED,
        more="Half the size is half the memory; answers may differ in the last digit.",
    )
    quantise: str = _row(
        "none",
        "Store the decoder in fewer bits: int8 hardly changes answers, int4 does; nf4 needs "
        "bitsandbytes.",
        choices=("none", *KINDS),
        when=When.UNCONFIGURED,
        more="int8 takes half the memory of bfloat16, int4 a third. Vision stays as it is.",
    )
    threads: int = _row(
        0,
        "CPU threads of the model; 0 leaves it to torch.",
        low=0,
        high=1024,
        when=When.UNCONFIGURED,
        more="Fewer than there are cores leave room for the rest of the robot.",
    )
    cameras: tuple[str, ...] = _row(
        (),
        'Names of several cameras, ["front", "wrist"], each with topics, queries and outputs of '
        "its own, as `front/image` and `~/front/detections`; []: one camera without a name.",
        when=When.UNCONFIGURED,
        reads=read_cameras,
        heading="Cameras and pictures",
        more="What is set below a camera's name goes before what is set for all:\n"
        "  front:\n"
        "    image: /front_camera/image_raw\n"
        '    queries: ["detect: mug"]',
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
        unit="bits",
        more="Such pictures are nearly black otherwise.",
    )
    max_image_age: float = _row(
        5.0,
        "Seconds of the node's clock after which the newest picture is refused as STALE_IMAGE, by "
        "its stamp and by its arrival; 0: never.",
        low=0.0,
        high=MAX_SECONDS,
        per_camera=True,
        unit="s",
        more="0 where a bag is played without use_sim_time.",
    )
    max_image_pixels: int = _row(
        MAX_PIXELS,
        "Larger pictures are refused as BAD_IMAGE before they are decoded.",
        low=1,
        high=1_000_000_000,
        unit="pixels",
    )
    queries: tuple[str, ...] = _row(
        (),
        f"Standing queries, run on every picture the node looks at: {LINES}.",
        reads=read_queries,
        per_camera=True,
        heading="Questions",
        more="At most 32. Quotation marks are needed: a line such as - detect: mug is something "
        "else in YAML. Boxes are x0,y0,x1,y1 in the picture's pixels. ~/set_queries changes them "
        "as well.",
    )
    max_rate: float = _row(
        0.0,
        "Most passes of the standing queries per second; 0: as many as the model manages.",
        low=0.0,
        high=1000.0,
        per_camera=True,
        unit="Hz",
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
        unit="s",
    )
    active: bool = _row(
        True,
        "False: requests are answered NOT_ACTIVE, standing queries rest.",
        more="The model stays loaded.",
    )
    default_timeout: float = _row(
        30.0,
        "Seconds that a query may take, waiting included, when its request does not say.",
        low=0.01,
        high=MAX_SECONDS,
        unit="s",
    )
    max_new_tokens: int = _row(
        0,
        "Longest answer in tokens; 0: the usual length of each task.",
        low=0,
        high=MAX_TOKENS,
        unit="tokens",
    )
    verify: bool = _row(
        True,
        "Ask the model as well whether what `ground` and `point` look for is there. False: saves "
        "that question; nothing is denied.",
        per_camera=True,
        more="Without it scores are raw ones: a calibrated score needs the answer.",
    )
    threshold: float = _row(
        0.0,
        "Boxes, points and people with a score below it are left out; NOT_FOUND when none is "
        "left. What has no score stays.",
        low=0.0,
        high=1.0,
        per_camera=True,
        more="With a calibrated checkpoint and `verify` the score of ground is the probability "
        "that the box is right; other scores only rank answers. raw_text holds everything, and "
        "the feedback of ~/query has boxes as they are written, whatever their score.",
    )
    max_pending: int = _row(
        8,
        "Requests that may be under way beside one, waiting or being answered; further ones are "
        "answered BUSY.",
        low=1,
        high=64,
        when=When.START,
        unit="requests",
    )
    hang_seconds: float = _row(
        600.0,
        "Seconds without a step of the work under way after which the model is given up and "
        "loaded anew, and a load without further bytes fails; more than a look takes. 0: never.",
        low=0.0,
        high=MAX_SECONDS,
        unit="s",
    )
    target_frame: str = _row(
        "",
        "Frame in which positions in space are given, by TF at the picture's stamp; they are "
        "unknown where there is no TF. Empty: the camera's optical frame.",
        per_camera=True,
        reads=read_frame,
        heading="Positions in space",
        more='As "base_link"; needs tf2_ros. Positions need depth that is registered to the '
        "picture: remap the topic `depth`.",
    )
    marker_depth: float = _row(
        1.0,
        "Metres in front of the camera at which ~/markers draws the boxes.",
        low=0.02,
        high=100.0,
        per_camera=True,
        unit="m",
        heading="rviz",
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

CAMERA_ROWS = {**TOPICS, **{row.name: row for row in TABLE if row.per_camera}}
"""Name -> row of what can be set for one camera alone."""
