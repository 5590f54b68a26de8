"""The benchmarks run; what they measure is not tested here."""

import importlib.util
import json
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch
from benchmark_support import written
from goldens import WeightStore
from small_network import SIZES, picture, taught_checkpoint

from sphinx_ros import Sphinx
from sphinx_ros.benchmarks.catalogue import benchmark
from sphinx_ros.benchmarks.layouts import read_benchmark
from sphinx_ros.checkpoint import load_checkpoint
from sphinx_ros.engine.style import Guide, Pieces
from sphinx_ros.prompt.tokenizer import Tokenizer
from sphinx_ros.tasks import Language

BENCH = Path(__file__).parent.parent / "bench"


def bench(name):
    spec = importlib.util.spec_from_file_location(f"bench_{name}", BENCH / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def full_size():
    return bench("full_size")


def test_the_random_checkpoint_is_a_checkpoint(full_size, tmp_path):
    one, again, other = (
        full_size.write_checkpoint(tmp_path / name, seed, SIZES, "llama_ens5_light", 700)
        for name, seed in (("one", 3), ("again", 3), ("other", 4))
    )
    model, tokenizer, config = load_checkpoint(one)
    assert tokenizer.n_words == config.vocab_size == 700
    assert config.variant == "llama_ens5_light" and len(config.view_tokens) == 5
    state, same = model.state_dict(), load_checkpoint(again)[0].state_dict()
    assert all(torch.equal(same[key], value) for key, value in state.items())
    differs = load_checkpoint(other)[0].state_dict()
    key = "layers.0.attention.wq.weight"
    assert not torch.equal(differs[key], state[key]) and state[key].float().std() > 0


def test_full_size_measures_what_it_says(full_size, tmp_path):
    folder = full_size.write_checkpoint(tmp_path / "x", 0, SIZES, "llama_ens_fine", 700)
    options = SimpleNamespace(dtype="bfloat16", quantise=None, tokens=4)
    picture = np.zeros((40, 60, 3), np.uint8)
    rows = full_size.measure(folder, picture, options)
    for name in (
        "load_s",
        "look_s",
        "prefill_s",
        "token_s",
        "look_tflop",
        "float32_product_gflops",
    ):
        assert rows[name] > 0, name
    assert rows["peak_over_weights"] >= 0  # of a process that had more memory before, 0
    text = full_size.table(rows)
    assert all(name in text for name in rows) and "71.7" in text


def test_quantised_measures_what_it_says(tmp_path):
    module = bench("quantised")
    row = module.measure("llama_ens_light", WeightStore(), ["int8", "int4"], tmp_path / "x")
    assert 0 < row["int8"] < row["int4"] < 0.5 and row["int8"] < 0.05
    assert row["int8_bytes"] < 0.6 * row["bfloat16_bytes"]
    assert row["int4_bytes"] < 0.4 * row["bfloat16_bytes"]
    assert row["bfloat16_off_official"] < 0.05
    assert "llama_ens_light" in module.table({"llama_ens_light": row}, ["int8", "int4"])


# benchmarks of several modules, which import each other by name


@pytest.fixture
def beside(monkeypatch):
    monkeypatch.syspath_prepend(str(BENCH))
    return bench


def test_drafts_asks_in_four_ways_and_counts_their_passes(beside, taught, capsys):
    drafts = beside("drafts")
    lines = ["ground: the red mug", "detect: person", "ask: how many mugs are there?"]
    found = {"still": {way: drafts.Counts() for way in drafts.WAYS}}
    clips = {"still": [picture(64, 48, seed) for seed in range(2)]}
    out = drafts.report(found, drafts.measure(taught, clips, lines, found))
    assert out["queries"] == 6 and out["differences"] == out["not_in_the_language"] == 0
    assert out["passes_still_draft"] < out["passes_still_grammar"] <= out["passes_still_free"]
    assert out["passes_unchanged_draft"] <= 2 and out["unchanged_answers"] == 3
    assert out["passes_still_free_count"] == 2 == 2 * out["passes_still_draft_count"]
    assert out["phrase_passes_with"] <= out["phrase_passes_without"]
    drafts.show({"px_still": 0.0, **out})
    assert "ground" in (said := capsys.readouterr().out) and "flow_ms" in said


@pytest.fixture(scope="module")
def tokenizer():
    return Tokenizer(taught_checkpoint() / "tokenizer.model")


def test_boxes_move_with_the_flow_inside_them(beside, tokenizer):
    guesses, pieces = beside("guesses"), Pieces(tokenizer)
    flow = np.zeros((200, 200, 2), np.float32)
    flow[:, :120] = 20, -10
    text = "<p>mug</p>[0.250,0.400,0.500,0.600]<p>can</p>[0.800,0.100,0.995,0.300]"
    moved = guesses.moved(tokenizer.encode(text), pieces, flow)
    assert tokenizer.decode(moved) == text.replace(
        "0.250,0.400,0.500,0.600", "0.350,0.350,0.600,0.550"
    )
    before = cv2.GaussianBlur(picture(320, 240), (0, 0), 5)
    small = guesses.grey(before), guesses.grey(np.roll(before, 6, 1))
    middle = guesses.flow_between(*small)[80:140, 80:140].reshape(-1, 2)
    assert np.median(middle, 0) == pytest.approx([6 * 224 / 320, 0], abs=0.5)


def test_a_replay_takes_the_passes_that_guesses_leave(beside, tokenizer):
    guesses = beside("guesses")
    guide = Guide(Pieces(tokenizer), Language.FREE, None)
    ids = [11, 12, 13, 14, 11, 12, 13, 14, 15]
    assert guesses.replay(ids, guide, lambda _: []) == (9, 0, 0)
    assert guesses.replay(ids, guide, lambda written: ids[len(written) :]) == (1, 9, 9)
    assert guesses.replay(ids, guide, guesses.repeated) == (7, 4, 2)


def test_the_bins_of_a_diagram_hold_each_box_once(beside):
    reliability = beside("reliability")
    rows = [{"score": score, "iou": iou} for score, iou in ((0.05, 0.0), (0.93, 0.8), (1.0, 0.4))]
    found = reliability.diagram([*rows, {"score": float("nan"), "iou": 0.9}, {"iou": 0.0}])
    assert found["boxes"] == 3 and found["auroc"] == 0.5
    first, last = found["bins"][0], found["bins"][-1]
    assert first["n"] == 1 and first["share"] == 0 < first["above"]
    assert last["n"] == 2 and last["share"] == 0.5 and last["score"] == pytest.approx(0.965)
    assert sum(part["n"] for part in found["bins"]) == 3
    below, above = reliability.interval(90, 100)
    assert below < 0.9 < above < 0.95 and reliability.interval(9, 10)[0] < below
    assert reliability.plain(found)["bins"][4]["share"] is None


def test_plots_are_drawn(beside, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    plots, reliability = beside("plots"), beside("reliability")
    found = {"official_s": 1.0, "engine_1_s": 1.0, "engine_8_s": 2.0}
    found |= {"speedup_1_questions": 1.0, "speedup_8_questions": 4.0}
    plots.cost(found, [1, 8], tmp_path / "cost.png", "a title")
    figures = tmp_path / "engine.json"
    figures.write_text(json.dumps({f"{key}_demo": value for key, value in found.items()}))
    drawn = [figures, tmp_path / "again.png", "--ending", "_demo", "--title", "a title"]
    monkeypatch.setattr("sys.argv", ["plots.py", *map(str, drawn)])
    plots.main()
    assert (tmp_path / "again.png").read_bytes() == (tmp_path / "cost.png").read_bytes()
    rows = [{"score": score, "iou": score} for score in np.linspace(0, 1, 50)]
    curves = {"raw": reliability.diagram(rows)["bins"]}
    plots.reliability(curves, tmp_path / "reliability.png", "a title")
    for name in ("cost", "reliability"):
        data = (tmp_path / f"{name}.png").read_bytes()
        assert data.startswith(b"\x89PNG") and 5_000 < len(data) < 60_000


def test_the_engine_is_measured_against_the_plain_loop(monkeypatch, taught):
    monkeypatch.syspath_prepend(str(BENCH))
    one_look, table = bench("one_look"), bench("engine").table
    picture = np.zeros((48, 64, 3), np.uint8)
    asked = ["the red mug", "the blue ball", "the can"]
    found = one_look.passes(taught, 1)
    found |= one_look.many_questions(taught, picture, asked, [1, 3], 12, 1)
    found |= one_look.one_answer(taught, picture, asked[0], 24)
    assert all(value > 0 for value in found.values()), found
    assert found["passes_unchanged_draft"] == 1 < found["passes_grammar"] < found["passes_free"]
    times = found["engine_3_s"], found["speedup_3_questions"], found["official_s"]
    assert times[0] * times[1] == pytest.approx(3 * times[2])
    lines = table({"one": found, "other": {"look_s": 0.5}}).splitlines()
    assert len(lines) == 1 + len(found) and any(line.endswith("           0.5") for line in lines)


def test_the_bench_of_depth_has_its_keys(tmp_path, monkeypatch, capsys):
    try:
        bench("depth").Canvas(16, 16).close()
    except Exception as error:  # any of mujoco, PyOpenGL, EGL
        pytest.skip(f"no OpenGL without a screen here: {error}")
    made = tmp_path / "depth.json"
    words = ["depth.py", "--checkpoint", "", "--scenes", "6", "--json", str(made)]
    monkeypatch.setattr("sys.argv", words)
    bench("depth").main()
    numbers = json.loads(made.read_text())
    assert {"box_error_m_median", "point_error_m_median", "rows"} < set(numbers)
    assert numbers["rows"]["box"]["n"] > 5 and numbers["rows"]["box"]["median_m"] < 0.05
    assert "at 1 m: box_error_m_median" in capsys.readouterr().out


def test_still_pictures_are_measured():
    module = bench("still")
    draw = np.random.default_rng(0)
    one = draw.integers(30, 220, (60, 80, 3)).astype(np.float32)
    sphinx = Sphinx.from_pretrained(taught_checkpoint())
    rest = (module.seen_by((1, 0, 0, 0), one, draw) for _ in range(8))
    row = module.measure(sphinx, rest, 4)
    assert row["pictures"] == 8 and row["reasons"] == {"first": 1, "reused": 7}
    assert row["saved"] == 7 / 8 and row["compared"] == 1 and row["moved"] in (0, 1)
    other = (module.seen_by((1, 0, 0, 0), one[:, ::step], draw) for step in (1, -1, 1, -1))
    assert module.measure(sphinx, other, 1)["saved"] == 0


# The node beside its model


def test_figures_of_the_node_are_those_of_its_record(beside):
    figures = beside("node_figures")
    frames = [[t, t + 0.004, t + 0.006, t + 0.007] for t in np.arange(40) / 10]
    looks = [[frame[0], frame[3], frame[2] + 0.002] for frame in frames]
    run = {"frames": frames, "looks": looks, "back_ms": [9.0] * 40}
    run["memory"] = {"100": 1000, "300": 1005, "10000": 1010}
    found = figures.overhead(run)
    assert found["begin"]["p95"] == pytest.approx(2) and found["back"]["p99"] == 9
    assert found["reception"]["p50"] == pytest.approx(4)
    assert figures.growth(run) == pytest.approx(0.01)
    aged = figures.age(run)
    assert aged["over"] == 0 and aged["answers"] == 38 and aged["period"] == pytest.approx(100)
    looks[5][1] = frames[6][3] + 0.001  # it begins when a newer picture is there
    assert figures.age(run)["over"] == 1
    busy = {"cpu": 0.1, "cpu_idle": 0.01, "looked_per_s": 2.0, **aged}
    every = {"overhead_ms": {"raw480": found}, "busy_raw": busy, "busy_compressed": busy}
    every |= {"decode_ms": 30.0, "age_over_bound": 0, "arrived_profile": 1, "arrived_default": 0}
    every |= {"memory_looks": 10_000, "memory_growth": 0.01, "memory_bytes": run["memory"]}
    text = figures.table(every)
    assert "raw480" in text and "+1.00 %" in text and "100.0% with" in text


def test_growth_of_a_soak_is_that_of_its_end_over_its_second_minute(beside):
    pytest.importorskip("rclpy")
    pytest.importorskip("sphinx_ros.msg")
    growth = beside("soak").growth
    assert growth([(t, 100 if t < 300 else 103) for t in range(600)]) == pytest.approx(0.03)
    assert growth([(t, 50 if t < 60 else 100) for t in range(600)]) == 0
    assert np.isnan(growth([(0.0, 1)]))


def test_evaluation_asks_the_same_twice(tmp_path):
    module = bench("evaluation")
    written("refer", tmp_path, 3)
    _, reading = read_benchmark(benchmark("refcoco"), tmp_path)
    found = module.measure(reading.samples, str(taught_checkpoint()), 2)
    assert found["questions"] == len(reading.samples) and found["pictures"] == 3
    assert found["texts_that_differ"] == found["boxes_that_differ"] == 0
    assert found["ratio"] > 0


def test_the_demonstration_of_tune_has_the_plates_of_its_bag_and_rehearses_all_else(tmp_path):
    pytest.importorskip("rosbags")
    demo = bench("tune_demo")
    scenes = list(demo.observations(demo.LEARNT, 3))
    bag = demo.record_bag(tmp_path / "plates.mcap", scenes)
    export = demo.corrections(bag)
    plates = [one.box for scene in scenes for one in scene.objects if one.kind == demo.KIND]
    drawn = np.array([one["bbox"] for one in export["annotations"]])
    drawn[:, 2:] += drawn[:, :2]
    assert len(plates) > 0 and np.allclose(drawn, plates, atol=0.1)
    assert len(export["images"]) == 3 and len({one["file_name"] for one in export["images"]}) == 3
    rows = json.loads(demo.rehearsal(tmp_path / "old.json", bag, scenes, 4).read_text())
    assert len(rows) == 12 and not any(demo.KIND in str(row["conversations"]) for row in rows)
    assert {row["image"] for row in rows} == {f"lab/images/{one['file_name']}"
                                              for one in export["images"]}  # fmt: skip
