"""The name of a checkpoint -> a folder that is here, or a place in a hub. Asks no hub.

    demo                              the bundled one
    sphinx-tiny-1k                    a published one, see released.py
    hf://owner/repo[@revision]/folder a folder in any hub repository (or none: its top);
                                      %2F is a slash in the revision
    /models/SPHINX-1k                 a folder
    demo+runs/tune/adapter            any of these, and an adapter that sphinx-ros tune made for it

Imports no torch.
"""

from __future__ import annotations

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from sphinx_ros.checkpoint.intact import absent, why_no_file
from sphinx_ros.checkpoint.layout import (
    ADAPTER,
    ASSETS,
    CONFIG,
    META,
    SHARD_PATTERN,
    SINGLE,
    TOKENIZER,
)
from sphinx_ros.checkpoint.released import RELEASED, REPOSITORY, Released
from sphinx_ros.errors import CheckpointError, quoted

SCHEME = "hf://"
_PART = r"\b[\w.-]{1,96}\b"
_SOURCE = re.compile(rf"hf://({_PART}/{_PART})(?:@((?:[\w.-]|%2[Ff])+))?(?:/(.*))?", re.ASCII)


@dataclass(frozen=True)
class Source:
    """A folder in a hub repository. revision: branch, tag or commit; folder: "" for the top."""

    repository: str
    folder: str
    revision: str = "main"

    def __str__(self) -> str:
        at = "" if self.revision == "main" else "@" + self.revision.replace("/", "%2F")
        return f"{SCHEME}{self.repository}{at}" + (f"/{self.folder}" if self.folder else "")

    def path(self, name: str) -> str:
        """A file of the folder as the hub names it."""
        return f"{self.folder}/{name}" if self.folder else name


def find(name: str | Path) -> Path | Source:
    """What a name stands for: a folder that is here, or where it is to be had. Asks no hub.

    Of a name with an adapter it is the place of the base.

    Raises:
        CheckpointError: it stands for nothing, or there is no such adapter.
    """
    text, adapter = parted(name)
    if adapter is not None:
        check_adapter(adapter, f"checkpoint {quoted(str(name), 300)}: ", ", behind the +,")
    bundled = sorted(p.parent.name for p in ASSETS.glob("*/config.json"))
    if text in bundled:
        return ASSETS / text
    if text.startswith(SCHEME):
        return parse(text)
    folder = Path(os.path.expanduser(text))
    what = _kind_of(folder) if text.strip() else "is empty"
    if what == "is a folder":
        return folder
    if text.lower() in RELEASED:
        return source_of(RELEASED[text.lower()])
    raise CheckpointError(
        f"checkpoint {quoted(text, 300)} is not a name "
        f"({', '.join([*bundled, *RELEASED])}), and as a folder it {what}; expected a "
        "name, hf://owner/repo/folder, or a folder with "
        f"{SHARD_PATTERN} or {SINGLE}, and {CONFIG}, {META} and {TOKENIZER}"
    )


def parted(name: str | Path) -> tuple[str, Path | None]:
    """ "X+adapter" to X and the adapter's folder; None for a name without one. A folder whose own
    name has a plus is itself.
    """
    text = str(name)
    base, plus, adapter = text.rpartition("+")
    try:
        whole = not plus or os.path.isdir(os.path.expanduser(text))
    except ValueError:  # no path at all
        whole = True
    return (text, None) if whole else (base, Path(os.path.expanduser(adapter)))


def check_adapter(folder: Path, before: str = "", behind: str = "") -> None:
    """Raises CheckpointError: there is no adapter in a folder. before, behind: words around it."""
    if why := why_no_file(folder / ADAPTER):
        raise CheckpointError(
            f"{before}{quoted(str(folder), 300)}{behind} holds no {ADAPTER}, which {why}; "
            "expected the folder of an adapter, as sphinx-ros tune makes it"
        )


def _kind_of(path: Path) -> str:
    """What is at a path, in words that follow "it"."""
    try:
        str(path).encode()
        mode = path.stat().st_mode
    except UnicodeEncodeError:
        return "has a name that is not UTF-8, which torch can't open: rename it"
    except (OSError, ValueError) as error:
        return absent(path, error, "does not exist")
    if stat.S_ISDIR(mode):
        return "is a folder"
    return "is a file" if stat.S_ISREG(mode) else "is no folder"


def source_of(item: Released) -> Source:
    """Where a published checkpoint lies."""
    return Source(REPOSITORY, item.folder)


def parse(name: str) -> Source:
    """ "hf://owner/repo@revision/folder" to its parts.

    Raises:
        CheckpointError: it has another form.
    """
    found = _SOURCE.fullmatch(name)
    folder = PurePosixPath(found[3] or "") if found else PurePosixPath("..")
    revision = re.sub("%2F", "/", found[2] or "main", flags=re.IGNORECASE) if found else ""
    if found and (wrong := _wrong(found[1], revision)):
        raise CheckpointError(f"{quoted(name, 300)}: {wrong}; look the name up on the hub's page")
    if not found or folder.is_absolute() or ".." in folder.parts:
        raise CheckpointError(
            f"{quoted(name, 300)} is not hf://owner/repo/folder or "
            f"hf://owner/repo@revision/folder (%2F for a slash in the revision), as in "
            f"{SCHEME}{REPOSITORY}/{RELEASED['sphinx-tiny-1k'].folder}"
        )
    return Source(found[1], "" if str(folder) == "." else str(folder), revision)


def _wrong(repository: str, revision: str) -> str:
    """Why the hub can have no such repository or revision; "" where it can."""
    if "--" in repository or ".." in repository:
        return f'a repository has no "--" and no ".." in its name, as {repository} has'
    if repository.endswith(".git"):
        return f"a repository's name does not end with .git, as {repository} does"
    if ".." in revision or any(part[:1] in ("", ".") for part in revision.split("/")):
        return f"{revision} is no branch, tag or commit"
    return ""
