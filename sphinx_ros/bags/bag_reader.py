"""A bag (MCAP or sqlite3, a file or a folder) -> its pictures, one after another, still as bytes.

Pictures that can't be read come as well, with the reason: nothing is left out silently.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sphinx_ros.bags.bag_kinds import type_store
from sphinx_ros.bags.rosbags_library import rosbags
from sphinx_ros.errors import BadImage, BadRequest
from sphinx_ros.image.decode import decode_compressed, decode_image
from sphinx_ros.ros.message_parts import plain_fields
from sphinx_ros.runtime.printable import file_name, one_line

RAW, COMPRESSED = "sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage"
SECOND = 10**9
"""Nanoseconds."""


@dataclass(frozen=True)
class Shot:
    """One recorded picture.

    Attributes:
        topic: as the bag writes it. number: which of the topic's messages it is, from 0.
        log: when it was recorded, ns. stamp: when it was taken, ns; the former where the camera
            did not say. header: (sec, nanosec, frame_id) as they were; None where not even these
            could be read.
        decode: bytes to RGB [H, W, 3] uint8; raises BadImage.
    """

    topic: str
    number: int
    log: int
    stamp: int
    header: tuple[int, int, str] | None
    decode: Callable[[], np.ndarray]


class Bag:
    """An open bag; used as a statement.

    Raises:
        BadRequest: there is none, or it is damaged.
    """

    def __init__(self, path: str | Path):
        self.path, self.name = Path(path), file_name(path)
        self._library = rosbags()
        if not self.path.exists():
            raise BadRequest(f"there is no bag '{self.name}'")
        self._reader = self._safely(lambda: self._library.Reader(self.path))

    def __enter__(self) -> Bag:
        self._safely(self._reader.open)
        return self

    def __exit__(self, *_: object) -> None:
        self._reader.close()

    def _safely(self, act: Callable[[], Any]) -> Any:
        try:
            return act()
        except FileNotFoundError as error:
            raise BadRequest(
                f"'{self.name}' is no bag: give an .mcap or .db3 file, or a folder with a "
                "metadata.yaml"
            ) from error
        except OSError:
            raise
        except Exception as error:  # the library raises its own errors, struct's, sqlite's, yaml's
            reason = one_line(error) or type(error).__name__
            raise BadRequest(
                f"the bag '{self.name}' can't be read ({reason}); "
                "one whose recording was cut off is mended by `mcap recover` or `ros2 bag reindex`"
            ) from error

    # What is in it

    @property
    def start(self) -> int:
        """When its first message was recorded, ns."""
        return self._reader.start_time

    @property
    def message_count(self) -> int:
        """Messages of all topics."""
        return self._reader.message_count

    @property
    def connections(self) -> list[Any]:
        """Topics with types and definitions, as rosbags gives them."""
        return self._reader.connections

    @property
    def pictures(self) -> dict[str, int]:
        """Topic -> how many messages it has, of all topics with pictures."""
        counts: dict[str, int] = {}
        for one in self.connections:
            if one.msgtype in (RAW, COMPRESSED):
                counts[one.topic] = counts.get(one.topic, 0) + one.msgcount
        return counts

    def messages(self, topics: Sequence[str] | None = None) -> Iterator[tuple[Any, int, bytes]]:
        """(connection, ns, bytes) of all messages, or of some topics, in the order of time."""
        wanted = [one for one in self.connections if topics is None or one.topic in topics]
        came = iter(self._reader.messages(wanted)) if wanted else iter(())
        while (one := self._safely(functools.partial(next, came, None))) is not None:
            yield one

    def lacking(self, came: Mapping[str, int]) -> tuple[str, ...]:
        """At its end: a sentence for each topic of which fewer pictures came than the bag counts.

        A folder's metadata.yaml counts them, whatever has become of its files since.
        """
        return tuple(
            f"{count} of the {self.pictures[topic]} pictures on {topic} that the bag counts could "
            "be read: is one of its files cut off, or another one?"
            for topic, count in came.items()
            if count < self.pictures[topic]
        )

    def shots(self, topics: Sequence[str]) -> Iterator[Shot]:
        """The pictures of some topics, in the order of time."""
        numbered = Numbered(topics)
        for one in self.messages(topics):
            if (shot := numbered.shot(*one)) is not None:
                yield shot


class Numbered:
    """Messages of a bag, in order -> the pictures of some topics, each with its number.

    Attributes:
        counts: topic -> how many of its pictures came so far.
    """

    def __init__(self, topics: Sequence[str]):
        self.counts = dict.fromkeys(topics, 0)

    def shot(self, connection: Any, log: int, raw: bytes) -> Shot | None:
        """The picture; None where the message is no picture of these topics."""
        topic = connection.topic
        if topic not in self.counts or connection.msgtype not in (RAW, COMPRESSED):
            return None
        self.counts[topic] += 1
        return shot_of(connection, self.counts[topic] - 1, log, raw)


def shot_of(connection: Any, number: int, log: int, raw: bytes) -> Shot:
    """The picture that a message holds."""
    try:
        message = type_store().deserialize_cdr(raw, connection.msgtype)
        stamp, frame = message.header.stamp, message.header.frame_id
        taken = stamp.sec * SECOND + stamp.nanosec
        header = (stamp.sec, stamp.nanosec, frame)
    except Exception as error:  # damaged bytes raise whatever their reading comes upon
        reason = f"the message of {len(raw)} bytes is no {connection.msgtype}"
        reason += f" ({one_line(error) or type(error).__name__})"
        return Shot(connection.topic, number, log, log, None, functools.partial(_fail, reason))
    if connection.msgtype == COMPRESSED:
        decode = functools.partial(decode_compressed, message.data, message.format)
    else:
        decode = functools.partial(decode_image, *plain_fields(message))
    return Shot(connection.topic, number, log, taken or log, header, decode)


def _fail(reason: str) -> np.ndarray:
    raise BadImage(reason)


class Every:
    """Which pictures are looked at: each, or of each topic at most one in so many seconds.

    By the stamps; a clock that jumps back begins anew.
    """

    def __init__(self, seconds: float = 0.0):
        self._least = round(seconds * SECOND)
        self._last: dict[str, int] = {}

    def takes(self, shot: Shot) -> bool:
        """Whether it is looked at; ask of each picture, in order."""
        last = self._last.get(shot.topic)
        if last is not None and 0 <= shot.stamp - last < self._least:
            return False
        self._last[shot.topic] = shot.stamp
        return True
