"""Pictures with conversations to learn, runs that learn them, and processes that do so together.

torchrun --nproc-per-node 2 tests/tune_support.py '[{"out": "RUN", "plan": {...}}, ...]'
"""

import dataclasses
import json
import sys
from contextlib import contextmanager
from pathlib import Path

import torch
from PIL import Image
from small_network import picture, random_checkpoint

from sphinx_ros.checkpoint.adapter import read_adapter
from sphinx_ros.runtime.peers import joined
from sphinx_ros.teach.plan import Plan
from sphinx_ros.teach.tuned import Tuned
from sphinx_ros.teach.tuning import tune


def write_rows(folder: Path, pictures: int = 6, seed: int = 0, first: int = 0) -> Path:
    """Pictures with two conversations each, in the official format."""
    folder.mkdir(exist_ok=True)
    rows = []
    for number in range(pictures):
        Image.fromarray(picture(64, 48, seed=first + number)).save(folder / f"{number}.png")
        side = 0.1 + 0.1 * ((number + seed) % 5)
        rows += [
            {"image": f"{number}.png", "conversations": [
                {"from": "human", "value": "<image>\nDetect all plates shown in the image."},
                {"from": "gpt", "value": f"<p>plate</p>[{side:.3f},0.200,0.700,0.800]"}]},
            {"image": f"{number}.png", "conversations": [
                {"from": "human", "value": "Is there a plate in the image?"},
                {"from": "gpt", "value": "yes"},
                {"from": "human", "value": "how many?"},
                {"from": "gpt", "value": "1"}]},
        ]  # fmt: skip
    (folder / "rows.json").write_text(json.dumps(rows))
    return folder


def write_boxes(folder: Path, pictures: int = 4, first: int = 0) -> tuple[Path, Path]:
    """Such pictures with a plate each, as COCO, and questions about what is known in them."""
    write_rows(folder, pictures, first=first)
    numbers = range(pictures)
    boxes = {"images": [{"id": n, "file_name": f"{n}.png", "width": 64, "height": 48}
                        for n in numbers],
             "categories": [{"id": 1, "name": "plate"}],
             "annotations": [{"id": n, "image_id": n, "category_id": 1, "bbox": [9, 9, 20, 10]}
                             for n in numbers]}  # fmt: skip
    known = [
        {"image": f"{n}.png", "conversations": [{"from": "human", "value": f"Is {word} left?"},
                                                {"from": "gpt", "value": "left of the middle"}]}
        for n in numbers for word in "one two three four five six seven eight".split()
    ]  # fmt: skip
    (folder / "boxes.json").write_text(json.dumps(boxes))
    (folder / "known.json").write_text(json.dumps(known))
    return folder / "boxes.json", folder / "known.json"


def plan_for(data: Path, **settings) -> Plan:
    usual = {"epochs": 3, "batch": 2, "rank": 2, "alpha": 4.0, "rate": 5e-3, "ask": 1,
             "held_out": 0.34}  # fmt: skip
    return Plan(checkpoint=str(random_checkpoint()), data=(str(data),), **(usual | settings))


def weights(folder: Path) -> dict:
    return read_adapter(folder / "adapter").factors


def same(one: dict, other: dict) -> bool:
    return one.keys() == other.keys() and all(
        torch.equal(a, b) for key in one for a, b in zip(one[key], other[key], strict=True)
    )


def command_line(plan: Plan) -> list[str]:
    """The words of `sphinx-ros tune` that mean a plan of :func:`plan_for`, in float32 on a CPU."""
    names = (
        "checkpoint",
        "epochs",
        "batch",
        "rank",
        "alpha",
        "rate",
        "ask",
        "held_out",
        "patience",
    )
    words = [f"--{name.replace('_', '-')}={getattr(plan, name)}" for name in names]
    return [*plan.data, *words, "--dtype=float32", "--device=cpu"]


@contextmanager
def one_thread():
    """The bits of sums depend on the number of threads."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def learn_together(works: list[dict]) -> None:
    """What each process of torchrun does: the runs, one after another."""
    torch.set_num_threads(1)
    with joined(torch.device("cpu")) as peers:
        for work in works:
            settings = work["plan"] | {"data": tuple(work["plan"]["data"])}
            plan, out, steps = Plan(**settings), Path(work["out"]), work.get("whole_steps", 0)
            if steps:  # with the network whole in each process, before it goes on
                out.mkdir(exist_ok=True)
                whole = dataclasses.replace(plan, shard=False)
                begun = Tuned(whole, out, torch.device("cpu"), torch.float32, peers)
                begun.check()
                for _ in range(steps):
                    begun.learn()
                begun.save()
                peers.gather(None)  # the state is written
            tune(plan, out, resume=bool(steps), peers=peers)


if __name__ == "__main__":
    learn_together(json.loads(sys.argv[1]))
