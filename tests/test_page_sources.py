"""The page of `sphinx-ros serve` in a real Chromium: sources of pictures, and what goes wrong."""

import re
from pathlib import Path

import pytest

pytest_plugins = ["page_support"]
FOLDER = Path(__file__).parents[1] / "sphinx_ros" / "serve" / "page"
demo = pytest.mark.demo

HURT = '<img src="x" onerror="window.hurt = 1"><script>window.hurt = 2</script>'


def test_the_page_is_one_small_file_that_needs_nothing_else():
    page, example = (FOLDER / "index.html").read_bytes(), (FOLDER / "example.jpg").read_bytes()
    assert len(page) < 80_000 and len(example) <= 40_000
    assert not re.findall(rb"https?://", page)
    assert not re.findall(rb"<link[^>]+stylesheet|<script[^>]+src|@import|url\(", page)
    assert not re.findall(rb"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(", page)


@demo
@pytest.mark.parametrize("kind", ["paste", "drop"])
def test_a_picture_is_pasted_or_dropped(page, kind):
    page.give(kind, "mine.jpg", (FOLDER / "example.jpg").read_bytes())
    page.until("return Boolean(look)")
    assert page.js("return [look.title, look.width, look.height]") == ["mine.jpg", 640, 480]
    assert page.ask("ask", "How many mugs are there?") == "OK"


@demo
def test_pictures_are_opened_and_gone_back_to(page, tmp_path):
    for name in ("one.jpg", "two.jpg"):
        (tmp_path / name).write_bytes((FOLDER / "example.jpg").read_bytes())
        page.one("#file").send_keys(str(tmp_path / name))
        page.until("return look?.title === arguments[0]", name)
        assert page.ask("detect", "mugs" if name == "one.jpg" else "people") == "OK"
    assert len(page.texts("#history li")) == 2 and page.drawn()["boxes"] == 1
    page.js("document.querySelectorAll('#history button')[1].click()")
    assert page.texts(".turn .head") == ["Detectmugs"] and page.drawn()["boxes"] == 5
    page.ask("pose")
    assert page.drawn()["people"] == 1
    page.js("document.querySelectorAll('.turn .head')[1].click()")  # an earlier answer
    assert page.drawn()["people"] == 0 and page.drawn()["boxes"] == 5
    page.js("document.activeElement.blur()")
    page.keys("]")
    assert page.js("return look.title") == "two.jpg"


@demo
def test_what_is_no_picture_is_named(page, tmp_path):
    (tmp_path / "notes.txt").write_text("no picture")
    page.one("#file").send_keys(str(tmp_path / "notes.txt"))
    page.until("return !document.getElementById('note').hidden")
    assert page.texts("#note p") == [
        "This browser can't show notes.txt as a picture. Use a JPEG, PNG or WebP file."
    ]


@demo
def test_a_robots_camera_goes_on_live_while_a_question_is_answered(page, served):
    page.wait(lambda: page.texts("#robot button") == ["front", "wrist"], "the robot's cameras")
    page.js("document.querySelector('#robot button').click()")
    page.until("return Number(now.dataset.frames) > 3")
    with served.slow(0.05):
        page.click("#tasks [value=detect]")
        page.click("#look")
        page.until("paintNow(); return Number(stage.dataset.boxes)")
        before = page.js("return Number(now.dataset.frames)")
        page.until("return Number(now.dataset.frames) > arguments[0] + 3", before)
        assert page.js("return document.body.dataset.state") == "answering"
    assert page.answered(1) == "OK" and page.js("return look.title").startswith("front, ")
    assert (
        page.js("return now.className") == "corner"
    )  # the live picture, beside what was looked at
    page.js("now.querySelector('button').click()")
    assert page.js("return now.className") == "full"
    page.js("again.checked = true; look = null; lookNow()")  # looking on
    page.until("return look?.turns[0]?.answer && looks.length >= 2")
    page.click("#end")
    assert page.js("return now.hidden && live === null")


@demo
def test_the_webcam_is_asked(page):
    page.click("#webcam")
    page.until("return Number(now.dataset.frames) > 3")
    page.click("#tasks [value=caption]")
    page.click("#look")
    page.until("return look?.turns[0]?.answer || look?.turns[0]?.error")
    assert (
        page.js("return look.title").startswith("webcam, ") and page.js("return look.width") > 100
    )
    page.click("#end")


@demo
def test_the_webcams_button_says_why_where_it_can_not_be_used(page, served):
    page.open(served.address.replace("127.0.0.1", "robot.test"))
    assert page.texts("#webcam") == ["Webcam: needs localhost or https"]
    page.click("#webcam")
    assert "only on localhost or over https" in page.texts("#note p")[0]
    assert page.example().ask("ask", "How many mugs are there?") == "OK"  # the rest is there


class Hostile:
    """A backend of somebody who wants to run a program in the page, or knows no picture's name."""

    state, fails = "ready", None

    def health(self):
        from sphinx_ros.serve.work import Health

        return Health(self.state, HURT, HURT, HURT)

    def figures(self):
        return {}

    async def do(self, work):
        from sphinx_ros.events import Finished, Found, Piece
        from sphinx_ros.remote.wire import event_to_json
        from sphinx_ros.tasks import Task
        from sphinx_ros.types import Detection, Results

        if self.fails:
            raise self.fails
        one = Detection(HURT, (10, 10, 90, 90), 0.5)
        look = {"type": "look", "picture": work.picture, "width": 640, "height": 480}
        yield {**look, "cached": False, "look_ms": 1.0}
        result = Results((one,), raw_text=HURT, unread=(HURT,))
        for event in (Piece(HURT), Found(one), Finished(result)):
            yield event_to_json(event, Task.DETECT)


def test_what_a_server_says_is_text_and_never_a_program(blank, serve):
    with serve(Hostile()) as address:
        page = blank.open(address).example()
        assert page.ask("detect", HURT) == "OK"
        assert page.texts(".items b") == [HURT] and page.drawn()["boxes"] == 1
        page.js("document.querySelector('details').open = true")
        assert page.texts(".turn pre") == [HURT] and HURT in page.texts(".turn .head")[0]
        page.js(
            "for (const [tag, more] of [['script', {textContent: 'window.hurt = 3'}],"
            "['img', {src: 'http://robot.test/x'}]])"
            "document.body.append(Object.assign(document.createElement(tag), more))"
        )
        page.until("return document.images.length")
        assert page.js("return window.hurt") is None
        assert (
            page.js("return document.querySelectorAll('#turns :is(img, script), #state *').length")
            == 0
        )
        refused = [line["message"] for line in page.driver.get_log("browser")]
        assert any("script-src" in line for line in refused) and any(
            "img-src" in line for line in refused
        )


def test_loading_tokens_and_refusals_are_shown(blank, serve):
    from sphinx_ros.errors import SphinxError, Status

    page, backend = blank, Hostile()
    backend.state = "loading"
    with serve(backend, token="sesame") as address:
        page.driver.get(address)
        page.until("return document.getElementById('state').textContent.startsWith('loading: ')")
        assert page.js("return go.disabled")
        backend.state = "ready"
        page.until("return locked.open")
        page.keys("wrong", "\ue007")
        page.until("return locked.open && !refused.hidden")
        assert page.texts("#refused") == ["The server did not take that token."]
        page.keys("sesame", "\ue007")
        page.until("return !locked.open")
        assert page.example().ask("detect", "mugs") == "OK"
        assert page.js("return sessionStorage.getItem('sphinx-token')") == "sesame"
        backend.fails = SphinxError(
            "8 requests are being answered: try again in 3 s", status=Status.BUSY
        )
        assert page.ask("detect", "mugs") == "BUSY"
        assert page.texts(".turn.chosen .trouble")[0].startswith("8 requests are being answered")
        backend.fails = SphinxError("the picture is not known", status=Status.NO_IMAGE)
        assert page.ask("detect", "mugs") == "NO_IMAGE"  # also when it was sent again
    page.begin("detect", "mugs")
    page.until("return document.querySelector('.turn .trouble').textContent.includes('reached')")
