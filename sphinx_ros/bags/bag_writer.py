"""A bag, and messages of ours at the times of its own -> one MCAP file that is whole or not there.

It is written with its original messages or alone. The same input makes the same bytes.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from sphinx_ros.bags.bag_kinds import Kinds
from sphinx_ros.bags.rosbags_library import rosbags

VERSION = 9
"""Of the bag format: that of ROS 2 Jazzy and newer, which older ones read as MCAP as well."""

UNKNOWN_HASH = "RIHS01_" + 64 * "0"
"""Of a definition that has none."""


class BagWriter:
    """One MCAP file that is being written; used as a statement.

    Args:
        folder: where it is written, as NAME/NAME.mcap; must not hold a NAME yet.
        name: of the file, without suffix.
    """

    def __init__(self, folder: Path, name: str):
        library = rosbags()
        self.kinds, self.left_out = Kinds(), []  # type: tuple[Kinds, list[str]]
        self._folder, self._ours, self._theirs = folder / name, {}, {}  # type: ignore[var-annotated]
        self._writer = library.Writer(
            self._folder, version=VERSION, storage_plugin=library.StoragePlugin.MCAP
        )
        self._writer.set_compression(
            library.CompressionMode.STORAGE, library.CompressionFormat.ZSTD
        )

    def __enter__(self) -> BagWriter:
        self._writer.open()
        return self

    def __exit__(self, *why: Any) -> None:
        self._writer.__exit__(*why)

    def take_over(self, connections: Iterable[Any]) -> None:
        """Have room for the messages of another bag. A type that nobody defines is left out."""
        for one in connections:
            if not one.msgdef.data and one.msgtype not in self.kinds.store.fielddefs:
                self.left_out.append(f"{one.topic} ({one.msgtype})")
                continue
            how: dict[str, Any] = {"typestore": self.kinds.store}
            if one.msgdef.data:
                how = {"msgdef": one.msgdef.data, "rihs01": _hash_of(one)}
            self._theirs[one.id] = self._writer.add_connection(
                one.topic,
                one.msgtype,
                serialization_format=one.ext.serialization_format,
                offered_qos_profiles=one.ext.offered_qos_profiles,
                **how,
            )

    def announce(self, topic: str, kind: Any) -> None:
        """Have a topic for messages of ours, of a class of :attr:`kinds`."""
        self._ours[topic] = self._writer.add_connection(
            topic, kind.name, typestore=self.kinds.store
        )

    def copy(self, connection: Any, log: int, raw: bytes) -> None:
        """A message of the other bag, as it is. log: ns."""
        if connection.id in self._theirs:
            self._writer.write(self._theirs[connection.id], log, raw)

    def write(self, topic: str, log: int, message: Any) -> None:
        """A message of ours, on a topic that was announced."""
        self._writer.write(self._ours[topic], log, self.kinds.bytes_of(message))

    def note(self, key: str, value: str) -> None:
        """Words for whoever reads the file's metadata."""
        self._writer.set_custom_data(key, value)

    def put(self, target: Path) -> None:
        """Give the finished file its place, when the block has ended."""
        made = next(self._folder.glob("*.mcap"))
        with made.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(made, target)


def _hash_of(connection: Any) -> str:
    """The hash of a type's definition (REP 2016), as the bag says it or as it follows from it."""
    if connection.digest:
        return connection.digest
    library = rosbags()
    try:
        types = library.get_types_from_msg(connection.msgdef.data, connection.msgtype)
        store = library.get_typestore(library.Stores.EMPTY)
        store.register(types)
        return store.hash_rihs01(connection.msgtype)
    except Exception:  # IDL, or what the library can't read: the definition itself is kept
        return UNKNOWN_HASH
