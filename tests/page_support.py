"""A server with the demonstration model, and the page of it in a real Chromium."""

import base64
import json
import shutil
import time
from contextlib import contextmanager
from pathlib import Path

import cv2
import patience
import pytest

PAGE = Path(__file__).parents[1] / "sphinx_ros" / "serve" / "page"
ROBOT = "robot.test"  # a name of the server by which browsers trust it less than localhost
FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--hide-scrollbars",
    "--window-size=1100,700",
    "--use-fake-device-for-media-stream",
    "--use-fake-ui-for-media-stream",
    f"--host-resolver-rules=MAP {ROBOT} 127.0.0.1",
)


CONTRAST = """
const values = (colour) => colour.match(/[\\d.]+/g).map(Number);
const linear = (v) => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
const light = (rgb) => rgb.map((v, i) => linear(v / 255) * [0.2126, 0.7152, 0.0722][i])
  .reduce((sum, v) => sum + v);
const ground = (one) => {
  for (; one; one = one.parentElement) {
    const [r, g, b, a = 1] = values(getComputedStyle(one).backgroundColor);
    if (a > 0.6) return [r, g, b];
  }
  return [255, 255, 255];
};
const low = [], walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
while (walk.nextNode()) {
  const one = walk.currentNode.parentElement, words = walk.currentNode.textContent.trim();
  if (!words || !one.checkVisibility() || one.closest("script, .unseen")) continue;
  const style = getComputedStyle(one), ink = values(style.color);
  if (ink[3] === 0) continue;
  const [a, b] = [light(ink.slice(0, 3)), light(ground(one))];
  const contrast = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
  const large = parseFloat(style.fontSize) >= 24;
  if (contrast < (large ? 3 : 4.5)) low.push(`${words}: ${contrast.toFixed(2)}`);
}
return low;
"""
"""Words that are shown with less contrast than WCAG AA asks for (4.5; 3 for large letters)."""

GIVE = """
const [kind, name, text] = arguments, data = new DataTransfer();
const bytes = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
data.items.add(new File([bytes], name, {type: "image/jpeg"}));
const how = {bubbles: true, cancelable: true};
document.body.dispatchEvent(kind === "paste"
  ? new ClipboardEvent(kind, {...how, clipboardData: data})
  : new DragEvent(kind, {...how, dataTransfer: data}));
"""

RECORD = """
const real = fetch;
window.sent = [];
fetch = (...all) => {
  if (all[1]?.body) sent.push([all[0], typeof all[1].body === "string" ? all[1].body : null]);
  return real(...all);
};
"""


def wait_until(true, what):
    found = patience.until(true)
    assert found, f"it never came: {what}"
    return found


def serving(backend, **settings):
    """The address of a server for a backend, as long as the block lasts."""
    from serve_support import Settings, served

    return served(backend, Settings(hosts=(ROBOT,), **settings))


class Moving:
    """Two cameras of a robot at 20 pictures a second: in the second one nothing has come yet."""

    def __init__(self):
        picture = cv2.imread(str(PAGE / "example.jpg"))
        shifted = [
            cv2.copyMakeBorder(picture, 0, 0, by, 0, cv2.BORDER_WRAP)[:, :640] for by in (1, 9)
        ]
        self._files = [cv2.imencode(".jpg", one)[1].tobytes() for one in shifted]
        self._last = (0, None)

    def names(self):
        return ["front", "wrist"]

    def picture(self, name):
        from sphinx_ros.serve.cameras import CameraPicture

        number = int(time.monotonic() * 20)
        if self._last[0] != number:
            self._last = number, CameraPicture(self._files[number % 2], number / 20)
        return self._last[1] if name == "front" else None


class Served:
    """The server. address: of it. model: the demonstration model. desk: what answers."""

    def __init__(self, address, model, desk):
        self.address, self.model, self.desk = address, model, desk

    @contextmanager
    def slow(self, seconds):
        """A block in which a pass of the network takes longer; gives the times of all passes."""
        real, passes = self.model.model.step, []

        def step(*arguments):
            passes.append(time.monotonic())
            time.sleep(seconds)
            return real(*arguments)

        self.model.model.step = step
        try:
            yield passes
        finally:
            del self.model.model.step


@pytest.fixture(scope="session")
def served():
    from serve_support import lent

    from sphinx_ros import Sphinx

    model = Sphinx.from_pretrained("demo", device="cpu")
    desk = lent(model, name="demo")
    with serving(desk, cameras=Moving()) as address:
        yield Served(address, model, desk)
    desk.close(1.0)


@pytest.fixture(scope="session")
def chromium():
    webdriver = pytest.importorskip("selenium.webdriver", reason="pip install selenium")
    programs = [shutil.which(name) for name in ("chromium", "chromedriver")]
    if not all(programs):
        pytest.skip("Chromium is not here: apt-get install chromium chromium-driver")
    options = webdriver.ChromeOptions()
    options.binary_location = programs[0]
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    for flag in FLAGS:
        options.add_argument(flag)
    driver = webdriver.Chrome(options, webdriver.ChromeService(programs[1]))
    yield driver
    driver.quit()


class Page:
    """The page as a user has it before them."""

    def __init__(self, driver):
        self.driver = driver

    def open(self, address):
        self.driver.get(address)
        self.until("return document.body.dataset.state === 'ready'")
        return self

    def js(self, script, *arguments):
        return self.driver.execute_script(script, *arguments)

    def until(self, script, *arguments):
        return wait_until(lambda: self.js(script, *arguments), script)

    wait = staticmethod(wait_until)

    def one(self, css):
        return self.driver.find_element("css selector", css)

    def texts(self, css):
        return self.js("return [...document.querySelectorAll(arguments[0])].filter((one) =>"
                       " one.checkVisibility()).map((one) => one.textContent)", css)  # fmt: skip

    def click(self, css):
        self.one(css).click()

    def keys(self, *keys):
        from selenium.webdriver import ActionChains

        ActionChains(self.driver).send_keys(*keys).perform()

    def example(self):
        self.click("#example")
        self.until("return document.getElementById('picture').checkVisibility()")
        return self

    def begin(self, task, text=""):
        """Ask without waiting for the answer."""
        self.click(f"#tasks [value={task}]")
        if text:
            self.one("#text").clear()
            self.one("#text").send_keys(text)
        self.click("#go")

    def ask(self, task, text=""):
        """Ask, and wait until the answer is complete; the status of it."""
        had = self.js("return document.querySelectorAll('.turn').length")
        self.begin(task, text)
        return self.answered(had + 1)

    def answered(self, turns):
        """The status of the newest of so many answers, once it is complete."""
        self.until("return document.querySelectorAll('.turn').length === arguments[0] &&"
                   " document.body.dataset.state === 'ready'", turns)  # fmt: skip
        return self.js("return document.querySelector('.turn').dataset.status")

    def give(self, kind, name, data):
        """Paste or drop a file."""
        self.js(GIVE, kind, name, base64.b64encode(data).decode())

    def record(self):
        """From now on keep what is sent; gives a function for [address, JSON or None] of each."""
        self.js(RECORD)
        return lambda: [
            [where, body and json.loads(body)] for where, body in self.js("return sent")
        ]

    def low_contrast(self):
        return self.js(CONTRAST)

    def drawn(self):
        """How many boxes, people and points are drawn, and how many are hidden."""
        self.js("paintNow()")
        return {name: int(number) for name, number in self.js("return {...stage.dataset}").items()}

    def drag(self, box):
        """Draw a box with the mouse, in pixels of the picture."""
        from selenium.webdriver import ActionChains

        zoom, middle = self.js("return [zoom, [look.width / 2, look.height / 2]]")
        x0, y0, x1, y1 = (round((v - m) * zoom) for v, m in zip(box, middle * 2, strict=True))
        chain = ActionChains(self.driver, duration=20)
        chain.move_to_element_with_offset(self.one("#picture"), x0, y0).click_and_hold()
        chain.move_by_offset((x1 - x0) // 2, (y1 - y0) // 2)
        chain.move_by_offset(
            x1 - x0 - (x1 - x0) // 2, y1 - y0 - (y1 - y0) // 2
        ).release().perform()


@pytest.fixture(scope="session")
def serve():
    """:func:`serving`, for tests that need a server of their own."""
    return serving


@pytest.fixture
def blank(chromium):
    """A browser's window of usual size in which no page is open yet."""
    window = {"width": 1100, "height": 700, "deviceScaleFactor": 1, "mobile": False}
    chromium.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", window)
    return Page(chromium)


@pytest.fixture
def page(blank, served):
    """The page of the server, fresh."""
    return blank.open(served.address)
