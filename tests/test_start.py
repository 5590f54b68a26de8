"""bench/start.py runs; what it measures is not tested here."""

import importlib.util
import json
import sys
from pathlib import Path

import cv2
import pytest

BENCH = Path(__file__).parent.parent / "bench" / "start.py"


@pytest.fixture(scope="module")
def start():
    spec = importlib.util.spec_from_file_location("bench_start", BENCH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def script(code: str) -> list[str]:
    return [sys.executable, "-c", code]


def test_a_process_is_timed_to_its_end_or_to_a_line(start):
    wall, cpu = start.timed(script("print('done')"))
    assert wall > 0 and cpu > 0
    ready = (
        "import signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\n"
        "print('[x]: ready', flush=True)\n"
        "time.sleep(60); sys.exit('it was not ended')"
    )
    wall, _ = start.timed(script(ready), until="ready")
    assert wall > 0


@pytest.mark.parametrize("code, until", [("raise SystemExit(3)", ""), ("print('no')", "ready")])
def test_a_command_that_fails_is_no_figure(start, code, until):
    with pytest.raises(RuntimeError, match="failed"):
        start.timed(script(code), until=until)


def test_imports_are_counted_by_library_and_of_torch_by_part(start):
    own = start.libraries(script("import json.decoder, torch.nn"))
    assert own["json"] > 0 and own["torch.nn"] > 0 and own["torch"] > 0
    assert "json.decoder" not in own


@pytest.mark.demo
def test_each_stage_of_an_answer_has_its_time(start, tmp_path):
    scene = tmp_path / "scene.png"
    start.write_scene(str(scene))
    assert cv2.imread(str(scene)).shape == (480, 640, 3)
    rows = start.stages(str(scene))
    assert "import torch" in rows and list(rows)[-1] == "second look and answer"
    assert len(rows) == 6 and all(wall >= 0 and cpu >= 0 for wall, cpu in rows.values())


@pytest.mark.demo
def test_the_report_has_tables_and_json(start, tmp_path, monkeypatch, capsys):
    """With commands that end at once in the place of the real ones."""
    quick = {"import torch": (script("sum(range(10**6))"), "")}
    quick["sphinx-ros ground"] = (script("import json"), "")
    monkeypatch.setattr(start, "commands", lambda scene: quick)
    monkeypatch.setattr(start, "child", lambda flag, scene: {"first look": (0.2, 0.3)})
    file = tmp_path / "figures.json"
    monkeypatch.setattr(sys, "argv", ["start.py", "--repeat", "2", "--json", str(file)])
    assert start.main() == 0
    out, told = capsys.readouterr().out, json.loads(file.read_text())
    assert "median of 2" in out and "first look" in out and "the aim is 2" in out
    assert set(told) == {"commands", "stages", "libraries", "ratio"} and told["ratio"] > 0
    assert set(told["commands"]) == set(quick) and told["libraries"]["json"] > 0
