"""The processes of a training run: what ends one is told, and a signal reaches all."""

import os
import signal

import pytest

from sphinx_ros.checkpoint.layout import ASSETS, TOKENIZER
from sphinx_ros.commands import train as train_command
from sphinx_ros.errors import CheckpointError
from sphinx_ros.train import loop, recipe

SCHEDULE = recipe.Schedule(minutes=1.0)


def test_what_ends_a_process_is_told_by_its_name(tmp_path):
    tokenizer = ASSETS / "demo" / TOKENIZER
    with pytest.raises(CheckpointError, match="'no/such/model' is not a name"):
        loop.train(tmp_path / "run", tmp_path, tokenizer, SCHEDULE, 1, start="no/such/model")


def test_a_wrong_name_makes_nothing(tmp_path):
    with pytest.raises(CheckpointError, match="no/such/model"):
        train_command.run(["--folder", str(tmp_path / "run"), "--start", "no/such/model"])
    assert not (tmp_path / "run").exists()


def test_a_signal_to_the_parent_alone_reaches_the_processes(tmp_path, monkeypatch):
    told = []

    class Child:
        pid = 12345

        def is_alive(self):
            return not told

        def join(self):
            assert told, "it waits for ever"

    class Context:
        processes = (Child(),)

        def join(self):
            raise KeyboardInterrupt

    monkeypatch.setattr("torch.multiprocessing.spawn", lambda *_, **__: Context())
    monkeypatch.setattr(os, "kill", lambda *given: told.append(given))
    with pytest.raises(KeyboardInterrupt):
        loop.train(tmp_path, tmp_path, tmp_path / "tokenizer.model", SCHEDULE, 1)
    assert told == [(12345, signal.SIGINT)]
