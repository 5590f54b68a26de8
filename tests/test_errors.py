"""Named outcomes, the exit code of each, and how an error quotes a value."""

import time

import numpy as np
import pytest

from sphinx_ros.commands.cli import explained, main
from sphinx_ros.commands.report import Tally
from sphinx_ros.errors import (
    BAD_INPUT,
    DEFECT,
    EXIT_CODES,
    NO_ANSWER,
    BadRequest,
    CheckpointError,
    SphinxError,
    Status,
    quoted,
    shortened,
)


def test_every_status_has_an_exit_code():
    assert list(EXIT_CODES) == list(Status)
    answered = {status for status in Status if status.exit_code in (0, 1)}
    assert answered == {status for status in Status if status.answered}
    assert [status for status in Status if status.exit_code == DEFECT] == [Status.INTERNAL]


@pytest.mark.parametrize("status", list(Status))
def test_an_error_and_a_picture_with_the_same_outcome_end_alike(status, capsys):
    tally = Tally()
    tally.add(status)
    assert tally.exit_code() == status.exit_code
    if not status.answered:
        assert explained(SphinxError("why", status=status), ["ask"]) == status.exit_code
        assert capsys.readouterr().err == "sphinx-ros: why\n"


@pytest.mark.parametrize(
    ("outcomes", "code"),
    [
        ("OK NOT_FOUND", 0),
        ("NOT_FOUND", 1),
        ("OK TIMEOUT", NO_ANSWER),
        ("TIMEOUT BAD_IMAGE OK", BAD_INPUT),
        ("BAD_REQUEST INTERNAL TIMEOUT", DEFECT),
    ],
)
def test_the_worst_outcome_of_several_pictures_counts(outcomes, code):
    tally = Tally()
    for name in outcomes.split():
        tally.add(Status[name])
    assert tally.exit_code() == code


def test_the_help_names_every_exit_code(capsys):
    main(["--help"])
    said = capsys.readouterr().out.split("Exit codes:")[1]
    assert all(f"{code} " in said for code in set(EXIT_CODES.values()))


def test_a_checkpoint_that_can_not_be_used_is_no_defect():
    assert CheckpointError("x").status is Status.BAD_REQUEST


@pytest.mark.parametrize(
    "device", ["gpu", "cuda:99", "meta", "", "cpu:x", [], {}, 3.5, "x" * 1000], ids=str
)
def test_devices_that_are_not_there(device):
    from sphinx_ros.runtime.device import choose_device

    with pytest.raises(BadRequest, match="device .* use") as caught:
        choose_device(device)
    assert len(str(caught.value)) < 300


def test_number_types():
    import torch

    from sphinx_ros.model.quantities import DTYPES
    from sphinx_ros.runtime.device import choose_dtype

    cpu = torch.device("cpu")
    for name, size in DTYPES.items():
        kind = choose_dtype(name, cpu)
        assert str(kind) == f"torch.{name}" and kind.itemsize == size
    assert choose_dtype("auto", cpu) is choose_dtype(None, cpu) is torch.float32
    assert choose_dtype(torch.float64, cpu) is torch.float64
    for bad in ("int3", "Tensor", "", [], 32, torch.int8, "float" * 100):
        with pytest.raises(BadRequest, match="use one of float32, bfloat16, float16") as caught:
            choose_dtype(bad, cpu)
        assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ("mug", "'mug'"),
        ("a\nb\x1b\ud800", r"'a\nb\x1b\ud800'"),
        ("x" * 200, "'" + "x" * 76 + "..."),
        (None, "None"),
    ],
)
def test_a_value_in_a_message(value, said):
    assert quoted(value) == said


def test_what_is_quoted_is_one_short_line():
    assert quoted(10**5000) == "a number of thousands of digits"
    said = quoted(np.ones((100, 100)))
    assert len(said) == 80 and "\n" not in said
    assert shortened("abcdef", 6) == "abcdef" and shortened("abcdefg", 6) == "abc..."


def test_quoting_a_large_value_costs_as_little_as_a_small_one():
    for value in ([1.5] * 5_000_000, "1" * 50_000_000, b"1" * 50_000_000):
        took = []
        for _ in range(3):  # other things may be done at the same time
            start = time.process_time()
            said = quoted(value)
            took.append(time.process_time() - start)
        assert len(said) == 80 and said.endswith("...")
        assert min(took) < 0.05
