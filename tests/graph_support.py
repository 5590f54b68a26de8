"""What a CUDA graph does, on a CPU: the operations of a function are taken down once.

They are done again in the same memory, whatever the code around them thinks by then.
"""

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

WAITS = {"_local_scalar_dense", "item", "nonzero", "is_nonzero"}
"""Operations that ask the device for a value, which no capture survives."""


def storage(tensor):
    return tensor.untyped_storage().data_ptr()


class Tape(TorchDispatchMode):
    """Takes down operations with the memory they read and write."""

    def __init__(self):
        super().__init__()
        self.operations, self.own = [], []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        name = function.overloadpacket.__name__
        if name in WAITS:
            raise RuntimeError(f"operation not permitted when stream is capturing: {name}")
        made = function(*args, **kwargs)
        given = {storage(x) for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)}
        made_here = [x for x in tree_leaves(made) if isinstance(x, torch.Tensor)]
        self.operations.append((function, args, kwargs, made_here))
        self.own += [x for x in made_here if storage(x) not in given and x.is_floating_point()]
        return made

    def again(self):
        """Do it again; what is no buffer of others is another graph's afterwards."""
        with torch.inference_mode():
            for function, args, kwargs, before in self.operations:
                made = [
                    x
                    for x in tree_leaves(function(*args, **kwargs))
                    if isinstance(x, torch.Tensor)
                ]
                for old, new in zip(before, made, strict=True):
                    if old.data_ptr() != new.data_ptr():
                        old.copy_(new)
            for tensor in self.own:
                tensor.fill_(torch.nan)


class Recorder:
    """Captures by tapes; counts them."""

    def __init__(self):
        self.captures = self.starts = 0

    def __call__(self, run):
        run()
        tape = Tape()
        with tape:
            run()
        self.captures += 1

        def again():
            self.starts += 1
            tape.again()

        return again
