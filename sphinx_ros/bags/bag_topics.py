"""Topics of a bag and words of a user -> cameras by name, and the topics of their answers."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from sphinx_ros.errors import BadRequest, quoted
from sphinx_ros.prompt.queries import Query
from sphinx_ros.ros.camera_names import LONGEST, read_cameras
from sphinx_ros.tasks import Answers

PREFIX = "/sphinx"
"""What the topics of the node's answers begin with, where nothing was remapped."""

OUTPUTS = {
    Answers.BOXES: "detections",
    Answers.PEOPLE: "keypoints",
    Answers.WORDS: "answers",
    Answers.POINTS: "points",
}
"""Last part of the topic of each kind of answers."""

MIRROR, ANNOTATIONS, ANNOTATED = "detections_2d", "image_annotations", "annotated/compressed"

USUAL = re.compile(r"image(_(raw|rect|color|colour|mono))*|compressed|camera|rgb|color|colour")
"""Parts of an image topic that tell nothing of which camera it is."""

NO_PHOTO = re.compile(r"depth|disparity|annotated", re.IGNORECASE)
"""In topics whose pictures are distances, or were drawn upon."""


def chosen_topics(
    there: Mapping[str, int], wanted: Sequence[str] = (), prefix: str = PREFIX
) -> dict[str, str]:
    """Camera -> its topic. "" for the only one.

    Args:
        there: the bag's topics with pictures, and how many they have.
        wanted: "TOPIC" or "NAME=TOPIC"; none: all but depth, annotated pictures, what lies
            below the prefix, and compressed copies of what is there raw.

    Raises:
        BadRequest: there is none, or it is not there, or two cameras have one name.
    """
    pairs = [named(one) for one in wanted] or [("", topic) for topic in usual(there, prefix)]
    known = {topic.lstrip("/"): topic for topic in there}
    for _, topic in pairs:
        if topic.lstrip("/") not in known:
            have = ", ".join(sorted(there)) or "none"
            raise BadRequest(f"there are no pictures on {quoted(topic)}; topics with some: {have}")
    if not pairs:
        have = ", ".join(sorted(there))
        raise BadRequest(
            f"of the topics {have} none is taken by itself; choose with --topic"
            if there
            else "the bag holds no sensor_msgs/Image and no sensor_msgs/CompressedImage"
        )
    found = [(name, known[topic.lstrip("/")]) for name, topic in pairs]
    if len(found) == 1:
        return {found[0][0]: found[0][1]}
    names = distinct([name or camera_of(topic) for name, topic in found])
    return dict(zip(read_cameras(tuple(names)), (topic for _, topic in found), strict=True))


def named(word: str) -> tuple[str, str]:
    """ "front=/front/image_raw" -> both; the name is "" where there is none."""
    name, given, topic = word.partition("=")
    if not given:
        return "", word
    return read_cameras((name,))[0] if name else "", topic


def usual(there: Mapping[str, int], prefix: str = PREFIX) -> list[str]:
    """The topics that are taken where nobody chose."""
    plain = {topic.lstrip("/") for topic in there}
    return [
        topic
        for topic in sorted(there)
        if there[topic]
        and not NO_PHOTO.search(topic)
        and not topic.lstrip("/").startswith(prefix.strip("/") + "/")
        and topic.lstrip("/").removesuffix("/compressed") not in plain - {topic.lstrip("/")}
    ]


def camera_of(topic: str) -> str:
    """The name of a topic's camera: what is left without the usual parts."""
    parts = [part.lower() for part in topic.split("/") if part]
    left = [part for part in parts if not USUAL.fullmatch(part)] or parts[:1]
    name = re.sub(r"_+", "_", re.sub(r"[^a-z0-9]", "_", "_".join(left))).strip("_")
    return (name if name[:1].isalpha() else f"camera_{name}".strip("_"))[: LONGEST - 3]


def distinct(names: Iterable[str]) -> list[str]:
    """The names, with a number behind those that were there before."""
    made: list[str] = []
    for name in names:
        number, candidate = 2, name
        while candidate in made:
            number, candidate = number + 1, f"{name}_{number}"
        made.append(candidate)
    return made


def topic_of(output: str, camera: str, prefix: str = PREFIX) -> str:
    """The topic of an output, as the node names it."""
    return "/".join(filter(None, (prefix.rstrip("/"), camera, output)))


def answer_topic(query: Query, camera: str, prefix: str = PREFIX) -> str:
    """The topic of the answers to a query."""
    return topic_of(OUTPUTS[query.task.row.answers], camera, prefix)
