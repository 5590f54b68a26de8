"""A place in a hub -> its files on this disk, each compared with what the hub says of it."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
from pathlib import Path

from sphinx_ros.checkpoint.layout import CONFIG, META, SHARD_PATTERN, TOKENIZER
from sphinx_ros.checkpoint.names import Source
from sphinx_ros.errors import CheckpointError

_WANTED = re.compile(
    r"consolidated\.\d\d-of-\d\d\.model\.pth|.*\.safetensors|.*\.json|tokenizer\.model"
)
SPARE = 256 << 20
"""Bytes that a download leaves free on the disk."""


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


def explained(source: Source, error: Exception) -> CheckpointError:
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
            f"{source.revision!r}; look it up on the hub's page (a slash in a revision is written "
            "%2F, as in hf://owner/repo@refs%2Fpr%2F1/folder)"
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
