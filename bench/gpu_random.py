"""Networks of random numbers, made where they are used, and a writer of boxes among them.

Nothing is written to a disk. A random network opens no bracket by itself: here the opening of a
box is forced, and all that follows is chosen or forced as with a checkpoint that writes boxes.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import torch
from full_size import fill_tokenizer, numbers

sys.path.insert(0, str(Path(__file__).parent.parent / "tests"))
from goldens import TOKENIZER

from sphinx_ros.checkpoint.expected import empty_model
from sphinx_ros.checkpoint.keeping import Keeping
from sphinx_ros.checkpoint.pth import Entry
from sphinx_ros.engine.choosing import Wish
from sphinx_ros.engine.style import Guide, Habits, Mode, Pieces, State, style_of
from sphinx_ros.model.config import ModelConfig
from sphinx_ros.model.sphinx import SphinxModel
from sphinx_ros.pipeline import Sphinx
from sphinx_ros.prompt.conversation import END_SIGNAL
from sphinx_ros.prompt.tokenizer import Tokenizer
from sphinx_ros.tasks import Language

BOX = " [0.26,0.23,0.52,0.82]" + END_SIGNAL
"""How the released checkpoints write a box."""


def random_network(
    config: ModelConfig,
    device: torch.device,
    quantise: str | None = None,
    wanted: Callable[[str], bool] = lambda key: True,
) -> SphinxModel:
    """A network in bfloat16 with random numbers, as a checkpoint that was loaded.

    wanted: which parameters to make; the others have no storage.
    """
    draw = torch.Generator(device).manual_seed(0)
    model, keep = empty_model(config), Keeping(device, torch.bfloat16, quantise)
    modules = dict(model.named_modules())
    for key, empty in model.state_dict().items():
        if not wanted(key):
            continue
        owner, _, leaf = key.rpartition(".")
        made = numbers(Entry(key, tuple(empty.shape), torch.bfloat16), draw)
        kind = keep.kind(key, modules[owner])
        if kind is None:
            kept = made.to(keep.type_of(key, modules[owner], leaf))
            modules[owner]._parameters[leaf] = torch.nn.Parameter(kept, requires_grad=False)
        else:
            keep.put(model, modules, key, kind, made)
    keep.finish(model)
    return model.eval()


class Opened(Guide):
    """A guide that opens the box by itself."""

    def wish(self, state: State) -> Wish:
        """The first piece of the opening at the start, else as usual."""
        return Wish(self.style.opening[:1]) if state.mode is Mode.START else super().wish(state)


class BoxHabits(Habits):
    """A checkpoint's habit, known from the start."""

    def __init__(self, tokenizer: Tokenizer):
        super().__init__(Pieces(tokenizer))
        ids = tokenizer.encode_wo_prefix_space(BOX)
        self._box = style_of(ids, self.pieces, Language.ONE_BOX)

    def guide(self, language: Language, free: bool = False) -> Guide:
        """As the base class has it."""
        known = language is Language.ONE_BOX and not free
        return Opened(self.pieces, language, self._box) if known else super().guide(language, free)


def random_sphinx(network: SphinxModel) -> Sphinx:
    """A network with a tokenizer of as many pieces, which writes numbers as LLaMA's does."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "tokenizer.model"
        path.write_bytes(TOKENIZER.read_bytes())
        fill_tokenizer(path, network.config.vocab_size)
        sphinx = Sphinx(network, Tokenizer(path))
    sphinx.engine.habits = BoxHabits(sphinx.tokenizer)
    return sphinx


def toy(variant: str) -> ModelConfig:
    """A network of seconds, in which everything is there."""
    from small_network import SIZES

    return ModelConfig.from_json(SIZES | {"coordinate_decimals": 2}, variant, 700)
