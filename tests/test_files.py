"""What is written is there whole, or what was there before is: whatever ends the writing."""

import os
import resource
import signal
import subprocess
import sys
import tempfile
import textwrap
import threading
from pathlib import Path

import pytest
from patience import PATIENCE

from sphinx_ros.runtime.files import replaced, write_bytes, write_text


@pytest.fixture(params=["without a name", "with a name"], autouse=True)
def way(request, monkeypatch):
    """Both ways: with files that have no name until they are whole, and where there are none."""
    if request.param == "with a name":
        monkeypatch.delattr(os, "O_TMPFILE", raising=False)


def names(folder):
    return sorted(path.name for path in folder.iterdir())


def test_a_file_is_made_and_replaced(tmp_path):
    path = tmp_path / "answers.json"
    write_text(path, "eins – 一")
    assert path.read_bytes() == "eins – 一".encode()
    write_bytes(str(path), b"\0two")
    assert path.read_bytes() == b"\0two" and names(tmp_path) == ["answers.json"]
    with replaced(path) as file:
        file.write(b"three")
        file.seek(0)
        assert file.read() == b"three" and path.read_bytes() == b"\0two"
    assert path.read_bytes() == b"three"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_an_error_leaves_what_was_there(tmp_path, error):
    path = tmp_path / "x"
    for before in ([], ["x"]):
        assert names(tmp_path) == before
        with pytest.raises(error), replaced(path) as file:
            file.write(b"half")
            raise error
        assert names(tmp_path) == before
        path.write_bytes(b"old")
    assert path.read_bytes() == b"old"


def test_a_killed_process_leaves_what_was_there(tmp_path):
    (tmp_path / "x").write_bytes(b"old")
    code = """
        import os, signal, sys
        from sphinx_ros.runtime.files import replaced
        with replaced(sys.argv[1]) as file:
            file.write(b"half")
            file.flush()
            os.kill(os.getpid(), signal.SIGKILL)
    """
    ran = subprocess.run([sys.executable, "-c", textwrap.dedent(code), str(tmp_path / "x")])
    assert ran.returncode == -signal.SIGKILL
    assert (tmp_path / "x").read_bytes() == b"old" and names(tmp_path) == ["x"]


def test_a_full_disk_is_an_error_and_leaves_what_was_there(tmp_path):
    path = tmp_path / "x"
    path.write_bytes(b"old")
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(OSError):
            write_bytes(path, bytes(5000))
        with pytest.raises(OSError), replaced(path) as file:  # what is still buffered counts
            file.write(bytes(1001))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)
    assert path.read_bytes() == b"old" and names(tmp_path) == ["x"]


def test_rights_are_those_of_the_old_file_or_the_usual_ones(tmp_path):
    path, like = tmp_path / "x", tmp_path / "like"
    mask = os.umask(0o027)
    try:
        write_text(path, "new")
        like.write_text("new")
    finally:
        os.umask(mask)
    assert path.stat().st_mode == like.stat().st_mode
    path.chmod(0o604)
    write_text(path, "newer")
    assert path.stat().st_mode & 0o777 == 0o604


def test_a_link_stays_a_link(tmp_path):
    (tmp_path / "far").mkdir()
    link = tmp_path / "latest"
    link.symlink_to("far/run-7")
    for text in ("first", "second"):  # it points to nothing, then to a file
        write_text(link, text)
        assert link.is_symlink() and (tmp_path / "far/run-7").read_text() == text
    assert names(tmp_path) == ["far", "latest"] and names(tmp_path / "far") == ["run-7"]


def test_a_pipe_and_a_terminal_are_written_to(tmp_path):
    pipe, read = tmp_path / "pipe", []
    os.mkfifo(pipe)
    thread = threading.Thread(target=lambda: read.append(pipe.read_bytes()))
    thread.start()
    write_text(pipe, "through")
    thread.join(PATIENCE)
    assert read == [b"through"] and pipe.is_fifo()
    ours, theirs = os.openpty()
    write_text(os.ttyname(theirs), "seen")
    assert os.read(ours, 10) == b"seen"
    os.close(ours), os.close(theirs)


def test_what_cannot_be_written_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        write_text(tmp_path / "nowhere" / "x", "")
    with pytest.raises(IsADirectoryError):
        write_text(tmp_path, "")
    (tmp_path / "file").touch()
    with pytest.raises(NotADirectoryError):
        write_text(tmp_path / "file" / "x", "")
    assert names(tmp_path) == ["file"]


def test_a_protected_file_is_not_replaced():
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o777)
        path = Path(folder) / "x"
        path.write_text("old")
        path.chmod(0o444)
        user = os.geteuid()
        if user == 0:  # who may write everything
            os.seteuid(65534)
        try:
            with pytest.raises(PermissionError, match="write-protected"):
                write_text(path, "new")
        finally:
            os.seteuid(user)
        assert path.read_text() == "old"


def test_a_name_may_be_as_long_as_the_system_allows(tmp_path):
    path = tmp_path / ("n" * 255)
    write_text(path, "x")
    write_text(path, "y")
    assert path.read_text() == "y"


def test_letters_that_no_file_can_hold_are_spelled_out(tmp_path):
    write_text(tmp_path / "x", os.fsdecode(b"caf\xe9 \xc3\xa9"))
    assert (tmp_path / "x").read_text(encoding="utf-8") == "caf\\udce9 é"


def test_writers_of_one_file_do_not_mix(tmp_path):
    path, texts = tmp_path / "x", [letter * 100_000 for letter in "abcdef"]
    threads = [threading.Thread(target=write_text, args=(path, text)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_text() in texts and names(tmp_path) == ["x"]
