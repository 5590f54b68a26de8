"""Message definitions -> classes that are used like those of rclpy, without any ROS.

They have the names of :mod:`sphinx_ros.ros.messages`, so that what fills in a node's messages
fills in those of a recording as well. Imports no rclpy.
"""

from __future__ import annotations

import functools
from typing import Any

import numpy as np

from sphinx_ros.bags.interface_texts import interface_texts
from sphinx_ros.bags.rosbags_library import rosbags

OURS = (
    "Answer", "BoundingBox", "Detection", "DetectionArray", "Keypoint", "PersonPose",
    "PersonPoseArray", "PointArray", "Status", "Timing",
)  # fmt: skip

NAMES = {
    **{name: f"sphinx_ros/msg/{name}" for name in OURS},
    "QueryMessage": "sphinx_ros/msg/Query",
    "Time": "builtin_interfaces/msg/Time",
    "Header": "std_msgs/msg/Header",
    "Point": "geometry_msgs/msg/Point",
    "Vector3": "geometry_msgs/msg/Vector3",
    "CompressedImage": "sensor_msgs/msg/CompressedImage",
    "Detection2D": "vision_msgs/msg/Detection2D",
    "Detection2DArray": "vision_msgs/msg/Detection2DArray",
    "ObjectHypothesisWithPose": "vision_msgs/msg/ObjectHypothesisWithPose",
    "CircleAnnotation": "foxglove_msgs/msg/CircleAnnotation",
    "Color": "foxglove_msgs/msg/Color",
    "ImageAnnotations": "foxglove_msgs/msg/ImageAnnotations",
    "Point2": "foxglove_msgs/msg/Point2",
    "PointsAnnotation": "foxglove_msgs/msg/PointsAnnotation",
    "TextAnnotation": "foxglove_msgs/msg/TextAnnotation",
}
"""Name of a class in :mod:`sphinx_ros.ros.messages` -> its type."""

DEFAULTS = {"geometry_msgs/msg/Quaternion": {"w": 1.0}}
"""Fields that begin with another value than zero, as their definitions say."""

NUMPY = {"bool": "bool", "byte": "uint8", "char": "uint8", "octet": "uint8"}
"""Types of numbers whose name in numpy is another one."""


@functools.cache
def type_store() -> Any:
    """The standard types of ROS 2, ours, and those of vision_msgs and Foxglove."""
    library = rosbags()
    store = library.get_typestore(library.Stores.LATEST)
    for name, text in interface_texts().items():
        store.register(library.get_types_from_msg(text, name))
    return store


class Kind:
    """One class of messages: takes some of its fields by keyword, the others begin with zero.

    Several numbers become an array of their type. Constants are attributes.
    """

    def __init__(self, store: Any, name: str):
        self.name, self._store, self._class = name, store, store.types[name]
        self._fields = dict(store.fielddefs[name][1])
        unknown = DEFAULTS.get(name, {})
        self._first = {
            field: (lambda value=unknown[field]: value) if field in unknown else self._zero(what)
            for field, what in self._fields.items()
        }

    def __call__(self, **given: Any) -> Any:
        """A message. Raises TypeError: it has no such field."""
        values = {
            field: self._value(self._fields[field], given.pop(field)) if field in given else make()
            for field, make in self._first.items()
        }
        if given:
            raise TypeError(f"{self.name} has no field {', '.join(given)}")
        return self._class(**values)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._class, name)

    def _zero(self, what: Any) -> Any:
        """A function that makes the value a field begins with."""
        kind, inner = what
        if kind.name == "BASE":
            blank = {"string": "", "wstring": "", "bool": False}
            value = blank.get(inner[0], 0.0 if inner[0].startswith("float") else 0)
            return lambda: value
        if kind.name == "NAME":
            return kind_of(self._store, inner)
        length = inner[1] if kind.name == "ARRAY" else 0
        number = number_type(what)
        if number is not None:
            return lambda: np.zeros(length, number)
        one = self._zero(inner[0])
        return lambda: [one() for _ in range(length)]

    def _value(self, what: Any, given: Any) -> Any:
        number = number_type(what)
        return given if number is None else np.asarray(given, number)


def number_type(what: Any) -> str | None:
    """Numpy's name for the numbers of a field that has several of them; else None."""
    kind, inner = what
    if kind.name not in ("ARRAY", "SEQUENCE") or inner[0][0].name != "BASE":
        return None
    name = inner[0][1][0]
    return None if name.endswith("string") else NUMPY.get(name, name)


@functools.cache
def kind_of(store: Any, name: str) -> Kind:
    """The class of a type's messages."""
    return Kind(store, name)


class Kinds:
    """The classes by their names in :data:`NAMES`, as attributes."""

    def __init__(self) -> None:
        self.store = type_store()

    def __getattr__(self, name: str) -> Kind:
        if name not in NAMES:
            raise AttributeError(name)
        return kind_of(self.store, NAMES[name])

    def bytes_of(self, message: Any) -> bytes:
        """A message as CDR, little endian."""
        return bytes(self.store.serialize_cdr(message, message.__msgtype__))
