"""Outcomes -> markers for rviz: flat ones over the picture, others where the things are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from sphinx_ros.ros.calibration import why_unusable
from sphinx_ros.ros.flat_markers import Sheet
from sphinx_ros.ros.marker_parts import without_slash
from sphinx_ros.ros.messages import CameraInfo, Header, Marker, MarkerArray
from sphinx_ros.ros.outcomes import Outcome
from sphinx_ros.ros.space_markers import in_space


class Names(NamedTuple):
    """Namespaces of what is shown together; rviz hides and deletes those of one namespace alone.

    flat: over the picture, in front of the camera. space: where the things are.
    """

    flat: str
    space: str


STANDING = Names("standing", "standing 3d")
REQUEST = Names("request", "request 3d")
"""Namespaces of the answers to standing queries, and of those to requests."""


def marker_array(
    outcomes: Sequence[Outcome],
    info: CameraInfo,
    depth: float,
    *,
    lifetime: float = 0.0,
    names: Names = STANDING,
) -> MarkerArray | None:
    """All that is known of one picture, replacing what its two namespaces held before.

    Args:
        depth: metres in front of the camera of the flat markers.
        lifetime: seconds after which rviz takes them down by itself; 0 is never.
        names: namespaces of the markers; those of others stay as they are.

    Returns:
        None where the camera info can't be used, see :func:`calibration.why_unusable`.
    """
    if why_unusable(info) is not None:
        return None
    shown = [one for one in outcomes if one.width > 0 and one.height > 0]
    header = next((one.header for one in outcomes if one.header), None) or Header()
    made = clear_markers(header, names)
    if shown:
        sheet = Sheet(header, info, (shown[0].width, shown[0].height), depth)
        solid = [marker for outcome in shown for marker in in_space(outcome)]
        for name, markers in ((names.flat, sheet.markers(shown)), (names.space, solid)):
            for number, marker in enumerate(markers, 1):  # 0 is what deletes the ones before
                marker.id, marker.ns = number, name
            made.markers += markers
    seconds = math.floor(lifetime)
    for marker in made.markers:
        marker.lifetime.sec, marker.lifetime.nanosec = seconds, int(1e9 * (lifetime - seconds))
    return made


def clear_markers(header: Header | None = None, names: Sequence[str] = STANDING) -> MarkerArray:
    """What takes the markers of some namespaces down, one for each."""
    header = without_slash(header or Header())
    return MarkerArray(
        markers=[Marker(header=header, ns=name, action=Marker.DELETEALL) for name in names]
    )
