"""Names of cameras, topics and frames, as people write them -> checked ones."""

from __future__ import annotations

import re

from sphinx_ros.errors import BadRequest, quoted

MOST = 16
"""Cameras of one node."""

LONGEST, LONGEST_TOPIC = 40, 200
"""Letters of a name and of a topic: DDS has room for 247, with the namespace and what is added."""

LONGEST_FRAME = 200
"""Letters of a frame's name; TF has no limit of its own."""

NAME = re.compile(r"[a-z][a-z0-9_]*\Z")

TOPIC = re.compile(r"(~/|/)?[A-Za-z_][A-Za-z0-9_]*(/[A-Za-z_][A-Za-z0-9_]*)*\Z")


def read_topic(name: str) -> str:
    """The name. Raises BadRequest where no topic can have it."""
    if not TOPIC.match(name):
        raise BadRequest(
            f"{quoted(name)} can't be a topic: write letters, digits and underscores with "
            "slashes between the parts, as /front_camera/image_raw"
        )
    if len(name) > LONGEST_TOPIC:
        raise BadRequest(
            f"the topic {quoted(name)} has {len(name)} letters; it may have {LONGEST_TOPIC}"
        )
    return name


def read_frame(name: str) -> str:
    """The name. Raises BadRequest where no frame of TF can have it."""
    if len(name) > LONGEST_FRAME:
        raise BadRequest(
            f"the frame {quoted(name)} has {len(name)} letters; it may have {LONGEST_FRAME}"
        )
    if not name.isprintable() or name != "".join(name.split()) or name.startswith("/"):
        raise BadRequest(
            f"{quoted(name)} can't be a frame of TF: write its name without spaces, control "
            "characters and a leading slash, as base_link"
        )
    return name


def read_cameras(names: tuple[str, ...]) -> tuple[str, ...]:
    """The names without empty ones. Raises BadRequest with the one that can't be a camera's."""
    names = tuple(name for name in names if name.strip())
    if len(names) > MOST:
        raise BadRequest(f"{len(names)} cameras; there may be {MOST}")
    for number, name in enumerate(names):
        if not NAME.match(name) or "__" in name or name.endswith("_"):
            raise BadRequest(
                f"{quoted(name)} can't be a camera's name: use small letters, digits and single "
                "underscores, beginning with a letter"
            )
        if len(name) > LONGEST:
            raise BadRequest(f"{quoted(name)} has {len(name)} letters; it may have {LONGEST}")
        if name in names[:number]:
            raise BadRequest(f"{quoted(name)} is there twice; names of cameras must differ")
    return names
