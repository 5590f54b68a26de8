"""What was measured -> one JSON file of flat keys, and tables in Markdown that can be pasted.

Both are written anew after each part, so that what was measured is there whatever happens next.
"""

from __future__ import annotations

import contextlib
import gc
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from gpu_keys import FAILED, TABLES, Key, Table

from sphinx_ros.runtime.files import write_text

JSON, TABLE = "gpu.json", "gpu.md"


class Report:
    """Flat keys and their values in a folder.

    It begins with what the folder holds: sections may be measured by one process after another.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        path = folder / JSON
        self.found: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}

    def add(self, values: dict[str, Any], prefix: str = "") -> None:
        """Take values up and write the files."""
        self.found |= {prefix + name: value for name, value in values.items()}
        self.write()

    def ratio(self, name: str, above: str, below: str) -> None:
        """One value by another, where both are known."""
        if above in self.found and self.found.get(below):
            self.add({name: self.found[above] / self.found[below]})

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """A block whose failure is named under ``failed_<name>``, and ends nothing else."""
        try:
            yield
        except Exception as error:
            lines = str(error).strip().splitlines() or [""]
            self.add({f"failed_{name}": f"{type(error).__name__}: {lines[0][:300]}"})
        gc.collect()
        if torch.cuda.is_initialized():
            with contextlib.suppress(RuntimeError):  # a card that has failed frees nothing
                torch.cuda.empty_cache()

    @property
    def failures(self) -> dict[str, str]:
        """Parts that failed, and why."""
        return {k: v for k, v in self.found.items() if k.startswith("failed_")}

    def write(self) -> None:
        """Both files, each whole or not at all."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_text(self.folder / JSON, json.dumps(self.found, indent=1) + "\n")
        write_text(self.folder / TABLE, markdown(self.found))


def shown(value: Any) -> str:
    """A number as people read it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if not isinstance(value, float):
        return str(value)
    if value == 0 or 1e-3 <= abs(value) < 1e5:
        return f"{value:.4g}"
    return f"{value:.1e}"


def pattern(key: Key) -> re.Pattern[str]:
    """What keys look like: "{rows}" and "{questions}" stand for numbers, others for words."""
    parts = re.split(r"\{(\w+)\}", key.name)
    kinds = {"rows": r"\d+", "questions": r"\d+"}
    return re.compile(
        "".join(
            f"(?P<{part}>{kinds.get(part, '.+')})" if at % 2 else re.escape(part)
            for at, part in enumerate(parts)
        )
    )


def matches(key: Key, found: dict[str, Any]) -> list[tuple[dict[str, str], Any]]:
    """The values of a key: what its placeholders are, and the value."""
    wanted = pattern(key)
    return [
        (match.groupdict(), value)
        for name, value in found.items()
        if (match := wanted.fullmatch(name))
    ]


def markdown(found: dict[str, Any]) -> str:
    """All tables of which there is anything, and what failed."""
    card = found.get("card", found.get("device", "nothing"))
    when = found.get("measured_at", "an unknown day")
    parts = [f"`bash bench/gpu.sh` on {card}, torch {found.get('torch', '')}, {when}.", ""]
    failed = [(k.removeprefix("failed_"), v) for k, v in found.items() if k.startswith("failed_")]
    if failed:
        parts += ["| not measured | why |", "|---|---|"]
        parts += [f"| {name} | {why.replace('|', '/')} |" for name, why in failed] + [""]
    for table in TABLES:
        lines = _across(table, found) if table.across else _lines(table, found)
        if lines:
            parts += [f"## {table.title}", "", *lines, ""]
    return "\n".join(parts)


def _lines(table: Table, found: dict[str, Any]) -> list[str]:
    """A line for each value."""
    lines = [
        f"| {key.words.format(**named)} | {shown(value)} {key.unit} |".replace("  |", " |")
        for key in table.keys
        for named, value in matches(key, found)
    ]
    return ["| | |", "|---|---|", *lines] if lines else []


def _across(table: Table, found: dict[str, Any]) -> list[str]:
    """A line for each value of a placeholder, a column for each key."""
    rows: dict[str, dict[int, str]] = {}
    for at, key in enumerate(table.keys):
        for named, value in matches(key, found):
            rows.setdefault(named[table.across], {})[at] = shown(value)
    used = [at for at in range(len(table.keys)) if any(at in row for row in rows.values())]
    if not used:
        return []
    heads = [table.keys[at].heading for at in used]
    lines = [f"| {table.across} | {' | '.join(heads)} |", "|---" * (len(used) + 1) + "|"]
    for name, row in rows.items():
        lines.append(f"| {name} | {' | '.join(row.get(at, '') for at in used)} |")
    return lines


def described() -> str:
    """All keys, a line each, for --help."""
    lines = []
    for table in TABLES:
        lines += ["", table.title]
        for key in table.keys:
            unit = f" [{key.unit}]" if key.unit else ""
            lines.append(f"  {key.name:38} {key.words}{unit}")
    return "\n".join([*lines, "", "Otherwise", f"  {FAILED.name:38} {FAILED.words}"])
