"""The rooms: a module imports only what stands below it, and its first line says what is true.

The modules are read, not run: imports inside functions count like those at the top.
"""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections import Counter
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "sphinx_ros"

ROOMS = (
    ("errors", "names of failures, which everybody raises"),
    ("types", "what results are; carry a status"),
    ("events", "what a stream tells of results while they come"),
    ("tasks", "one row per task; read by everybody above"),
    ("model", "the network: tensors in, tensors out; its sizes and recipes are plain numbers"),
    ("runtime", "devices, memory, files, processes: what a network runs on"),
    ("image", "pictures -> the pixels that the network's sizes ask for"),
    ("prompt", "words -> text and token ids, text -> results in a picture's pixels"),
    ("dialogue", "a conversation about one picture, whoever answers it"),
    ("seen", "one picture and the questions on it, whoever answers them"),
    ("draw", "results -> pictures"),
    ("engine", "a network and token ids -> tokens and probabilities"),
    ("checkpoint", "files -> a network and its tokenizer"),
    ("answer", "a query -> what the engine is asked, and what its words mean in the picture"),
    ("remote", "the same questions, put to a server; no network here, and no torch"),
    ("pipeline", "a checkpoint that looks, here or on a server: the Python interface"),
    ("world", "the simulated tabletop; asks in the words of prompt/, draws by draw"),
    ("evaluate", "a checkpoint's answers against the truth of world/"),
    ("benchmarks", "the field's data sets, and world/ written as such; scored as evaluate/ does"),
    ("train", "learns from world/ and is scored by evaluate/"),
    ("serve", "the model for others: HTTP, its page, several of it"),
    ("ros", "the node; above it only what tells the same without a node, and the command line"),
    ("bags", "the node's answers about recorded pictures, in its messages; without rclpy"),
    ("teach", "a user's pictures -> labels and an adapter; scored as evaluate/ does, reads bags/"),
    ("commands", "the command line: all verbs"),
    ("__main__", "starts the command line"),
)
"""From the bottom up: a room imports rooms above its own line only. The reason beside each."""

GENERATED = {"msg", "srv", "action"}
"""Made by rosidl from the interface files; imported under ros/ only."""

MESSAGES = (
    "sphinx_ros.msg",
    "sphinx_ros.srv",
    "sphinx_ros.action",
    "builtin_interfaces",
    "diagnostic_msgs",
    "foxglove_msgs",
    "geometry_msgs",
    "rcl_interfaces",
    "sensor_msgs",
    "std_msgs",
    "std_srvs",
    "vision_msgs",
    "visualization_msgs",
)
NETWORK = (
    "sphinx_ros.answer.loaded",
    "sphinx_ros.checkpoint.loading",
    "sphinx_ros.model.decoder",
    "sphinx_ros.model.network",
    "sphinx_ros.model.sphinx",
    "sphinx_ros.pipeline",
    "sphinx_ros.runtime.team",
)
TOWERS = tuple(f"sphinx_ros.model.{one}" for one in ("blip2", "clip_vit", "convnext", "dinov2"))
RENDERER = ("mujoco", "OpenGL", "sphinx_ros.world.render")

KNOWS_NO = {
    "body": ("sphinx_ros.world.mannequin",),
    "camera": ("sphinx_ros.world.view", "sphinx_ros.ros.world_camera"),
    "checkpoint": ("sphinx_ros.checkpoint",),
    "clock": ("time", "datetime"),
    "command": ("sphinx_ros.commands",),
    "device": ("sphinx_ros.runtime.device",),
    "drawing": ("sphinx_ros.draw", "cv2"),
    "file": ("sphinx_ros.runtime.files", "tempfile", "shutil"),  # and no call of FILE_CALLS
    "format": ("json", "pickle", "safetensors", "struct", "yaml", "zipfile"),
    "HTTP": ("fastapi", "http", "httpx", "starlette", "uvicorn"),
    "hub": ("huggingface_hub", "sphinx_ros.checkpoint.hub"),
    "job": ("sphinx_ros.checkpoint", "sphinx_ros.evaluate", "sphinx_ros.train"),
    "launch": ("launch", "launch_ros"),
    "engine": ("sphinx_ros.engine.engine",),
    "layer": ("sphinx_ros.model.layers", "sphinx_ros.model.moe", *TOWERS),
    "maker": (
        "sphinx_ros.world.exercises",
        "sphinx_ros.world.questions",
        "sphinx_ros.world.regions",
    ),
    "message": MESSAGES,
    "model": NETWORK,
    "module": ("sphinx_ros",),
    "network": NETWORK,
    "nobody": ("sphinx_ros",),
    "node": ("rclpy", "sphinx_ros.ros.node"),
    "OpenCV": ("cv2",),
    "OpenGL": RENDERER,
    "picture": ("cv2", "PIL", "sphinx_ros.image.decode", "sphinx_ros.image.pixels"),
    "question": ("sphinx_ros.engine",),
    "process": ("multiprocessing", "subprocess"),
    "prompt": ("sphinx_ros.prompt.conversation", "sphinx_ros.prompt.wording"),
    "Ray": ("ray",),
    "rclpy": ("rclpy",),
    "renderer": RENDERER,
    "ROS": ("rclpy", "launch_ros", *MESSAGES),
    "sampling": ("sphinx_ros.engine",),
    "task": ("sphinx_ros.tasks",),
    "tensor": ("torch",),
    "text": ("sentencepiece", "sphinx_ros.prompt"),
    "thread": ("threading",),
    "token": ("sentencepiece", "sphinx_ros.prompt.tokenizer"),
    "torch": ("torch",),
    "tower": ("open_clip", "timm", "transformers", *TOWERS),
    "vocabulary": ("sphinx_ros.prompt.tokenizer",),
    "verb": ("sphinx_ros.commands",),
}
"""X of a docstring's "Knows no X" or "Imports no X" -> the imports that would belie it.

Such a sentence holds only words of this table. That of a package counts for all its modules."""

FILE_CALLS = {"open", "read_bytes", "read_text", "write_bytes", "write_text", "fopen", "imread"}
"""Calls that would belie "Knows no file" and "Opens no file"."""


@cache
def modules() -> dict[str, Path]:
    """Dotted name -> file, of the whole package."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(ROOT).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


@cache
def tree(name: str) -> ast.Module:
    return ast.parse(modules()[name].read_text(encoding="utf-8"))


def imported(name: str, node: ast.AST) -> set[str]:
    """Dotted names that a statement imports; "" for any other statement."""
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names}
    if not isinstance(node, ast.ImportFrom):
        return set()
    package = name.split(".") if modules()[name].name == "__init__.py" else name.split(".")[:-1]
    base = [*package[: len(package) - node.level + 1]] if node.level else []
    base = ".".join([*base, *([node.module] if node.module else [])])
    lazy = lazy_names(base) if base in modules() else {}
    whole = {lazy.get(alias.name, f"{base}.{alias.name}") for alias in node.names}
    return {one if one in modules() else base for one in whole}


@cache
def lazy_names(package: str) -> dict[str, str]:
    """Name -> module, of what a package loads with the first use of the name (`_LAZY`)."""
    for node in tree(package).body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "_LAZY":
            table = ast.literal_eval(node.value)
            return {
                name: module if module.startswith("sphinx_ros.") else f"{package}.{module}"
                for name, module in table.items()
            }
    return {}


@cache
def imports(name: str) -> frozenset[str]:
    """Everything a module imports, inside functions too."""
    return frozenset(one for node in ast.walk(tree(name)) for one in imported(name, node))


def is_for_types(node: ast.AST) -> bool:
    """Whether it is `if TYPE_CHECKING:`, which never runs."""
    return isinstance(node, ast.If) and "TYPE_CHECKING" in ast.dump(node.test)


@cache
def imports_at_start(name: str) -> frozenset[str]:
    """What a module imports when it is imported itself."""
    found: set[str] = set()
    waiting: list[ast.AST] = [tree(name)]
    while waiting:
        for node in ast.iter_child_nodes(waiting.pop()):
            found |= imported(name, node)
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                waiting += [] if is_for_types(node) else [node]
    return frozenset(found)


def loaded_by(name: str) -> set[str]:
    """All that is loaded when a module of the package is imported, packages above it included."""
    found: set[str] = set()
    waiting = [name]
    while waiting:
        one = waiting.pop()
        if one in found:
            continue
        found.add(one)
        if one in modules():
            waiting += [".".join(one.split(".")[:n]) for n in range(1, one.count(".") + 1)]
            waiting += imports_at_start(one)
    return found


def room(name: str) -> str:
    parts = name.split(".")
    return parts[1] if len(parts) > 1 else "sphinx_ros"


def is_under(name: str, above: str) -> bool:
    return name == above or name.startswith(above + ".")


INSIDE = [name for name in modules() if name != "sphinx_ros"]


def test_the_table_names_every_room():
    there = {room(name) for name in INSIDE}
    assert {one for one, _ in ROOMS} == there


@pytest.mark.parametrize("name", INSIDE)
def test_a_room_imports_only_what_stands_below_it(name):
    order = [one for one, _ in ROOMS]
    mine = order.index(room(name))
    for other in imports(name):
        if is_under(other, "sphinx_ros") and room(other) not in (room(name), "sphinx_ros"):
            if room(other) in GENERATED:
                assert room(name) == "ros", f"{name} imports the interface {other}"
            else:
                assert order.index(room(other)) < mine, f"{name} imports {other}, which is above"


def test_no_two_modules_import_each_other():
    """Not even by way of others, nor inside functions."""
    done: set[str] = set()

    def visit(name: str, path: tuple[str, ...]) -> None:
        assert name not in path, " -> ".join((*path[path.index(name) :], name))
        if name in done:
            return
        for other in imports(name):
            if other in modules() and other != name and other != "sphinx_ros":
                visit(other, (*path, name))
        done.add(name)

    for name in INSIDE:
        visit(name, ())


def test_no_two_modules_have_the_same_name():
    names = Counter(path.name for path in modules().values() if path.name != "__init__.py")
    assert not [name for name, number in names.items() if number > 1]


@pytest.mark.parametrize("name", modules())
def test_rclpy_is_imported_under_ros_only(name):
    used = {other for other in imports(name) if other.split(".")[0] in ("rclpy", "launch")}
    assert not used or room(name) == "ros"


WITHOUT_TORCH = (
    "sphinx_ros",
    "errors",
    "types",
    "tasks",
    "prompt",
    "image",
    "draw",
    "seen",
    "remote",
    "pipeline",
    "ros",
    "commands",
)


@pytest.mark.parametrize("name", modules())
def test_torch_is_loaded_by_what_needs_a_network_only(name):
    measures = name.startswith("sphinx_ros.ros.demo")  # what evaluate/ does, which has a network
    if room(name) in WITHOUT_TORCH and not measures:
        assert not {
            one for one in loaded_by(name) if one.split(".")[0] in ("torch", "torchvision")
        }


def test_the_command_line_starts_without_torch_and_changes_no_environment():
    code = (
        "import os, sys; before = dict(os.environ)\n"
        "import sphinx_ros, sphinx_ros.commands.cli, sphinx_ros.prompt.queries\n"
        "assert dict(os.environ) == before, 'an import changed the environment'\n"
        "print(*(name for name in ('torch', 'rclpy', 'cv2', 'timm') if name in sys.modules))"
    )
    made = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT)
    assert made.returncode == 0, made.stderr
    assert made.stdout.strip() == ""


@pytest.mark.parametrize("name", modules())
def test_nothing_is_done_at_import(name):
    """No environment, no files, no prints while a module loads."""
    for node in tree(name).body:
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
            said = ast.unparse(node.value.func)
            assert said.startswith(("_", "__")) or said.endswith((".update", ".append")), said
        if isinstance(node, ast.Assign | ast.AugAssign | ast.AnnAssign):
            assert "os.environ" not in ast.unparse(node), f"{name}: {ast.unparse(node)}"


# the first lines


@pytest.mark.parametrize("name", modules())
def test_every_module_has_a_first_line_that_is_a_sentence(name):
    said = ast.get_docstring(tree(name))
    assert said, f"{name} has no docstring"
    first = said.split("\n\n")[0]
    assert first.rstrip().endswith((".", ":", "?")), first


def knows_no(said: str) -> list[str]:
    """The words X, Y, Z of "Knows no X, no Y and no Z." in a docstring, in the singular.

    "Imports no X", "Opens no X" and "Reads no X" say the same.
    """
    found: list[str] = []
    plain = " ".join(said.split())
    for sentence in re.findall(
        r"\b(?:[Kk]now|[Ii]mport|[Oo]pen|[Rr]ead)s (no(?:body|\b)[^.;:]*)", plain
    ):
        parts = re.split(
            r",|\band\b|\bor\b|\bso that\b.*|\b(?:know|open|read|import)s\b", sentence
        )
        words = (part.strip().removeprefix("no ").strip() for part in parts if part)
        found += [word for word in words if word]
    return [word if word in KNOWS_NO else word.removesuffix("s") for word in found]


def file_calls(name: str) -> set[str]:
    """The calls of a module that read or write files."""
    return {
        said
        for node in ast.walk(tree(name))
        if isinstance(node, ast.Call)
        and (said := ast.unparse(node.func).rpartition(".")[2]) in FILE_CALLS
    }


def spoken_for(name: str) -> list[str]:
    """The modules that a module's docstring speaks for: all of a package, else itself."""
    if modules()[name].name != "__init__.py" or name == "sphinx_ros":
        return [name]
    return [one for one in modules() if is_under(one, name)]


@pytest.mark.parametrize("name", modules())
def test_what_a_module_says_it_does_not_know_it_does_not_import(name):
    for word in knows_no(ast.get_docstring(tree(name)) or ""):
        assert word in KNOWS_NO, f"{name}: nobody can check that it knows no {word!r}"
        for one in spoken_for(name):
            assert word != "file" or not file_calls(one), f"{one} knows no file"
            for other in imports(one):
                found = [above for above in KNOWS_NO[word] if is_under(other, above)]
                assert not found, f"{name} knows no {word}, but {one} imports {other}"


@pytest.mark.parametrize("name", modules())
def test_what_a_module_does_not_know_is_said_in_words_that_are_checked(name):
    said = " ".join((ast.get_docstring(tree(name)) or "").split())
    unchecked = r"[Kk]nows (nothing|neither|the [^.;]*\bno )|(^|\. )No \w+[.,]|only; no "
    for phrase in re.finditer(unchecked, re.sub(r"[Kk]nows no\b[^.;:]*", "", said)):
        pytest.fail(f'{name}: "{phrase[0]}": write it as "Knows no X."')


def test_the_sentences_are_read_as_meant():
    assert knows_no("X. Knows no model, no ROS. And") == ["model", "ROS"]
    assert knows_no("Knows no device and no\narithmetics.") == ["device", "arithmetic"]
    assert knows_no("knows nobody.") == ["nobody"]
    assert knows_no("Reads no file, knows no hub.") == ["file", "hub"]
    assert knows_no("Imports no torch and reads no file.") == ["torch", "file"]
    assert knows_no("Knows no rclpy, so that help is there where ROS 2 is not.") == ["rclpy"]


# where is what


def test_contributing_has_a_line_for_each_module_and_no_other():
    said = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    listed, folder = [], ""
    for line in said.splitlines():
        if line.startswith("### ") and (named := re.search(r"`(sphinx_ros/[\w/]*)`", line)):
            folder = named[1]
        elif module := re.match(r"    (\w+\.py) +\S", line):
            listed.append(folder + module[1])
    there = {
        path.relative_to(ROOT).as_posix()
        for path in modules().values()
        if path.name != "__init__.py"
    }
    assert len(listed) == len(set(listed))
    assert there - set(listed) == set(), 'give each a line under "Where is what"'
    assert set(listed) - there == set(), "these are gone"


@pytest.mark.parametrize("document", ["CONTRIBUTING.md", "docs/world.md", "docs/training.md"])
def test_documents_name_files_that_are_there(document):
    said = (ROOT / document).read_text(encoding="utf-8")
    for name in re.findall(
        r"`((?:sphinx_ros|tests|docs|config|launch|bench|msg)/[\w./-]+)`", said
    ):
        assert (ROOT / name).exists(), f"{document} names {name}"
