"""The library `rosbags`, which reads and writes recordings -> its names, or what to install."""

from __future__ import annotations

from types import SimpleNamespace

from sphinx_ros.runtime.extras import extra


def rosbags() -> SimpleNamespace:
    """Its names that are used here. Raises BadRequest where it is not installed."""
    with extra("bag", "a bag"):
        from rosbags.rosbag2 import (
            CompressionFormat,
            CompressionMode,
            Reader,
            StoragePlugin,
            Writer,
        )
        from rosbags.typesys import Stores, get_types_from_msg, get_typestore
    return SimpleNamespace(
        CompressionFormat=CompressionFormat,
        CompressionMode=CompressionMode,
        Reader=Reader,
        StoragePlugin=StoragePlugin,
        Stores=Stores,
        Writer=Writer,
        get_types_from_msg=get_types_from_msg,
        get_typestore=get_typestore,
    )
