"""The official tokenizer's semantics, against its own answers."""

import json
from pathlib import Path

import pytest

from sphinx_ros.errors import BadRequest, CheckpointError
from sphinx_ros.prompt.tokenizer import Tokenizer

DATA = Path(__file__).parent / "data"
MODEL = DATA / "tokenizer_512.model"
OFFICIAL = json.loads((DATA / "prompts.json").read_text())["tokenizer"]


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer(MODEL)


def test_facts(tokenizer):
    for name in ("n_words", "bos_id", "eos_id", "need_space_before_segment"):
        assert getattr(tokenizer, name) == OFFICIAL[name], name


@pytest.mark.parametrize("case", OFFICIAL["cases"], ids=lambda case: repr(case["text"][:20]))
def test_cases(tokenizer, case):
    text = case["text"]
    assert tokenizer.encode(text, bos=True) == case["encode_bos"]
    assert tokenizer.encode(text, bos=True, eos=True) == case["encode_bos_eos"]
    assert tokenizer.encode_segment(text) == case["encode_segment"]
    assert tokenizer.encode_wo_prefix_space(text) == case["encode_wo_prefix_space"]
    assert tokenizer.decode(case["encode_bos"]) == case["decode_of_encode_bos"]


def test_the_unknown_id_shows(tokenizer):
    assert tokenizer.decode([0]) == " \u2047 "


def test_missing_file(tmp_path):
    with pytest.raises(CheckpointError, match=r"tokenizer\.model"):
        Tokenizer(tmp_path / "tokenizer.model")


@pytest.mark.parametrize("data", [b"", b"no sentencepiece in here", MODEL.read_bytes()[:4000]])
def test_not_a_model(tmp_path, data):
    path = tmp_path / "tokenizer.model"
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match=rf"{len(data)} bytes\) can't be read"):
        Tokenizer(path)


def test_a_file_of_any_name_is_read(tmp_path, tokenizer):
    for name in ("caf\u00e9.model", "\udcff.model"):
        path = tmp_path / name
        try:
            path.write_bytes(MODEL.read_bytes())
        except (OSError, UnicodeError):
            continue  # a file system that takes UTF-8 names only
        assert Tokenizer(path).encode("mug") == tokenizer.encode("mug")


def test_half_a_character_is_refused(tokenizer):
    for encode in (tokenizer.encode, tokenizer.encode_segment, tokenizer.encode_wo_prefix_space):
        with pytest.raises(BadRequest, match="not valid Unicode"):
            encode("mug \ud83d")
