"""`sphinx-ros compare`: whether this machine computes what the libraries compute."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from small_network import random_checkpoint

from sphinx_ros.checkpoint.compared import choose
from sphinx_ros.checkpoint.reference import INSTALL, REFERENCES
from sphinx_ros.commands.cli import main
from sphinx_ros.errors import BadRequest
from sphinx_ros.model import dinov2

ROOT = Path(__file__).resolve().parent.parent
LIBRARIES = ("torchvision", "timm", "open_clip", "transformers")
ENCODERS = ["CLIP", "ConvNeXt", "DINOv2", "BLIP-2, Q-Former"]

installed = pytest.mark.skipif(
    not all(one.version() for one in REFERENCES.values()),
    reason=f"the libraries are not installed: {INSTALL}",
)


def compare(capsys, *words):
    """(exit code, printed, complained) of the verb on the toy, on the CPU."""
    code = main(["compare", "--checkpoint", str(random_checkpoint()), "--device", "cpu", *words])
    return code, *capsys.readouterr()


@installed
def test_the_table_has_a_line_for_each_encoder(capsys):
    code, out, err = compare(capsys)
    first, heads, *lines = out.splitlines()
    assert (code, err) == (0, "") and first.endswith("on cpu in float32")
    assert heads.split() == ["encoder", "library", "difference", "greatest"]
    assert [line[:20].strip() for line in lines] == ENCODERS
    for line, one in zip(lines, REFERENCES.values(), strict=True):
        assert f"{one.module} {one.version()}" in line and line.endswith("the same")


@installed
def test_json_says_all_of_it(capsys):
    code, out, _ = compare(capsys, "--json")
    told = json.loads(out)
    assert code == 0 and (told["device"], told["dtype"]) == ("cpu", "float32")
    assert told["torch"] == torch.__version__
    assert [row["encoder"] for row in told["encoders"]] == ENCODERS
    for row in told["encoders"]:
        assert 0 <= row["difference"] < row["tolerance"] < 1e-3 and row["greatest"] < 1e-4
        assert row["agrees"] and row["version"] and not row["why_not"]


@installed
def test_an_encoder_that_differs_is_told_and_ends_in_another_exit_code(capsys, monkeypatch):
    monkeypatch.setattr(dinov2, "EPS", 0.1)
    code, out, _ = compare(capsys)
    differs = [line for line in out.splitlines() if "DIFFERS" in line]
    assert code == 3 and len(differs) == 1 and differs[0].startswith("DINOv2")
    code, out, _ = compare(capsys, "--json")
    agrees = {row["encoder"]: row["agrees"] for row in json.loads(out)["encoders"]}
    assert code == 3 and agrees == {name: name != "DINOv2" for name in ENCODERS}


@installed
def test_without_one_of_the_libraries_the_others_are_compared(capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)
    code, out, _ = compare(capsys)
    *others, last = out.splitlines()[2:]
    assert code == 2 and all(line.endswith("the same") for line in others) and len(others) == 3
    assert last.startswith("BLIP-2") and "NOT COMPARED: transformers is not installed" in last
    assert INSTALL in last
    code, out, _ = compare(capsys, "--json")
    last = json.loads(out)["encoders"][-1]
    assert code == 2 and (last["difference"], last["agrees"]) == (None, False)


@installed
def test_a_library_that_does_not_run_is_named(capsys, monkeypatch):
    monkeypatch.delattr("timm.layers.SwiGLUPacked")
    code, out, _ = compare(capsys)
    refused = [line for line in out.splitlines() if "SwiGLUPacked" in line]
    assert code == 2 and len(refused) == 1 and refused[0].startswith("DINOv2")
    assert "requirements/tested.txt" in refused[0] and out.count("the same") == 3


def test_on_a_cpu_only_float32_is_compared(capsys):
    code, _, err = compare(capsys, "--dtype", "bfloat16")
    assert code == 2 and "float32" in err and "bfloat16" in err and err.count("\n") == 1
    assert choose("cpu", "auto") == choose("cpu") == (torch.device("cpu"), torch.float32)
    with pytest.raises(BadRequest, match="cuda:99"):
        choose("cuda:99")


def test_help_says_when_to_use_it(capsys):
    assert main(["compare", "--help"]) == 0
    out = capsys.readouterr().out
    for words in (
        "--checkpoint",
        "--device",
        "--dtype",
        "--json",
        "driver",
        INSTALL,
        "3 one diff",
    ):
        assert words in out, words
    assert main(["compare", "--checkpoint", "no/such"]) == 2
    assert "no/such" in capsys.readouterr().err


# without the libraries

LOOK = (
    "import numpy as np; from sphinx_ros import Sphinx\n"
    "rgb = np.random.default_rng(0).integers(0, 256, (48, 64, 3), np.uint8)\n"
    "seen = Sphinx.from_pretrained('demo', device='cpu').look(rgb)\n"
    "print('answer:', seen.ask('how many cubes are there?').text)\n"
)


def python(code: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)


@pytest.mark.demo
def test_without_the_libraries_the_demonstration_answers_and_compare_refuses():
    done = python(
        f"import sys; sys.modules.update(dict.fromkeys({LIBRARIES}))\n{LOOK}"
        "from sphinx_ros.commands.cli import main; sys.exit(main(['compare']))"
    )
    assert done.stdout.startswith("answer: "), done.stderr
    assert done.stdout.count("\n") == 1 and done.returncode == 2
    assert done.stderr.count("\n") == 1 and INSTALL in done.stderr
    assert "open_clip, timm, transformers" in done.stderr


@pytest.mark.demo
def test_an_answer_loads_none_of_the_libraries_and_no_compiler():
    """torch itself loads some of its compiler in some versions: what it brings does not count."""
    heavy = (*LIBRARIES, "torch._dynamo", "torch._inductor", "sympy")
    done = python(
        f"import sys, torch; before = set(sys.modules)\n{LOOK}"
        f"new = set(sys.modules) - before; print(*sorted(new.intersection({heavy})))"
    )
    answer, loaded = done.stdout.splitlines()
    assert answer.startswith("answer: ") and loaded == "", done.stderr
