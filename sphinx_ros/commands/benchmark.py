"""`sphinx-ros eval NAME DIR`: a benchmark's data -> a run's folder with answers and scores.

Knows no network.
"""

from __future__ import annotations

import argparse
import json
import platform
from collections.abc import Mapping, Sequence
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sphinx_ros import __version__
from sphinx_ros.benchmarks.catalogue import BENCHMARKS, Benchmark, benchmark
from sphinx_ros.benchmarks.layouts import missing, read_benchmark
from sphinx_ros.benchmarks.published import NAMES
from sphinx_ros.benchmarks.run_folder import (
    DEPENDS,
    RESULTS,
    TABLE,
    WORST,
    RunFolder,
    config_name,
    plan,
)
from sphinx_ros.checkpoint.layout import CALIBRATION
from sphinx_ros.commands.arguments import OK, Parser, add_number
from sphinx_ros.commands.model_options import model_options
from sphinx_ros.commands.pictures import write_picture
from sphinx_ros.errors import BadRequest, SphinxError, Status
from sphinx_ros.runtime.files import write_text
from sphinx_ros.runtime.interrupts import load_torch

if TYPE_CHECKING:
    from sphinx_ros.benchmarks.samples import Reading, Sample

TESTED = ("torch", "numpy", "pyarrow", "faster-coco-eval")

BATCH = 8
"""Pictures that are looked at together."""

Asked = list[tuple["Sample", dict[str, Any]]]


def listing(name: str | None, folder: Path | None) -> str:
    """What can be measured: source, licence and files; of a folder what it would need.

    name: of one of them; None lists all.
    """
    lines = []
    for one in BENCHMARKS.values() if name is None else [benchmark(name)]:
        lines += [f"{one.name}: {one.about}", f"    from {one.source}; {one.licence}"]
        splits = ", ".join(
            f"{split} ({one.counts[split]})" if split in one.counts else split
            for split in one.splits
        )
        lines.append(f"    splits {splits}")
        files = one.files.items()
        if folder is not None:
            lines.append(f"    {missing(one, folder)}")
        else:
            lines += [f"    {layout}: {said}" for layout, said in files]
    return "\n".join(lines)


def run_benchmark(options: argparse.Namespace) -> int:
    """Read, ask, score, write, print; returns the exit code."""
    bench = benchmark(options.what)
    if options.folder is None:
        raise BadRequest(f"where is the data? sphinx-ros eval {bench.name} DIR (see --list)")
    splits = [] if options.split == "all" else options.split.split(",")
    layout, reading = read_benchmark(
        bench, options.folder, layout=options.layout, splits=splits, images=options.images
    )
    samples = reading.samples[: options.limit]
    out = Path(options.out or f"runs/{bench.name}")
    load = {"checkpoint": options.checkpoint, **model_options(options)}
    answers = {
        "load": load,
        "verify": options.verify or options.calibrate,
        "free": options.free,
        "raw": options.calibrate,
        "coordinates": options.coordinates,
        "questions": options.questions,
    }
    load_torch()
    from sphinx_ros.benchmarks.answering import Settings
    from sphinx_ros.benchmarks.measuring import measure

    batch = options.batch or BATCH
    depends = _depends(answers, batch)
    jobs = plan(samples, batch)
    folder = RunFolder(out, config_name(depends))
    about = _about(options, depends, folder.config, layout, reading, samples)
    done = folder.begin(about, jobs, options.resume)
    _say(bench, layout, reading, samples)
    settings = Settings(**answers)
    with folder.kept():
        rate = measure(jobs, done, settings, folder, workers=options.workers, ray=options.ray)
        ordered = [sample for job in jobs for sample in job]
        asked: Asked = list(zip(ordered, folder.answers(), strict=True))
        if done < len(jobs):
            print(f"{rate:.1f} questions/s")
        return finish(options, folder, asked, reading)


def _depends(answers: Mapping[str, Any], batch: int) -> dict[str, Any]:
    """Name -> value of all that answers depend on beside the questions.

    answers: of :class:`Settings`. Raises SphinxError: there is no such checkpoint or device.
    """
    from sphinx_ros.benchmarks.measuring import kind_of
    from sphinx_ros.checkpoint.identity import identity

    load = dict(answers["load"])
    kind, checkpoint = kind_of(load), load.pop("checkpoint")
    files = {name: load.get(name) for name in ("variant", "tokenizer")}
    known = identity(checkpoint, **files)
    if answers["raw"]:  # whatever lies beside the checkpoint, it is not heeded
        known["calibration"] = ""
    asking = {name: value for name, value in answers.items() if name != "load"}
    about = {"checkpoint": checkpoint, "model": load, **asking, "batch": batch, "kind": kind}
    return {**about, **known, "version": __version__}


def finish(options: argparse.Namespace, folder: RunFolder, asked: Asked, reading: Reading) -> int:
    """Score the answers and write what people and programs read."""
    from sphinx_ros.benchmarks.score_tables import as_json, markdown, plain_table
    from sphinx_ros.benchmarks.scoring import scores
    from sphinx_ros.benchmarks.worst_answers import contact_sheet, worst

    name = options.published or str(options.checkpoint)
    found = scores(asked, name)
    notes = _notes(asked, reading)
    write_text(folder.path / RESULTS, json.dumps(as_json(found), indent=1) + "\n")
    write_text(folder.path / TABLE, markdown(found, notes))
    sheet = contact_sheet(worst(asked, options.pictures)) if options.pictures else None
    if sheet is not None:
        write_picture(folder.path / WORST, sheet)
    print(plain_table(found))
    for note in notes:
        print(note)
    if options.calibrate:
        _calibrate(folder, asked, str(reading.files[0].name))
    print(f"{folder.path}: {RESULTS}, {TABLE}{'' if sheet is None else f', {WORST}'}")
    return OK


def _calibrate(folder: RunFolder, asked: Asked, source: str) -> None:
    from sphinx_ros.benchmarks.trusting import calibration

    made = calibration(asked, f"{source}, {len(asked)} expressions")
    if made is None:
        raise SphinxError(
            "no answer has a box with known digits and an answer to whether the thing is there: "
            "this checkpoint's scores can't be calibrated so",
            status=Status.PARSE_FAILED,
        )
    made.write(folder.path)
    print(f"{folder.path / CALIBRATION}: put it beside the checkpoint")


def _notes(asked: Asked, reading: Reading) -> list[str]:
    """What is to be known of the figures, what was left out, and what failed."""
    notes = [*reading.remarks, *([reading.summary] if reading.summary else [])]
    refused = [answer["refused"] for _, answer in asked if answer.get("refused")]
    if refused:
        notes.append(f"{len(refused)} questions could not be asked, as: {refused[0]}")
    failed = [answer for _, answer in asked if answer.get("error")]
    if failed:
        notes.append(f"{len(failed)} questions failed and count as wrong: {failed[0]['error']}")
    return notes


def _say(bench: Benchmark, layout: str, reading: Reading, samples: Sequence[Sample]) -> None:
    """How much of the data set is measured, and what is refused."""
    print(f"{bench.name} ({layout}): {bench.source}; {bench.licence}")
    for split in dict.fromkeys(sample.split for sample in samples):
        own = sum(sample.split == split for sample in samples)
        whole = bench.counts.get(split)
        pictures = len({sample.picture.key for sample in samples if sample.split == split})
        of = f" of {whole}" if whole and whole != own else ""
        print(f"  {split}: {own}{of} questions about {pictures} pictures")
    if reading.summary:
        print(f"  {reading.summary}")
        for line in reading.told[:5]:
            print(f"    {line}")


def _about(
    options: argparse.Namespace,
    answers: dict[str, Any],
    config: str,
    layout: str,
    reading: Reading,
    samples: Sequence[Sample],
) -> dict[str, Any]:
    """What about.json tells."""
    versions = {"python": platform.python_version(), "sphinx_ros": __version__}
    for name in TESTED:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    given = {k: v for k, v in vars(options).items() if k not in ("resume", "list", "json")}
    return {
        "arguments": given,
        DEPENDS: answers,
        "config": config,
        "versions": versions,
        "layout": layout,
        "files": [str(path) for path in reading.files][:100],
        "questions": len(samples),
        "refused": dict(reading.refused),
        "refused_rows": reading.told,
    }


def add_options(parser: Parser) -> None:
    """The options that the simulated tabletop does not have."""
    add = parser.add_argument
    add("folder", nargs="?", metavar="DIR", help="of the data; --list says what is expected in it")
    add("--list", action="store_true", help="every benchmark, its source, licence and files")
    add("--out", metavar="RUN", help="folder of the run (default: runs/NAME)")
    add("--resume", action="store_true", help="go on where the run in --out was interrupted")
    add("--split", default="all", metavar="A,B", help="splits to measure (default: all)")
    add_number(parser, "--limit", (1, 10**9), None, "the first N questions alone")
    add("--layout", default="", metavar="L", help="read DIR as this layout (default: found)")
    add("--images", metavar="DIR", help="folder of the pictures, if not in DIR")
    add("--verify", action="store_true", help="ask as well whether an expression's thing is there")
    add("--free", action="store_true", help="let text be written where numbers alone could be")
    add(
        "--coordinates",
        choices=("greedy", "expected"),
        default="",
        help="boxes by the digits that were written, or by their expected values (default: what "
        "the checkpoint's calibration says)",
    )
    add("--calibrate", action="store_true", help="make RUN/calibration.json (asks as --verify)")
    add("--published", choices=NAMES, metavar="X", help=f"compare with one of {', '.join(NAMES)}")
    at_once = "that are asked at once at most; fewer take less memory"
    add_number(parser, "--questions", (1, 4096), 256, at_once)
    add("--ray", action="store_true", help="--workers are actors of Ray, on its machines")
    each = "processes, each with a device of its own where there are several"
    add_number(parser, "--workers", (1, 256), 1, each)
    worst = "of the worst answers on the contact sheet"
    add_number(parser, "--pictures", (0, 200), 20, worst)
