"""Parameters: one row each, and what people write for their values."""

import array
import math
from types import SimpleNamespace

import numpy as np
import pytest
from patience import PATIENCE, until

from sphinx_ros.errors import BadImage, BadRequest, Status
from sphinx_ros.image.decode import decode_image
from sphinx_ros.ros.params import TABLE, Config, check, read, unknown
from sphinx_ros.ros.state import State


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
        ("queries", None, "list of strings"),
        ("queries", 5, "list of strings"),
        ("queries", 1.5, "list of strings"),
        ("queries", True, "list of strings"),
        ("queries", array.array("q", [1, 2]), "list of strings"),
        ("devices", 0, "list of strings"),
        ("devices", {"cuda": 0}, "list of strings"),
        ("max_rate", None, "a number"),
        ("max_rate", 10**400, "0..1000"),
        ("threads", 10**400, "0..1024"),
        ("image_bits", 7, "image_bits is 7; it must be 0 or 8..16"),
        ("image_bits", 1, "0 or 8..16"),
        ("image_bits", 17, "0 or 8..16"),
        ("image_bits", -8, "0 or 8..16"),
        ("max_pending", 0, "1..64"),
        ("max_pending", 2.5, "a whole number"),
        ("active", 1, "true or false"),
        ("checkpoint", 7, "a text"),
        ("cameras", ["queries"], "the name of a parameter"),
        ("cameras", ["front", "use_sim_time"], "the name of a parameter"),
        ("cameras", ["x" * 41], "41 letters; it may have 40"),
        ("target_frame", "x" * 5000, "5000 letters; it may have 200"),
        ("target_frame", "base\x07link", "without spaces, control characters"),
        ("target_frame", "base link", "without spaces"),
        ("target_frame", "/base_link", "a leading slash"),
        ("", 5, "empty name"),
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
        ("queries", array.array("q"), ()),
        ("image_bits", 8, 8),
        ("image_bits", 16, 16),
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


def test_none_takes_back_what_was_set_for_one_camera_alone():
    assert check(change("front.max_rate", None), cameras=["front"]) == ""
    values = {"cameras": ["front"], "max_rate": 4.0, "front.max_rate": None}
    assert read(values).of("front").max_rate == 4.0


def test_the_defaults_are_good_and_are_the_configuration():
    assert check([SimpleNamespace(name=r.name, value=r.declared) for r in TABLE]) == ""
    assert read({r.name: r.declared for r in TABLE}) == Config()
    assert check(change("use_sim_time", True)) == ""
    assert all(len(r.description) > 20 for r in TABLE)
    for row in TABLE:
        numeric = row.kind in (int, float)
        assert (row.low is not None) == (row.high is not None) == numeric, row.name


def test_an_empty_list_of_a_parameter_file_has_no_type():
    assert read({"queries": None, "devices": None}) == Config()


def test_a_refusal_shows_no_more_of_a_value_than_a_line_holds():
    for name in ("max_rate", "dtype", "queries", "checkpoint"):
        refusal = check(change(name, {"x": "y" * 10_000}))
        assert name in refusal and len(refusal) < 300


@pytest.mark.parametrize("bits", range(-1, 18))
def test_bits_of_a_sample_are_taken_where_pictures_are_decoded_with_them(bits):
    grey = np.zeros((2, 2), "<u2")
    try:
        decode_image(grey, 2, 2, "mono16", bits=bits)
        decoded = True
    except BadImage:
        decoded = False
    assert (check(change("image_bits", bits)) == "") == decoded


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

    rows, parser = {row.name: row for row in TABLE}, VERBS["ground"].parser()

    def parsed(*words):
        return vars(parser.parse_intermixed_args(["picture.png", "the mug", *words]))

    usual = parsed()
    shared = set(rows) & set(usual)
    assert shared >= {
        "checkpoint", "device", "devices", "dtype", "quantise", "variant", "tokenizer",
        "max_new_tokens",
    }  # fmt: skip
    for name in shared:
        assert usual[name] in (None, rows[name].default), name
        for choice in set(rows[name].choices) - {"none", "auto"}:  # the same as no option
            assert parsed(f"--{name}", choice)[name] == choice


# Through the services of a node


class ShortModel:
    """Has room for questions of at most twenty letters."""

    def check(self, query):
        query = query.checked()
        if len(query.text) > 20:
            raise BadRequest(f"the text has {len(query.text)} letters; there is room for 20")
        return query


@pytest.fixture(scope="module")
def served(request):
    """A node with a model, and `send(service, request)`, which gives the response."""
    rclpy = pytest.importorskip("rclpy", reason="ROS 2 is not installed")
    pytest.importorskip("sphinx_ros.msg", reason="the ROS interfaces are not built")
    from rclpy.executors import SingleThreadedExecutor
    from ros_support import find

    from sphinx_ros.ros.node import SphinxNode

    context = request.getfixturevalue("context")  # where there is ROS
    node = SphinxNode(lambda config, progress: ShortModel(), context=context, namespace="/checked")
    node.begin()
    asking = rclpy.create_node("asking", context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    executor.add_node(asking)
    clients = {}

    def send(name, kind, request):
        if name not in clients:
            clients[name] = asking.create_client(kind, f"/checked/sphinx/{name}")
            find(clients[name])
        future = clients[name].call_async(request)
        executor.spin_until_future_complete(future, PATIENCE)
        assert future.done(), "the caller was left waiting"
        return future.result()

    yield SimpleNamespace(node=node, send=send)
    node.finish()
    executor.shutdown()
    asking.destroy_node()
    node.destroy_node()


def values_of_all_types():
    """A value message of each type that there is, and the empty lists besides."""
    from rcl_interfaces.msg import ParameterType as Type
    from rcl_interfaces.msg import ParameterValue as Value

    return [
        Value(type=Type.PARAMETER_NOT_SET),
        Value(type=Type.PARAMETER_BOOL, bool_value=True),
        Value(type=Type.PARAMETER_INTEGER, integer_value=5),
        Value(type=Type.PARAMETER_DOUBLE, double_value=1.5),
        Value(type=Type.PARAMETER_STRING, string_value="pose"),
        Value(type=Type.PARAMETER_BYTE_ARRAY, byte_array_value=[b"a", b"b"]),
        Value(type=Type.PARAMETER_BOOL_ARRAY, bool_array_value=[True]),
        Value(type=Type.PARAMETER_INTEGER_ARRAY, integer_array_value=[1, 2]),
        Value(type=Type.PARAMETER_DOUBLE_ARRAY, double_array_value=[1.5, math.nan]),
        Value(type=Type.PARAMETER_STRING_ARRAY, string_array_value=["pose"]),
        *(Value(type=kind) for kind in range(Type.PARAMETER_BYTE_ARRAY, 10)),
        Value(type=10),
    ]


@pytest.mark.parametrize("name", [*(row.name for row in TABLE), "use_sim_time", "no_such_name"])
def test_a_value_of_any_type_is_answered_and_the_node_stays_changeable(served, name):
    from rcl_interfaces.msg import Parameter
    from rcl_interfaces.srv import SetParameters, SetParametersAtomically

    def change_one(name, value):
        asked = Parameter(name=name, value=value)
        kind = SetParameters
        response = served.send("set_parameters", kind, kind.Request(parameters=[asked]))
        kind = SetParametersAtomically
        other = served.send("set_parameters_atomically", kind, kind.Request(parameters=[asked]))
        assert other.result.successful == response.results[0].successful
        return response.results[0]

    values = values_of_all_types()
    for value in values:
        result = change_one(name, value)
        assert result.successful or result.reason, f"{name} was refused without a reason"
        assert change_one("max_rate", values[2]).successful, f"{name} of type {value.type}"
        assert served.node.config.max_rate == 5.0
    assert not change_one(name, values[0]).successful, "what is not set can't be used"
    if name == "queries":
        lines = [
            value.string_array_value for value in values if change_one(name, value).successful
        ]
        assert lines and all(list(one) in (["pose"], []) for one in lines)


def test_a_parameter_without_a_name_is_refused(served):
    from rcl_interfaces.msg import Parameter
    from rcl_interfaces.srv import SetParameters, SetParametersAtomically

    asked = [Parameter(name="", value=value) for value in values_of_all_types()[:3]]
    results = served.send("set_parameters", SetParameters, SetParameters.Request(parameters=asked))
    assert all(not one.successful and "empty name" in one.reason for one in results.results)
    kind = SetParametersAtomically
    response = served.send("set_parameters_atomically", kind, kind.Request(parameters=asked[1:2]))
    assert not response.result.successful and not served.node.has_parameter("")


def set_queries(served, lines):
    from sphinx_ros.ros import messages as m

    return served.send("set_queries", m.SetQueries, m.SetQueries.Request(queries=lines))


def test_standing_queries_that_the_model_has_no_room_for_are_refused(served):
    from rcl_interfaces.msg import Parameter, ParameterValue
    from rcl_interfaces.srv import SetParameters

    assert until(lambda: served.node.worker.state is State.READY)
    assert set_queries(served, ["pose"]).status.code == Status.OK
    long = "ask: " + "how many mugs are there " * 100
    response = set_queries(served, ["caption", long])
    assert response.status.code == Status.BAD_REQUEST and "room for 20" in response.status.text
    assert len(response.status.text) < 300 and len(response.active) == 1
    value = ParameterValue(type=9, string_array_value=[long])
    request = SetParameters.Request(parameters=[Parameter(name="queries", value=value)])
    (result,) = served.send("set_parameters", SetParameters, request).results
    assert not result.successful and "room for 20" in result.reason
    assert [query.task.value for query in served.node.worker.inbox.queries] == ["pose"]
    assert set_queries(served, []).status.code == Status.OK
