"""`sphinx-ros convert` and `mix`: every bit arrives, and nothing half-written stays."""

import json
import os
import shutil
import signal
import subprocess
import sys
import zipfile

import pytest
import torch
from goldens import TOKENIZER
from patience import PATIENCE
from small_network import SIZES, VARIANT

from sphinx_ros.answer.score_calibration import Calibration
from sphinx_ros.checkpoint import load_checkpoint, open_checkpoint, pages, save_checkpoint
from sphinx_ros.checkpoint.convert import convert
from sphinx_ros.checkpoint.mix import mix
from sphinx_ros.checkpoint.pages import maps_file, span
from sphinx_ros.checkpoint.pth import ALIGNED
from sphinx_ros.checkpoint.shards import as_bytes, same_bits
from sphinx_ros.commands.cli import main
from sphinx_ros.errors import BadRequest, CheckpointError
from sphinx_ros.model.config import ModelConfig
from sphinx_ros.model.keys import quantised
from sphinx_ros.model.sphinx import SphinxModel

MOE = {k: v for k, v in SIZES.items() if k != "multiple_of"} | {
    "hidden_dim": 48,
    "moe": {"num_experts": 4, "num_experts_per_tok": 2},
}
FIRST = "consolidated.00-of-02.model.pth"


def checkpoint(folder, shards=2, seed=0, variant=VARIANT, params=SIZES, dtype=torch.bfloat16):
    torch.manual_seed(seed)
    model = SphinxModel(ModelConfig.from_json(params, variant, 512))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    return save_checkpoint(model, params, variant, TOKENIZER, folder, shards, dtype)


@pytest.fixture
def two(tmp_path):
    """A checkpoint in two shards, with a tensor that inference does without."""
    folder = checkpoint(tmp_path / "two")
    for path in folder.glob("*.pth"):
        content = torch.load(path, weights_only=True)
        content["model"]["llma.clip.logit_scale"] = torch.tensor(4.6052)  # float32, no dimension
        content["model"]["llma.clip.attn_mask"] = torch.arange(6).view(2, 3)
        torch.save(content, path)
    (folder / "LICENSE").write_text("theirs")
    return folder


def contents(folder):
    """Every tensor of a checkpoint, whole."""
    stored = open_checkpoint(folder)
    return {key: stored.whole(key) for key in stored.keys}


def same(a, b):
    one, two = contents(a), contents(b)
    assert set(one) == set(two)
    for key in one:
        assert same_bits(one[key], two[key]), key


@pytest.mark.parametrize("shards", [1, 2])
def test_there_and_back_again(two, tmp_path, shards):
    flat = convert(two, tmp_path / "flat")
    assert sorted(p.name for p in flat.iterdir()) == [
        "LICENSE",
        "config.json",
        "meta.json",
        "model.safetensors",
        "tokenizer.model",
    ]
    same(two, flat)
    back = convert(flat, tmp_path / "back", shards=shards)
    same(two, back)
    assert len(list(back.glob("*.pth"))) == shards
    if shards == 2:  # shard by shard, as torch itself reads them
        for path in two.glob("*.pth"):
            theirs, ours = (
                torch.load(f / path.name, weights_only=True)["model"] for f in (two, back)
            )
            assert set(theirs) == set(ours)
            for key in theirs:
                assert same_bits(theirs[key], ours[key]) and ours[key].is_contiguous(), key


def test_each_tensor_once(two, tmp_path):
    flat = convert(two, tmp_path / "flat")
    stored = sum(path.stat().st_size for path in two.glob("*.pth"))
    unique = sum(t.numel() * t.element_size() for t in contents(two).values())
    assert unique <= (flat / "model.safetensors").stat().st_size < unique + 200_000 < stored


def test_several_files_and_their_index(two, tmp_path):
    flat = convert(two, tmp_path / "flat", largest=100_000)
    names = sorted(p.name for p in flat.glob("*.safetensors"))
    assert len(names) > 2 and names[0] == f"model-00001-of-{len(names):05d}.safetensors"
    index = json.loads((flat / "model.safetensors.index.json").read_text())
    assert set(index["weight_map"].values()) == set(names)
    same(two, flat)
    from safetensors.torch import load_file  # the library's own opinion

    wanted = contents(two)
    for name in names:
        for key, tensor in load_file(flat / name).items():
            assert same_bits(tensor, wanted[key.removeprefix("llma.")])
    (flat / names[1]).unlink()
    with pytest.raises(CheckpointError, match=f"{names[1]} is missing"):
        load_checkpoint(flat)


def test_written_files_are_sound_archives(two, tmp_path):
    back = convert(two, tmp_path / "back", shards=2)
    with zipfile.ZipFile(back / FIRST) as archive:
        assert archive.testzip() is None, "checksums"
    for tensor in torch.load(back / FIRST, weights_only=True, mmap=True)["model"].values():
        assert tensor.data_ptr() % ALIGNED == 0


def test_experts_keep_their_rows(tmp_path):
    source = checkpoint(tmp_path / "one", 1, variant="mixtral_sparse_ens", params=MOE)
    flat = convert(convert(source, tmp_path / "four", shards=4), tmp_path / "flat")
    same(source, flat)


def test_loading_is_the_same_from_both(two, tmp_path):
    flat = convert(two, tmp_path / "flat")
    (a, *_), (b, *_) = load_checkpoint(two), load_checkpoint(flat)
    for key, tensor in a.state_dict().items():
        assert torch.equal(tensor, b.state_dict()[key]), key
        assert tensor.is_contiguous() and not tensor.is_shared()


def on_disk(model):
    """The keys of the tensors that lie where a file is mapped."""
    return {key for key, tensor in model.state_dict().items() if maps_file(*span(tensor))}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks /proc what is mapped")
def test_what_one_file_holds_is_not_copied(two, tmp_path):
    flat = convert(two, tmp_path / "flat")
    model, *_ = load_checkpoint(flat, dtype=torch.bfloat16)
    state = model.state_dict()
    assert on_disk(model) == {key for key in state if state[key].dtype == torch.bfloat16}
    assert len(on_disk(model)) > 40, "what is computed with in float32 is converted"
    assert not on_disk(load_checkpoint(flat)[0]), "every one is converted"
    some = on_disk(load_checkpoint(two, dtype=torch.bfloat16)[0])
    assert some < on_disk(model) and "layers.0.attention.wq.weight" not in some  # in two shards
    smaller = on_disk(load_checkpoint(flat, quantise="int8", dtype=torch.bfloat16)[0])
    assert smaller == {key for key in on_disk(model) if not quantised(key)}


@pytest.mark.parametrize("advice", [9999, -1])
def test_a_system_that_can_not_fill_pages_gives_the_same_numbers(
    two, tmp_path, monkeypatch, advice
):
    """Advice that the system does not know changes nothing but the speed."""
    flat = convert(two, tmp_path / "flat")
    ids = torch.tensor([[1, 5, 9]])
    said = load_checkpoint(flat, dtype=torch.bfloat16)[0](ids)
    monkeypatch.setattr(pages, "FILL", advice)
    again, *_ = load_checkpoint(flat, dtype=torch.bfloat16)
    assert torch.equal(again(ids), said)


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="asks /proc what is mapped")
def test_files_and_a_network_that_maps_them_leave_each_other_alone(two, tmp_path):
    flat = convert(two, tmp_path / "flat")
    (file,) = flat.glob("*.safetensors")
    before, ids = file.read_bytes(), torch.tensor([[1, 5, 9]])
    model, *_ = load_checkpoint(flat, dtype=torch.bfloat16)
    said = model(ids)
    other = convert(checkpoint(tmp_path / "other", seed=1), tmp_path / "other_flat")
    os.replace(next(other.glob("*.safetensors")), file)  # as save_checkpoint and mv do it
    assert torch.equal(model(ids), said)
    model.tok_embeddings.weight.zero_()
    shutil.rmtree(flat)
    assert not torch.equal(model(ids), said) and model.tok_embeddings.weight.abs().sum() == 0
    flat = convert(two, tmp_path / "flat")
    assert next(flat.glob("*.safetensors")).read_bytes() == before
    again, *_ = load_checkpoint(flat, dtype=torch.bfloat16)
    again.tok_embeddings.weight.zero_()
    assert next(flat.glob("*.safetensors")).read_bytes() == before


def test_what_is_refused(two, tmp_path, capsys):
    with pytest.raises(CheckpointError, match="can't be split into 3 equal parts"):
        convert(two, tmp_path / "x", shards=3)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "thing").write_text("mine")
    with pytest.raises(CheckpointError, match="is there already"):
        convert(two, tmp_path / "full")
    content = torch.load(two / FIRST, weights_only=True)
    content["model"]["llma.norm.weight"][3] += 1
    torch.save(content, two / FIRST)
    with pytest.raises(CheckpointError, match="llma.norm.weight has other numbers"):
        convert(two, tmp_path / "x")
    shutil.copy(two / FIRST, two / "model.safetensors")
    with pytest.raises(CheckpointError, match="more than one checkpoint"):
        convert(two, tmp_path / "x")
    assert main(["convert", str(tmp_path / "none"), str(tmp_path / "x")]) == 2
    assert "does not exist" in capsys.readouterr().err
    assert sorted(p.name for p in tmp_path.iterdir()) == ["full", "two"], "nothing left behind"


@pytest.mark.parametrize("damage", ["cut", "noise", "blank"])
def test_damaged_safetensors(two, tmp_path, damage):
    flat = convert(two, tmp_path / "flat")
    path = flat / "model.safetensors"
    whole = path.read_bytes()
    path.write_bytes(
        {"cut": whole[: len(whole) // 2], "noise": b"\xff" * 999, "blank": b" " * 9}[damage]
    )
    with pytest.raises(CheckpointError, match=r"model.safetensors .*truncated or damaged"):
        load_checkpoint(flat)


def test_a_full_disk_leaves_nothing(two, tmp_path):
    """RLIMIT_FSIZE stands for the disk: writing fails in the middle of a file."""
    code = (
        "import resource, signal, sys; from sphinx_ros.commands.cli import main;"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN);"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000));"
        "sys.exit(main(sys.argv[1:]))"
    )
    for more in ([], ["--shards", "2"]):
        words = [sys.executable, "-c", code, "convert", two, tmp_path / "out", *more]
        ran = subprocess.run(words, capture_output=True, text=True, timeout=300)
        assert ran.returncode == 2 and "nothing was left behind" in ran.stderr, ran.stderr
        *before, last = ran.stderr.splitlines()
        assert "nothing was left behind" in last, ran.stderr
        assert all(line.startswith("converting: ") for line in before), ran.stderr
        assert [p.name for p in tmp_path.iterdir()] == ["two"]


def hears_ctrl_c():
    """Undo what a shell does to its background jobs."""
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGKILL])
def test_interrupted(two, tmp_path, end):
    """Ctrl-C cleans up; what a kill leaves is no checkpoint, and the next run deletes it."""
    code = (
        "import sys, time; import sphinx_ros.checkpoint.writing as w;"
        "from sphinx_ros.commands.cli import main;"
        "write = w.SafetensorsSet.write\n"
        "def slow(*a): print('.', flush=True); time.sleep(0.05); return write(*a)\n"
        "w.SafetensorsSet.write = slow\n"
        "sys.exit(main(sys.argv[1:]))"
    )
    words = [sys.executable, "-c", code, "convert", two, tmp_path / "out"]
    process = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, preexec_fn=hears_ctrl_c
    )
    process.stdout.readline()
    process.send_signal(end)
    assert process.wait(PATIENCE) == (130 if end == signal.SIGINT else -9)
    left = [p for p in tmp_path.iterdir() if p.name != "two"]
    if end == signal.SIGINT:
        assert not left
    else:
        assert len(left) == 1 and left[0].name.startswith(".out.partial-")
        with pytest.raises(CheckpointError):
            load_checkpoint(left[0])
        convert(two, tmp_path / "out")
        assert sorted(p.name for p in tmp_path.iterdir()) == ["out", "two"]


def test_it_streams(tmp_path):
    """A checkpoint of 0.4 GB: the process may grow by the largest tensor and little more."""
    params = SIZES | {"dim": 768, "n_layers": 24, "n_heads": 6}
    source = checkpoint(tmp_path / "big", 2, params=params)
    size = sum(path.stat().st_size for path in source.glob("*.pth"))
    assert size > 300e6
    code = (
        "import resource, sys; from sphinx_ros.checkpoint.convert import convert;"
        "from sphinx_ros.checkpoint.mix import mix; import sphinx_ros.checkpoint.stored as s;"
        "s.open_checkpoint(sys.argv[1]);"
        "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024;"
        "before = peak(); convert(sys.argv[1], sys.argv[2]);"
        "convert(sys.argv[2], sys.argv[3], shards=4);"
        "mix([sys.argv[1], sys.argv[3]], [0.5, 0.5], sys.argv[4]); print(peak() - before)"
    )
    words = [sys.executable, "-c", code, source, *(tmp_path / n for n in ("a", "b", "c"))]
    ran = subprocess.run(words, capture_output=True, text=True, timeout=600)
    assert ran.returncode == 0, ran.stderr
    assert int(ran.stdout) < 0.4 * size, (
        f"grew by {int(ran.stdout) / 1e6:.0f} MB of {size / 1e6:.0f}"
    )
    same(source, tmp_path / "c")


def test_mixing_with_itself_is_the_identity(two, tmp_path):
    for number, (weights, shards) in enumerate((([0.5, 0.5], None), ([0.3, 0.7], 2))):
        flat = convert(two, tmp_path / f"flat{number}")
        same(two, mix([two, flat], weights, tmp_path / f"mix{number}", shards=shards))


def test_identity_of_awkward_numbers(tmp_path):
    """Zeros of both signs, denormals and the largest numbers, in three types."""
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        source = checkpoint(tmp_path / f"{dtype}", 1, dtype=dtype)
        path = source / "consolidated.00-of-01.model.pth"
        content = torch.load(path, weights_only=True)
        row = content["model"]["llma.norm.weight"]
        finfo = torch.finfo(dtype)
        row[:6] = torch.tensor(
            [0.0, -0.0, finfo.max, finfo.min, finfo.tiny, finfo.smallest_normal / 4]
        )
        torch.save(content, path)
        same(source, mix([source, source, source], [0.2, 0.5, 0.3], tmp_path / f"{dtype}-mix"))


def test_mix_is_the_weighted_sum(tmp_path):
    a, b = (
        checkpoint(tmp_path / name, 2, seed, dtype=torch.float32) for seed, name in enumerate("ab")
    )
    made = mix(
        [a, b],
        [0.75, 0.25],
        tmp_path / "m",
        {"layers.": [1, 0], "layers.1.": [0, 1], "visual_proj": [2, -1]},
    )
    one, two, out = contents(a), contents(b), contents(made)
    for key in out:
        wa, wb = 0.75, 0.25
        if key.startswith("layers."):
            wa, wb = (0, 1) if key.startswith("layers.1.") else (1, 0)
        elif key.startswith("visual_proj"):
            wa, wb = 2, -1
        want = (wa * one[key].double() + wb * two[key].double()).float()
        assert torch.equal(out[key], want), key
    meta = json.loads((made / "meta.json").read_text())
    assert meta["llama_type"] == VARIANT and meta["mix"]["weights"] == [0.75, 0.25]
    load_checkpoint(made)


def test_mix_refuses_what_does_not_match(tmp_path, capsys):
    a = checkpoint(tmp_path / "a")
    for name, change, words in (
        ("deeper", {"n_layers": 3}, "different networks: n_layers 2 and 3"),
        ("base", {"rope_theta": 5e5}, "rope_theta 10000.0 and 500000.0"),
    ):
        b = checkpoint(tmp_path / name, params=SIZES | change)
        with pytest.raises(CheckpointError, match=words):
            mix([a, b], [0.5, 0.5], tmp_path / "m")
    b = checkpoint(tmp_path / "b", dtype=torch.float16)
    with pytest.raises(CheckpointError, match=r"llma\.\S+ is \[.*bfloat16 in .*float16 in"):
        mix([a, b], [0.5, 0.5], tmp_path / "m")
    (b / "tokenizer.model").write_bytes(b"")
    with pytest.raises((CheckpointError, Exception), match="tokenizer.model"):
        mix([a, b], [0.5, 0.5], tmp_path / "m")
    for weights, parts in (([1.0], None), ([1, float("nan")], None), ([1, 0], {"layers.": [1]})):
        with pytest.raises(BadRequest, match="one finite number for each"):
            mix([a, a], weights, tmp_path / "m", parts)
    with pytest.raises(BadRequest, match="no parameter's name begins with 'nothing'"):
        mix([a, a], [1, 0], tmp_path / "m", {"nothing": [1, 0]})
    with pytest.raises(CheckpointError, match="is not finite as torch.bfloat16"):
        mix([a, a], [1e39, 1e39], tmp_path / "m")
    assert not (tmp_path / "m").exists() and not list(tmp_path.glob(".m*"))
    assert main(["mix", str(a), str(tmp_path / "m"), "--weights", "1"]) == 2
    assert "two or more" in capsys.readouterr().err


def test_commands(two, tmp_path, capsys):
    flat, back, mixed = (str(tmp_path / name) for name in ("flat", "back", "mixed"))
    assert main(["convert", str(two), flat, "--max-gb", "0.0002"]) == 0
    assert main(["convert", flat, back, "--shards", "1"]) == 0
    words = ["mix", flat, back, mixed, "--weights", "0.5", "0.5", "--part", "norm.", "1", "0"]
    assert main(words) == 0
    assert capsys.readouterr().out.split() == [flat, back, mixed]
    same(two, mixed)
    assert main(["inspect", mixed, "--deep"]) == 0
    assert "1 file," in capsys.readouterr().out
    assert (
        main(["mix", flat, back, str(tmp_path / "y"), "--weights", "1", "0", "--part", "a", "b"])
        == 2
    )
    assert "--part visual_proj. 1 0" in capsys.readouterr().err


def test_a_calibration_goes_along_but_into_no_mix(two, tmp_path):
    """It is of these numbers, in whatever layout."""
    Calibration((0.1, 1.0, 2.0, -1.0, 0.5), 0.4, 1.7).write(two)
    flat = convert(two, tmp_path / "flat")
    assert Calibration.read(flat) == Calibration.read(two) is not None
    mixed = mix([two, flat], [0.5, 0.5], tmp_path / "mixed")
    assert Calibration.read(mixed) is None


def test_a_calibration_that_can_not_be_read_is_not_left_behind(two, tmp_path):
    (two / "calibration.json").symlink_to("gone")
    with pytest.raises(CheckpointError, match="link to gone, which is not there"):
        convert(two, tmp_path / "flat")
    assert [p.name for p in tmp_path.iterdir()] == ["two"]


def test_bytes_of_any_tensor():
    assert as_bytes(torch.tensor(1.0)).tolist() == [0, 0, 128, 63]
    assert as_bytes(torch.arange(6, dtype=torch.int16).view(2, 3).T).numel() == 12
    assert not same_bits(torch.tensor(0.0), torch.tensor(-0.0))
    assert same_bits(torch.tensor(float("nan")), torch.tensor(float("nan")))
