"""The name of a checkpoint -> a folder with its files, downloaded from a hub where need be.

    demo                              the bundled one
    sphinx-tiny-1k                    a published one, see released.py
    hf://owner/repo[@revision]/folder a folder in any hub repository (the last part may be missing)
    /models/SPHINX-1k                 a folder

What is complete in the local cache is used as it is, without a network: a robot starts with the
files that it started with yesterday. Knows no tensor.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import stat
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from sphinx_ros.checkpoint.intact import absent
from sphinx_ros.checkpoint.layout import (
    ASSETS,
    CONFIG,
    META,
    SHARD_PATTERN,
    SINGLE,
    TOKENIZER,
    files_of,
    read_layout,
)
from sphinx_ros.checkpoint.released import RELEASED, REPOSITORY, Released
from sphinx_ros.errors import CheckpointError
from sphinx_ros.runtime.files import write_text

SCHEME = "hf://"
_SOURCE = re.compile(r"hf://([\w.-]+/[\w.-]+)(?:@([\w.-]+))?(?:/(.*))?")
_WANTED = re.compile(
    r"consolidated\.\d\d-of-\d\d\.model\.pth|.*\.safetensors|.*\.json|tokenizer\.model"
)
SPARE = 256 << 20
"""Bytes that a download leaves free on the disk."""


@dataclass(frozen=True)
class Source:
    """A folder in a hub repository. revision: branch, tag or commit; folder: "" for the top."""

    repository: str
    folder: str
    revision: str = "main"

    def __str__(self) -> str:
        at = "" if self.revision == "main" else f"@{self.revision}"
        return f"{SCHEME}{self.repository}{at}" + (f"/{self.folder}" if self.folder else "")

    def path(self, name: str) -> str:
        """A file of the folder as the hub names it."""
        return f"{self.folder}/{name}" if self.folder else name


def resolve(name: str | Path, update: bool = False) -> Path:
    """The folder of a checkpoint; a hub name is downloaded, unless it is there already.

    update: ask the hub even then.

    Raises:
        CheckpointError: an unknown name, no network, no space, damaged files; the message says
            what is possible.
    """
    place = find(name)
    return fetch(place, update) if isinstance(place, Source) else place


def find(name: str | Path) -> Path | Source:
    """What a name stands for: a folder that is here, or where it is to be had. Asks no hub.

    Raises:
        CheckpointError: it stands for nothing.
    """
    text = str(name)
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
    shown = repr(text if len(text) <= 300 else f"{text[:297]}...")
    raise CheckpointError(
        f"checkpoint {shown} is not a name ({', '.join([*bundled, *RELEASED])}), and as a "
        f"folder it {what}; expected a name, hf://owner/repo/folder, or a folder with "
        f"{SHARD_PATTERN} or {SINGLE}, and {CONFIG}, {META} and {TOKENIZER}"
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
    if not found or folder.is_absolute() or ".." in folder.parts:
        raise CheckpointError(
            f"{name!r} is not hf://owner/repo/folder or hf://owner/repo@revision/folder, as in "
            f"{SCHEME}{REPOSITORY}/{RELEASED['sphinx-tiny-1k'].folder}"
        )
    return Source(found[1], "" if str(folder) == "." else str(folder), found[2] or "main")


def fetch(source: Source, update: bool = False) -> Path:
    """The folder with a source's files, :func:`store`/commit/folder; what is missing comes now.

    A download that was interrupted, also by the end of the process, goes on where it stopped.
    Sizes, and the hashes that the hub knows, are compared with what arrived. update: ask the hub
    even if the files are here.

    Raises:
        CheckpointError: as :func:`resolve`.
    """
    here = None if update else cached(source)
    if here is not None:
        return here
    from huggingface_hub import constants

    if constants.HF_HUB_OFFLINE:
        raise CheckpointError(
            f"{source} is not complete in {store(source)}, and HF_HUB_OFFLINE forbids to ask the "
            "hub; unset it, or copy that folder from a machine with a network"
        )
    try:
        commit, files = listing(source)
        folder = store(source) / commit / source.folder
        room_for(source, folder, files)
        for file in files:
            download(source, commit, file, folder / Path(file.path).name)
        read_layout(folder)
        note = store(source) / "refs" / source.revision
        note.parent.mkdir(parents=True, exist_ok=True)
        write_text(note, commit)
    except CheckpointError:
        raise
    except Exception as error:  # of the disk, or of one of the HTTP libraries below the hub's
        raise _explained(source, error) from error
    return folder


def store(source: Source) -> Path:
    """Where a repository's files are kept: below HF_HOME, a folder for each commit, and under
    refs/ which commit a branch or tag was when it was asked for.

    Not in the hub library's own cache, because that no longer goes on with what an ended process
    has left (huggingface_hub 2.4), and a shard has 20 GB.
    """
    from huggingface_hub import constants

    owner, name = source.repository.split("/")
    return Path(constants.HF_HOME) / "sphinx_ros" / f"{owner}--{name}"


def cached(source: Source) -> Path | None:
    """The complete folder of a source in the store, else in the hub's cache, else None."""
    from huggingface_hub import constants, try_to_load_from_cache

    note = store(source) / "refs" / source.revision
    commit = note.read_text().strip() if note.is_file() else source.revision
    places: list[tuple[Path, tuple[str, ...]]] = [(store(source) / commit / source.folder, ())]
    there = try_to_load_from_cache(
        source.repository,
        source.path("config.json"),
        revision=source.revision,
        cache_dir=constants.HF_HUB_CACHE,
    )
    if isinstance(there, str):
        places.append((Path(there).parent, (META, TOKENIZER)))
    return next((folder for folder, more in places if is_complete(folder, more)), None)


def is_complete(folder: Path, more: tuple[str, ...] = ()) -> bool:
    """Whether a folder holds all tensor files of a checkpoint, and the files ``more``.

    Small files are downloaded first, so a folder of the store that has its tensors has all.
    """
    try:
        shards = read_layout(folder).shards
        files = [file for shard in shards for file in files_of(shard)]
        return all(file.is_file() for file in (*files, *(folder / name for name in more)))
    except CheckpointError:
        return False


def listing(source: Source):
    """(commit, files) of a source's folder: those that make a checkpoint, with sizes and hashes.

    Raises:
        CheckpointError: the folder holds no checkpoint. Others: no network, no such repository.
    """
    from huggingface_hub import HfApi

    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT"))
    commit = api.repo_info(source.repository, revision=source.revision).sha
    entries = api.list_repo_tree(
        source.repository, source.folder or None, revision=commit, recursive=False
    )
    files = [e for e in entries if hasattr(e, "size") and _WANTED.fullmatch(Path(e.path).name)]
    names = {Path(file.path).name for file in files}
    if not any(name.endswith((".pth", ".safetensors")) for name in names):
        raise CheckpointError(
            f"{source} (commit {str(commit)[:12]}) is no checkpoint folder, it holds "
            f"{', '.join(sorted(names)) or 'none of the files'}; expected "
            f"{SHARD_PATTERN} or safetensors files, with {CONFIG}, {META} and {TOKENIZER}"
        )
    return commit, sorted(files, key=lambda file: file.size)


def room_for(source: Source, folder: Path, files) -> None:
    """Compare what is still to come with the free space of the store's disk.

    Raises:
        CheckpointError: it does not fit.
    """
    here = [folder / Path(file.path).name for file in files]
    have = sum(p.stat().st_size for path in here for p in (path, _partial(path)) if p.exists())
    missing = sum(file.size for file in files) - have
    there = next(p for p in (folder, *folder.parents) if p.exists())
    free = shutil.disk_usage(there).free
    if missing + SPARE > free:
        raise CheckpointError(
            f"{source} needs {missing / 1e9:.1f} GB, and {there} has {free / 1e9:.1f} GB free; "
            "make room, or set HF_HOME to a folder on another disk"
        )


def _partial(path: Path) -> Path:
    return path.with_name(f"{path.name}.part")


def download(source: Source, commit: str, file, path: Path) -> None:
    """One file to ``path``, compared with the size and the hash that the hub gave.

    Raises:
        CheckpointError: it differs; what arrived is deleted. Others: network or disk.
    """
    from filelock import FileLock
    from huggingface_hub import hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")):  # two nodes may start at once
        if path.exists() and path.stat().st_size == file.size:
            return
        partial = _partial(path)
        have = partial.stat().st_size if partial.exists() else 0
        with open(partial, "ab" if have <= file.size else "wb") as stream:
            http_get(
                hf_hub_url(
                    source.repository,
                    file.path,
                    revision=commit,
                    endpoint=os.environ.get("HF_ENDPOINT"),
                ),
                stream,
                resume_size=stream.tell(),
                headers=build_hf_headers(library_name="sphinx_ros"),
                expected_size=file.size,
                displayed_filename=path.name,
            )
        if problem := damage(partial, file):
            partial.unlink()
            raise CheckpointError(
                f"{source.path(path.name)} of {source.repository} arrived with {problem}; it was "
                "deleted, start again to download it anew"
            )
        partial.replace(path)


def damage(path: Path, file) -> str:
    """How a file differs from what the hub says of it, "" where it does not."""
    from tqdm import tqdm

    size = path.stat().st_size
    if size != file.size:
        return f"{size} bytes instead of {file.size}"
    expected = getattr(file.lfs, "sha256", None) if file.lfs else None
    if not expected:
        return ""
    digest = hashlib.sha256()
    with (
        open(path, "rb") as stream,
        tqdm(
            total=size,
            unit="B",
            unit_scale=True,
            desc=f"checking {path.name}",
            disable=None if size > 1 << 28 else True,
        ) as bar,
    ):
        while block := stream.read(1 << 22):
            digest.update(block)
            bar.update(len(block))
    found = digest.hexdigest()
    return "" if found == expected else f"SHA-256 {found[:12]}... instead of {expected[:12]}..."


def _explained(source: Source, error: Exception) -> CheckpointError:
    """What went wrong between here and the hub, with the remedy."""
    from huggingface_hub import errors

    said = " ".join(str(error).split())[:200]
    if isinstance(error, errors.GatedRepoError):
        return CheckpointError(
            f"{source}: the repository asks for consent; give it on its page, then set HF_TOKEN"
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return CheckpointError(
            f"{source}: there is no repository {source.repository!r}, or it is private; check the "
            "name, or set HF_TOKEN"
        )
    nowhere = (errors.RevisionNotFoundError, errors.EntryNotFoundError)
    if isinstance(error, nowhere) and not isinstance(error, errors.LocalEntryNotFoundError):
        return CheckpointError(
            f"{source}: the repository has no {source.folder or 'files'!r} at revision "
            f"{source.revision!r}; look it up on the hub's page"
        )
    if getattr(error, "errno", None) == errno.ENOSPC:
        return CheckpointError(
            f"{source}: the disk is full ({said}); make room, or set HF_HOME to a folder on "
            "another disk, and start again: it goes on where it stopped"
        )
    return CheckpointError(
        f"{source} could not be downloaded ({type(error).__name__}: {said}); check the network "
        "and start again, it goes on where it stopped. Without a network copy the folder and give "
        "its path"
    )
