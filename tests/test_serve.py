"""The task doors over HTTP: pictures and questions in, answers, events and named errors out."""

import asyncio
import base64
import json

import numpy as np
import pytest
from patience import PATIENCE
from serve_support import client, figures, jpeg, lent, name_of, served
from small_network import picture

from sphinx_ros.errors import Status
from sphinx_ros.remote.wire import answer_from_json
from sphinx_ros.serve.app import Settings
from sphinx_ros.serve.cameras import CameraPicture
from sphinx_ros.serve.desk import Desk
from sphinx_ros.serve.lending import Lender
from sphinx_ros.serve.schema import AnsweredAll, Info, LookedAt, Question, Questions
from sphinx_ros.serve.told import Stream
from sphinx_ros.serve.work import Health
from sphinx_ros.tasks import Task
from sphinx_ros.types import Answer

JPEG = {"Content-Type": "image/jpeg"}
MUG = {"text": "the red mug"}


@pytest.fixture(scope="module")
def asked(taught):
    """A client of a server that has the small network."""
    with served(lent(taught)) as address, client(address) as made:
        yield made


def data_url(data):
    return "data:image/jpeg;base64," + base64.b64encode(data).decode()


def events(answer):
    """The events of a stream."""
    assert answer.headers["content-type"].startswith("text/event-stream")
    lines = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line]
    assert lines.pop() == "[DONE]"
    return [json.loads(line) for line in lines]


def refused(answer, http, code, *words):
    """Assert that a request was refused, with words that its sentence must have."""
    assert answer.status_code == http, answer.text
    error = answer.json()["error"]
    assert error["code"] == code and set(error) <= {
        *("message", "type", "code", "param", "partial_text")
    }
    for word in words:
        assert word in error["message"], error["message"]
    return error


# Pictures


def test_a_picture_as_the_body(asked):
    data = jpeg(picture(64, 48, 1))
    said = asked.post("/v1/ground?text=the+red+mug", content=data, headers=JPEG).json()
    assert (said["picture"], said["width"], said["height"]) == (name_of(data), 64, 48)
    assert not said["cached"] and said["look_ms"] > 0 and said["model"] == "small"
    (answer,) = said["answers"]
    assert answer["status"] == "OK" and answer["task"] == "ground"
    assert len(answer["detections"][0]["box"]) == 4
    AnsweredAll.model_validate(said)


def test_a_picture_in_a_form_in_json_and_by_its_name(asked):
    data = jpeg(picture(64, 48, 2))
    first = asked.post("/v1/ground", files={"image": data}, data=MUG).json()
    for answer in (
        asked.post("/v1/ground", json={"image": data_url(data), **MUG}),
        asked.post("/v1/ground", data={"image": data_url(data), **MUG}),
        asked.post("/v1/ground", json={"picture": name_of(data), **MUG}),
        asked.post("/v1/ground", params={"picture": name_of(data), **MUG}),
        asked.post("/v1/ground", params={"picture": name_of(data)}, json=MUG),
    ):
        said = answer.json()
        assert said["cached"] and said["look_ms"] == 0 and said["picture"] == first["picture"]
        boxes = [one["box"] for one in said["answers"][0]["detections"]]
        assert boxes == [one["box"] for one in first["answers"][0]["detections"]]


def test_a_picture_is_looked_at_once_and_asked_by_name(asked):
    data = jpeg(picture(64, 48, 5))
    before = figures(asked)
    said = asked.post("/v1/pictures", content=data, headers=JPEG).json()
    LookedAt.model_validate(said)
    assert set(said) == set(LookedAt.model_fields) and said["picture"] == name_of(data)
    asked.post("/v1/caption", params={"picture": said["picture"]})
    after = figures(asked)
    assert after["sphinx_looks_total"] - before["sphinx_looks_total"] == 1
    assert after["sphinx_hits_total"] - before["sphinx_hits_total"] == 1


def test_boxes_are_in_pixels_of_the_picture_turned_upright(asked):
    """A file that asks to be turned by a quarter: EXIF orientation 6."""
    data = jpeg(picture(64, 48, 6))
    exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0\x06\0\0\0\0\0\0"
    turned = data[:2] + b"\xff\xe1" + (len(exif) + 2).to_bytes(2, "big") + exif + data[2:]
    said = asked.post("/v1/pictures", content=turned, headers=JPEG).json()
    assert (said["width"], said["height"]) == (48, 64)


@pytest.mark.parametrize(
    ("data", "words"),
    [(b"no picture", ["known format"]), (jpeg(picture(64, 48))[:200], ["can't be used"])],
)
def test_a_picture_that_is_none(asked, data, words):
    refused(asked.post("/v1/caption", content=data, headers=JPEG), 400, "BAD_IMAGE", *words)
    known = {"picture": name_of(data)}
    refused(asked.post("/v1/caption", params=known), 404, "NO_IMAGE", name_of(data))


def test_pictures_that_are_not_there(asked):
    refused(asked.post("/v1/caption", headers=JPEG), 400, "BAD_IMAGE", "empty")
    refused(asked.post("/v1/caption"), 400, "BAD_REQUEST", "no picture", "image/jpeg")
    refused(asked.post("/v1/caption", json={}), 400, "BAD_REQUEST", "no picture")
    name = {"picture": "0" * 32}
    refused(asked.post("/v1/caption", params=name), 404, "NO_IMAGE", "send the picture")
    refused(asked.post("/v1/caption", params={"picture": "mug"}), 400, "BAD_REQUEST", "'mug'")
    form = {"files": {"photo": b"x"}}
    refused(asked.post("/v1/caption", **form), 400, "BAD_REQUEST", "must be image")
    refused(asked.post("/v1/caption", files={"image": b""}), 400, "BAD_IMAGE", "empty")


def test_what_is_sent_in_a_wrong_way(asked):
    data = jpeg(picture(64, 48))
    text = {"content": data, "headers": {"Content-Type": "text/plain"}}
    refused(asked.post("/v1/caption", **text), 415, "BAD_IMAGE", "image/jpeg")
    remote = {"image": "http://example.org/photo.jpg"}
    refused(asked.post("/v1/caption", json=remote), 400, "BAD_REQUEST", "not fetched")
    path = {"image": "/etc/passwd"}
    refused(asked.post("/v1/caption", json=path), 400, "BAD_REQUEST", "no data: URL")
    broken = {"image": "data:image/jpeg;base64,###"}
    refused(asked.post("/v1/caption", json=broken), 400, "BAD_IMAGE", "base64")
    plain = {"image": "data:image/jpeg,abc"}
    refused(asked.post("/v1/caption", json=plain), 400, "BAD_REQUEST", "base64")
    other = {"image": data_url(data), "picture": "0" * 32}
    refused(asked.post("/v1/caption", json=other), 400, "BAD_REQUEST", name_of(data))


# Questions


@pytest.mark.parametrize("task", Task)
def test_every_task_has_a_door(asked, task):
    fields = {"box": "16,19,32,29"} if task is Task.DESCRIBE else {}
    if task.row.takes.words:
        fields = {"text": "can" if task is Task.DETECT else task.row.example}
    files = {"image": jpeg(picture(64, 48, 7))}
    answer = asked.post(f"/v1/{task.value}", files=files, data={**fields, "max_new_tokens": 40})
    assert answer.status_code == 200, answer.text
    (said,) = answer.json()["answers"]
    result = answer_from_json(said)
    assert said["task"] == task.value and result.status.name == said["status"]
    assert isinstance(result, Answer) == (task.row.answers.value == "words")


def test_several_questions_as_one_batch(asked):
    files = {"image": jpeg(picture(64, 48, 4))}
    fields = {"query": ["ground: the red mug", "detect: can", "describe: 900,900,950,950"]}
    said = asked.post("/v1/answer", files=files, data=fields).json()
    statuses = [one["status"] for one in said["answers"]]
    assert statuses == ["OK", "NOT_FOUND", "BAD_REQUEST"]
    assert "outside the picture" in said["answers"][2]["message"]
    in_json = {"picture": said["picture"], "queries": fields["query"][:2]}
    again = asked.post("/v1/answer", json=in_json).json()
    boxes = [[one["box"] for one in answer["detections"]] for answer in again["answers"]]
    assert boxes[0] == [one["box"] for one in said["answers"][0]["detections"]]


def test_what_ends_a_single_question_is_an_error(asked):
    files = {"image": jpeg(picture(64, 48, 4))}
    far = asked.post("/v1/describe", files=files, data={"box": "900,900,950,950"})
    refused(far, 400, "BAD_REQUEST", "outside the picture of 64x48")
    absent = asked.post("/v1/ground", files=files, data={"text": "the blue ball"})
    assert absent.status_code == 200 and absent.json()["answers"][0]["status"] == "NOT_FOUND"


@pytest.mark.parametrize(
    ("path", "fields", "words"),
    [
        ("ground", {}, ["empty"]),
        ("ground", {"text": "  "}, ["empty"]),
        ("ground", {"text": "x\0y"}, ["NUL"]),
        ("ground", {"text": "\ud800"}, ["Unicode"]),
        ("ground", {"text": 7}, ["text is 7", "string"]),
        ("ground", {"tetx": "mug"}, ["'tetx'", "text"]),
        ("ground", {"\ud800": "mug"}, ["the body is"]),
        ("pose", {"text": "mug"}, ["pose takes no text"]),
        ("caption", {"box": [0, 0, 9, 9]}, ["caption takes no box"]),
        ("describe", {}, ["box is needed"]),
        ("describe", {"box": "1,2,3"}, ["box is '1,2,3'", "x0,y0,x1,y1"]),
        ("describe", {"box": [9, 9, 1, 1]}, ["empty", "x0 < x1"]),
        ("describe", {"box": [0, 0, 1e999, 1]}, ["four finite numbers"]),
        ("ask", {"text": "word " * 3000}, ["shorten the text"]),
        ("caption", {"max_new_tokens": -1}, ["max_new_tokens is -1", "0"]),
        ("caption", {"max_new_tokens": 10**9}, ["4096"]),
        ("caption", {"timeout": 0}, ["timeout is 0"]),
        ("caption", {"timeout": float("nan")}, ["timeout is nan"]),
        ("caption", {"threshold": 2}, ["threshold is 2"]),
        ("caption", {"verify": "perhaps"}, ["verify is 'perhaps'"]),
        ("caption", {"coordinates": "best"}, ["coordinates is 'best'", "greedy"]),
        ("answer", {}, ["needs the field queries"]),
        ("answer", {"queries": []}, ["queries"]),
        ("answer", {"queries": ["gruond: mug"]}, ["did you mean"]),
        ("answer", {"queries": ["caption"] * 33}, ["32"]),
        ("answer", {"queries": "caption"}, ["queries is 'caption'", "list"]),
    ],
)
def test_fields_that_cannot_be_used(asked, path, fields, words):
    asked.post("/v1/pictures", content=jpeg(picture(64, 48, 8)), headers=JPEG)
    known = {"picture": name_of(jpeg(picture(64, 48, 8)))}
    body = json.dumps({**known, **fields})
    answer = asked.post(f"/v1/{path}", content=body, headers={"Content-Type": "application/json"})
    refused(answer, 400, "BAD_REQUEST", *words)


def test_the_same_in_an_address(asked):
    known = {"picture": "0" * 32}
    for name, value in (("timeout", "soon"), ("stream", "maybe"), ("box", "a,b,c,d")):
        answer = asked.post("/v1/ask", params={**known, "text": "what?", name: value})
        error = refused(answer, 400, "BAD_REQUEST", f"{name} is {value!r}")
        assert error["param"] == name
    twice = asked.post("/v1/ground?text=a&text=b", content=b"x", headers=JPEG)
    refused(twice, 400, "BAD_REQUEST", "twice")


@pytest.mark.parametrize("body", [b"{", b"[1]", b"\xff", b"[" * 100_000, b'"text"', b""])
def test_json_that_is_none(asked, body):
    answer = asked.post("/v1/ask", content=body, headers={"Content-Type": "application/json"})
    refused(answer, 400, "BAD_REQUEST", "the body is")


def test_options_reach_the_model(asked):
    files = {"image": jpeg(picture(64, 48, 9))}
    short = asked.post("/v1/caption", files=files, data={"max_new_tokens": 3}).json()["answers"]
    assert short[0]["tokens"] == 3 and short[0]["cost"]["cut"]
    verified = asked.post("/v1/ground", files=files, data=MUG).json()["answers"][0]
    plain = asked.post("/v1/ground", files=files, data={**MUG, "verify": "false"})
    assert verified["detections"][0]["presence"] is not None and not verified["cost"]["cut"]
    assert plain.json()["answers"][0]["detections"][0]["presence"] is None


def test_a_threshold_leaves_out_what_scores_lower(asked):
    files = {"image": jpeg(picture(64, 48, 9))}
    whole = asked.post("/v1/detect", files=files, data={"text": "mug"}).json()["answers"][0]
    best = max(one["score"] for one in whole["detections"])
    over = {"text": "mug", "threshold": best + (1 - best) / 2}
    left = asked.post("/v1/detect", files=files, data=over).json()["answers"][0]
    assert left["status"] == "NOT_FOUND" and not left["detections"] and left["raw_text"]
    assert f"{best:.3g}" in left["message"]
    told = events(asked.post("/v1/detect", files=files, data={**over, "stream": "1"}))
    assert "found" not in [event["type"] for event in told]


# Streams


def test_a_stream_tells_boxes_before_the_end(asked):
    data = jpeg(picture(64, 48, 3))
    told = events(asked.post("/v1/caption?stream=true", content=data, headers=JPEG))
    kinds = [event["type"] for event in told]
    assert kinds[0] == "look" and kinds[-1] == "finished" and kinds.count("found") == 2
    text, found = "", []
    for event in told:
        text += event.get("text", "")
        if event["type"] == "found":
            found.append(event["detection"])
            assert text.count("]") == len(found), "it comes with its bracket"
    answer = told[-1]["answer"]
    assert text == answer["raw_text"].strip()
    assert [one["box"] for one in found] == [one["box"] for one in answer["detections"]]
    assert "piece" in kinds[kinds.index("found") :], "and more words behind it"


def test_a_stream_of_several_questions_says_of_which(asked):
    files = {"image": jpeg(picture(64, 48, 3))}
    fields = {"query": ["caption", "pose", "ground: "], "stream": "true"}
    refused(asked.post("/v1/answer", files=files, data=fields), 400, "BAD_REQUEST", "empty")
    fields["query"][2] = "describe: 900,900,950,950"
    told = events(asked.post("/v1/answer", files=files, data=fields))
    last = {event["number"]: event["answer"] for event in told if event["type"] == "finished"}
    assert [last[n]["status"] for n in range(3)] == ["OK", "OK", "BAD_REQUEST"]
    people = [event for event in told if "pose" in event]
    assert [event["number"] for event in people] == [1]


def test_what_cannot_be_begun_is_no_stream(asked):
    answer = asked.post("/v1/caption", params={"picture": "0" * 32, "stream": "true"})
    refused(answer, 404, "NO_IMAGE")


# The server


def test_information_and_health(asked):
    health = {"state": "ready", "message": "", "model": "small", "device": "cpu"}
    health["adapters"] = []
    assert asked.get("/healthz").json() == health
    said = asked.get("/v1/info").json()
    Info.model_validate(said)
    assert [one["name"] for one in said["tasks"]] == [task.value for task in Task]
    assert said["limits"]["body_bytes"] == Settings().max_body


def test_a_model_that_is_loading_or_failed(tmp_path):
    (tmp_path / "meta.json").write_text("{}")
    lender = Lender(str(tmp_path), device="cpu")
    with served(Desk(lender, lender.health)) as address, client(address) as asked:
        assert asked.get("/healthz").json()["state"] in ("loading", "failed")
        refused(asked.post("/v1/caption", files={"image": b"x"}), 503, "NOT_ACTIVE")
        assert lender.settled.wait(PATIENCE)
        health = asked.get("/healthz")
        assert health.status_code == 503 and health.json()["state"] == "failed"
        assert str(tmp_path) in health.json()["message"]
        answer = asked.post("/v1/caption", files={"image": b"x"})
        refused(answer, 503, "NOT_ACTIVE", health.json()["message"])
        assert "Retry-After" not in answer.headers, "asking again is of no use"


def test_what_is_not_there(asked):
    refused(asked.get("/v1/nothing"), 404, "BAD_REQUEST", "/v1/nothing", "/openapi.json")
    for viewer in ("/docs", "/redoc"):  # their scripts come from elsewhere
        refused(asked.get(viewer), 404, "BAD_REQUEST", "/openapi.json")
    refused(asked.get("/v1/ground"), 405, "BAD_REQUEST", "GET is not for")
    assert asked.get("/v1/cameras").json() == []
    refused(asked.get("/v1/cameras/front/picture"), 404, "BAD_REQUEST", "there are none")


class Broken(Desk):
    """A backend with a defect: behind the look, or before it."""

    async def do(self, work):
        if work.tokens:
            yield {"type": "look", "picture": work.picture, "cached": True}
        raise ZeroDivisionError("by zero")


def test_a_defect_is_named_and_logged(taught, caplog):
    desk = Broken(lambda: taught, lambda: Health("ready"))
    with served(desk) as address, client(address) as asked:
        refused(asked.post("/v1/caption", files={"image": b"x"}), 500, "INTERNAL", "by zero")
        answer = asked.post("/v1/caption?stream=1", files={"image": b"x"})
        look, error = events(answer)
        assert look["type"] == "look" and error["error"]["code"] == "INTERNAL"
    assert [record.levelname for record in caplog.records].count("ERROR") == 2


def test_a_defect_in_the_first_event_is_told_as_well(caplog):
    async def rest():
        return
        yield

    def write(event):
        raise ZeroDivisionError("by zero")

    async def asked():
        sent = []

        async def send(message):
            sent.append(message.get("body", b""))

        stream = Stream({"type": "look"}, rest(), write)
        await stream({"type": "http"}, asyncio.Event().wait, send)
        return b"".join(sent)

    said = asyncio.run(asked())
    assert b"ZeroDivisionError: by zero" in said and said.endswith(b"data: [DONE]\n\n")
    assert [record.levelname for record in caplog.records] == ["ERROR"]


class Cameras:
    """Two cameras, of which one has brought nothing."""

    def __init__(self):
        self.newest = CameraPicture(jpeg(picture(64, 48)), 12.5)

    def names(self):
        return ["front", "wrist"]

    def picture(self, name):
        return self.newest if name == "front" else None


def test_cameras_of_a_node(taught):
    cameras = Cameras()
    with served(lent(taught), Settings(cameras=cameras)) as address, client(address) as asked:
        assert asked.get("/v1/cameras").json() == ["front", "wrist"]
        answer = asked.get("/v1/cameras/front/picture")
        assert answer.content == cameras.newest.jpeg
        assert float(answer.headers["X-Stamp"]) == 12.5
        refused(asked.get("/v1/cameras/wrist/picture"), 404, "NO_IMAGE", "wrist")
        refused(asked.get("/v1/cameras/back/stream"), 404, "BAD_REQUEST", "front, wrist")
        with asked.stream("GET", "/v1/cameras/front/stream") as stream:
            parts, first = stream.iter_bytes(), cameras.newest.jpeg
            assert first in next(parts)
            cameras.newest = CameraPicture(jpeg(picture(64, 48, 1)), 13.0)
            second = next(parts)
            assert cameras.newest.jpeg in second and b"X-Stamp: 13.0" in second


def test_figures(asked):
    before = figures(asked)
    files = {"image": jpeg(picture(64, 48, 10))}
    asked.post("/v1/ground", files=files, data=MUG)
    asked.post("/v1/ground", files=files, data={"text": "the blue ball"})
    asked.post("/v1/ground", files=files)
    after = figures(asked)

    def more(name):
        return after[name] - before.get(name, 0)

    assert more("sphinx_looks_total") == 1 and more("sphinx_hits_total") == 1
    assert more("sphinx_questions_total") == 2
    assert more("sphinx_tokens_total") > 0 and more("sphinx_passes_total") > 0
    assert more('sphinx_answers_total{status="OK",task="ground"}') == 1
    assert more('sphinx_answers_total{status="NOT_FOUND",task="ground"}') == 1
    assert more('sphinx_refusals_total{reason="BAD_REQUEST"}') == 1
    assert more('sphinx_requests_total{http="200",path="/v1/ground"}') == 2
    assert more("sphinx_look_seconds_count") == 1
    assert more('sphinx_answer_seconds_count{task="ground"}') == 2
    assert after["sphinx_pictures"] >= 1 and after["sphinx_picture_bytes"] > 0
    assert after['sphinx_memory_bytes{kind="resident"}'] > 1e6
    assert after["sphinx_running"] == after["sphinx_waiting"] == 0


def test_the_description_names_every_door_and_every_field(asked):
    said = asked.get("/openapi.json").json()
    assert said["openapi"].startswith("3.")
    schemas = said["components"]["schemas"]
    for name, model in (("AnsweredAll", AnsweredAll), ("Question", Question)):
        assert set(schemas[name]["properties"]) == set(model.model_fields)
    doors = {*(task.value for task in Task), "answer", "pictures"}
    for door in doors:
        post = said["paths"][f"/v1/{door}"]["post"]
        content = post["requestBody"]["content"]
        assert {"image/jpeg", "multipart/form-data", "application/json"} <= set(content)
        assert {"200", "400", "404", "413", "429", "503"} <= set(post["responses"])
        names = {one["name"] for one in post["parameters"]}
        form = set(content["multipart/form-data"]["schema"]["properties"])
        assert form - names == {"image"} and "picture" in names
        if door == "answer":
            assert names - {"query"} == set(Questions.model_fields) - {"queries", "image"}
    answer = asked.post("/v1/pose", files={"image": jpeg(np.zeros((40, 60, 3), np.uint8))})
    known = set(schemas["Answered"]["properties"])
    assert {key for one in answer.json()["answers"] for key in one} == known
    assert Status[answer.json()["answers"][0]["status"]] in Status

    def refer(part):
        for key, value in part.items() if isinstance(part, dict) else enumerate(part):
            if key == "$ref":
                assert value.removeprefix("#/components/schemas/") in schemas
            elif isinstance(value, dict | list):
                refer(value)

    refer(said)
