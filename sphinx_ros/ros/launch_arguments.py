"""Words given to launch files -> values of parameters, all checked before a process starts.

A launch that fails after its first process leaves that process running, so nothing is left to be
found out later. Knows no launch and no rclpy.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from sphinx_ros.errors import BadRequest
from sphinx_ros.ros.parameter_row import Parameter
from sphinx_ros.ros.params import TABLE
from sphinx_ros.ros.usage import limits

LEVELS = ("debug", "info", "warn", "error", "fatal")
EXAMPLES = {"queries": "['detect: mug', 'pose']", "devices": "['cuda:0', 'cuda:1']"}

COMMON = {
    "params_file": "file with parameters, as config/sphinx.yaml has them; empty: that file itself",
    "log_level": f"of the node: {', '.join(LEVELS)}",
    "fastdds_profile": "transport settings of Fast DDS; empty: those for large pictures, by the "
    "size of /dev/shm. What the environment sets stays. A camera that is started elsewhere needs "
    "them too: export FASTDDS_DEFAULT_PROFILES_FILE there",
}
"""Arguments of the node in every launch file, beside its parameters."""


def described(row: Parameter, empty: str = "as params_file says") -> str:
    """A parameter's description for --show-args. empty: what is used where none is given."""
    example = f'; as "{EXAMPLES[row.name]}"' if row.name in EXAMPLES else ""
    return f"{row.description} ({limits(row)}{example}; empty: {empty})"


def value_of(row: Parameter, text: str) -> Any:
    """The value that a word means for a parameter; True, TRUE and 2 for 2.0 are as good.

    Raises:
        BadRequest: it can't be used, with the word and what is allowed.
    """
    if row.kind is str:
        return row.read(text)
    try:
        value = yaml.safe_load(text.lower() if row.kind is bool else text)
    except yaml.YAMLError:
        value = text
    try:
        return row.read(value)
    except BadRequest as error:
        if row.name in EXAMPLES and not isinstance(value, list):
            text = f'{row.name} is {text!r}; it must be a list, as "{EXAMPLES[row.name]}"'
            raise BadRequest(text) from error
        raise


def given(words: Mapping[str, str], table: Iterable[Parameter] = TABLE) -> dict[str, Any]:
    """The checked values of those parameters that words were given for. Raises BadRequest."""
    return {
        row.name: value_of(row, words[row.name])
        for row in table
        if words.get(row.name, "").strip()
    }


def check_names(known: Iterable[str], file: str, command: Sequence[str]) -> None:
    """Refuse NAME:=VALUE of a command line whose name a launch file does not declare.

    launch itself takes any name in silence. Another launch file that includes ours has arguments
    of its own: names count only where the command starts ``file``, or its twin in XML or YAML.

    Args:
        known: names of the arguments that the file declares.
        file: its name, such as "sphinx.launch.py".
        command: the words of the command line, ``sys.argv``.

    Raises:
        BadRequest: with the name, those like it, and how to list all.
    """
    known = list(known)
    started = [Path(word).name for word in command]
    files = [name for name in started if name in _twins(file)]
    if not files:
        return
    for word in command:
        name, sign, _ = word.partition(":=")
        if sign and name not in known:
            like = difflib.get_close_matches(name.lower(), known, n=2, cutoff=0.6)
            meant = f"; did you mean {' or '.join(like)}?" if like else ":"
            raise BadRequest(f"{name!r} is no argument of {files[0]}{meant} --show-args lists all")


def _twins(file: str) -> tuple[str, ...]:
    """The names of a launch file in Python, XML and YAML, which have the same arguments."""
    return tuple(file.removesuffix(".py") + kind for kind in (".py", ".xml", ".yaml"))


def flag(name: str, text: str) -> bool:
    """True or false, whatever the case. Raises BadRequest."""
    return value_of(Parameter(name, False, ""), text)


def level(text: str) -> str:
    """A name of :data:`LEVELS`, whatever the case. Raises BadRequest."""
    return value_of(Parameter("log_level", "info", "", choices=LEVELS), text)


def parameter_file(text: str, usual: Path) -> str:
    """The path of a readable parameter file; `usual` for "". Raises BadRequest."""
    path = Path(text).expanduser() if text.strip() else usual
    try:
        yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())
        raise BadRequest(f"params_file {str(path)!r} can't be read: {reason}") from error
    return str(path)
