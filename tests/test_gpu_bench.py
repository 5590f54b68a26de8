"""What runs on a GPU runs here at toy sizes, without what a GPU machine may lack."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from goldens import Golden, WeightStore

ROOT = Path(__file__).parent.parent
LACKING = (
    "bitsandbytes", "cv2", "huggingface_hub", "matplotlib", "mujoco", "open_clip",
    "rclpy", "rosbags", "safetensors", "scipy", "skimage", "timm", "torchvision", "transformers",
)  # fmt: skip
BLOCKER = """
import sys
class Lacking:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {names!r}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)
sys.meta_path.insert(0, Lacking())
"""


@pytest.fixture
def bench(monkeypatch):
    """The modules of bench/ by name."""
    monkeypatch.syspath_prepend(ROOT / "bench")
    return __import__


def measure(tmp_path, *words):
    """Runs bench/gpu.sh; its exit code, what it says, and the JSON."""
    lacking = tmp_path / "lacking"
    lacking.mkdir()
    (lacking / "sitecustomize.py").write_text(BLOCKER.format(names=set(LACKING)))
    ours = {"PYTHON": sys.executable, "PYTHONPATH": str(lacking), "OMP_NUM_THREADS": "1"}
    command = ["bash", str(ROOT / "bench" / "gpu.sh"), "--quick", "--out", str(tmp_path / "out")]
    done = subprocess.run(
        [*command, *words], env=os.environ | ours, capture_output=True, text=True, timeout=300
    )
    path = tmp_path / "out" / "gpu.json"
    return done.returncode, done.stdout + done.stderr, json.loads(path.read_text())


def test_all_sections_are_measured_at_toy_sizes(tmp_path, bench):
    code, said, found = measure(tmp_path, "--device", "cpu", "--here")
    assert code == 0, said
    assert not [name for name in found if name.startswith("failed_")]
    assert found["parity_ok"] and found["parity_worst_float32"] < 1e-4
    assert found["parity_demo_float32_answers_equal"] == found["parity_demo_float32_answers"] > 0
    assert found["stop_cancel_passes"] == 0 and found["stop_limit_ms"] > 0
    assert found["demo_box_passes"] < found["demo_box_tokens"]
    assert found["full_box_passes"] < found["full_box_tokens"] == 22
    assert found["full_int8_step_gb"] < found["full_bfloat16_step_gb"] <= found["full_weights_gb"]
    for name in (
        "copy_gb_per_s", "product_bfloat16_tflops", "demo_look_ms", "demo_first_box_ms",
        "demo_speedup_8", "demo_boxes_per_s_8", "full_encode_ms", "full_prefill_ms",
        "full_bfloat16_step_8_ms", "full_bfloat16_bandwidth_share_1", "full_int4_over_bfloat16",
        "full_boxes_per_s_1", "full_frame_mb", "big_bfloat16_step_1_ms", "big_prefill_ms",
    ):  # fmt: skip
        assert found[name] > 0, name
    report, keys = bench("gpu_report"), bench("gpu_keys")
    rows = [key for table in keys.TABLES for key in table.keys]
    unknown = [name for name in found if not any(report.matches(key, {name: 0}) for key in rows)]
    assert not unknown, "each key is described in --help"
    table = (tmp_path / "out" / "gpu.md").read_text()
    assert "| everything is within its limit | yes |" in table and table in said


def test_a_section_whose_device_is_none_is_named_and_the_code_says_so(tmp_path):
    code, said, found = measure(tmp_path, "--device", "nowhere", "--sections", "environment")
    assert code == 3, said
    assert "nowhere" in found["failed_environment"]
    assert "| environment | RuntimeError: " in (tmp_path / "out" / "gpu.md").read_text()


def test_a_part_that_fails_ends_no_other_and_keeps_what_it_had(tmp_path, bench):
    report = bench("gpu_report").Report(tmp_path)
    with report.part("demo_look"):
        report.add({"demo_look_ms": 3.0})
        raise torch.OutOfMemoryError("no room | at all\nmore")
    with report.part("demo_steps"):
        report.add({"step_8_ms": 2.0, "step_1_ms": 0.5}, "demo_")
    report.ratio("full_int8_over_bfloat16", "full_int8_step_1_ms", "full_bfloat16_step_1_ms")
    again = bench("gpu_report").Report(tmp_path)  # as the next section's process finds it
    assert again.found == {
        "demo_look_ms": 3.0,
        "failed_demo_look": "OutOfMemoryError: no room | at all",
        "demo_step_8_ms": 2.0,
        "demo_step_1_ms": 0.5,
    }
    lines = (tmp_path / "gpu.md").read_text().splitlines()
    assert "| demo_look | OutOfMemoryError: no room / at all |" in lines
    assert "| 8 | 2 |" in lines and "| a look, all of it | 3 ms |" in lines


def test_the_exit_code_tells_parity_from_all_else(bench):
    outcome = bench("gpu").outcome
    assert outcome({"parity_ok": True}, ["parity", "demo"]) == 0
    assert outcome({"parity_ok": False}, ["parity"]) == 1
    assert outcome({"failed_parity": "it took more than 1 s"}, ["parity"]) == 1
    assert outcome({"parity_ok": True, "failed_demo": "x"}, ["parity", "demo"]) == 3
    assert outcome({}, ["environment"]) == 0


def test_the_limit_of_float32_notices_a_thousandth(bench):
    """A norm that is off by a thousandth is seen, and the right network is far from the limit."""
    parity, golden = bench("gpu_parity"), Golden("llama_ens_light_rope")
    cpu, store = torch.device("cpu"), WeightStore()
    found = parity.golden_network(golden, store, cpu, torch.float32, True)
    assert max(found["logits"], found["steps"], found["packed"]) < parity.FLOAT32 / 10
    wrong = parity.built(golden, store, cpu, torch.float32, True)
    with torch.inference_mode():
        wrong.norm.weight.mul_(1.001)
        ours, theirs = parity.compared(golden, wrong, True)["packed"]
    assert parity.apart(ours, theirs, torch.float32) > parity.FLOAT32
