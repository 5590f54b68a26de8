"""`sphinx-ros mcp`, asked by the official package's own client."""

import base64
import os
import re
import subprocess
import sys
import time

import anyio
import cv2
import numpy as np
import pytest
from anyio.from_thread import start_blocking_portal
from patience import PATIENCE
from small_network import ANSWERS, picture, taught_checkpoint

from sphinx_ros.commands.mcp import answer, server_of
from sphinx_ros.errors import Cancelled
from sphinx_ros.prompt.queries import Query
from sphinx_ros.prompt.wording import question
from sphinx_ros.tasks import Task

pytest.importorskip("mcp")

from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters

WORDS = [sys.executable, "-m", "sphinx_ros", "mcp", "--device", "cpu"]


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    """A folder with a picture, beside one that is none of the agent's business."""
    above = tmp_path_factory.mktemp("pictures")
    root = above / "root"
    (root / "inner").mkdir(parents=True)
    for path in (root / "inner" / "scene.png", above / "secret.png"):
        cv2.imwrite(str(path), picture(64, 48)[..., ::-1])
    (root / "link.png").symlink_to(above / "secret.png")
    (root / "text.txt").write_text("no picture")
    return root


@pytest.fixture(scope="module")
def agent(pictures):
    """A call of a tool, of one server on standard input and output."""
    checkpoint = ["--checkpoint", str(taught_checkpoint()), "--root", str(pictures)]
    command = StdioServerParameters(
        command=WORDS[0],
        args=[*WORDS[1:], *checkpoint],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(Client(command)) as client,
    ):
        yield lambda name, **given: portal.call(client.call_tool, name, given), portal, client


def test_the_tools_are_the_tasks(agent):
    _, portal, client = agent
    tools = {tool.name: tool for tool in portal.call(client.list_tools).tools}
    assert list(tools) == [task.value for task in Task]
    for task in Task:
        tool, row = tools[task.value], task.row
        assert tool.description.startswith(row.about) and row.example in tool.description
        own = {"text"} if row.takes.words else set()
        own |= {"box"} if row.takes.region else set()
        common = {"image", "node", "camera", "draw"}
        assert set(tool.input_schema["properties"]) == own | common
    assert tools["ground"].input_schema["required"] == ["text"]
    assert tools["describe"].input_schema["required"] == ["box"]


def test_a_picture_by_its_path(agent, pictures):
    ask = agent[0]
    for path in ("inner/scene.png", str(pictures / "inner" / "scene.png")):
        said = ask("ground", text="the red mug", image=path)
        assert not said.is_error
        (box,) = said.structured_content["results"]
        assert box["box"] == pytest.approx([16, 17.6, 32, 30.4], abs=0.5)
        assert said.content[0].text.startswith(f"{path}: OK the red mug box 16.")
    said = ask("detect", image="inner/scene.png", text="mug")
    assert [one["label"] for one in said.structured_content["results"]] == ["mug", "mug"]


def test_words_a_region_and_people(agent):
    ask = agent[0]
    caption = ask("caption", image="inner/scene.png").structured_content
    assert caption["answer"] == ANSWERS[question(Task.CAPTION)]
    region = ask("describe", image="inner/scene.png", box=[16, 17.6, 32, 30.4])
    assert region.structured_content["answer"] == "a small red mug"
    (person,) = ask("pose", image="inner/scene.png").structured_content["results"]
    assert len(person["keypoints"]) == 17
    asked = ask("ask", image="inner/scene.png", text="how many mugs are there?")
    assert "OK 2 score" in asked.content[0].text


def test_what_is_not_there_is_an_answer(agent):
    said = agent[0]("detect", image="inner/scene.png", text="can")
    assert said.structured_content["status"] == "NOT_FOUND" and not said.is_error


def test_the_picture_with_the_answer_drawn_in(agent):
    given = {"text": "the red mug", "image": "inner/scene.png", "draw": True}
    words, drawn = agent[0]("ground", **given).content
    assert words.type == "text" and (drawn.type, drawn.mime_type) == ("image", "image/jpeg")
    rgb = cv2.imdecode(np.frombuffer(base64.b64decode(drawn.data), np.uint8), cv2.IMREAD_COLOR)
    assert rgb is not None and min(rgb.shape[:2]) >= 48


@pytest.mark.parametrize(
    ("name", "given", "words"),
    [
        ("ground", {"text": "a", "image": "../secret.png"}, "does not lie below"),
        ("ground", {"text": "a", "image": "link.png"}, "does not lie below"),
        ("ground", {"text": "a", "image": "/etc/passwd"}, "does not lie below"),
        ("ground", {"text": "a", "image": "inner"}, "there is no picture 'inner' in"),
        ("ground", {"text": "a", "image": "a\0b"}, "there is no picture"),
        ("ground", {"text": "a"}, "there is no picture None"),
        ("ground", {"text": "a", "image": "a" * 5000}, "File name too long"),
        ("ground", {"text": "a", "image": "7", "node": "/sphinx"}, "give one of them"),
        ("ground", {"text": "a", "image": "text.txt"}, "no readable picture"),
        ("ground", {"text": "a", "image": "7"}, "webcam 7 can't be opened"),
        ("ground", {"text": "a", "image": "7" * 200}, "can't be opened"),
        ("ground", {"image": "inner/scene.png"}, "the text is empty"),
        ("describe", {"image": "inner/scene.png"}, "a box is needed"),
        ("describe", {"image": "inner/scene.png", "box": [1, 2]}, "not four finite numbers"),
        ("describe", {"image": "inner/scene.png", "box": [900, 0, 990, 9]}, "lies outside"),
        ("caption", {"image": "inner/scene.png", "text": "a"}, "caption does not take text"),
        ("fly", {}, "there is no tool 'fly': use ask, ground"),
    ],
)
def test_what_cannot_be_done_is_told_to_the_agent(agent, name, given, words):
    said = agent[0](name, **given)
    assert said.is_error and words in said.content[0].text
    assert said.structured_content["status"] in ("BAD_REQUEST", "BAD_IMAGE")


def test_over_http_on_this_machine(pictures):
    words = [*WORDS, "--http", "--port", "0", "--root", str(pictures)]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    try:
        address = re.search(r"http://127\.0\.0\.1:\d+/mcp", process.stderr.readline())[0]

        async def asked():
            async with Client(address) as client:
                tools = await client.list_tools()
                return len(tools.tools), await client.call_tool("caption", {"image": "none.png"})

        number, said = anyio.run(asked)
        assert number == len(Task) and said.is_error
        process.terminate()
        assert process.wait(PATIENCE) == 0
    finally:
        process.kill()
        process.stderr.close()


def test_an_agent_that_stops_waiting_ends_the_work(random_one, pictures, monkeypatch):
    passes = []

    def step(*more, real=random_one.model.step):
        passes.append(time.sleep(0.1))
        return real(*more)

    monkeypatch.setattr(random_one.model, "step", step)
    server = server_of(str(pictures), lambda: random_one)

    async def asked():
        async with Client(server) as client:
            given = {"image": "inner/scene.png", "text": "what is 0?"}
            async with anyio.create_task_group() as group:
                group.start_soon(client.call_tool, "ask", given)
                with anyio.fail_after(PATIENCE):
                    while len(passes) < 3:
                        await anyio.sleep(0.01)
                group.cancel_scope.cancel()
            before = None
            while len(passes) != before:  # until nothing goes on any more
                before = len(passes)
                await anyio.sleep(0.5)
            assert before < Task.ASK.row.max_new_tokens - 10, "the whole answer takes as many"

    anyio.run(asked)


def test_a_node_is_asked_whether_the_agent_still_waits(monkeypatch):
    asked = []

    def ask_node(query, node, camera, cancel):
        asked.append((query, node, camera, cancel()))
        raise Cancelled("nobody waits")

    monkeypatch.setattr("sphinx_ros.commands.mcp.ask_node", ask_node)
    said = answer("caption", {"node": "/sphinx"}, ".", None, lambda: True)
    assert said["structuredContent"]["status"] == "CANCELLED"
    assert asked == [(Query(Task.CAPTION), "/sphinx", "", True)]


def test_a_defect_is_told_to_the_agent_too(pictures, caplog):
    def broken():
        raise ZeroDivisionError("a defect\nin two lines")

    given = {"image": "inner/scene.png", "draw": True}
    said = answer("caption", given, str(pictures), broken, lambda: False)
    assert said["isError"] and said["structuredContent"]["status"] == "INTERNAL"
    assert "ZeroDivisionError: a defect; see the server's log" in said["content"][0]["text"]
    assert "in two lines" in caplog.text


@pytest.mark.parametrize(
    "words",
    [
        ["--root", "/nowhere/at/all"],
        ["--checkpoint", "no/such/model"],
        ["--http", "--port", "x"],
        ["x"],
    ],
)
def test_words_that_cannot_be_used(words):
    done = subprocess.run([*WORDS, *words], capture_output=True, text=True, timeout=PATIENCE)
    assert done.returncode == 2 and done.stderr.startswith("sphinx-ros: ")
    assert done.stdout == ""
