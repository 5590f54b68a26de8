"""Every way a checkpoint's folder can be wrong is named: file, key, found, expected, remedy."""

import json
import math
import os
import pickle
import shutil
import sys
import tempfile
import zipfile
from pathlib import Path

import pytest
import torch
from goldens import TOKENIZER
from small_network import SIZES, VARIANT

from sphinx_ros.checkpoint import load_checkpoint, open_checkpoint, save_checkpoint
from sphinx_ros.checkpoint.convert import convert
from sphinx_ros.checkpoint.names import find
from sphinx_ros.commands.cli import main
from sphinx_ros.errors import CheckpointError
from sphinx_ros.model.config import ModelConfig
from sphinx_ros.model.sphinx import SphinxModel

ONE, NORM = "consolidated.00-of-01.model.pth", "llma.norm.weight"
TOWERS = SIZES["towers"]


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    """A small sound checkpoint in one file."""
    torch.manual_seed(0)
    model = SphinxModel(ModelConfig.from_json(SIZES, VARIANT, 512))
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.1)
    folder = tmp_path_factory.mktemp("good")
    return save_checkpoint(model, SIZES, VARIANT, TOKENIZER, folder, dtype=torch.bfloat16)


@pytest.fixture
def folder(good, tmp_path):
    """A copy whose files may be replaced; they are links, so nothing is written through them."""
    made = tmp_path / "x"
    made.mkdir()
    for path in good.iterdir():
        (made / path.name).symlink_to(path)
    return made


def put(path: Path, content: bytes | str | dict) -> None:
    """A file in the place of a link."""
    path.unlink(missing_ok=True)
    if isinstance(content, dict):
        content = json.dumps(content)
    path.write_bytes(content.encode() if isinstance(content, str) else content)


def tensors(folder, change):
    """The tensor file with some of its tensors changed."""
    model = torch.load(folder / ONE, weights_only=True)["model"]
    change(model)
    (folder / ONE).unlink()
    torch.save({"model": model}, folder / ONE)


def refused(folder, *words):
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(folder)
    said = str(caught.value)
    for word in words:
        assert str(word) in said, said
    assert len(said) < 1500, "short enough to be read"


@pytest.mark.parametrize(
    "change, key",
    [
        ({"dim": -192}, "'dim' is -192, expected a whole number in 1.."),
        ({"dim": 0}, "'dim' is 0"),
        ({"dim": 6 * 10**9}, "'dim' is 6000000000"),
        ({"dim": 10**400}, "'dim' is 1000"),
        ({"dim": 64.0}, "'dim' is 64.0"),
        ({"dim": True}, "'dim' is True"),
        ({"dim": [64]}, "'dim' is [64]"),
        ({"n_heads": -6}, "'n_heads' is -6"),
        ({"n_heads": 5}, "'n_heads' is 5, expected a divisor of dim 64"),
        ({"n_heads": 64}, "heads of dim / n_heads = 1"),
        ({"n_kv_heads": 0}, "'n_kv_heads' is 0"),
        ({"n_layers": 100_000}, "'n_layers' is 100000"),
        ({"n_layers": 200}, "'n_layers' is 200, expected 2, as many as the files have"),
        ({"multiple_of": 0}, "'multiple_of' is 0"),
        ({"ffn_dim_multiplier": -1}, "'ffn_dim_multiplier' is -1"),
        ({"norm_eps": "x"}, "'norm_eps' is 'x', expected a number in"),
        ({"norm_eps": math.nan}, "'norm_eps' is nan"),
        ({"norm_eps": 0}, "'norm_eps' is 0"),
        ({"rope_theta": "a"}, "'rope_theta' is 'a'"),
        ({"rope_theta": math.inf}, "'rope_theta' is inf"),
        ({"rope_scaling": {"type": "linear", "factor": 2}}, "'rope_scaling' is {"),
        ({"max_seq_len": "4096"}, "'max_seq_len' is '4096'"),
        ({"max_seq_len": 10**12}, "'max_seq_len' is 1000000000000"),
        ({"coordinate_decimals": -2}, "'coordinate_decimals' is -2"),
        ({"clip_quick_gelu": "no"}, "'clip_quick_gelu' is 'no', expected true or false"),
        ({"towers": [1]}, "'towers' is [1], expected a JSON object"),
        ({"towers": {**TOWERS, "view": -168}}, "'towers.view' is -168"),
        ({"towers": {**TOWERS, "patch": -14}}, "'towers.patch' is -14"),
        ({"towers": {**TOWERS, "patch": 2}}, "'towers.patch' 2"),
        ({"towers": {**TOWERS, "clip": 3}}, "'towers.clip' is 3"),
        ({"towers": {**TOWERS, "clip": {"width": 33}}}, "'towers.clip.heads' is 16"),
        ({"towers": {**TOWERS, "clip": {"colour": 1}}}, "'towers.clip.colour' is unknown"),
        ({"towers": {**TOWERS, "convnext": {"dims": []}}}, "'towers.convnext.dims' is []"),
        ({"towers": {**TOWERS, "convnext": {"dims": [8, 8, 16, "a"]}}}, "'towers.convnext.dims'"),
        ({"depths": {"clip": 10**9}}, "'towers.clip.layers' is 1000000000"),
        ({"depths": 4}, "'depths' is 4"),
    ],
)
def test_sizes_that_no_network_has(folder, change, key):
    put(folder / "config.json", json.dumps(SIZES | change))
    refused(folder, folder / "config.json", key, "copy the file that belongs to these weights")


@pytest.mark.parametrize(
    "content, words",
    [
        ("[1]", "holds a list"),
        ("", "is empty (0 bytes)"),
        ("{", "can't be read as JSON"),
        ('{"dim": "\xe9"}'.encode("latin-1"), "can't be read as JSON in UTF-8"),
        ('{"a":' + "[" * 100_000 + "]" * 100_000 + "}", "nested too deeply"),
        ("<!DOCTYPE html><title>Sign in</title>", "is a web page"),
        ("version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "git lfs pull"),
    ],
)
@pytest.mark.parametrize("name", ["config.json", "meta.json"])
def test_json_that_is_none(folder, name, content, words):
    put(folder / name, content)
    refused(folder, folder / name, words)


def test_json_with_the_mark_that_some_editors_write(folder):
    put(folder / "config.json", b"\xef\xbb\xbf" + json.dumps(SIZES).encode())
    load_checkpoint(folder)


@pytest.mark.parametrize("name", [ONE, "tokenizer.model", "config.json", "meta.json"])
def test_what_may_lie_in_a_files_place(folder, name, good):
    path = folder / name

    def link(to):
        path.unlink()
        path.symlink_to(to)

    link("../blobs/gone")
    refused(folder, path, "is a link to ../blobs/gone, which is not there")
    link(name)
    refused(folder, path, "is a link that leads back to itself")
    path.unlink()
    path.mkdir()
    refused(folder, path, "is a folder, expected a file")
    path.rmdir()
    os.mkfifo(path)
    refused(folder, path, "is no regular file")
    for content, words in (
        (b"", "is empty (0 bytes)"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "git lfs pull"),
        (b"  <html>Please sign in</html>", "is a web page"),
        (b"\xef\xbb\xbf<!doctype HTML>", "is a web page"),
    ):
        put(path, content)
        refused(folder, path, words)


def test_another_library_s_folder(tmp_path, good):
    (tmp_path / "config.json").write_text(
        json.dumps({"architectures": ["LlamaForCausalLM"], "model_type": "llama"})
    )
    shutil.copy(good / "tokenizer.model", tmp_path)
    refused(tmp_path, "is a transformers folder", "'llama'", "consolidated.NN-of-MM.model.pth")
    (tmp_path / "config.json").unlink()
    (tmp_path / "adapter_config.json").write_text("{}")
    refused(tmp_path, "holds an adapter, and no checkpoint", "X+")
    (tmp_path / "adapter_config.json").unlink()
    (tmp_path / "model-00001-of-00002.safetensors").write_bytes(b"x")
    refused(tmp_path, "model.safetensors.index.json is missing")
    (tmp_path / ONE).write_bytes(b"x")


def test_a_name_that_stands_for_nothing(tmp_path):
    for name, words in (
        ("a" * 5000, "can't be looked up (File name too long)"),
        ("", "is empty"),
        ("  ", "is empty"),
        ("a\0b", "can't be looked up"),
        ("~nobody-of-this-name/x", "does not exist"),
        (b"/no/\xff\xfe".decode("utf-8", "surrogateescape"), "not UTF-8"),
    ):
        refused(name, words)
        with pytest.raises(CheckpointError):
            find(name)
    (tmp_path / "loop").symlink_to("loop")
    refused(tmp_path / "loop", "leads back to itself")
    (tmp_path / "dangling").symlink_to("gone")
    refused(tmp_path / "dangling", "link to gone")


def test_a_folder_with_letters_of_all_kinds(good, tmp_path):
    for name in ("Prüfstand 3 µ", "模型", "[x]*?", "a b'c"):
        other = tmp_path / name
        shutil.copytree(good, other)
        load_checkpoint(other)
        assert main(["inspect", str(other)]) == 0


def test_who_may_not_read(good):
    """Of a folder that others own, as a user who is not root."""
    folder = Path(tempfile.mkdtemp(dir="/tmp"))
    root = os.geteuid() == 0
    try:
        shutil.copytree(good, folder, dirs_exist_ok=True)
        folder.chmod(0o755)
        (folder / "meta.json").chmod(0)
        if root:
            os.seteuid(65534)  # root may read everything
        refused(folder, folder / "meta.json", "Permission denied", "chmod")
        if root:
            os.seteuid(0)
        folder.chmod(0o311)
        if root:
            os.seteuid(65534)
        with pytest.raises(CheckpointError, match="Permission denied"):
            open_checkpoint(folder)
    finally:
        if root:
            os.seteuid(0)
        folder.chmod(0o755)
        shutil.rmtree(folder)


def repacked(path, change, method=zipfile.ZIP_STORED):
    """The archive with its records changed: name -> bytes."""
    with zipfile.ZipFile(path) as archive:
        records = {name: archive.read(name) for name in archive.namelist()}
    change(records)
    path.unlink()
    with zipfile.ZipFile(path, "w", method) as archive:
        for name, content in records.items():
            archive.writestr(name, content)


def pkl(records):
    return next(name for name in records if name.endswith("data.pkl"))


@pytest.mark.parametrize(
    "pickled",
    [b"", b"\x80\x02...", b"\x80\x02].", b"\x80\x02(K\x01u.", b"\x80\x02h\x05.", b"\xff" * 50,
     b"\x80\x02X\xff\xff\xff\x7f.", pickle.dumps({"model": 3}), pickle.dumps([1])],
)  # fmt: skip
def test_a_damaged_table_of_contents(folder, pickled):
    repacked(folder / ONE, lambda records: records.update({pkl(records): pickled}))
    refused(folder, folder / ONE)


def test_records_that_are_not_what_the_table_says(folder, good):
    def short(records):
        last = max((n for n in records if "/data/" in n), key=lambda n: int(n.split("/")[-1]))
        records[last] = b"\0\0\0"

    repacked(folder / ONE, short)
    refused(folder, folder / ONE, "llma.", "by the table of contents", "truncated or damaged")
    put(folder / ONE, (good / ONE).read_bytes())
    repacked(folder / ONE, lambda records: None, zipfile.ZIP_DEFLATED)
    refused(folder, folder / ONE, "compressed archive")
    put(folder / ONE, (good / ONE).read_bytes())
    other = "big" if sys.byteorder == "little" else "little"

    def swap(records):
        records[next(n for n in records if n.endswith("byteorder"))] = other.encode()

    repacked(folder / ONE, swap)
    refused(folder, folder / ONE, f"byte order {other!r}")
    state = torch.load(good / ONE, weights_only=True)
    (folder / ONE).unlink()
    torch.save(state, folder / ONE, _use_new_zipfile_serialization=False)
    refused(folder, folder / ONE, "PyTorch before 1.6")


@pytest.mark.parametrize(
    "change, words",
    [
        (lambda m: m.update({NORM: m[NORM].float().to_sparse()}), "sparse_coo tensor"),
        (lambda m: m.update({k: v.to("meta") for k, v in m.items()}), "without numbers"),
        (lambda m: m.update({NORM: m[NORM].to(torch.int8)}), "type int8, expected one of"),
        (lambda m: m.update({NORM: m[NORM].bool()}), "type bool"),
        (lambda m: m.update({NORM: m[NORM].to(torch.complex64)}), "type complex64"),
        (lambda m: m.update({NORM: m[NORM].to(torch.float8_e4m3fn)}), "type float8_e4m3fn"),
        (lambda m: m.update({NORM: m[NORM] * math.nan}), "not finite"),
        (lambda m: m[NORM].__setitem__(5, math.inf), "not finite"),
        (lambda m: m["llma.output.weight"][100].__setitem__(5, -math.inf), "not finite"),
        (lambda m: m.update({NORM: m[NORM][:0]}), "has shape [0]; expected [64]"),
        (lambda m: m.update({NORM: m[NORM][None]}), "has shape [1, 64]; expected [64]"),
        (lambda m: m.update({NORM: m[NORM][:1].expand(10**12)}), "has shape [1000000000000]"),
        (lambda m: m.update({"llma.x" + "y" * 5000: m[NORM]}), "unknown key llma.xyyy"),
        (
            lambda m: [m.update({k.replace("llma.", "model."): m.pop(k)}) for k in list(m)],
            "without the prefix 'llma.'",
        ),
        (lambda m: m.clear(), "lacks keys"),
    ],
)
def test_tensors_that_are_no_weights(folder, change, words):
    tensors(folder, change)
    refused(folder, folder / ONE, words)


def test_numbers_beyond_a_type(folder):
    tensors(folder, lambda m: m.update({NORM: m[NORM].float() + 1e6}))
    load_checkpoint(folder)
    with pytest.raises(CheckpointError, match=r"norm\.weight has numbers beyond torch.float16"):
        load_checkpoint(folder, dtype=torch.float16)


@pytest.mark.parametrize("how", [{"quantise": "int8"}, {"dtype": torch.bfloat16}])
def test_every_way_to_load_looks_at_the_numbers(folder, how):
    tensors(folder, lambda m: m["llma.layers.1.attention.wq.weight"].mul_(math.nan))
    with pytest.raises(CheckpointError, match=r"layers\.1\.attention\.wq\.weight holds numbers"):
        load_checkpoint(folder, **how)


def test_one_shard_that_was_copied_over_the_other(good, tmp_path):
    two = convert(good, tmp_path / "two", shards=2)
    first, second = sorted(two.glob("*.pth"))
    load_checkpoint(two)
    shutil.copy(first, second)
    refused(two, second.name, f"same part as {first.name}", "download it again")
    second.unlink()
    second.symlink_to(first.name)
    refused(two, f"same part as {first.name}")
    second.rename(two / "consolidated.02-of-02.model.pth")
    refused(two, "missing: consolidated.01-of-02.model.pth")


def test_a_shard_that_lacks_a_part_or_holds_another_form_of_it(good, tmp_path):
    """Before they are compared with each other."""
    key = "llma.layers.0.attention.wq.weight"
    changes = {
        "expected 172 parameters, found 171": lambda model: model.pop(key),
        "type float8_e5m2": lambda model: model.update({key: model[key].to(torch.float8_e5m2)}),
        "has shape": lambda model: model.update({key: torch.tensor(1.0)}),
    }
    for number, (words, change) in enumerate(changes.items()):
        two = convert(good, tmp_path / str(number), shards=2)
        second = two / "consolidated.01-of-02.model.pth"
        content = torch.load(second, weights_only=True)
        change(content["model"])
        torch.save(content, second)
        refused(two, second.name, key, words)


def test_a_set_whose_index_says_something_else(good, tmp_path):
    flat = convert(good, tmp_path / "flat", largest=200_000)
    index = flat / "model.safetensors.index.json"
    said = json.loads(index.read_text())
    places = said["weight_map"]
    names = sorted(set(places.values()))

    def written(changed, *words):
        index.write_text(json.dumps(changed))
        refused(flat, index.name, *words)

    written({"weight_map": places | {NORM: "a" * 300}}, "a" * 100)
    for value in ("", "..", "../x", "a/b", "a\0b", 3, None):
        index.write_text(json.dumps({"weight_map": places | {NORM: value}}))
        refused(flat)
    for value in (None, {}, [], "x"):
        written({"weight_map": value}, "'weight_map' is")
    elsewhere = next(n for n in names if n != places[NORM])
    written({"weight_map": places | {NORM: elsewhere}}, f"index names {elsewhere}")
    written({"weight_map": {k: v for k, v in places.items() if k != NORM}}, NORM)
    written({"weight_map": places | {"llma.ghost": names[0]}}, "llma.ghost")
    index.write_text(json.dumps(said))
    shutil.copy(flat / names[0], flat / "again.safetensors")
    index.write_text(json.dumps({"weight_map": places | {"llma.ghost": "again.safetensors"}}))
    refused(flat, "is also in again.safetensors", "under two names")


def test_a_tokenizer_of_another_model(folder, tmp_path):
    from sphinx_ros.world.demo_tokenizer import train_tokenizer

    train_tokenizer(tmp_path / "other.model")
    (folder / "tokenizer.model").unlink()
    shutil.copy(tmp_path / "other.model", folder / "tokenizer.model")
    refused(folder, folder / "tokenizer.model", "pieces, expected 512")
    put(folder / "tokenizer.model", b"no model at all")
    refused(folder, folder / "tokenizer.model", "sentencepiece")


def test_a_defect_costs_nothing_before_it_is_named(folder, monkeypatch):
    """No network is built from a wrong number, and no torch is loaded for a wrong name."""
    put(folder / "config.json", SIZES | {"n_layers": 200})

    def built(*_):
        raise AssertionError("a network was built")

    monkeypatch.setattr("sphinx_ros.checkpoint.stored.empty_model", built)
    refused(folder, "'n_layers' is 200")
