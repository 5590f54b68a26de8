"""The OpenAI-compatible door, asked by OpenAI's own client and in the shapes that others send."""

import asyncio
import base64
import json
import threading
import time

import httpx
import openai
import pytest
from patience import PATIENCE
from process_support import until
from serve_support import client, jpeg, lent, name_of, served
from small_network import ANSWERS, picture

from sphinx_ros.prompt.conversation import SYSTEM
from sphinx_ros.prompt.wording import question
from sphinx_ros.serve.desk import Limits
from sphinx_ros.tasks import Task

CAPTION, MUGS = question(Task.CAPTION), question(Task.ASK, "how many mugs are there?")
ENDLESS = "what is 0?"  # nonsense that does not end by itself follows
DATA = jpeg(picture(64, 48))


def url(data=DATA, kind="jpeg"):
    return f"data:image/{kind};base64," + base64.b64encode(data).decode()


def seeing(text, data=DATA, first=True):
    """A user message with a picture, before or behind the text."""
    image = {"type": "image_url", "image_url": {"url": url(data), "detail": "high"}}
    parts = [image, {"type": "text", "text": text}]
    return {"role": "user", "content": parts if first else parts[::-1]}


@pytest.fixture(scope="module")
def desk(taught):
    return lent(taught)


@pytest.fixture(scope="module")
def address(desk):
    with served(desk) as made:
        yield made


@pytest.fixture(scope="module")
def theirs(address):
    """OpenAI's client."""
    with openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as made:
        yield made


@pytest.fixture(scope="module")
def leisurely(random_one):
    """A model that writes long nonsense, 20 ms or more for each pass."""
    with pytest.MonkeyPatch.context() as patch:

        def step(*more, real=random_one.model.step):
            time.sleep(0.02)
            return real(*more)

        patch.setattr(random_one.model, "step", step)
        yield random_one


@pytest.fixture(scope="module")
def slow(leisurely):
    """A server that has it: its desk, and OpenAI's client of it."""
    desk = lent(leisurely, Limits(slots=2, line=2))
    with (
        served(desk) as address,
        openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as made,
    ):
        yield desk, made


def ask(client, *messages, **more):
    return client.chat.completions.create(model="any", messages=list(messages), **more)


# OpenAI's client


def test_an_answer_with_boxes_beside_its_text(theirs):
    data = jpeg(picture(64, 48, 11))
    made = ask(theirs, seeing(CAPTION, data))
    (choice,) = made.choices
    assert choice.message.content == ANSWERS[CAPTION] and choice.finish_reason == "stop"
    extra = choice.message.sphinx
    assert (extra["picture"], extra["width"], extra["height"]) == (name_of(data), 64, 48)
    assert [box["label"] for box in extra["boxes"]] == ["can", "red mug"]
    assert extra["boxes"][1]["box"] == pytest.approx([16, 17.6, 32, 30.4], abs=0.5)
    assert not extra["cached"] and extra["status"] == "OK" and 0 < extra["score"] <= 1
    assert made.model == "small" and made.id.startswith("chatcmpl-")
    used = made.usage
    assert used.total_tokens == used.prompt_tokens + used.completion_tokens
    assert used.completion_tokens == extra["cost"]["tokens"] > 20
    assert used.prompt_tokens_details.cached_tokens == 0
    again = ask(theirs, seeing(MUGS, data))
    assert again.choices[0].message.content == "2"
    assert again.choices[0].message.sphinx["cached"]
    assert again.usage.prompt_tokens_details.cached_tokens > 20


def test_the_place_of_the_picture_does_not_matter(theirs):
    texts = {
        ask(theirs, *messages).choices[0].message.content
        for messages in (
            [seeing(MUGS)],
            [seeing(MUGS, first=False)],
            [
                {**seeing(""), "content": seeing("")["content"][:1]},
                {"role": "user", "content": MUGS},
            ],
            [{"role": "user", "content": [{"type": "image_url", "image_url": url()}, MUGS]}],
        )
    }
    assert texts == {"2"}


def test_turns_are_those_of_the_official_template(theirs, taught):
    """System text stands in front of the first question; the picture may come again each time."""
    words = "You look at tables."
    turns = [(f"{words}\n{CAPTION}", "A can."), (MUGS, "3"), ("sure?", None)]
    expected = taught.chat(turns, picture_of(DATA), max_new_tokens=12)
    made = ask(
        theirs,
        {"role": "system", "content": SYSTEM},
        {"role": "developer", "content": words},
        seeing(CAPTION),
        {"role": "assistant", "content": "A can."},
        seeing(MUGS),
        {"role": "assistant", "content": [{"type": "text", "text": "3"}]},
        {"role": "user", "content": "sure?"},
        max_tokens=12,
    )
    assert made.choices[0].message.content == expected


def picture_of(data):
    from sphinx_ros.image.formats import decode_file

    return decode_file(data)


def test_a_stream_tells_text_boxes_the_end_and_the_tokens(theirs):
    chunks = list(
        ask(theirs, seeing(CAPTION), stream=True, stream_options={"include_usage": True})
    )
    *told, last, usage = chunks
    assert told[0].choices[0].delta.role == "assistant" and not told[0].choices[0].delta.content
    assert "".join(one.choices[0].delta.content or "" for one in told) == ANSWERS[CAPTION]
    found = [n for n, one in enumerate(told) if (one.model_extra or {}).get("sphinx")]
    boxes = [told[n].sphinx["boxes"][0] for n in found]
    assert [box["label"] for box in boxes] == ["can", "red mug"]
    assert any(one.choices[0].delta.content for one in told[found[0] :]), "before the end"
    assert last.choices[0].finish_reason == "stop"
    assert [box["box"] for box in last.sphinx["boxes"]] == [box["box"] for box in boxes]
    assert not usage.choices and usage.usage.completion_tokens == last.sphinx["cost"]["tokens"]
    assert len({one.id for one in chunks}) == 1
    plain = list(ask(theirs, seeing(CAPTION), stream=True))
    assert plain[-1].choices[0].finish_reason == "stop" and plain[-1].usage is None


def test_openais_own_accumulator_reads_the_stream(theirs):
    with theirs.chat.completions.stream(model="any", messages=[seeing(CAPTION)]) as stream:
        texts = [event.delta for event in stream if event.type == "content.delta"]
        final = stream.get_final_completion()
    assert final.choices[0].message.content == "".join(texts) == ANSWERS[CAPTION]


def test_the_raw_response(theirs):
    raw = theirs.chat.completions.with_raw_response.create(model="m", messages=[seeing(MUGS)])
    assert raw.status_code == 200 and raw.headers["content-type"] == "application/json"
    assert raw.parse().choices[0].message.content == "2"
    streamed = theirs.chat.completions.with_raw_response.create(
        model="m", messages=[seeing(MUGS)], stream=True
    )
    assert streamed.headers["content-type"].startswith("text/event-stream")
    lines = [line for line in streamed.http_response.iter_lines() if line]
    assert all(line.startswith("data: ") for line in lines) and lines[-1] == "data: [DONE]"


def test_the_client_of_asyncio(address):
    async def asked():
        async with openai.AsyncOpenAI(base_url=f"{address}/v1", api_key="none") as made:
            whole, stream = await asyncio.gather(
                made.chat.completions.create(model="m", messages=[seeing(MUGS)]),
                made.chat.completions.create(model="m", messages=[seeing(CAPTION)], stream=True),
            )
            text = "".join([one.choices[0].delta.content or "" async for one in stream])
            return whole.choices[0].message.content, text

    assert asyncio.run(asked()) == ("2", ANSWERS[CAPTION])


def test_the_models(theirs):
    assert [model.id for model in theirs.models.list()] == ["small", "small:tasks"]
    assert theirs.models.retrieve("small").owned_by == "sphinx_ros"
    with pytest.raises(openai.NotFoundError, match="there is no model 'gpt/4'"):
        theirs.models.retrieve("gpt/4")


# Draws, limits, stop texts


def test_a_seed_draws_the_same_again(slow):
    _, theirs = slow
    drawn = {"temperature": 1.5, "top_p": 0.9, "max_tokens": 12}
    first, again, other, chance, luck = (
        ask(theirs, seeing("what?"), **drawn, **more).choices[0].message
        for more in ({"seed": 1}, {"seed": 1}, {"seed": 2}, {}, {})
    )
    assert first.content == again.content != other.content
    assert chance.content != luck.content
    repeated = ask(theirs, seeing("what?"), **drawn, seed=chance.sphinx["seed"])
    assert repeated.choices[0].message.content == chance.content


def test_the_limit_and_the_stop_texts_end_an_answer(theirs):
    for name in ("max_tokens", "max_completion_tokens"):
        cut = ask(theirs, seeing(CAPTION), **{name: 5})
        assert cut.choices[0].finish_reason == "length" and cut.usage.completion_tokens == 5
    assert ask(theirs, seeing(MUGS), max_tokens=10**9).choices[0].finish_reason == "stop"
    for stop in ("red", ["nothing", "red"]):
        made = ask(theirs, seeing(CAPTION), stop=stop).choices[0]
        assert made.message.content == ANSWERS[CAPTION].split("red")[0].strip()
        assert made.finish_reason == "stop"


def test_query_lines_where_the_name_of_the_model_says_so(theirs):
    def told(text, **more):
        return theirs.chat.completions.create(model="small:tasks", messages=[seeing(text)], **more)

    made = told("ground: the red mug")
    extra = made.choices[0].message.sphinx
    assert extra["task"] == "ground" and len(extra["boxes"]) == 1
    assert extra["boxes"][0]["presence"] is not None
    poses = told("pose", stream=True)
    assert list(poses)[-1].sphinx["poses"][0]["keypoints"]
    with pytest.raises(openai.BadRequestError, match='did you mean "ground"'):
        told("grond: the red mug")
    plain = ask(theirs, seeing("ground: the red mug"), max_tokens=3)
    assert plain.choices[0].message.sphinx["task"] == "ask", "plain text stays plain"


def test_a_picture_by_its_name(theirs):
    ask(theirs, seeing(MUGS))
    message = {"role": "user", "content": MUGS}
    named = ask(theirs, message, extra_body={"picture": name_of(DATA)})
    assert named.choices[0].message.content == "2"
    with pytest.raises(openai.NotFoundError, match="send the picture") as error:
        ask(theirs, message, extra_body={"picture": "0" * 32})
    assert error.value.code == "NO_IMAGE"


# Refusals


@pytest.mark.parametrize(
    ("messages", "more", "words", "param"),
    [
        ([{"role": "user", "content": "hello"}], {}, "there is no picture", "messages"),
        ([seeing("a"), seeing("b", b"other")], {}, "there are 2 pictures", "messages"),
        ([{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "https://x"}}]}],
         {}, "pictures elsewhere are not fetched", None),
        ([{"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}],
         {}, "audio can't be heard", "messages"),
        ([{"role": "user", "content": [{"type": "text"}]}], {}, "can't be used", "messages"),
        ([{"role": "user", "content": 3}], {}, "the content 3 can't be used", "messages"),
        ([seeing("")], {}, "the text is empty", None),
        ([seeing("a"), {"role": "assistant", "content": "b"}], {}, "must be of the role user",
         "messages"),
        ([seeing("a"), {"role": "tool", "content": "b"}], {}, "tools are not supp", "messages"),
        ([seeing("a"), {"role": "critic", "content": "b"}], {}, "role 'critic' is unknown",
         "messages"),
        ([seeing("a", b"no picture")], {}, "its 10 bytes are of no known format", None),
        ([seeing("what? " * 500)], {}, "tokens or more", None),
        ([seeing("a")], {"n": 2}, "n is 2; it must be 1", "n"),
        ([seeing("a")], {"tools": [{"type": "function", "function": {"name": "f"}}]},
         "tools are not supported", "tools"),
        ([seeing("a")], {"functions": [{"name": "f"}]}, "functions are not", "functions"),
        ([seeing("a")], {"response_format": {"type": "json_object"}}, "there is text alone",
         "response_format"),
        ([seeing("a")], {"logprobs": True}, "logprobs are not told", "logprobs"),
        ([seeing("a")], {"modalities": ["audio"]}, "audio is not supported", "audio"),
        ([seeing("")], {"modalities": 5}, "the text is empty", None),
        ([seeing("a")], {"temperature": -1}, "temperature is -1", None),
        ([seeing("a")], {"temperature": "hot"}, "temperature is 'hot'", "temperature"),
        ([seeing("a")], {"top_p": 2}, "top_p is 2", None),
        ([seeing("a")], {"max_tokens": 0}, "max_tokens is 0", "max_tokens"),
        ([seeing("a")], {"stop": ["x"] * 17}, "the limit is 16", None),
        ([seeing("a")], {"stop": 5}, "stop has 5", None),
        ([seeing("a")], {"stop": {"a": "b"}}, "stop has {'a': 'b'}", None),
        ([seeing("a")], {"temperature": True}, "not true or false", "temperature"),
        ([{"role": "user", "content": [{"type": ["text"], "text": "a"}]}], {}, "can't be used",
         "messages"),
        ([seeing("a")] * 257, {}, "at most 256 items", "messages"),
        ([], {}, "at least 1 item", "messages"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("stream", [False, True])
def test_what_is_not_supported_is_refused_by_name(theirs, messages, more, words, param, stream):
    with pytest.raises(openai.BadRequestError, match=words) as error:
        ask(theirs, *messages, **more, stream=stream)
    assert error.value.type == "invalid_request_error" and error.value.param == param
    assert error.value.code in ("BAD_REQUEST", "BAD_IMAGE")


def test_a_body_that_is_no_request(address):
    with client(address) as ours:
        for body in (b"", b"[1]", b"{", b"\xff"):
            answer = ours.post("/v1/chat/completions", content=body)
            assert answer.status_code == 400 and answer.json()["error"]["code"] == "BAD_REQUEST"


# Who goes away, who waits


def test_a_stream_that_is_left_frees_the_engine(slow):
    desk, theirs = slow
    stream = ask(theirs, seeing(ENDLESS), stream=True, max_tokens=400)
    next(iter(stream))
    before = desk.figures()["passes"]
    assert desk.figures()["running"] == 1
    stream.close()
    until(lambda: not desk.figures()["running"])
    assert desk.figures()["passes"] == before, "it was not answered to its end"


def test_a_client_that_times_out_frees_the_engine(slow):
    desk, theirs = slow
    with pytest.raises(openai.APITimeoutError):
        ask(theirs.with_options(timeout=0.3), seeing(ENDLESS), max_tokens=500)
    until(lambda: not desk.figures()["running"])


def test_thirty_two_at_once_with_retries_are_all_answered(leisurely):
    """As an evaluation harness asks: temperature 0, all at once, retries when told to wait."""
    texts = [None] * 32

    def one(number):
        made = ask(patient, seeing(f"what is {number}?"), temperature=0, max_tokens=4)
        texts[number] = made.choices[0].message.content

    with (
        served(lent(leisurely, Limits(slots=8, line=8))) as address,
        openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=20) as patient,
    ):
        threads = [threading.Thread(target=one, args=(number,)) for number in range(32)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE)
    assert all(isinstance(text, str) for text in texts)


def test_a_full_line_says_when_to_come_again(slow):
    _, theirs = slow
    streams = [ask(theirs, seeing(ENDLESS), stream=True, max_tokens=400 + n) for n in range(2)]
    waiting = [
        threading.Thread(target=lambda: ask(theirs, seeing("?"), temperature=1, max_tokens=2))
        for _ in range(2)
    ]
    for thread in waiting:
        thread.start()
    until(lambda: slow[0].figures()["waiting"] == 2)
    with pytest.raises(openai.RateLimitError) as error:
        ask(theirs, seeing("?"), temperature=1)
    assert error.value.code == "BUSY" and int(error.value.response.headers["retry-after"]) >= 1
    for stream in streams:
        stream.close()
    for thread in waiting:
        thread.join(PATIENCE)


def test_what_ends_an_answer_is_told_behind_its_text(leisurely):
    with (
        served(lent(leisurely, Limits(timeout=3))) as address,
        openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as made,
    ):
        text = ""
        with pytest.raises(openai.APIError, match="no complete answer within 3 s"):
            for chunk in ask(made, seeing(ENDLESS), stream=True, max_tokens=500):
                text += chunk.choices[0].delta.content or ""
        assert text
        with pytest.raises(openai.APIStatusError, match="within 3 s") as error:
            ask(made, seeing(ENDLESS), max_tokens=500)
        assert error.value.status_code == 504 and error.value.body["partial_text"]


# What other programs send


def test_a_robots_planner(address):
    """Text first, pictures behind it, keys of its own; it reads lines until [DONE]."""
    with httpx.Client(base_url=address, timeout=PATIENCE) as http:
        assert http.get("/v1/models").status_code == 200
        payload = {
            "model": "whatever",
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "hello"},
                {"role": "assistant", "content": "hi"},
                {"role": "user", "content": [
                    {"type": "text", "text": MUGS},
                    {"type": "image_url", "image_url": {"url": url()}},
                ]},
            ],
            "max_tokens": 100, "stream": True, "temperature": 0.8, "top_k": 40, "num_ctx": 4096,
            "repeat_penalty": 1.1, "keep_alive": -1, "think": None, "tools": [],
        }  # fmt: skip
        text, done = "", False
        with http.stream("POST", "/v1/chat/completions", json=payload) as answer:
            assert answer.status_code == 200
            for line in answer.iter_lines():
                if line == "data: [DONE]":
                    done = True
                elif line:
                    chunk = json.loads(line.removeprefix("data: "))
                    text += chunk["choices"][0]["delta"].get("content", "")
        assert done and text


def test_a_page_for_webcams(theirs):
    message = {
        "role": "user",
        "content": [
            {"type": "text", "text": MUGS},
            {"type": "image_url", "image_url": {"url": url()}},
        ],
    }
    made = ask(theirs, message, max_tokens=512, temperature=0.7, timeout=PATIENCE)
    assert isinstance(made.choices[0].message.content, str)


@pytest.mark.parametrize("kind", ["application/json", "text/plain", ""])
def test_a_program_without_a_library(address, kind):
    """The kind of the body is not looked at; `detail` and other keys of a part are passed over."""
    payload = {"model": "m", "messages": [seeing(MUGS)], "n": 1, "temperature": 0}
    with client(address) as ours:
        answer = ours.post(
            "/v1/chat/completions",
            content=json.dumps(payload),
            headers={"Content-Type": kind, "Authorization": "Bearer sk-none"},
        )
    assert answer.json()["choices"][0]["message"]["content"] == "2"


def test_null_is_as_if_it_were_not_there(theirs):
    names = ("temperature", "top_p", "seed", "stop", "max_tokens", "n", "stream", "tools", "user")
    names += ("stream_options", "response_format", "logprobs", "frequency_penalty", "audio")
    made = ask(theirs, seeing(MUGS), extra_body=dict.fromkeys(names))
    assert made.choices[0].message.content == "2"


def test_the_door_is_described(address):
    with client(address) as ours:
        said = ours.get("/openapi.json").json()
    path = said["paths"]["/v1/chat/completions"]["post"]
    name = path["requestBody"]["content"]["application/json"]["schema"]["$ref"].split("/")[-1]
    assert {"messages", "stream", "temperature"} <= set(
        said["components"]["schemas"][name]["properties"]
    )
    answer = path["responses"]["200"]["content"]["application/json"]["schema"]["$ref"]
    assert answer.endswith("/ChatCompletion") and "/v1/models/{name}" in said["paths"]
