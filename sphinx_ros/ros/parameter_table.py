"""The node's parameters: one row each, which checks, reads and documents it.

A row is a field of :class:`Config`; the first ones, which say what model is asked, are those of
:mod:`sphinx_ros.ros.model_rows`. Launch arguments and `sphinx_node --help` follow from
:data:`TABLE`; config/sphinx.yaml and docs/parameters.md are written from it by
:mod:`sphinx_ros.ros.parameter_docs`. Values are read by :mod:`sphinx_ros.ros.params`. Knows no
model and no ROS.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any

from sphinx_ros.image.picture_size import MAX_PIXELS, SAMPLE_BITS
from sphinx_ros.prompt.checks import MAX_SECONDS, MAX_TOKENS
from sphinx_ros.prompt.queries import LINES, read_queries
from sphinx_ros.ros.camera_names import read_cameras, read_frame
from sphinx_ros.ros.camera_topics import TOPICS
from sphinx_ros.ros.model_rows import ModelRows
from sphinx_ros.ros.parameter_row import Parameter, When, row_field


@dataclass(frozen=True)
class Config(ModelRows):
    """All parameters as read at one moment. Each field is a row: see `parameter_row.Parameter`."""

    cameras: tuple[str, ...] = row_field(
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
    image_transport: str = row_field(
        "raw",
        "raw: subscribe to `image` (sensor_msgs/Image). compressed: to `image`/compressed "
        "(sensor_msgs/CompressedImage, JPEG or PNG).",
        choices=("raw", "compressed"),
        when=When.INACTIVE,
        per_camera=True,
    )
    image_qos: str = row_field(
        "sensor_data",
        "Quality of service of the camera's topics. sensor_data: best effort, hears every camera. "
        "reliable: lost parts are sent again. latched: also what was published before.",
        choices=("sensor_data", "reliable", "latched", "system_default"),
        when=When.INACTIVE,
        per_camera=True,
    )
    rectified: bool = row_field(
        False,
        "Whether the pictures are rectified (image_rect): their pixels are those of P in "
        "camera_info, without its distortion.",
        per_camera=True,
    )
    image_bits: int = row_field(
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
    max_image_age: float = row_field(
        5.0,
        "Seconds of the node's clock after which the newest picture is refused as STALE_IMAGE, by "
        "its arrival and, for requests, by its stamp; 0: never.",
        low=0.0,
        high=MAX_SECONDS,
        per_camera=True,
        unit="s",
        more="0 for requests while a bag is played without use_sim_time.",
    )
    max_image_pixels: int = row_field(
        MAX_PIXELS,
        "Larger pictures are refused as BAD_IMAGE before they are decoded.",
        low=1,
        high=1_000_000_000,
        unit="pixels",
    )
    queries: tuple[str, ...] = row_field(
        (),
        f"Standing queries, run on every picture the node looks at: {LINES}.",
        reads=read_queries,
        per_camera=True,
        heading="Questions",
        more="At most 32. Quotation marks are needed: a line such as - detect: mug is something "
        "else in YAML. Boxes are x0,y0,x1,y1 in the picture's pixels. ~/set_queries changes them "
        "as well.",
    )
    max_rate: float = row_field(
        0.0,
        "Most passes of the standing queries per second; 0: as many as the model manages.",
        low=0.0,
        high=1000.0,
        per_camera=True,
        unit="Hz",
    )
    skip_still: bool = row_field(
        False,
        "True: a picture that differs from the last one looked at by no more than the camera's "
        "noise is not looked at; the last answers are published anew with its stamp, as `reused`.",
        per_camera=True,
    )
    still_seconds: float = row_field(
        60.0,
        "Seconds after which `skip_still` looks anew all the same; 0: never.",
        low=0.0,
        high=MAX_SECONDS,
        per_camera=True,
        unit="s",
    )
    active: bool = row_field(
        True,
        "False: requests are answered NOT_ACTIVE, standing queries rest.",
        more="The model stays loaded.",
    )
    default_timeout: float = row_field(
        30.0,
        "Seconds that a query may take, waiting included, when its request does not say.",
        low=0.01,
        high=MAX_SECONDS,
        unit="s",
    )
    max_new_tokens: int = row_field(
        0,
        "Longest answer in tokens; 0: the usual length of each task.",
        low=0,
        high=MAX_TOKENS,
        unit="tokens",
    )
    verify: bool = row_field(
        True,
        "Ask the model as well whether what `ground` and `point` look for is there. False: saves "
        "that question; nothing is denied.",
        per_camera=True,
        more="Without it scores are raw ones: a calibrated score needs the answer.",
    )
    threshold: float = row_field(
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
    max_pending: int = row_field(
        8,
        "Requests that may be under way beside one, waiting or being answered; further ones are "
        "answered BUSY.",
        low=1,
        high=64,
        when=When.START,
        unit="requests",
    )
    hang_seconds: float = row_field(
        600.0,
        "Seconds without a step of the work under way after which the model is given up and "
        "loaded anew, and a load without further bytes fails; more than a look takes. 0: never.",
        low=0.0,
        high=MAX_SECONDS,
        unit="s",
    )
    target_frame: str = row_field(
        "",
        "Frame in which positions in space are given, by TF at the picture's stamp; they are "
        "unknown where there is no TF. Empty: the camera's optical frame.",
        per_camera=True,
        reads=read_frame,
        heading="Positions in space",
        more='As "base_link"; needs tf2_ros. Positions need depth that is registered to the '
        "picture: remap the topic `depth`.",
    )
    marker_depth: float = row_field(
        1.0,
        "Metres in front of the camera at which ~/markers draws the boxes.",
        low=0.02,
        high=100.0,
        per_camera=True,
        unit="m",
        heading="rviz",
    )
    web_port: int = row_field(
        0,
        "Port of the page and of the doors of docs/serve.md, which ask the node's model and show "
        "its cameras; 0: none.",
        low=0,
        high=65535,
        when=When.START,
        heading="Over HTTP",
        more='Needs pip install "sphinx_ros[serve]".',
    )
    web_host: str = row_field(
        "127.0.0.1",
        "Address that it listens on; 0.0.0.0 for all, which others on the network reach.",
        when=When.START,
    )
    web_token: str = row_field(
        "",
        "What clients must send as Authorization: Bearer TOKEN; empty: nothing.",
        when=When.START,
        more="Whoever can ask for the node's parameters can read it.",
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
