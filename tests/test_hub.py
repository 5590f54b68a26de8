"""Checkpoints by name from a hub, against a stand-in for it: nothing here reaches a network."""

import signal
import subprocess
import sys

import huggingface_hub.constants
import pytest
import torch
from goldens import TOKENIZER
from hub_stand_in import COMMIT, REPOSITORY, Hub
from patience import until
from small_network import SIZES, VARIANT

from sphinx_ros.checkpoint import load_checkpoint, save_checkpoint
from sphinx_ros.checkpoint.hub import cached, resolve, store
from sphinx_ros.checkpoint.names import Source, parse
from sphinx_ros.commands.cli import main
from sphinx_ros.errors import CheckpointError
from sphinx_ros.model.config import ModelConfig
from sphinx_ros.model.sphinx import SphinxModel

NAME = f"hf://{REPOSITORY}/weights/small"
SHARD = "consolidated.01-of-02.model.pth"


@pytest.fixture(scope="module")
def repository(tmp_path_factory):
    """A repository with a checkpoint in a folder, and other things."""
    torch.manual_seed(0)
    model = SphinxModel(ModelConfig.from_json(SIZES, VARIANT, 512))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    top = tmp_path_factory.mktemp("repository")
    folder = save_checkpoint(model, SIZES, VARIANT, TOKENIZER, top / "weights" / "small", 2)
    (folder / "training.log").write_text("not wanted")
    (top / "weights" / "notes").mkdir()
    (top / "weights" / "notes" / "config.json").write_text("{}")
    return top


@pytest.fixture
def hub(repository, tmp_path, monkeypatch):
    server = Hub(repository)
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "home" / "hub"))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(huggingface_hub.constants, "DOWNLOAD_CHUNK_SIZE", 1 << 14)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    yield server
    server.close()


def downloads(hub):
    return [
        path.rpartition("/")[2]
        for method, path, _ in hub.asked
        if method == "GET" and "/resolve/" in path
    ]


def test_a_folder_arrives_once(hub, repository):
    folder = resolve(NAME)
    source = repository / "weights" / "small"
    names = sorted(path.name for path in source.iterdir() if path.suffix != ".log")
    there = sorted(path.name for path in folder.iterdir() if path.suffix != ".lock")
    assert there == names, "and no more than that"
    for name in names:
        assert (folder / name).read_bytes() == (source / name).read_bytes()
    asked = len(hub.asked)
    assert resolve(NAME) == folder and resolve(f"{NAME}/") == folder
    assert len(hub.asked) == asked, "what is complete is used without asking"
    assert resolve(NAME, update=True) == folder
    assert len(hub.asked) > asked and len(downloads(hub)) == len(names), "but nothing came twice"
    load_checkpoint(NAME)


def test_a_pinned_revision(hub):
    assert COMMIT in str(resolve(f"hf://{REPOSITORY}@{COMMIT}/weights/small"))
    resolve(f"hf://{REPOSITORY}@v1/weights/small")
    with pytest.raises(CheckpointError, match=r"at revision 'v9'; look it up"):
        resolve(f"hf://{REPOSITORY}@v9/weights/small")


def test_a_revision_with_slashes(hub):
    name = f"hf://{REPOSITORY}@refs%2Fpr%2F1/weights/small"
    folder = resolve(name)
    assert COMMIT in str(folder)
    asked = len(hub.asked)
    assert resolve(name.replace("%2F", "%2f")) == folder and len(hub.asked) == asked
    with pytest.raises(CheckpointError, match=r"at revision 'refs'; .*refs%2Fpr%2F1"):
        resolve(f"hf://{REPOSITORY}@refs/pr/1/weights/small")


def test_a_cache_that_can_not_be_read_is_named(hub, tmp_path):
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "sphinx_ros").symlink_to("sphinx_ros")  # as a folder of another user
    with pytest.raises(CheckpointError, match=r"small: what is kept of it in .*set HF_HOME"):
        resolve(NAME)
    assert not hub.asked


def test_a_note_that_is_no_text_is_named(hub):
    resolve(NAME)
    note = store(parse(NAME)) / "refs" / "main"
    for damaged in (b"\xff\xfe", b"a\0b"):
        note.write_bytes(damaged)
        with pytest.raises(CheckpointError, match=r"small: what is kept of it in"):
            resolve(NAME)
    assert resolve(NAME, update=True) == resolve(NAME)


def test_published_names_lead_to_their_folder(hub):
    with pytest.raises(CheckpointError, match="no repository 'Alpha-VLLM/LLaMA2-Accessory'"):
        resolve("SPHINX-Tiny-1k")
    path = [path for _, path, _ in hub.asked][-1]
    assert "Alpha-VLLM/LLaMA2-Accessory" in path


def test_a_broken_connection_goes_on(hub, repository):
    """The connection breaks again and again; every time it goes on where it was."""
    size = (repository / "weights" / "small" / SHARD).stat().st_size
    hub.break_after = size // 2
    folder = resolve(NAME)
    load_checkpoint(folder)
    ranges = [span for _, path, span in hub.asked if path.endswith(SHARD) and span]
    assert ranges and all(int(span[6:].rstrip("-")) > 0 for span in ranges if span != "bytes=0-")


def test_a_killed_download_goes_on(hub, tmp_path):
    """kill -9 in the middle; the next start asks for the rest only."""
    hub.pause = 0.05
    code = (
        "import sys; import huggingface_hub.constants as c; c.DOWNLOAD_CHUNK_SIZE = 1 << 14;"
        "from sphinx_ros.commands.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    command = [sys.executable, "-c", code, "fetch", NAME]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL)
    parts = (tmp_path / "home").rglob
    partial = until(lambda: [p for p in parts("*.pth.part") if p.stat().st_size > 50_000])
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert partial, "nothing was on its way"
    assert cached(parse(NAME)) is None, "what is not complete is not used"
    hub.pause, hub.asked[:] = 0, []
    done = subprocess.run(command, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
    load_checkpoint(done.stdout.strip())
    starts = [int(s[6:].partition("-")[0]) for _, p, s in hub.asked if s and p.endswith(".pth")]
    assert max(starts, default=0) > 40_000, "the rest only"


def test_two_starts_at_once(hub):
    hub.pause = 0.01
    command = [sys.executable, "-m", "sphinx_ros", "fetch", NAME]
    both = [
        subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        for _ in range(2)
    ]
    folders = {process.communicate(timeout=240)[0] for process in both}
    assert len(folders) == 1
    load_checkpoint(folders.pop().decode().strip())
    assert sorted(downloads(hub)) == sorted(set(downloads(hub))), "each file came once"


@pytest.mark.parametrize("fault, words", [("corrupt", "arrived with SHA-256"), ("short", "small")])
def test_what_arrives_damaged_is_not_kept(hub, fault, words):
    getattr(hub, fault).add(SHARD)
    for _ in range(2):
        with pytest.raises(CheckpointError, match=words):
            resolve(NAME)
    getattr(hub, fault).clear()
    load_checkpoint(resolve(NAME))


def test_offline(hub, monkeypatch):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(CheckpointError, match="HF_HUB_OFFLINE forbids to ask"):
        resolve(NAME)
    assert not hub.asked
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", False)
    folder = resolve(NAME)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert resolve(NAME) == folder


def test_no_network(hub, monkeypatch, capsys):
    hub.close()
    assert main(["fetch", NAME]) == 2
    said = capsys.readouterr().err
    assert "could not be downloaded" in said and "check the network" in said
    assert len(said.splitlines()) == 1


def test_no_space(hub, monkeypatch):
    import shutil

    full = shutil._ntuple_diskusage(10**12, 10**12, 10**6)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: full)
    with pytest.raises(CheckpointError, match=r"has 0.0 GB free; make room, or set HF_HOME"):
        resolve(NAME)
    assert not downloads(hub)


@pytest.mark.parametrize(
    "name, words",
    [
        (f"hf://{REPOSITORY}/weights/notes", "is no checkpoint folder, it holds config.json"),
        (f"hf://{REPOSITORY}/weights/none", "has no 'weights/none'"),
        ("hf://owner/nothing/x", "there is no repository 'owner/nothing'"),
        ("hf://owner", "is not hf://owner/repo/folder"),
        (f"hf://{REPOSITORY}/../../etc", "is not hf://owner/repo/folder"),
        ("hf://", "is not hf://"),
        ("hf://owner/repo.git/x", "does not end with .git"),
        ("hf://owner/my--model", 'no "--"'),
        ("hf://owner/a..b/x", r'no "\.\."'),
        ("hf://owner/-a", "is not hf://owner/repo/folder"),
        ("hf://owner./a", "is not hf://owner/repo/folder"),
        (f"hf://owner/{'a' * 97}", "is not hf://owner/repo/folder"),
        ("hf://owner/\u00e9", "is not hf://owner/repo/folder"),
        ("hf://owner/repo@../x", r"\.\. is no branch"),
        ("hf://owner/repo@a%2F/x", "a/ is no branch"),
        ("hf://owner/repo@a%2F..%2Fb/x", "is no branch"),
        ("hf://owner/repo@a%20b/x", "%2F for a slash in the revision"),
    ],
)
def test_what_is_no_checkpoint(hub, name, words):
    with pytest.raises(CheckpointError, match=words):
        resolve(name)


def test_a_server_that_fails(hub):
    hub.status = 403
    with pytest.raises(CheckpointError, match="hf://owner/models/weights/small"):
        resolve(NAME)


@pytest.mark.parametrize(
    "name, source",
    [
        ("hf://a/b", Source("a/b", "")),
        ("hf://a/b/c/d", Source("a/b", "c/d")),
        ("hf://a/b@main/c", Source("a/b", "c", "main")),
        ("hf://a-1/b.2@v1.0/c", Source("a-1/b.2", "c", "v1.0")),
        ("hf://a/b@refs%2Fpr%2f1/c", Source("a/b", "c", "refs/pr/1")),
    ],
)
def test_names(name, source):
    assert parse(name) == source
    assert parse(str(source)) == source
