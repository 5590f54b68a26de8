"""Message types that a recording gets -> their definitions, as .msg text.

Ours are read from the files that come with the package. Those of others are public facts: the
fields of vision_msgs 4.1 and of Foxglove's schemas.
"""

from __future__ import annotations

from pathlib import Path

from sphinx_ros.errors import SphinxError

PACKAGE = Path(__file__).resolve().parent.parent
FOLDERS = (PACKAGE / "assets" / "msg", PACKAGE.parent / "msg")
"""Where our .msg files are: installed, and in a checkout."""

OTHERS = {
    "vision_msgs/msg/Detection2DArray": """
        std_msgs/Header header
        vision_msgs/Detection2D[] detections""",
    "vision_msgs/msg/Detection2D": """
        std_msgs/Header header
        vision_msgs/ObjectHypothesisWithPose[] results
        vision_msgs/BoundingBox2D bbox
        string id""",
    "vision_msgs/msg/ObjectHypothesisWithPose": """
        vision_msgs/ObjectHypothesis hypothesis
        geometry_msgs/PoseWithCovariance pose""",
    "vision_msgs/msg/ObjectHypothesis": "string class_id\nfloat64 score",
    "vision_msgs/msg/BoundingBox2D": """
        vision_msgs/Pose2D center
        float64 size_x
        float64 size_y""",
    "vision_msgs/msg/Pose2D": "vision_msgs/Point2D position\nfloat64 theta",
    "vision_msgs/msg/Point2D": "float64 x\nfloat64 y",
    "foxglove_msgs/msg/ImageAnnotations": """
        foxglove_msgs/CircleAnnotation[] circles
        foxglove_msgs/PointsAnnotation[] points
        foxglove_msgs/TextAnnotation[] texts""",
    "foxglove_msgs/msg/CircleAnnotation": """
        builtin_interfaces/Time timestamp
        foxglove_msgs/Point2 position
        float64 diameter
        float64 thickness
        foxglove_msgs/Color fill_color
        foxglove_msgs/Color outline_color""",
    "foxglove_msgs/msg/PointsAnnotation": """
        builtin_interfaces/Time timestamp
        uint8 UNKNOWN=0
        uint8 POINTS=1
        uint8 LINE_LOOP=2
        uint8 LINE_STRIP=3
        uint8 LINE_LIST=4
        uint8 type
        foxglove_msgs/Point2[] points
        foxglove_msgs/Color outline_color
        foxglove_msgs/Color[] outline_colors
        foxglove_msgs/Color fill_color
        float64 thickness""",
    "foxglove_msgs/msg/TextAnnotation": """
        builtin_interfaces/Time timestamp
        foxglove_msgs/Point2 position
        string text
        float64 font_size
        foxglove_msgs/Color text_color
        foxglove_msgs/Color background_color""",
    "foxglove_msgs/msg/Point2": "float64 x\nfloat64 y",
    "foxglove_msgs/msg/Color": "float64 r\nfloat64 g\nfloat64 b\nfloat64 a",
}
"""Type -> its definition, of packages that need not be installed."""


def interface_texts() -> dict[str, str]:
    """Type -> definition, of all that no collection of standard types has.

    Raises:
        SphinxError: our own files are not there.
    """
    folder = next((one for one in FOLDERS if (one / "DetectionArray.msg").is_file()), None)
    if folder is None:
        raise SphinxError(
            f"the .msg files of sphinx_ros are neither in {FOLDERS[0]} nor in {FOLDERS[1]}; "
            "install the package again"
        )
    ours = {
        f"sphinx_ros/msg/{path.stem}": path.read_text(encoding="utf-8")
        for path in sorted(folder.glob("*.msg"))
    }
    return OTHERS | ours
