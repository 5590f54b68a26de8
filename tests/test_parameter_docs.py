"""One table of parameters, and everything that is written from it."""

import re
from pathlib import Path

import pytest
import yaml

from sphinx_ros.ros import camera_params, parameter_docs
from sphinx_ros.ros.launch_table import DEMO, SPHINX
from sphinx_ros.ros.parameter_row import Parameter, When
from sphinx_ros.ros.params import CAMERA_ROWS, TABLE, read
from sphinx_ros.ros.usage import help_text, limits

ROOT = Path(__file__).parent.parent


@pytest.mark.parametrize("path, text", parameter_docs.documents().items(), ids=lambda v: v[:24])
def test_files_are_what_the_tables_make(path, text):
    assert (ROOT / path).read_text() == text, f"{path}: run {parameter_docs.COMMAND}"


def test_the_parameter_file_holds_the_defaults():
    given = yaml.safe_load(parameter_docs.parameter_file())["/**"]["ros__parameters"]
    assert list(given) == [row.name for row in TABLE], "the same names in the same order"
    for row in TABLE:
        written = tuple(given[row.name]) if row.kind is tuple else given[row.name]
        assert written == row.default and type(written) is row.kind, row.name
    assert read(given) == read({})


def test_the_example_of_a_camera_in_the_parameter_file_is_one():
    text = parameter_docs.parameter_file()
    example = re.search(r"^    #   front:(\n    #     .*)+", text, re.M).group()
    front = yaml.safe_load(re.sub("(?m)^    # ", "", example))["front"]
    assert front and set(front) <= set(CAMERA_ROWS)
    for name, value in front.items():
        CAMERA_ROWS[name].read(value)


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_every_place_says_the_same_of_a_parameter(row):
    for where in (SPHINX, DEMO):
        assert where[row.name][1].startswith(f"{row.description} (") and limits(row)
    words = " ".join(help_text("sphinx_node").split())
    assert f"{row.name} ({limits(row)}) {row.description}" in words
    page = parameter_docs.page()
    line = next(line for line in page.splitlines() if line.startswith(f"| `{row.name}` |"))
    cells = [cell.strip() for cell in line.strip("| ").split("|")]
    assert row.changed in cells and (not row.unit or row.unit in cells)
    assert line.endswith(f"| {row.description} |") and ("yes" in cells) == row.per_camera
    assert not row.more or f"`{row.name}`: {row.more.split(chr(10))[0]}" in page


@pytest.mark.parametrize("row", TABLE, ids=lambda row: row.name)
def test_the_descriptor_says_the_same(row):
    pytest.importorskip("rclpy", reason="ROS 2 is not installed")
    pytest.importorskip("sphinx_ros.msg", reason="the ROS interfaces are not built")
    from sphinx_ros.ros.declaring import described

    about = described(row)
    assert about.description == row.description
    assert f"changed {row.changed}" in about.additional_constraints
    assert not row.unit or f"unit: {row.unit}" in about.additional_constraints
    assert all(choice in about.additional_constraints for choice in row.choices)
    ranges = [*about.integer_range, *about.floating_point_range]
    assert bool(ranges) == (row.low is not None)
    assert all(one.to_value == row.high for one in ranges)


def test_numbers_have_limits_and_the_page_has_every_table():
    for row in (*TABLE, *camera_params.TABLE, *CAMERA_ROWS.values()):
        if row.kind in (int, float):
            assert row.limits(), row.name
        assert f"| `{row.name}` |" in parameter_docs.page()
    for when in When:
        assert f"| {when.value} | " in parameter_docs.page()


def test_a_row_becomes_a_comment_with_its_limits_unit_and_time():
    pace = Parameter("pace", 2.0, "How fast.", low=0, high=9, unit="m/s", more="See:\n  pace: 3.0")
    shy = Parameter("shy", True, "Or not.", when=When.START, heading="Manners")
    text = parameter_docs.parameter_file((pace, shy))
    assert text.endswith("""
    # How fast. See:
    #   pace: 3.0
    # [0..9, m/s, any time]
    pace: 2.0

    # --- Manners ---

    # Or not.
    # [true or false, at the start]
    shy: true
""")
