"""A folder that is whole or not there, whatever its place is and whoever was killed there."""

import os
from pathlib import Path

import pytest

from sphinx_ros.checkpoint import staging
from sphinx_ros.checkpoint.staging import staged
from sphinx_ros.errors import CheckpointError


def write(target, *names):
    """Files of growing size; the folder that they were written in."""
    with staged(Path(target)) as folder:
        for size, name in enumerate(names or ("a", "b")):
            (folder / name).write_text("x" * size)
    return folder


def names(folder):
    return sorted(os.listdir(folder))


def test_a_new_folder_appears_at_the_end(tmp_path):
    with staged(tmp_path / "deep" / "out") as folder:
        (folder / "a").write_text("a")
        assert not (tmp_path / "deep" / "out").exists()
    assert names(tmp_path / "deep") == ["out"] and names(tmp_path / "deep" / "out") == ["a"]


def test_an_empty_folder_stays_itself(tmp_path):
    """It may be a mount point, which can be neither removed nor renamed, on another disk."""
    place = tmp_path / "out"
    place.mkdir()
    before = place.stat().st_ino
    assert place in write(place).parents
    assert place.stat().st_ino == before and names(place) == ["a", "b"]
    assert names(tmp_path) == ["out"]


def test_links_and_the_current_folder(tmp_path, monkeypatch):
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "to_nothing").symlink_to("new")
    write(tmp_path / "link")
    write(tmp_path / "to_nothing")
    assert names(tmp_path / "real") == names(tmp_path / "new") == ["a", "b"]
    assert names(tmp_path) == ["link", "new", "real", "to_nothing"]
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    write(".")
    assert names(tmp_path / "here") == ["a", "b"]


@pytest.mark.parametrize("name", ["a**b", "[", "[!x]*?"])
def test_names_that_look_like_patterns(tmp_path, name):
    (tmp_path / ".a-b.partial-1").mkdir()
    write(tmp_path / name)
    assert names(tmp_path) == sorted([".a-b.partial-1", name])


@pytest.mark.parametrize("name", ["file", "full", "loop", "file/x", "a\0b", "x" * 300])
def test_what_can_not_be_made_is_told_before_anything_is_written(tmp_path, name):
    (tmp_path / "file").write_text("mine")
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thing").write_text("mine")
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(CheckpointError, match=r"is there already|can't be made"):
        with staged(tmp_path / name):
            pytest.fail("it began")
    assert names(tmp_path) == ["file", "full", "loop"] and names(tmp_path / "full") == ["thing"]


@pytest.mark.parametrize("there", [False, True])
def test_what_a_killed_process_left_is_deleted(tmp_path, there):
    """Also that of a process with our own number, as each container gives it anew."""
    out = tmp_path / "out"
    left = [tmp_path / f".out.partial-{os.getpid()}", tmp_path / ".out.partial-0a"]
    if there:
        left.append(out / f"{staging.INSIDE}0a")
    for one in left:
        (one / staging.FILES).mkdir(parents=True)
        (one / staging.FILES / "a").write_text("half")
    (left[-1] / staging.LOCK).touch()
    write(out)
    assert names(tmp_path) == ["out"] and names(out) == ["a", "b"]


@pytest.mark.parametrize("there", [False, True])
def test_what_is_being_written_is_left_alone(tmp_path, there):
    out = tmp_path / "out"
    if there:
        out.mkdir()
    with staged(out) as first:
        (first / "a").write_text("theirs")
        with pytest.raises(CheckpointError, match="is being written by another process"):
            with staged(out):
                pytest.fail("it began")
        write(tmp_path / "other")
    assert names(out) == ["a"] and names(tmp_path) == ["other", "out"]


@pytest.mark.parametrize("there", [False, True])
def test_an_error_leaves_nothing(tmp_path, there):
    if there:
        (tmp_path / "out").mkdir()
    with pytest.raises(CheckpointError, match="nothing was left behind"):
        with staged(tmp_path / "out") as folder:
            (folder / "a").write_text("a")
            raise OSError("the disk is full")
    assert names(tmp_path) == (["out"] if there else [])
    assert not there or not names(tmp_path / "out")


def test_files_that_can_not_all_be_moved_up_are_not_there(tmp_path, monkeypatch):
    (tmp_path / "out").mkdir()
    rename, moved = Path.rename, []

    def fail(self, target):
        if moved:
            raise OSError("no")
        moved.append(target.name)
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", fail)
    with pytest.raises(CheckpointError, match="nothing was left behind"):
        write(tmp_path / "out", "small", "large")
    assert moved == ["small"], "a tensor file comes last"
    assert not names(tmp_path / "out")
