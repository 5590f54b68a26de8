"""The page of `sphinx-ros serve` in a real Chromium: questions, and what is seen of answers."""

import json
import time
from pathlib import Path

import cv2
import numpy as np
import pytest

pytest_plugins = ["page_support"]
pytestmark = pytest.mark.demo
EXAMPLE = Path(__file__).parents[1] / "sphinx_ros" / "serve" / "page" / "example.jpg"


def test_the_first_box_is_drawn_before_the_answer_is_complete(page, served):
    page.example()
    with served.slow(0.005):
        page.begin("detect", "objects")
        first = page.until(
            "paintNow(); const {boxes} = stage.dataset, newest = document.querySelector('.turn');"
            "return Number(boxes) && [Number(boxes), document.body.dataset.state,"
            "newest.dataset.status, newest.querySelector('.words').textContent]"
        )
        assert page.answered(1) == "OK"
    boxes, state, status, words = first
    assert 1 <= boxes < page.drawn()["boxes"] == 7
    assert (state, status) == ("answering", "WRITING") and "blue mug" in words
    assert page.texts(".items b").count("yellow mug") == 2
    swatches = page.js(
        "return [...document.querySelectorAll('.items i')].map((i) => i.style.background)"
    )
    assert len(set(swatches)) == len(set(page.texts(".items b"))) == 5  # a colour for each label
    assert page.texts("#state") == ["demo on cpu"]


def test_stop_frees_the_engine_within_a_pass(page, served):
    page.example()
    with served.slow(0.05) as passes:
        page.begin("detect", "objects")
        page.until("paintNow(); return Number(stage.dataset.boxes)")
        assert page.texts("#go") == ["Stop"]
        page.click("#go")
        page.wait(lambda: served.desk.figures()["running"] == 0, "the engine is free")
        count = len(passes)
        time.sleep(0.1)
        assert len(passes) == count < 100
    assert page.answered(1) == "CANCELLED" and page.texts(".trouble") == ["Stopped."]
    assert page.drawn()["boxes"] >= 1  # what was found by then stays
    assert page.ask("ask", "How many mugs are there?") == "OK"


def test_a_second_question_sends_no_picture_and_shows_that_the_look_was_cached(page, served):
    sent = page.example().record()
    looks = served.desk.figures()["hits"]
    page.ask("ask", "How many mugs are there?")
    page.ask("ground", "the blue mug")
    (first, picture), (second, asked) = sent()
    assert first.startswith("v1/ask?") and picture is None  # the file itself
    assert second == "v1/ground" and len(asked.pop("picture")) == 32
    assert asked == {"stream": True, "text": "the blue mug"}
    assert served.desk.figures()["hits"] >= looks + 1
    assert page.texts(".turn:first-child .costs mark") == ["cached"]
    costs = page.texts(".turn:first-child .costs")[0]
    assert all(word in costs for word in ("look cached", "prefill", "decode", "tokens", "in all"))
    page.js("look.name = '0'.repeat(32)")  # a name that the server does not know any more
    assert page.ask("point", "the blue mug") == "OK"
    assert [body is None for _, body in sent()] == [True, False, False, True]


@pytest.mark.parametrize(
    "choice, said", [(0, "blue mug"), (1, "blue mug")], ids=["what", "describe"]
)
def test_a_box_that_is_drawn_on_the_picture_is_asked_about(page, choice, said):
    page.example().drag((183, 272, 242, 356))
    assert page.texts("#menu button")[:3] == ["What is this?", "Describe", "Pose"]
    page.js("document.querySelectorAll('#menu button')[arguments[0]].click()", choice)
    assert page.answered(1) == "OK"
    assert said in page.texts(".turn .words")[0] and "in a box" in page.texts(".turn .head")[0]
    box = page.js("return turn.box")
    assert box == pytest.approx([183, 272, 242, 356], abs=2)


def test_a_question_of_ones_own_about_a_box(page):
    page.example().drag((440, 120, 585, 340))
    page.js("document.querySelectorAll('#menu button')[3].click()")
    assert page.texts("#region .chip")[0].startswith("about the box")
    page.keys("Is there a person?", "\ue007")
    assert page.answered(1) == "OK" and page.texts(".turn .words") != [""]


def test_the_threshold_hides_what_scores_less(page):
    page.example().ask("detect", "objects")
    scores = sorted(page.js("return turn.items.map((item) => item.score)"))
    page.js("threshold.value = arguments[0]; threshold.oninput()", (scores[2] + scores[3]) / 2)
    left = sum(score >= float(page.js("return threshold.value")) for score in scores)
    assert page.drawn()["boxes"] == len(page.texts(".items li")) == left < 7
    assert page.drawn()["hidden"] == 7 - left and f"{left} of 7" in page.texts("#shown")[0]
    page.js("threshold.focus()")
    page.keys("\ue010")  # End
    assert page.drawn()["boxes"] == 0 and page.texts(".items li") == []


def test_people_points_and_things_that_are_not_there(page):
    assert page.example().ask("pose") == "OK"
    assert page.drawn()["people"] == 1 and "17 joints" in page.texts(".items b")[0]
    assert page.ask("point", "the blue mug") == "OK" and page.drawn()["points"] == 1
    assert page.ask("ground", "the red cube") == "NOT_FOUND" and page.drawn()["boxes"] == 0
    assert page.ask("caption") == "OK"
    words = page.texts(".turn:first-child .words")[0]
    assert "large blue mug" in words and "[" not in words and "<p>" not in words


def test_the_keyboard_alone_is_enough(page):
    page.keys("e")
    page.until("return Boolean(look)")
    page.keys("3", "/", "mugs", "\ue007")
    assert page.answered(1) == "OK" and page.drawn()["boxes"] == 5
    page.keys("\ue00c")
    page.js("document.activeElement.blur()")
    page.keys("b", "\ue012\ue012")  # a box; two steps to the left
    assert page.js("return box") == pytest.approx([640 / 3 - 32, 160, 1280 / 3 - 32, 320], abs=2)
    page.keys("\ue007")
    assert page.js("return document.activeElement.textContent") == "What is this?"
    page.keys("\ue007")
    assert page.answered(2) == "OK"
    page.js("document.activeElement.blur()")
    page.keys("?")
    assert page.js("return help.open") and len(page.texts("#shortcuts dt")) >= 12
    page.keys("\ue00c")
    seen = set()
    for _ in range(30):  # Tab: everything can be reached, and shows where the focus is
        page.keys("\ue004")
        name, outline = page.js(
            "const one = document.activeElement, shown = one.closest('fieldset label') || one;"
            "return [one === document.body ? '' : one.id || one.value || one.textContent,"
            "getComputedStyle(shown).outlineStyle]"
        )
        assert outline != "none" or name == "", name
        seen.add(name)
    assert {
        "open",
        "webcam",
        "example",
        "picture",
        "threshold",
        "box",
        "save",
        "text",
        "go",
    } <= seen
    assert page.texts("#say")[0] != ""  # what a screen reader is told


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_words_stand_out_from_their_ground(page, theme):
    """WCAG AA: a contrast of 4.5 for all text, 3 where it is large; measured on what is shown."""
    features = [{"name": "prefers-color-scheme", "value": theme}]
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    page.driver.refresh()
    page.until("return document.body.dataset.state === 'ready'")
    assert page.js("return document.documentElement.dataset.theme") == theme
    assert page.low_contrast() == []
    page.example().ask("detect", "objects")
    page.ask("read_text")
    page.drag((183, 272, 242, 356))
    page.js("note('A note.'); watchRobot('front')")
    page.until("return !now.hidden")
    assert page.low_contrast() == []
    page.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


@pytest.mark.parametrize("width", [320, 390])
def test_a_phone_shows_all_of_it_without_scrolling_sideways(page, width):
    window = {"width": width, "height": 780, "deviceScaleFactor": 2, "mobile": True}
    page.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", window)
    wide = "return document.documentElement.scrollWidth"
    assert page.js(wide) <= width
    page.example().ask("caption")
    assert page.drawn()["boxes"] >= 5
    page.drag((183, 272, 242, 356))
    page.js("note('x'.repeat(300))")
    assert page.js(wide) <= width
    inside = page.js(
        "return [...document.querySelectorAll('main > :not(#history) :is(button, input, canvas)')]"
        ".filter((one) => one.checkVisibility()).map((one) => one.getBoundingClientRect())"
        ".every(({left, right}) => left >= 0 && right <= innerWidth)"
    )
    assert inside


def test_an_answer_is_copied_as_json_and_the_drawing_downloaded(page, tmp_path):
    page.example().ask("detect", "mugs")
    page.js("turn.parts.acts.firstElementChild.click()")
    copied = json.loads(page.until("return turn.copied"))
    assert copied["model"] == "demo" and (copied["width"], copied["height"]) == (640, 480)
    (answer,) = copied["answers"]
    assert len(answer["detections"]) == 5 and len(copied["picture"]) == 32
    behaviour = {"behavior": "allow", "downloadPath": str(tmp_path)}
    page.driver.execute_cdp_cmd("Browser.setDownloadBehavior", behaviour)
    page.click("#save")
    file = tmp_path / "sphinx-detect-mugs.png"
    page.wait(file.exists, "the download")
    drawn = cv2.imread(str(file))
    blank = cv2.imdecode(np.frombuffer(EXAMPLE.read_bytes(), np.uint8), cv2.IMREAD_COLOR)
    assert drawn.shape == blank.shape == (480, 640, 3)
    far = np.abs(drawn.astype(int) - blank).max(axis=2) > 60
    assert far[272:357, 182:186].mean() > 0.3 > 0.01 > far[:100].mean()  # a side of a box; no box


def test_follow_ups_know_the_answers_before(page):
    page.example().ask("ask", "How many mugs are there?")
    page.js("follow.checked = true")
    sent = page.record()
    assert page.ask("ask", "What color is the bottle?") == "OK"
    ((address, body),) = sent()
    roles = [message["role"] for message in body["messages"]]
    assert address == "v1/chat/completions" and roles == ["user", "assistant", "user"]
    assert page.texts(".turn:first-child .words") != [""]
    costs = page.texts(".turn:first-child .costs")[0]
    assert "look cached" in costs and "follow-up to 1" in costs
    page.js("document.getElementById('long').checked = true; look.name = '0'.repeat(32)")
    assert page.ask("ask", "Where is the blue mug?") == "OK"  # the picture is sent anew
    assert [message["role"] for message in sent()[-1][1]["messages"]][::2] == ["user"] * 3
