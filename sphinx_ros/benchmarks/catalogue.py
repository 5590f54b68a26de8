"""The benchmarks that can be measured: one row each, with the source and licence of the data.

Sources: the model card and the evaluation of SPHINX (LLaMA2-Accessory, ``accessory/eval_mm``) for
what is asked in which words and how long answers may be; the data sets' own pages for the rest.
Knows no file and no model.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from sphinx_ros.benchmarks.samples import Family, Sample
from sphinx_ros.errors import BadRequest
from sphinx_ros.prompt.wording import (
    CHOOSING_BEGINS,
    NO_CONTEXT,
    TRUE_OR_FALSE,
    UNANSWERABLE,
    multiple_choice,
    short_answer,
)

COCO_LICENCE = "annotations CC BY 4.0; pictures under Flickr's terms"


@dataclass(frozen=True)
class Benchmark:
    """One data set.

    Attributes:
        name: what a user types. about: one sentence for people.
        family: how its answers are scored.
        source: where the data comes from. licence: of the data.
        files: layout -> the files that it consists of, below the data set's folder. ``{split}``
            stands for each of the splits.
        splits: that are measured, in the order of tables.
        counts: questions that a whole split has, where it is known.
        tokens: most tokens of an answer; of the official evaluation where that has the data set.
        begun: how the official evaluation lets answers begin.
        wording: words around a question, with ``{text}``; "" leaves it to the family.
        no_context: what stands before a question with choices where its data has nothing.
    """

    name: str
    about: str
    family: Family
    source: str
    licence: str
    files: Mapping[str, str]
    splits: tuple[str, ...]
    counts: Mapping[str, int] = field(default_factory=dict)
    tokens: int = 10
    begun: str = ""
    wording: str = ""
    no_context: str = NO_CONTEXT

    def prompt(self, sample: Sample) -> str:
        """The whole Human text of a sample that asks for words; as its data has it, if it does."""
        if "prompt" in sample.more:
            return str(sample.more["prompt"])
        if sample.choices:
            return multiple_choice(sample.text, sample.choices, sample.hint or self.no_context)
        if self.wording == TRUE_OR_FALSE:
            return TRUE_OR_FALSE.format(text=sample.text)
        text = self.wording.format(text=sample.text) if self.wording else sample.text
        return short_answer(text)


REFER_SOURCE = "github.com/lichengunc/refer (refs and boxes), cocodataset.org (train2014)"


def _refer(name: str, by: str, splits: Mapping[str, int], title: str) -> Benchmark:
    tsv = {"refcoco": "RefCOCO", "refcoco+": "RefCOCO+", "refcocog": "RefCOCOg"}[name]
    return Benchmark(
        name,
        f"Referring expressions on COCO pictures ({title}).",
        Family.BOXES,
        REFER_SOURCE,
        f"Apache-2.0 (refer's code); {COCO_LICENCE}",
        {
            "refer": f"{name}/refs({by}).p, {name}/instances.json, images/train2014/*.jpg",
            "eval_mm": f"{name}_{{split}}.json and the pictures that it names",
            "parquet": f"{{split}}-*.parquet of a hub data set called {tsv}",
            "tsv": f"RefCOCO.tsv (rows {tsv}_{{split}})",
        },
        tuple(splits),
        splits,
        tokens=96,
    )


def _words(name: str, about: str, source: str, licence: str, **more: object) -> Benchmark:
    given: dict = {"family": Family.VQA, "splits": ("val",)} | more
    split = given["splits"][0]
    usual = {
        "eval_mm": f"{name}_{split}*.json and the pictures that it names",
        "parquet": given.pop("hub", "{split}-*.parquet of the hub's data set"),
        "tsv": f"{name}*.tsv, case of letters aside",
    }
    if given["family"] is Family.VQA:
        usual["eval_mm"] = f"{name}_{split}*.json, *annotations*.json (of ten people), pictures"
    given["files"] = given.pop("own", {}) | usual
    return Benchmark(name=name, about=about, source=source, licence=licence, **given)


VQA_JSON = "*questions*.json, *annotations*.json, {split}2014/*.jpg"

BENCHMARKS: dict[str, Benchmark] = {
    one.name: one
    for one in (
        _refer("refcoco", "unc", {"val": 10834, "testA": 5657, "testB": 5095}, "short, any words"),
        _refer("refcoco+", "unc", {"val": 10758, "testA": 5726, "testB": 4889}, "no places"),
        _refer("refcocog", "umd", {"val": 4896, "test": 9602}, "long ones"),
        Benchmark(
            "ref-l4",
            "Referring expressions with corrected labels and 365 kinds of things.",
            Family.BOXES,
            "huggingface.co/datasets/JierunChen/Ref-L4",
            "CC BY-NC 4.0",
            {
                "parquet": "ref-l4-{split}.parquet, and the pictures of images.tar.gz unpacked",
                "rows": "ref-l4-{split}.json, a list of the same rows, and the pictures",
            },
            ("val", "test"),
            {"val": 7231, "test": 38110},
            tokens=96,
        ),
        Benchmark(
            "d3",
            "Described object detection: all things that a sentence describes, or none.",
            Family.DETECT,
            "github.com/shikras/d-cube",
            "CC BY-NC 4.0",
            {
                "d3": "d3_json/d3_full_annotations.json (and d3_pres_, d3_abs_), d3_images/*/*, "
                "d3_pkl/groups.pkl and images.pkl for the sentences of each picture's group"
            },
            ("full",),
            tokens=320,
        ),
        _words(
            "vqav2",
            "Open questions on COCO pictures, ten people's answers each.",
            "visualqa.org (v2)",
            "CC BY 4.0",
            counts={"val": 214354},
            own={"vqa": VQA_JSON},
        ),
        _words(
            "okvqa",
            "Questions that need knowledge from outside the picture.",
            "okvqa.allenai.org",
            "CC BY 4.0",
            counts={"val": 5046},
            own={"vqa": VQA_JSON},
        ),
        _words(
            "gqa",
            "Composed questions on scene graphs, one answer each.",
            "cs.stanford.edu/people/dorarad/gqa",
            "CC BY 4.0",
            family=Family.EXACT,
            splits=("testdev",),
            counts={"testdev": 12578},
            hub="testdev_balanced_instructions/*.parquet, testdev_balanced_images/*.parquet",
            own={"gqa": "{split}_balanced_questions.json, images/*.jpg"},
        ),
        _words(
            "vizwiz",
            "Questions of blind people about their own photographs.",
            "vizwiz.org/tasks-and-datasets/vqa",
            "CC BY 4.0",
            counts={"val": 4319},
            wording=UNANSWERABLE,
            own={"vizwiz": "{split}.json (or Annotations/{split}.json), {split}/*.jpg"},
        ),
        _words(
            "scienceqa",
            "School questions with choices; those with a picture.",
            "scienceqa.github.io",
            "CC BY-NC-SA 4.0",
            family=Family.CHOICE,
            splits=("test",),
            counts={"test": 2017},
            begun=CHOOSING_BEGINS,
            no_context="",
            own={"scienceqa": "problems.json, pid_splits.json, images/{split}/ID/image.png"},
        ),
        _words(
            "vsr",
            "Statements about where things are, true or false.",
            "github.com/cambridgeltl/visual-spatial-reasoning",
            "Apache-2.0 (annotations)",
            family=Family.EXACT,
            splits=("val", "test"),
            wording=TRUE_OR_FALSE,
            hub="{split}-*.parquet (val: dev- or validation-), images/*.jpg if they are not in it",
            own={"vsr": "{split}.jsonl (val: dev.jsonl), images/*.jpg"},
        ),
        _words(
            "iconqa",
            "Questions on drawings, with choices in words.",
            "iconqa.github.io",
            "CC BY-NC-SA 4.0",
            family=Family.CHOICE,
            splits=("test", "val"),
            own={"iconqa": "{split}/choose_txt/ID/data.json and image.png"},
        ),
        _words(
            "textvqa",
            "Questions whose answers are read in the picture.",
            "textvqa.org",
            "CC BY 4.0",
            counts={"val": 5000},
            own={"textvqa": "TextVQA_0.5.1_{split}.json, train_images/*.jpg"},
        ),
        _words(
            "ocrvqa",
            "Questions about covers of books.",
            "ocr-vqa.github.io",
            "for research; the covers are their publishers'",
            family=Family.EXACT,
            splits=("val", "test"),
            tokens=20,
            own={"ocrvqa": "dataset.json, images/ID.jpg"},
        ),
        _words(
            "pope",
            "Is there such a thing? Half yes; things drawn at random, popular, adversarial.",
            "github.com/RUCAIBox/POPE, pictures of COCO val2014",
            "MIT; " + COCO_LICENCE,
            family=Family.YES_NO,
            splits=("random", "popular", "adversarial"),
            counts={"random": 3000, "popular": 3000, "adversarial": 3000},
            own={"pope": "coco_pope_{split}.json (one object a line), val2014/*.jpg"},
        ),
        _words(
            "mme",
            "Two yes-or-no questions a picture, in fourteen parts.",
            "github.com/BradyFU/Awesome-Multimodal-Large-Language-Models (MME), on request",
            "for research only",
            family=Family.PAIRS,
            splits=("test",),
            counts={"test": 2374},
            own={"mme": "PART/NAME.txt with lines question<TAB>Yes or No, PART/NAME.jpg or .png"},
        ),
        Benchmark(
            "coco-detect",
            "All things of each of 80 categories; average precision.",
            Family.DETECT,
            "cocodataset.org (val2017)",
            COCO_LICENCE,
            {"coco": "annotations/instances_{split}2017.json, {split}2017/*.jpg"},
            ("val",),
            tokens=320,
        ),
        Benchmark(
            "coco-pose",
            "The 17 joints of everybody; average precision by OKS.",
            Family.POSE,
            "cocodataset.org (val2017)",
            COCO_LICENCE,
            {"coco": "annotations/person_keypoints_{split}2017.json, {split}2017/*.jpg"},
            ("val",),
            tokens=320,
        ),
        Benchmark(
            "mine",
            "Your own pictures: boxes, expressions, questions with or without choices.",
            Family.BOXES,
            "you",
            "yours",
            {
                "mine": "*.jsonl: {image, text, box} or {image, question, answer[, choices]}",
                "coco": "any *.json in COCO's form, and its pictures",
            },
            ("boxes", "questions", "people", "choices", "detect", "pose"),
            tokens=96,
        ),
    )
}
"""Name -> row, in the order of --list."""


def benchmark(name: str) -> Benchmark:
    """The row of a name, case aside.

    Raises:
        BadRequest: there is none.
    """
    row = BENCHMARKS.get(name.lower())
    if row is None:
        raise BadRequest(f"there is no benchmark {name!r}; use one of {', '.join(BENCHMARKS)}")
    return row
