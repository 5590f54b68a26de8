"""The task doors over HTTP: pictures and questions in, answers, events and named errors out."""

import base64
import json

import pytest
from serve_support import client, jpeg, lent, name_of, served
from small_network import picture

JPEG = {"Content-Type": "image/jpeg"}


@pytest.fixture(scope="module")
def asked(taught):
    """A client of a server that has the small network."""
    with served(lent(taught)) as address, client(address) as made:
        yield made


def events(answer):
    """The events of a stream."""
    lines = [line.removeprefix("data: ") for line in answer.text.split("\n\n") if line]
    assert lines.pop() == "[DONE]"
    return [json.loads(line) for line in lines]


def test_a_picture_as_the_body(asked):
    data = jpeg(picture(64, 48, 1))
    said = asked.post("/v1/ground?text=the+red+mug", content=data, headers=JPEG).json()
    assert (said["picture"], said["width"], said["height"]) == (name_of(data), 64, 48)
    (answer,) = said["answers"]
    assert answer["status"] == "OK" and answer["task"] == "ground"
    assert len(answer["detections"][0]["box"]) == 4 and not said["cached"]


def test_a_picture_in_a_form_in_json_and_by_its_name(asked):
    data = jpeg(picture(64, 48, 2))
    url = "data:image/jpeg;base64," + base64.b64encode(data).decode()
    text = {"text": "the red mug"}
    first = asked.post("/v1/ground", files={"image": data}, data=text).json()
    for answer in (
        asked.post("/v1/ground", json={"image": url, **text}),
        asked.post("/v1/ground", json={"picture": name_of(data), **text}),
        asked.post("/v1/ground", params={"picture": name_of(data), **text}),
    ):
        said = answer.json()
        assert said["cached"] and said["look_ms"] == 0 and said["picture"] == first["picture"]
        boxes = [one["box"] for one in said["answers"][0]["detections"]]
        assert boxes == [one["box"] for one in first["answers"][0]["detections"]]


def test_a_name_that_is_not_known(asked):
    answer = asked.post("/v1/caption", params={"picture": "0" * 32})
    assert answer.status_code == 404 and answer.json()["error"]["code"] == "NO_IMAGE"


def test_a_stream_tells_boxes_before_the_end(asked):
    data = jpeg(picture(64, 48, 3))
    told = events(asked.post("/v1/detect?text=mug&stream=true", content=data, headers=JPEG))
    kinds = [event["type"] for event in told]
    assert kinds[0] == "look" and kinds[-1] == "finished" and kinds.count("found") == 2
    text = "".join(event["text"] for event in told if event["type"] == "piece")
    assert text == told[-1]["answer"]["raw_text"].strip()


def test_several_questions_as_one_batch(asked):
    data = jpeg(picture(64, 48, 4))
    fields = {"query": ["ground: the red mug", "detect: can", "pose: 0,0,1,1", "caption"]}
    said = asked.post("/v1/answer", files={"image": data}, data=fields).json()
    assert [one["status"] for one in said["answers"]][:2] == ["OK", "NOT_FOUND"]
    assert [one["task"] for one in said["answers"]] == ["ground", "detect", "pose", "caption"]
