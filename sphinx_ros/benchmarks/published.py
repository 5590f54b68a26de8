"""What is published of the released checkpoints: name of a score -> its value and where it stands.

Shares are 0..1, as our own scores; MME's are points. Knows no file and no model.
"""

from __future__ import annotations

X = "SPHINX-X, arXiv 2402.05935v3"
README = "README of LLaMA2-Accessory/SPHINX before 2023-12-22 (git 1a69961)"
REF_L4 = "Ref-L4, arXiv 2406.16866, tables 4 and 5 (val and test together)"
D_CUBE = "github.com/shikras/d-cube, eval_sota/README"
UNSURE = "; it does not say whether the checkpoint looks at one view or five"

_REC = (
    "refcoco.val", "refcoco.testA", "refcoco.testB", "refcoco+.val", "refcoco+.testA",
    "refcoco+.testB", "refcocog.val", "refcocog.test",
)  # fmt: skip
_REC_ROWS = {
    "sphinx": ("89.15 91.37 85.13 82.77 87.29 76.85 84.87 83.65", README),
    "sphinx-1k": ("91.05 92.65 86.56 86.64 91.08 80.35 88.19 88.35", f"{X}, table 5"),
    "sphinx-tiny": ("82.89 86.89 77.91 71.34 78.49 63.71 78.50 78.86", f"{X}, table 5{UNSURE}"),
    "sphinx-tiny-1k": (
        "82.89 86.89 77.91 71.34 78.49 63.71 78.50 78.86",
        f"{X}, table 5{UNSURE}",
    ),
    "sphinx-moe": ("90.64 93.74 86.85 85.50 90.48 79.88 88.26 88.51", f"{X}, table 5{UNSURE}"),
    "sphinx-moe-1k": ("90.64 93.74 86.85 85.50 90.48 79.88 88.26 88.51", f"{X}, table 5{UNSURE}"),
}
_REF_L4 = ("acc50", "acc75", "acc90", "macc", "small_acc50", "medium_acc50", "large_acc50")
_REF_L4_ROWS = {
    "sphinx": "74.78 53.65 21.15 50.09 48.82 80.56 83.27",
    "sphinx-1k": "78.52 62.17 32.95 57.57 59.48 82.95 84.40",
    "sphinx-v2-1k": "81.31 70.49 46.59 65.39 65.23 84.00 88.21",
    "sphinx-moe": "66.23 44.90 15.32 42.38 39.48 72.97 73.55",
    "sphinx-moe-1k": "74.45 62.70 38.85 58.07 58.96 77.80 79.70",
}
_WORDS = ("okvqa", "vqav2", "vizwiz", "gqa", "vsr", "scienceqa", "iconqa", "textvqa", "ocrvqa")
_WORD_ROWS = {
    "sphinx": ("62.08 78.08 39.91 62.59 58.5 - 50.35 51.63 66.01", README),
    "sphinx-1k": (
        "62.21 80.2 46.75 62.88 65.42 69.1 52.68 58.78 70.01",
        f"{README}; ScienceQA: {X}, table 2",
    ),
    "sphinx-tiny": ("53.6 74.7 49.2 58.0 - 21.5 40.7 57.8 60.3", f"{X}, tables 2, 4{UNSURE}"),
    "sphinx-tiny-1k": ("53.6 74.7 49.2 58.0 - 21.5 40.7 57.8 60.3", f"{X}, tables 2, 4{UNSURE}"),
    "sphinx-moe": ("62.7 81.1 61.9 63.8 - 74.5 57.3 68.0 64.8", f"{X}, tables 2, 4{UNSURE}"),
    "sphinx-moe-1k": ("62.7 81.1 61.9 63.8 - 74.5 57.3 68.0 64.8", f"{X}, tables 2, 4{UNSURE}"),
}
_YES_NO_ROWS = {
    "sphinx": ("80.7 1476.1 322.2", README),
    "sphinx-1k": ("90.8 1560.2 310.0", f"{README}; {X}, table 1"),
    "sphinx-tiny": ("82.2 1261.2 242.1", f"{X}, table 1{UNSURE}"),
    "sphinx-tiny-1k": ("82.2 1261.2 242.1", f"{X}, table 1{UNSURE}"),
    "sphinx-moe": ("89.6 1485.3 367.1", f"{X}, table 1{UNSURE}"),
    "sphinx-moe-1k": ("89.6 1485.3 367.1", f"{X}, table 1{UNSURE}"),
}
_D3_ROWS = {"sphinx": ("10.6 11.4 7.9", f'{D_CUBE} ("SPHINX-7B", intra-group, score 1.0)')}

NAMES = tuple(dict.fromkeys((*_REC_ROWS, *_REF_L4_ROWS, *_WORD_ROWS)))
"""Checkpoints of which something is published."""


def published(checkpoint: str, score: str) -> tuple[float, str] | None:
    """(value, source) of a score such as "refcoco.val.acc50"; None where nothing is known.

    checkpoint: the name of a published one, case aside.
    """
    name = checkpoint.lower()
    dataset, _, rest = score.partition(".")
    split, _, metric = rest.rpartition(".")
    if dataset == "ref-l4":
        row = (_REF_L4_ROWS.get(name), REF_L4)
        return _value(_REF_L4, row, metric, 100)
    if dataset.startswith("refcoco") and metric == "acc50":
        return _value(_REC, _REC_ROWS.get(name), f"{dataset}.{split}", 100)
    if dataset in _WORDS and metric == "acc":
        found = _value(_WORDS, _WORD_ROWS.get(name), dataset, 100)
        return found and (found[0], f"{found[1]}; the split is not named")
    if score in ("pope.all.acc", "pope.all.f1"):
        found = _value(("pope",), _YES_NO_ROWS.get(name), "pope", 100)
        return found and (found[0], f"{found[1]}; it does not say whether accuracy or F1")
    if dataset == "mme" and metric == "score":
        return _value(("pope", "perception", "cognition"), _YES_NO_ROWS.get(name), split, 1)
    if dataset == "d3" and metric == "ap":
        return _value(("full", "pres", "abs"), _D3_ROWS.get(name), split, 100)
    return None


def _value(
    columns: tuple[str, ...], row: tuple[str | None, str] | None, column: str, scale: float
) -> tuple[float, str] | None:
    if row is None or row[0] is None or column not in columns:
        return None
    known = dict(zip(columns, row[0].split(), strict=False))
    said = known.get(column, "-")
    return None if said == "-" else (round(float(said) / scale, 6), row[1])
