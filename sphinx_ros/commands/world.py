"""`sphinx-ros world SEED`: a seed -> a picture of the tabletop, and what is true in it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from sphinx_ros.commands.arguments import OK, Parser, add_number, number, size
from sphinx_ros.commands.pictures import SUFFIXES, write_picture
from sphinx_ros.errors import BadRequest

WRITTEN = ("refer", "eval_mm", "parquet", "tsv", "coco", "vqa", "mine")
"""Layouts of data sets; those of :mod:`sphinx_ros.benchmarks.written_layouts`."""

if TYPE_CHECKING:
    from sphinx_ros.world.truth import SceneObject

ABOUT = """Draw one scene of the simulated tabletop, the world of the demonstration model.

  sphinx-ros world 7                                    print what stands on the table
  sphinx-ros world 7 --save scene.png                   write the picture as a camera sees it
  sphinx-ros world 7 --truth truth.png                  the same with boxes, names and joints
  sphinx-ros world 7 --size 360x640 --json              portrait; print JSON
  sphinx-ros world export refer DIR --scenes 20         a data set, as the field's are

Then ask it: sphinx-ros detect scene.png
"""

EXPORT = "export"
ABOUT_EXPORT = """Write scenes of the simulated tabletop as a data set in a layout of the field.

  sphinx-ros world export refer tabletop --scenes 20
  sphinx-ros eval refcoco tabletop

refer, eval_mm, parquet, tsv: RefCOCO; eval_mm also and vqa: VQAv2; coco: boxes and people; mine:
lines of JSON. The scenes are those of `sphinx-ros eval world` with the same --seed. parquet needs
the extra [eval].
"""


def run(argv: Sequence[str]) -> int:
    """Parse, draw, print; returns the exit code."""
    if argv and argv[0] == EXPORT:
        return run_export(argv[1:])
    options = parser().parse_intermixed_args(argv)
    targets = [Path(t) for t in (options.save, options.truth) if t]
    for target in targets:
        if target.suffix.lower() not in SUFFIXES or not target.parent.is_dir():
            raise BadRequest(
                f"{target} must be a file with one of {' '.join(SUFFIXES)} in a folder that exists"
            )
    from sphinx_ros.world.preview import draw_truth
    from sphinx_ros.world.scenes import observe

    seen = observe(options.seed, *options.size)
    if options.save:
        write_picture(Path(options.save), seen.rgb)
    if options.truth:
        write_picture(Path(options.truth), draw_truth(seen))
    for thing in seen.objects:
        print(json.dumps(as_json(thing)) if options.json else as_line(thing))
    return OK


def run_export(argv: Sequence[str]) -> int:
    """Parse, draw, write; returns the exit code."""
    options = export_parser().parse_intermixed_args(argv)
    from sphinx_ros.benchmarks.exported_scenes import scenes
    from sphinx_ros.benchmarks.written_layouts import export

    files = export(options.layout, options.folder, lambda: scenes(options.scenes, options.seed))
    for path in files:
        print(path)
    return OK


def export_parser() -> Parser:
    """The command line of the export."""
    parser = Parser(f"world {EXPORT}", description=ABOUT_EXPORT)
    parser.add_argument("layout", metavar="LAYOUT", help=", ".join(WRITTEN))
    parser.add_argument("folder", metavar="DIR", help="a new or empty folder")
    add_number(parser, "--scenes", (1, 100_000), 20, "how many scenes")
    add_number(parser, "--seed", (0, 10**6), 0, "which", "S")
    return parser


def as_line(thing: SceneObject) -> str:
    """One object for people."""
    box = ",".join(f"{v:.0f}" for v in thing.box)
    return f"{thing.name}: box {box}, {thing.visible:.0%} visible, {thing.depth:.2f} m away"


def as_json(thing: SceneObject) -> dict:
    """One object for programs; the fields are those of ``sphinx_ros.world.truth.SceneObject``."""
    joints = thing.keypoints
    return {
        "kind": thing.kind,
        "colour": thing.colour,
        "size": thing.size,
        "box": [float(v) for v in thing.box],
        "visible": round(float(thing.visible), 4),
        "depth": round(float(thing.depth), 4),
        "position": [round(float(v), 4) for v in thing.position],
        "keypoints": None if joints is None else [[round(float(v), 1) for v in j] for j in joints],
    }


def parser() -> Parser:
    """The verb's command line."""
    parser = Parser("world", description=ABOUT)
    parser.add_argument("seed", metavar="SEED", type=number(0, 2**53, int), help="which scene")
    parser.add_argument(
        "--size", type=size, default=(640, 480), metavar="WxH", help="pixels (default: 640x480)"
    )
    parser.add_argument("--save", metavar="OUT", help="write the picture")
    parser.add_argument("--truth", metavar="OUT", help="write the picture with the truth drawn in")
    parser.add_argument("--json", action="store_true", help="print one JSON object per thing")
    return parser
