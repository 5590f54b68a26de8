"""`sphinx-ros serve` as a process: what it prints, what it refuses, and how it ends."""

import os
import re
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx
from patience import PATIENCE
from process_support import until
from small_network import taught_checkpoint

from sphinx_ros.commands.cli import main
from sphinx_ros.commands.serve import MEBI, parser
from sphinx_ros.prompt.checks import MAX_STANDING, MAX_TOKENS
from sphinx_ros.remote.address import BUSY, QUALITY, SILENCE
from sphinx_ros.serve.app import Settings
from sphinx_ros.serve.desk import Limits

ROOT = Path(__file__).resolve().parent.parent


def start(*words, **environment):
    """A server process and its address, which it prints."""
    command = [sys.executable, "-m", "sphinx_ros", "serve", "--port", "0", *words]
    process = subprocess.Popen(
        command, stderr=subprocess.PIPE, text=True, cwd=ROOT, env={**os.environ, **environment}
    )
    line = process.stderr.readline()
    found = re.search(r"http://\S+:\d+", line)
    assert found, line
    return process, found[0], line


def ready(address, headers=None):
    """Whether it answers; what it tells while it loads is the right thing."""
    answer = httpx.get(f"{address}/healthz", headers=headers)
    assert answer.status_code == {"ready": 200, "loading": 503}[answer.json()["state"]]
    return answer.status_code == 200


def test_the_help_tells_the_usual_limits():
    """The verb's own numbers, which are read before the server's modules are."""
    options, limits, settings = parser().parse_args([]), Limits(), Settings()
    usual = options.slots, options.line, options.timeout
    assert usual == (limits.slots, limits.line, limits.timeout)
    assert options.max_body * MEBI == settings.max_body
    told = (ROOT / "docs" / "serve.md").read_text()
    words = f"`--slots` requests are answered at a time ({limits.slots})"
    assert words in told and f"`--line` more wait ({limits.line})" in told
    assert f"`--max-body` ({options.max_body} MiB)" in told
    assert f"{limits.timeout:g} s where a request says none" in told
    assert f"{limits.pictures >> 20} MB" in told and f"{limits.pixels // 10**6} million" in told
    assert f"within {settings.body_seconds:g} s" in told
    assert f"{MAX_STANDING} queries" in told and f"up to {MAX_TOKENS}" in told
    assert f"{BUSY:g} s where a question has none" in told
    assert f"({SILENCE:g})" in told and f"; {QUALITY})" in told


def ended(process, number):
    """End the process by a signal; its status must be 0."""
    process.send_signal(number)
    assert process.wait(PATIENCE) == 0
    rest = process.stderr.read()
    assert "Traceback" not in rest, rest


def test_it_says_where_it_is_answers_and_ends_with_sigterm():
    folder = str(taught_checkpoint())
    secret = "secret\n"  # as a file holds it
    process, address, line = start("--checkpoint", folder, SPHINX_ROS_TOKEN=secret)
    try:
        assert folder in line and "with its token" in line and "Ctrl-C" in line
        early = httpx.post(f"{address}/v1/caption", content=b"x")
        assert early.status_code == 401
        until(lambda: ready(address))
        info = httpx.get(f"{address}/v1/info", headers={"Authorization": "Bearer secret"}).json()
        assert info["model"] == folder and info["limits"]["slots"] == 16
    finally:
        ended(process, signal.SIGTERM)


def test_ctrl_c_while_it_loads():
    process, address, _ = start()
    answer = httpx.get(f"{address}/healthz")
    ended(process, signal.SIGINT)
    assert answer.json()["model"] == "demo"


def test_a_model_that_cannot_be_loaded_ends_it_with_the_reason():
    device = "cuda:99"
    process, *_ = start("--checkpoint", str(taught_checkpoint()), "--device", device)
    assert process.wait(PATIENCE) == 2
    said = process.stderr.read()
    assert device in said and said.count("\n") == 1 and said.startswith("sphinx-ros: ")


def refused(capsys, *words):
    """The one line of a command that can't begin."""
    assert main(["serve", *words]) == 2
    out, err = capsys.readouterr()
    assert not out and err.count("\n") == 1
    return err


def test_what_it_refuses(capsys):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        said = refused(capsys, "--port", str(port))
    assert f"127.0.0.1:{port}" in said and "in use" in said and "another port" in said
    assert "no.such.host.invalid" in refused(capsys, "--host", "no.such.host.invalid")
    assert "198.51.100.7" in refused(capsys, "--host", "198.51.100.7"), "of no interface"
    assert "without port" in refused(capsys, "--allow-host", "robot:80")
    assert "the token is blank" in refused(capsys, "--token", "\n")
    assert "65536" in refused(capsys, "--port", "65536")
    assert "no.such.checkpoint" in refused(capsys, "--checkpoint", "no.such.checkpoint")
    assert "0..100000" in refused(capsys, "--line", "-1")


def test_what_is_not_installed_is_said():
    code = (
        "import sys; sys.modules['fastapi'] = None\n"
        "from sphinx_ros.commands.cli import main; sys.exit(main(['serve']))"
    )
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert made.returncode == 2 and 'pip install "sphinx_ros[serve]"' in made.stderr
    assert made.stderr.count("\n") == 1


def test_help_teaches_with_examples(capsys):
    assert main(["serve", "--help"]) == 0
    said = capsys.readouterr().out
    assert "curl" in said and "docs/serve.md" in said and "SPHINX_ROS_TOKEN" in said
    for option in ("--host", "--port", "--token", "--allow-host", "--slots", "--line"):
        assert option in said
