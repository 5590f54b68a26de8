"""Parameters: one row each, and what people write for their values."""

import math
from types import SimpleNamespace

import pytest

from sphinx_ros.errors import BadRequest
from sphinx_ros.ros.params import TABLE, Config, check, read, unknown


def change(name, value):
    return [SimpleNamespace(name=name, value=value)]


@pytest.mark.parametrize(
    "name, value, says",
    [
        ("max_rate", -1.0, "max_rate is -1.0"),
        ("max_rate", True, "a number"),
        ("max_rate", "2", "a number"),
        ("max_image_age", math.nan, "0..86400"),
        ("default_timeout", 9.3e9, "0.01..86400"),
        ("dtype", "int3", "one of"),
        ("image_transport", "theora", "raw, compressed"),
        ("queries", ["nonsense"], "not a query"),
        ("queries", ["pose"] * 40, "limit"),
        ("queries", "pose", "list of strings"),
        ("queries", [1.0], "list of strings"),
        ("max_pending", 0, "1..64"),
        ("max_pending", 2.5, "a whole number"),
        ("active", 1, "true or false"),
        ("checkpoint", 7, "a text"),
    ],
)
def test_what_can_t_be_used_is_refused_with_a_reason(name, value, says):
    assert says in check(change(name, value))


@pytest.mark.parametrize(
    "name, value, read_as",
    [
        ("max_rate", 2, 2.0),
        ("max_image_age", 0, 0.0),
        ("queries", [], ()),
        ("queries", [""], ()),
        ("queries", None, ()),
        ("queries", ["pose", " "], ("pose",)),
        ("devices", [], ()),
        ("devices", ["cpu", "cpu"], ("cpu", "cpu")),
        ("dtype", "BFloat16", "bfloat16"),
        ("image_transport", "RAW", "raw"),
        ("quantise", "Int8", "int8"),
    ],
)
def test_what_people_write_is_understood(name, value, read_as):
    assert check(change(name, value)) == ""
    assert getattr(read({name: value}), name) == read_as


def test_the_defaults_are_good_and_are_the_configuration():
    assert check([SimpleNamespace(name=r.name, value=r.declared) for r in TABLE]) == ""
    assert read({r.name: r.declared for r in TABLE}) == Config()
    assert check(change("use_sim_time", True)) == ""
    assert all(len(r.description) > 20 for r in TABLE)
    for row in TABLE:
        numeric = row.kind in (int, float)
        assert (row.low is not None) == (row.high is not None) == numeric, row.name


def test_names_that_are_no_parameters():
    assert unknown(["use_sim_time", "qos_overrides./x.subscription.depth", "max_rate"]) == []
    (sentence,) = unknown(["max_rat"])
    assert "max_rat is no parameter" in sentence and "did you mean max_rate?" in sentence
    (sentence,) = unknown(["colour"])
    assert "checkpoint" in sentence
    with pytest.raises(BadRequest, match=r'queries.detect .* queries: \["detect: mug"\]'):
        unknown(["queries.detect"])


def test_options_of_the_command_line_are_parameters_of_the_same_name():
    from sphinx_ros.commands.look import VERBS

    rows = {row.name: row for row in TABLE}
    options = {action.dest: action for action in VERBS["ground"].parser()._actions}
    shared = set(rows) & set(options)
    assert shared >= {
        "checkpoint", "device", "devices", "dtype", "quantise", "variant", "tokenizer",
        "max_new_tokens",
    }  # fmt: skip
    for name in shared:
        row, option = rows[name], options[name]
        assert option.default in (None, row.default), name
        if option.choices is not None:
            assert set(option.choices) == set(row.choices) - {"none", "auto"}, name
