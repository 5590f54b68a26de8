"""The launch files in XML and YAML: the same arguments as those in Python, by the same tables."""

import xml.etree.ElementTree as ElementTree

import launch_support
import pytest
import yaml
from launch_support import LAUNCH, arguments_of, launch
from patience import PATIENCE

from sphinx_ros.ros.launch_table import DEMO, SPHINX
from sphinx_ros.ros.launch_twins import twins

TABLES = {"sphinx": SPHINX, "demo": DEMO}


def read_xml(file):
    """(declared arguments, included file, arguments handed on) by a reader of XML."""
    root = ElementTree.parse(LAUNCH / file).getroot()
    declared = {
        one.get("name"): (one.get("default"), one.get("description"))
        for one in root.findall("arg")
    }
    include = root.find("include")
    handed = {one.get("name"): one.get("value") for one in include.findall("arg")}
    return declared, include.get("file"), handed


def read_yaml(file):
    """The same by a reader of YAML."""
    entities = yaml.safe_load((LAUNCH / file).read_text(encoding="utf-8"))["launch"]
    declared = {
        one["arg"]["name"]: (one["arg"]["default"], one["arg"]["description"])
        for one in entities
        if "arg" in one
    }
    (include,) = (one["include"] for one in entities if "include" in one)
    return declared, include["file"], {one["name"]: one["value"] for one in include["arg"]}


@pytest.mark.parametrize("file", sorted(twins()))
def test_the_files_are_what_the_table_makes(file):
    remedy = "python -m sphinx_ros.ros.launch_twins writes them"
    assert (LAUNCH / file).read_text(encoding="utf-8") == twins()[file], remedy


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("kind, read", [("xml", read_xml), ("yaml", read_yaml)])
def test_every_argument_is_declared_and_handed_on(name, kind, read):
    declared, included, handed = read(f"{name}.launch.{kind}")
    assert declared == TABLES[name] and list(declared) == list(TABLES[name])
    assert included == f"$(dirname)/{name}.launch.py" and (LAUNCH / f"{name}.launch.py").exists()
    assert handed == {argument: f"$(var {argument})" for argument in TABLES[name]}


def test_no_word_of_a_table_means_something_to_launch():
    """In XML and YAML launch replaces "$(...)" and takes backslashes away."""
    for table in TABLES.values():
        for default, description in table.values():
            assert "$(" not in default + description and "\\" not in default + description


# Really launched


@pytest.fixture
def apart(monkeypatch):
    launch_support.set_apart(monkeypatch)


def shown(file):
    """What `ros2 launch --show-args` prints: name -> (default, description)."""
    from launch import LaunchContext

    context = LaunchContext()
    return {
        name: ("".join(part.perform(context) for part in one.default_value), one.description)
        for name, one in arguments_of(file).items()
    }


@pytest.mark.ros
@pytest.mark.parametrize("name", TABLES)
def test_all_three_list_the_same_arguments(apart, name):
    pytest.importorskip("launch_xml", reason=launch_support.WHY)
    pytest.importorskip("launch_yaml", reason=launch_support.WHY)
    assert shown(f"{name}.launch.py") == TABLES[name]
    assert shown(f"{name}.launch.xml") == shown(f"{name}.launch.yaml") == TABLES[name]


@pytest.mark.ros
@pytest.mark.parametrize("kind", ["xml", "yaml"])
@pytest.mark.parametrize(
    "name, given, says",
    [
        ("sphinx", "check_point:=demo", "no argument of sphinx.launch.{kind}; did you mean"),
        ("demo", "dtype:=int3", "float32"),
        ("demo", "queries:=['detect: mug', 'nonsense']", "nonsense"),
    ],
)
def test_words_given_to_a_twin_are_checked_before_any_process(
    apart, tmp_path, name, kind, given, says
):
    pytest.importorskip(f"launch_{kind}", reason=launch_support.WHY)
    log = tmp_path / "launch.log"
    assert launch(f"{name}.launch.{kind}", given, log=log).wait(PATIENCE) == 1
    said = log.read_text()
    assert says.format(kind=kind) in said and "process started" not in said
