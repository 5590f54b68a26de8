"""A node that serves: its page, its model, its cameras, and what is said where that can't be."""

import contextlib
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("rclpy", reason="ROS 2 is not installed")
pytest.importorskip("sphinx_ros.msg", reason="the ROS interfaces are not built")
pytest.importorskip("fastapi", reason='pip install "sphinx_ros[serve]"')

import httpx
from patience import PATIENCE, until
from rclpy.parameter import Parameter
from ros_support import Nodes
from serve_support import jpeg
from small_network import picture

from sphinx_ros.image.decode import decode_compressed
from sphinx_ros.ros import messages as m
from sphinx_ros.ros.health import reports

pytestmark = pytest.mark.ros

ROOT = Path(__file__).resolve().parents[1]

JPEG = {"Content-Type": "image/jpeg"}


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def serving(nodes, model, **values):
    """An active node that serves on a port of its own."""
    node = nodes.make(lambda *_: model, web_port=free_port(), **values)
    node.begin()
    assert until(lambda: node.lifecycle_state == "active")
    return node


@pytest.fixture(scope="module")
def node(context, taught):
    made = Nodes(context)
    yield serving(made, taught, cameras=["front", "wrist"], wrist__image_transport="compressed")
    made.close()


@pytest.fixture
def asked(node):
    with httpx.Client(base_url=node.web.address, timeout=PATIENCE) as client:
        yield client


def show(node, camera, rgb, as_file=False):
    """What the node does with a camera's message; its time stamp."""
    header = m.Header(stamp=node.get_clock().now().to_msg())
    if as_file:
        message = m.CompressedImage(header=header, format="jpeg", data=jpeg(rgb))
    else:
        message = m.image_message(rgb, header)
    node.cameras[camera]._on_image(message)
    return m.seconds(header.stamp), message


def test_the_page_and_the_node_s_model(node, asked):
    assert "<html" in asked.get("/").text
    health = asked.get("/healthz")
    assert health.status_code == 200 and health.json()["model"] == node.config.checkpoint
    data = jpeg(picture(64, 48, 1))
    said = asked.post("/v1/ground?text=the+red+mug", content=data, headers=JPEG).json()
    assert said["answers"][0]["status"] == "OK" and not said["cached"]
    seen = node.worker.model.look(decode_compressed(data))
    assert seen.cached, "what clients have looked at is known to the node"


def test_the_newest_picture_of_each_camera(node, asked):
    assert asked.get("/v1/cameras").json() == ["front", "wrist"]
    node.worker.inbox.forget_frames()
    assert asked.get("/v1/cameras/front/picture").json()["error"]["code"] == "NO_IMAGE"
    rgb = np.full((48, 64, 3), (200, 90, 30), np.uint8)
    stamp, _ = show(node, "front", rgb)
    answer = asked.get("/v1/cameras/front/picture")
    assert answer.headers["content-type"] == "image/jpeg"
    assert float(answer.headers["x-stamp"]) == pytest.approx(stamp)
    shown = decode_compressed(answer.content).astype(int)
    assert shown.shape == rgb.shape and np.abs(shown - rgb).max() < 8
    _, message = show(node, "wrist", rgb, as_file=True)
    passed = asked.get("/v1/cameras/wrist/picture").content
    assert passed == bytes(message.data), "a JPEG file goes out as it came"
    assert asked.get("/v1/cameras/nobody/picture").status_code == 404


def test_a_picture_is_encoded_when_somebody_asks_and_once(node, asked):
    decoded = []
    show(node, "front", picture(64, 48, 2))
    frame = node.worker.inbox.slots["front"].newest
    decode = frame.decode
    object.__setattr__(frame, "decode", lambda: decoded.append(1) or decode())
    assert not decoded
    files = {asked.get("/v1/cameras/front/picture").content for _ in range(3)}
    assert len(files) == 1 and len(decoded) == 1


def test_a_picture_that_cannot_be_read_is_named(node, asked):
    header = m.Header(stamp=node.get_clock().now().to_msg())
    node.cameras["front"]._on_image(m.Image(header=header, encoding="rgb9", data=bytes(3)))
    answer = asked.get("/v1/cameras/front/picture")
    assert answer.status_code == 400 and answer.json()["error"]["code"] == "BAD_IMAGE"


def test_a_stream_has_each_new_picture(node, asked):
    stamps, parts = [], b""
    stamps.append(show(node, "front", picture(64, 48, 3))[0])
    with asked.stream("GET", "/v1/cameras/front/stream") as answer:
        assert answer.headers["content-type"].startswith("multipart/x-mixed-replace")
        for part in answer.iter_raw():
            parts += part
            if parts.count(b"X-Stamp") == len(stamps):
                if len(stamps) == 3:
                    break
                stamps.append(show(node, "front", picture(64, 48, 3 + len(stamps)))[0])
    told = [float(x.split(b"\r\n")[0]) for x in parts.split(b"X-Stamp: ")[1:]]
    assert told == pytest.approx(stamps)


def test_a_node_at_rest_says_so_and_answers_again(nodes, taught):
    node = serving(nodes, taught)
    ask, data = f"{node.web.address}/v1/caption", jpeg(picture(64, 48, 1))
    assert httpx.get(f"{node.web.address}/v1/cameras").json() == ["camera"]
    node.trigger_deactivate()
    refused = httpx.post(ask, content=data, headers=JPEG)
    assert refused.status_code == 503 and "activate it" in refused.json()["error"]["message"]
    assert httpx.get(f"{node.web.address}/healthz").status_code == 503
    node.trigger_activate()
    assert httpx.post(ask, content=data, headers=JPEG, timeout=PATIENCE).status_code == 200


def test_what_hangs_is_given_up_and_the_node_goes_on(nodes, taught):
    hold = threading.Event()

    class Stuck:
        device, trouble = "cpu", ""

        def look(self, rgb, after=None):
            hold.wait(PATIENCE)

        def close(self):
            pass

    models, data = [Stuck(), taught], jpeg(picture(64, 48, 1))
    node = nodes.make(lambda *_: models.pop(0), web_port=free_port(), hang_seconds=3.0)
    node.begin()
    assert until(lambda: node.lifecycle_state == "active")
    try:
        with httpx.Client(base_url=node.web.address, timeout=PATIENCE) as asked:
            answer = asked.post("/v1/caption", content=data, headers=JPEG)
            assert answer.status_code == 500 and "no step for 3 s" in answer.text
            assert until(lambda: asked.get("/healthz").status_code == 200)
            again = asked.post("/v1/caption", content=data, headers=JPEG)
            assert again.status_code == 200 and again.json()["answers"][0]["status"] == "OK"
        assert node.worker.life.restarts == 1 and not models
    finally:
        hold.set()


def test_limits_are_those_of_the_parameters_as_they_are_now(nodes, taught):
    node = serving(nodes, taught)
    ask, data = f"{node.web.address}/v1/caption", jpeg(picture(64, 48, 1))
    (done,) = node.set_parameters([Parameter("max_image_pixels", value=100)])
    assert done.successful
    refused = httpx.post(ask, content=data, headers=JPEG, timeout=PATIENCE)
    assert refused.status_code == 400 and "limit is 100" in refused.json()["error"]["message"]


def test_a_token_is_asked_for(nodes, taught):
    node = serving(nodes, taught, web_token="secret")
    address = f"{node.web.address}/v1/info"
    assert httpx.get(address).status_code == 401
    assert httpx.get(address, headers={"Authorization": "Bearer secret"}).status_code == 200


def test_it_ends_with_the_node(nodes, taught):
    node = serving(nodes, taught)
    address = node.web.address
    node.finish()
    with pytest.raises(httpx.ConnectError):
        httpx.get(f"{address}/healthz")


def test_who_watches_a_camera_at_the_end_comes_to_the_end(nodes, taught, caplog):
    node = serving(nodes, taught)
    show(node, "", picture(64, 48, 1))
    with httpx.stream("GET", f"{node.web.address}/v1/cameras/camera/stream") as answer:
        parts = answer.iter_raw()
        assert next(parts)
        node.finish()
        assert not any(b"X-Stamp" in part for part in parts)
    assert not [one for one in caplog.records if one.levelname == "ERROR"]


@contextlib.contextmanager
def taken():
    """A port that somebody has."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        one.listen()
        yield one.getsockname()[1]


def test_a_port_in_use_is_one_line_and_a_diagnostic_and_the_node_lives_on(nodes, taught, caplog):
    with taken() as port:
        node = nodes.make(lambda *_: taught, web_port=port)
        node.begin()
        assert until(lambda: node.lifecycle_state == "active")
    (line,) = [one.getMessage() for one in caplog.records if one.levelname == "ERROR"]
    assert f"127.0.0.1:{port} can't be used" in line and "choose another port" in line
    web = reports("n", node)[-1]
    assert web.name == "n: web" and web.level == m.DiagnosticStatus.ERROR
    assert web.message in line


def test_where_the_server_s_packages_are_missing_the_remedy_is_named(nodes, taught, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, "sphinx_ros.serve.server", raising=False)
    node = nodes.make(lambda *_: taught, web_port=free_port())
    node.begin()
    said = node.web.trouble
    assert said.startswith("the page can't be used (") and "uvicorn" in said
    assert said.endswith('pip install "sphinx_ros[serve]", or set web_port to 0')
    assert until(lambda: node.lifecycle_state == "active")


def test_without_a_port_nothing_is_served(nodes, taught):
    node = nodes.make(lambda *_: taught)
    node.begin()
    assert until(lambda: node.lifecycle_state == "active")
    time.sleep(0.05)
    assert not node.web.address and [one.name for one in reports("n", node)][-1] == "n: camera"


def test_without_a_port_nothing_of_a_server_is_loaded():
    """Not even asyncio: a node starts without what it does not use."""
    code = "import sys, sphinx_ros.ros.node as n; n.Web; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    names = done.stdout.split()
    assert not [one for one in names if one.startswith("sphinx_ros.serve")] and names, done.stderr
