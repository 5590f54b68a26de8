"""Pictures -> what the towers make of them, made once for a whole run where there is room.

The towers do not learn unless they are told to, so a picture looks the same to them every time.
Each is encoded by itself: what is made anew is the same, bit for bit, as what was kept.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sphinx_ros.image.pixels import preprocess
from sphinx_ros.model.sphinx import SphinxModel
from sphinx_ros.teach.picture_files import read_picture
from sphinx_ros.teach.shown import Shown

Features = tuple[Tensor, Tensor | None]


class LooksKept:
    """The towers' features of pictures.

    Attributes:
        model: whose towers look. room: bytes that may be kept, on the host. learning: the towers
            learn, so nothing can be kept. looks: how many pictures were encoded.
    """

    def __init__(self, model: SphinxModel, room: int, learning: bool = False):
        self.model, self.room, self.learning, self.looks = model, room, learning, 0
        self._kept: dict[Shown, Features] = {}

    def of(self, shown: Shown) -> Features:
        """The features of a picture, on the network's device. Raises BadImage."""
        kept = self._kept.get(shown)
        if kept is None:
            with torch.set_grad_enabled(self.learning and torch.is_grad_enabled()):
                made = self._made(shown)
            if not self.learning:
                self._keep(shown, made)
            return made
        device = self.model.device
        return kept[0].to(device), None if kept[1] is None else kept[1].to(device)

    def _made(self, shown: Shown) -> Features:
        self.looks += 1
        square = preprocess(shown.of(read_picture(shown.image)), self.model.config.image_size)
        picture = torch.from_numpy(square)[None].to(self.model.norm.weight)
        return self.model.view_features(picture)

    def _keep(self, shown: Shown, made: Features) -> None:
        needed = sum(part.nbytes for part in made if part is not None)
        if needed <= self.room:
            self.room -= needed
            self._kept[shown] = tuple(None if one is None else one.cpu() for one in made)  # type: ignore[assignment]
