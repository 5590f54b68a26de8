"""The name of a checkpoint -> a folder with its files, downloaded from a hub where need be.

What is complete in the local cache is used as it is, without a network: a robot starts with the
files that it started with yesterday. Knows no tensor.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from sphinx_ros.checkpoint.download import download, explained, listing, room_for
from sphinx_ros.checkpoint.intact import is_file
from sphinx_ros.checkpoint.layout import META, TOKENIZER, files_of, read_layout
from sphinx_ros.checkpoint.names import Source, find, parted
from sphinx_ros.errors import CheckpointError
from sphinx_ros.runtime.files import write_text


def resolve(name: str | Path, update: bool = False) -> Path:
    """The folder of a checkpoint; a hub name is downloaded, unless it is there already.

    Of a name with an adapter it is the base's. update: ask the hub even then.

    Raises:
        CheckpointError: an unknown name, no network, no space, damaged files; the message says
            what is possible.
    """
    place = find(name)
    return fetch(place, update) if isinstance(place, Source) else place


def beside(name: str | Path) -> tuple[Path, ...]:
    """The folders of what is kept beside a checkpoint, its calibration: an adapter's own comes
    first, then the base's.
    """
    adapter = parted(name)[1]
    return (resolve(name),) if adapter is None else (adapter, resolve(name))


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
        note = _note(source)
        note.parent.mkdir(parents=True, exist_ok=True)
        write_text(note, commit)
    except CheckpointError:
        raise
    except Exception as error:  # of the disk, or of one of the HTTP libraries below the hub's
        raise explained(source, error) from error
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
    """The complete folder of a source in the store, else in the hub's cache, else None.

    Raises:
        CheckpointError: what is kept of it can't be read.
    """
    from huggingface_hub import constants, try_to_load_from_cache

    try:
        commit = _commit(source)
        there = try_to_load_from_cache(
            source.repository,
            source.path("config.json"),
            revision=source.revision,
            cache_dir=constants.HF_HUB_CACHE,
        )
        places: list[tuple[Path, tuple[str, ...]]] = [(store(source) / commit / source.folder, ())]
        if isinstance(there, str):
            places.append((Path(there).parent, (META, TOKENIZER)))
        return next((folder for folder, more in places if is_complete(folder, more)), None)
    except (OSError, ValueError) as error:  # ValueError: what is noted is no name
        raise CheckpointError(
            f"{source}: what is kept of it in {constants.HF_HOME} can't be read ({error}); give "
            "this user the right to read it, remove it, or set HF_HOME to another folder"
        ) from error


def is_complete(folder: Path, more: tuple[str, ...] = ()) -> bool:
    """Whether a folder holds all tensor files of a checkpoint, and the files ``more``.

    Small files are downloaded first, so a folder of the store that has its tensors has all.
    """
    try:
        shards = read_layout(folder).shards
        files = [file for shard in shards for file in files_of(shard)]
        return all(map(is_file, (*files, *(folder / name for name in more))))
    except CheckpointError:
        return False


def _commit(source: Source) -> str:
    """Which commit a revision was; the revision where that is not known. Raises OSError."""
    try:
        return _note(source).read_text("ascii").strip()
    except (FileNotFoundError, NotADirectoryError):
        return source.revision


def _note(source: Source) -> Path:
    """The file that says which commit a revision was; slashes are written as in addresses."""
    return store(source) / "refs" / quote(source.revision, safe="")
