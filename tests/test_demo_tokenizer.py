"""The demonstration's tokenizer: every task text goes through whole, cheaply and unbroken."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic import random_observation

import sphinx_ros
from sphinx_ros.prompt.conversation import END_SIGNAL, conversation
from sphinx_ros.prompt.tokenizer import Tokenizer
from sphinx_ros.prompt.wording import question
from sphinx_ros.tasks import Task
from sphinx_ros.world.demo_tokenizer import symbols, train_tokenizer
from sphinx_ros.world.exercises import turns

ASSETS = Path(sphinx_ros.__file__).parent / "assets" / "demo"


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    target = tmp_path_factory.mktemp("vocabulary") / "tokenizer.model"
    assert train_tokenizer(target) == Tokenizer(target).n_words
    return target


@pytest.fixture(scope="module")
def tokenizer(path):
    return Tokenizer(path)


def test_like_llama(tokenizer):
    assert (tokenizer.bos_id, tokenizer.eos_id) == (1, 2)
    assert not tokenizer.need_space_before_segment
    assert tokenizer.n_words <= 600
    assert len(set(symbols())) == len(symbols())


def test_always_the_same(path, tmp_path):
    train_tokenizer(tmp_path / "again.model")
    first, again = Tokenizer(path), Tokenizer(tmp_path / "again.model")
    assert first.n_words == again.n_words
    assert all(first.piece(i) == again.piece(i) for i in range(first.n_words))


def test_the_bundled_model_has_these_very_pieces(path):
    """Byte for byte: its weights are worth nothing with other ids."""
    assert path.read_bytes() == (ASSETS / "tokenizer.model").read_bytes()


def test_task_texts(tokenizer):
    """Prompt and answer can be tokenised apart, as training and inference do, and come back."""
    rng, number = np.random.default_rng(0), 0
    stop = tokenizer.encode_wo_prefix_space(END_SIGNAL)
    lengths = {}
    for seed in range(230):
        for turn in turns(random_observation(seed), rng):
            number += 1
            prompt = conversation([(turn.question, None)])
            whole = conversation([(turn.question, turn.answer)])
            ids = tokenizer.encode(prompt, bos=True)
            answer = tokenizer.encode_segment(turn.answer + END_SIGNAL)
            assert ids + answer == tokenizer.encode(whole, bos=True), turn
            assert tokenizer.decode(ids + answer) == whole
            assert answer[-len(stop) :] == stop and answer.count(stop[0]) == 1
            assert not any(tokenizer.piece(i).startswith("<0x") for i in ids + answer), turn
            lengths.setdefault(turn.task, []).append((len(ids), len(answer)))
    assert number > 2000
    assert max(length for _, length in lengths[Task.GROUND]) == 18  # 17 and the end
    assert np.mean([length for length, _ in lengths[Task.GROUND]]) < 15
    assert max(length for _, length in lengths[Task.POSE]) <= 105


@given(st.text(max_size=60))
def test_any_text_comes_back(tokenizer, text):
    # sentencepiece's own sign for a space can't be told from a space; NUL ends its text.
    text = text.replace("\u2581", "_").replace("\0", "0")
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_a_fixed_question_is_one_piece(tokenizer):
    base = len(tokenizer.encode(conversation([("", None)])))  # holds a lone space for the question
    for task in (Task.CAPTION, Task.READ_TEXT, Task.POSE):
        assert len(tokenizer.encode(conversation([(question(task), None)]))) == base
