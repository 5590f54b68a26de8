"""A server under bad clients and many of them: who may ask, how much, how long, and who leaves."""

import asyncio
import base64
import contextlib
import gzip
import json
import socket
import threading
import time
import weakref
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import cv2
import httpx
import numpy as np
import pytest
from patience import PATIENCE
from process_support import until
from serve_support import client, figures, jpeg, lent, served
from small_network import picture

from sphinx_ros.errors import BadRequest, Cancelled, SphinxError, Status
from sphinx_ros.prompt.queries import Query
from sphinx_ros.seen import DRAFTS
from sphinx_ros.serve import server
from sphinx_ros.serve.app import Settings
from sphinx_ros.serve.cameras import CameraPicture
from sphinx_ros.serve.desk import DECODED, Limits
from sphinx_ros.serve.doing import LARGE, Turns, doing
from sphinx_ros.serve.flight import Flight, Listener
from sphinx_ros.serve.guard import host_names
from sphinx_ros.serve.shelf import Kept, Shelf
from sphinx_ros.serve.work import Work, picture_id
from sphinx_ros.tasks import Task

JPEG = {"Content-Type": "image/jpeg"}
DATA = jpeg(picture(64, 48))
LONG = {"text": "what is there?", "max_new_tokens": "450"}
"""A question that the network of random numbers answers for a second or so."""


@pytest.fixture(scope="module")
def long_one(random_one):
    """A client of a server whose answers take their time, on the fastest machine too."""
    step = random_one.model.step

    def slow(*given):
        time.sleep(0.005)
        return step(*given)

    random_one.model.step = slow
    with served(lent(random_one)) as address, client(address) as made:
        yield made


def code(answer):
    return answer.status_code, answer.json()["error"]["code"]


# Who may ask


@pytest.fixture(scope="module")
def guarded(taught):
    """A client of a server with a token, a name and small bodies."""
    settings = Settings("secret", ("robot", "here"), ("robot",), max_body=20_000)
    with served(lent(taught), settings) as address, client(address) as made:
        made.headers["Authorization"] = "Bearer secret"
        yield made


@pytest.mark.parametrize(
    ("token", "http"),
    [
        *[("Bearer secret", 200), ("bearer secret", 200), (None, 401), ("Bearer secre", 401)],
        *[("Bearer secrets", 401), ("secret", 401), ("Basic secret", 401), ("Bearer", 401)],
        ("Bearer s\u00e9cret".encode("latin-1"), 401),
    ],
)
def test_a_token(guarded, token, http):
    with client(guarded.base_url) as asked:
        answer = asked.get("/v1/info", headers={} if token is None else {"Authorization": token})
        assert answer.status_code == http
        if http == 401:
            assert answer.headers["WWW-Authenticate"] == "Bearer"
            assert "Authorization: Bearer TOKEN" in answer.json()["error"]["message"]
        assert asked.get("/healthz").status_code == 200, "open, for who starts and watches it"


@pytest.mark.parametrize(
    ("host", "http"),
    [
        *[("localhost", 200), ("LOCALHOST:1", 200), ("robot", 200), ("robot:8000", 200)],
        *[("127.0.0.1", 200), ("[::1]:8000", 200), ("192.168.1.7:80", 200)],
        *[("evil.example", 403), ("robot.evil.example", 403), ("", 403), ("[", 403)],
    ],
)
def test_names_that_a_server_answers_to(guarded, host, http):
    """A page of another site whose name was pointed here sends that name."""
    assert guarded.get("/v1/info", headers={"Host": host}).status_code == http


@pytest.mark.parametrize(
    ("origin", "http"),
    [
        *[("same", 200), ("http://robot", 200), ("https://robot:1", 200)],
        *[("http://evil.example", 403), ("null", 403), ("http://localhost:1", 403), ("[", 403)],
        ("http://here:1", 403),  # another server of this machine
    ],
)
def test_pages_that_may_ask(guarded, origin, http):
    own = str(guarded.base_url).rstrip("/")
    answer = guarded.get("/v1/info", headers={"Origin": own if origin == "same" else origin})
    assert answer.status_code == http
    if http == 403:
        said = answer.json()["error"]["message"]
        assert "a proxy" in said and "--allow-host" in said


def test_a_page_has_the_port_of_its_server(guarded):
    names = {"Host": "here:8000"}
    for port, http in ((8000, 200), (8001, 403)):
        headers = {**names, "Origin": f"http://here:{port}"}
        assert guarded.get("/v1/info", headers=headers).status_code == http


def test_what_is_refused_at_the_door_is_counted(guarded):
    told = 'sphinx_requests_total{http="%d",path="other"}'
    before = Counter(figures(guarded))
    refusals = {
        401: {"headers": {"Authorization": "Bearer wrong"}},
        403: {"headers": {"Origin": "null"}},
        413: {"content": b"x" * 30_000},
        415: {"headers": {"Content-Encoding": "gzip"}},
    }
    for http, sent in refusals.items():
        assert guarded.post("/v1/caption", **sent).status_code == http
    now = Counter(figures(guarded))
    for http in refusals:
        assert now[told % http] - before[told % http] == 1


def test_names_of_a_host():
    assert host_names("127.0.0.1", ["gpu-box"]) == ["gpu-box", "127.0.0.1"]
    assert socket.gethostname() in host_names("0.0.0.0")
    for name in ("http://robot", "robot:80", "a/b", ""):
        with pytest.raises(BadRequest, match="without port"):
            host_names("127.0.0.1", [name])


# Bodies


def parts(size, number):
    """A body in chunks, whose length nobody is told."""
    for _ in range(number):
        yield b"x" * size


def test_bodies_that_are_too_large(guarded):
    for body in (b"x" * 20_001, parts(1000, 30), parts(300_000, 10)):
        answer = guarded.post("/v1/caption", content=body, headers=JPEG)
        assert code(answer) == (413, "BAD_IMAGE")
        assert "limit is 20000" in answer.json()["error"]["message"]
    inside = guarded.post("/v1/caption", content=parts(len(DATA), 1), headers=JPEG)
    assert code(inside) == (400, "BAD_IMAGE"), "these are no picture"
    answer = guarded.post("/v1/caption", files={"image": b"x" * 30_000})
    assert code(answer) == (413, "BAD_IMAGE")


def test_a_body_that_is_said_to_be_too_large_is_not_read(guarded):
    with raw(guarded) as link:
        link.sendall(
            b"POST /v1/caption HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer secret\r\n"
            b"Content-Type: image/jpeg\r\nContent-Length: 999999999999\r\n"
            b"Expect: 100-continue\r\n\r\n"
        )
        assert link.recv(100).startswith(b"HTTP/1.1 413")


def test_a_body_that_comes_too_slowly(taught):
    head = b"POST /v1/caption HTTP/1.1\r\nHost: localhost\r\n"
    head += b"Content-Type: image/jpeg\r\nContent-Length: 100000\r\n\r\n"
    answer = b""
    with (
        served(lent(taught), Settings(body_seconds=0.4)) as address,
        client(address) as asked,
        raw(asked) as link,
    ):
        link.sendall(head)
        while not answer:
            with contextlib.suppress(TimeoutError):
                link.settimeout(0.05)
                link.sendall(b"x")
                answer = link.recv(1000)
    assert answer.startswith(b"HTTP/1.1 408") and b"within 0.4 s" in answer


@pytest.mark.parametrize("sent", [b"\0\xff\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"POST\r\n\r\n"])
def test_bytes_that_are_no_http(guarded, sent):
    with raw(guarded) as link:
        link.sendall(sent)
        assert link.recv(100)[:10] in (b"HTTP/1.1 4", b"")
    assert guarded.get("/healthz").status_code == 200


def test_a_form_that_is_broken(guarded):
    kind = {"Content-Type": "multipart/form-data; boundary=x"}
    for body in (b"--x\r\nnonsense", b"", b"--y--"):
        assert code(guarded.post("/v1/caption", content=body, headers=kind))[0] == 400
    many = {f"f{number}": "x" for number in range(70)}
    answer = guarded.post("/v1/caption", files={"image": DATA}, data=many)
    assert answer.status_code == 400


def test_a_body_that_is_compressed_on_its_way_is_named(guarded):
    """Read as it is, it would be a picture that is damaged, or no JSON."""
    for path, kind in (
        ("/v1/caption", "image/jpeg"),
        ("/v1/chat/completions", "application/json"),
    ):
        headers = {"Content-Type": kind, "Content-Encoding": "gzip"}
        answer = guarded.post(path, content=gzip.compress(DATA), headers=headers)
        assert code(answer) == (415, "BAD_REQUEST") and "Content-Encoding is 'gzip'" in answer.text
    plain = {**JPEG, "Content-Encoding": "identity"}
    assert guarded.post("/v1/caption", content=DATA, headers=plain).status_code == 200


# Who leaves


@contextlib.contextmanager
def asking(asked, stream):
    """A long question, until the block ends: then its connection is closed."""
    body = json.dumps({"image": url(DATA), "stream": stream, **LONG}).encode()
    head = f"POST /v1/ask HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n"
    with raw(asked) as link:
        link.sendall(head.encode() + b"Content-Type: application/json\r\n\r\n" + body)
        yield link


def url(data):
    return "data:image/jpeg;base64," + base64.b64encode(data).decode()


def running(asked):
    return figures(asked)["sphinx_running"]


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_goes_away_frees_its_slot(long_one, stream):
    before = figures(long_one)
    with asking(long_one, stream) as link:
        until(lambda: running(long_one) == 1)
        if stream:
            while b'"piece"' not in link.recv(4096):
                pass
    until(lambda: running(long_one) == 0)
    after = figures(long_one)
    assert after["sphinx_tokens_total"] == before["sphinx_tokens_total"], "it was not finished"


def test_who_leaves_while_others_look_costs_no_look(taught):
    """Few pictures are looked at at a time, so that one may wait long for its turn."""
    counted = []

    async def asked():
        flight = Flight(Work(picture_id(DATA)), Kept(DATA))
        flight.join(Listener(60.0))
        flight.model = taught

        @contextlib.contextmanager
        def turn():
            flight.close()
            yield

        turns = Turns(turn(), contextlib.nullcontext())
        return list(doing(flight, 10**6, lambda **more: counted.append(more), turns))

    with pytest.raises(Cancelled):
        asyncio.run(asked())
    assert not counted


def test_equal_requests_are_done_once(long_one):
    before = figures(long_one)
    told = []

    def ask():
        answer = long_one.post("/v1/ask", json={"image": url(DATA), "stream": True, **LONG})
        told.append([line for line in answer.text.split("\n\n") if line])

    threads = [threading.Thread(target=ask) for _ in range(4)]
    threads[0].start()
    until(lambda: running(long_one) == 1)
    for thread in threads[1:]:  # they join while it is written
        thread.start()
    for thread in threads:
        thread.join()
    after = figures(long_one)
    assert after["sphinx_joined_total"] - before["sphinx_joined_total"] == 3
    assert after["sphinx_questions_total"] - before["sphinx_questions_total"] == 1
    assert told[0] == told[1] == told[2] == told[3] and len(told[0]) > 20


def test_the_work_goes_on_while_anybody_wants_it(long_one):
    done = []

    def ask():
        done.append(long_one.post("/v1/ask", json={"image": url(DATA), **LONG}))

    joined = figures(long_one)["sphinx_joined_total"]
    with asking(long_one, False):
        until(lambda: running(long_one) == 1)
        other = threading.Thread(target=ask)
        other.start()
        until(lambda: figures(long_one)["sphinx_joined_total"] == joined + 1)
    other.join()
    assert done[0].status_code == 200 and done[0].json()["answers"][0]["tokens"] > 100


# How long


def test_a_time_limit_keeps_what_was_written(long_one):
    answer = long_one.post("/v1/ask", json={"image": url(DATA), **LONG, "timeout": 1.2})
    assert code(answer) == (504, "TIMEOUT")
    error = answer.json()["error"]
    assert error["partial_text"] and "1.2 s" in error["message"]


def test_a_time_limit_of_one_does_not_end_the_work_of_another(long_one):
    """Equal works are joined whatever their limits; each is told in its own time."""
    patient = []

    def ask():
        patient.append(long_one.post("/v1/ask", json={"image": url(DATA), **LONG}))

    thread = threading.Thread(target=ask)
    thread.start()
    until(lambda: running(long_one) == 1)
    hasty = long_one.post("/v1/ask", json={"image": url(DATA), **LONG, "timeout": 0.1})
    assert code(hasty) == (504, "TIMEOUT") and not patient
    thread.join()
    assert patient[0].status_code == 200


def test_a_time_limit_counts_while_a_request_waits(random_one, monkeypatch):
    go, step = threading.Event(), random_one.model.step
    monkeypatch.setattr(
        random_one.model, "step", lambda *given: go.wait(PATIENCE) and step(*given)
    )
    with served(lent(random_one, Limits(slots=1))) as address, client(address) as asked:
        with asking(asked, True):
            until(lambda: running(asked) == 1)
            begun = time.monotonic()
            answer = asked.post("/v1/caption", content=DATA, headers=JPEG, params={"timeout": 0.2})
            assert code(answer) == (504, "TIMEOUT") and time.monotonic() - begun > 0.2
            until(lambda: figures(asked)["sphinx_waiting"] == 0)
            go.set()


# How many


def test_sixty_four_at_once(random_one):
    """All are answered, or refused by name; nothing is left behind."""
    limits, data = Limits(slots=4, line=20), jpeg(picture(64, 48, 64))
    with served(lent(random_one, limits)) as address, client(address) as asked:

        async def ask_all():
            async with httpx.AsyncClient(base_url=address, timeout=PATIENCE) as many:
                return await asyncio.gather(*(ask(many, number) for number in range(64)))

        async def ask(many, number):
            fields = {"text": f"what is number {number}?", "max_new_tokens": "24"}
            return await many.post("/v1/ask", files={"image": data}, data=fields)

        answers = asyncio.run(ask_all())
        good = [one for one in answers if one.status_code == 200]
        busy = [one for one in answers if one.status_code == 429]
        assert len(good) + len(busy) == 64 and len(good) >= 24 and busy
        assert all(1 <= int(one.headers["Retry-After"]) <= 60 for one in busy)
        assert {one.json()["error"]["code"] for one in busy} == {"BUSY"}
        now = figures(asked)
        assert now["sphinx_looks_total"] == 1
        assert now["sphinx_running"] == now["sphinx_waiting"] == 0
        assert now['sphinx_refusals_total{reason="BUSY"}'] == len(busy)


def test_pictures_are_kept_within_their_bytes(taught):
    pictures = [jpeg(picture(64, 48, seed)) for seed in range(6)]
    budget = sum(map(len, pictures[:3])) + 10
    with served(lent(taught, Limits(pictures=budget))) as address, client(address) as asked:
        for data in pictures:
            asked.post("/v1/pictures", content=data, headers=JPEG)
        known = [
            asked.post("/v1/pictures", params={"picture": picture_id(data)}).status_code
            for data in pictures
        ]
        assert known[0] == 404 and known[-1] == 200
        assert figures(asked)["sphinx_picture_bytes"] <= budget


def test_pictures_are_kept_within_their_number():
    """Files of a hundred bytes would be millions, each with memory beside its file."""
    shelf = Shelf(10**9, most=3)
    for number in range(9):
        shelf.take(str(number), b"x")
        shelf.give_back(str(number))
    assert len(shelf) == shelf.nbytes == 3 and shelf.take("8", None).encoded == b"x"


def test_what_was_written_about_a_picture_is_kept_within_a_number(taught):
    """A robot may ask a thousand things about one picture."""
    kept = Kept(DATA, drafts={(Task.ASK, str(number)): (1,) for number in range(DRAFTS)})

    async def asked():
        flight = Flight(Work(picture_id(DATA), queries=(Query(Task.CAPTION),)), kept)
        flight.join(Listener(60.0))
        flight.model = taught
        turns = Turns(contextlib.nullcontext(), contextlib.nullcontext())
        return list(doing(flight, 10**6, lambda **more: None, turns))

    asyncio.run(asked())
    assert len(kept.drafts) == DRAFTS and [*kept.drafts][-1] == (Task.CAPTION, "")


class Counted:
    """Looks at nothing, slowly. most: pictures at a time, by their pixels."""

    def __init__(self):
        self.now, self.most, self._lock = Counter(), Counter(), threading.Lock()

    def look(self, rgb):
        with self._lock:
            self.now[rgb.size] += 1
            self.most[rgb.size] = max(self.most[rgb.size], self.now[rgb.size])
        time.sleep(0.5)
        with self._lock:
            self.now[rgb.size] -= 1
        raise SphinxError("seen enough", status=Status.OUT_OF_MEMORY)


def test_large_pictures_are_decoded_one_at_a_time():
    """Files of 3 kB may be pictures of 64 million pixels, a gigabyte each while it is decoded."""
    model = Counted()
    large = cv2.imencode(".webp", np.full((2900, 2900, 3), 90, np.uint8))[1].tobytes()
    assert len(large) < 3000 and 2900 * 2900 > LARGE
    with served(lent(model)) as address:

        def ask(number):
            data = DATA if number % 2 else large + bytes(number)  # another file each
            answer = httpx.post(f"{address}/v1/caption?max_new_tokens={number}", content=data,
                                headers=JPEG, timeout=PATIENCE)  # fmt: skip
            assert code(answer) == (503, "OUT_OF_MEMORY"), answer.text

        with ThreadPoolExecutor(8) as several:
            list(several.map(ask, range(8)))
    assert model.most[2900 * 2900 * 3] == 1 < model.most[64 * 48 * 3] <= DECODED
    with served(lent(model, Limits(pixels=LARGE))) as address, client(address) as asked:
        answer = asked.post("/v1/caption", content=large, headers=JPEG)
        assert code(answer) == (400, "BAD_IMAGE") and f"limit is {LARGE}" in answer.text


def test_what_failed_is_not_held_until_the_next_request():
    """Where memory is short the picture that had no room must go, and its error with it."""
    held = []

    class Full:
        def look(self, rgb):
            held.append(weakref.ref(rgb))
            raise SphinxError("no room", status=Status.OUT_OF_MEMORY)

    with served(lent(Full())) as address, client(address) as asked:
        answer = asked.post("/v1/caption", content=DATA, headers=JPEG)
        assert code(answer) == (503, "OUT_OF_MEMORY")
        until(lambda: held[0]() is None)


# The end


def test_the_end_answers_what_is_under_way(random_one):
    desk = lent(random_one, Limits(slots=1))
    answers = []

    def ask(address, text):
        fields = {"image": url(DATA), **LONG, "text": text}
        answers.append(httpx.post(f"{address}/v1/ask", json=fields, timeout=PATIENCE))

    with served(desk) as address, client(address) as asked:
        threads = [
            threading.Thread(target=ask, args=[address, text])
            for text in ("what is this?", "what is that?")
        ]
        for thread in threads:
            thread.start()
        until(lambda: running(asked) == figures(asked)["sphinx_waiting"] == 1)
    for thread in threads:
        thread.join()
    assert [code(answer) for answer in answers] == [(503, "NOT_ACTIVE")] * 2, "nobody cancelled"
    assert all("the server is ending" in answer.text for answer in answers)


# Requests that cost nothing to send


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/ground", "{" + ",".join(f'"k{number}": 1' for number in range(300_000)) + "}"),
        ("/v1/ask", json.dumps({"text": "a", "box": [1] * 3_000_000})),
        ("/v1/ask", json.dumps({"text": "a", "box": "1," * 3_000_000})),
        ("/v1/ground", json.dumps({"picture": "0" * 32, "text": "mug " * 2_000_000})),
        (
            "/v1/chat/completions",
            json.dumps({"messages": [{"role": "user", "content": [{"type": "text"}] * 300_000}]}),
        ),
    ],
)
def test_large_nonsense_does_not_keep_others_waiting(long_one, path, body):
    """All requests are read in one thread: what takes seconds there is seconds for everybody."""
    start = time.process_time()
    answer = long_one.post(path, content=body, headers={"Content-Type": "application/json"})
    assert code(answer) == (400, "BAD_REQUEST") and "the limit is" in answer.text
    assert time.process_time() - start < 2


def test_an_address_that_is_not_utf8(long_one):
    """What can't be read would be asked about as another word."""
    answer = long_one.post("/v1/ground?text=stra%DFe", content=DATA, headers=JPEG)
    assert code(answer) == (400, "BAD_REQUEST") and "UTF-8" in answer.text


def test_who_watches_a_server_may_ask_for_the_head_alone(guarded):
    for path in ("/healthz", "/"):
        answer = guarded.head(path)
        assert answer.status_code == 200 and not answer.content


def raw(asked):
    """A connection to a server, without a client of HTTP."""
    return socket.create_connection((asked.base_url.host, asked.base_url.port), PATIENCE)


@pytest.mark.parametrize(
    "endless", [b"GET /", b"GET / HTTP/1.1\r\nX: ", b"GET / HTTP/1.1\r\nHost: localhost\r\n"]
)
def test_an_endless_head_is_refused(long_one, endless):
    """Whichever parser of HTTP is installed: one of them keeps any head in memory."""
    with raw(long_one) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(endless + b"X: a\r\n" * 100_000)
        assert b" 400 " in connection.recv(100)
        assert not connection.recv(1 << 20).strip().startswith(b"HTTP/1.1 200")


def test_a_head_that_does_not_come_ends_the_connection(long_one, monkeypatch):
    """Who says nothing, or a letter now and then, would hold a connection for ever."""
    monkeypatch.setattr(server, "HEAD_SECONDS", 0.3)
    answered = b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n"
    for said in (b"", b"GE", answered + b"GE"):
        with raw(long_one) as connection:
            connection.sendall(said[:-1])
            time.sleep(0.1)
            connection.sendall(said[-1:])  # a letter more gives no more time
            start, received = time.monotonic(), b"-"
            while received:
                received = connection.recv(1 << 16)
            assert time.monotonic() - start < 25, "it usually has 30 s"


class Large:
    """A camera whose pictures are larger than what lies between a server and its client."""

    def names(self):
        return ["front"]

    def picture(self, name):
        return CameraPicture(bytes(32 << 20), 1.0)


def test_who_does_not_read_an_answer_loses_the_connection(monkeypatch):
    """Such connections would be held for ever, until the system has no more of them."""
    monkeypatch.setattr(server, "STALL_SECONDS", 0.5)
    wanted = b"GET /v1/cameras/front/picture HTTP/1.1\r\nHost: localhost\r\n\r\n"
    with served(lent(None), Settings(cameras=Large())) as address, client(address) as asked:
        with raw(asked) as connection:
            connection.sendall(wanted)
            read = len(connection.recv(1))  # the answer has begun
            time.sleep(3)
            with contextlib.suppress(ConnectionError):
                while part := connection.recv(1 << 20):
                    read += len(part)
        assert read < 32 << 20, "it was ended"
        whole = asked.get("/v1/cameras/front/picture").content
        assert len(whole) == 32 << 20, "who reads it has it"
