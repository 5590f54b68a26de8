"""The node's parameters that say which model it asks, and where: one row each. Knows no ROS.

:mod:`sphinx_ros.ros.parameter_table` has the others, and all of them as one table.
"""

from __future__ import annotations

from dataclasses import dataclass

from sphinx_ros.model.quantities import KINDS
from sphinx_ros.remote.address import QUALITY, read_addresses
from sphinx_ros.ros.parameter_row import When, row_field

DTYPES = ("auto", "float32", "bfloat16", "float16")


@dataclass(frozen=True)
class ModelRows:
    """The first rows. Each field is a row: see `parameter_row.Parameter`."""

    autostart: bool = row_field(
        True,
        "Load the model and hear the cameras at once. False: whoever manages the node does it, by "
        "`ros2 lifecycle set`, or Nav2's lifecycle manager.",
        when=When.START,
        heading="The node",
    )
    checkpoint: str = row_field(
        "demo",
        'What to load: "demo" (the bundled demonstration model), a published name such as '
        '"sphinx-tiny-1k" (downloaded when it is not there), "hf://owner/repo/folder", or a '
        "folder; X+ADAPTER is one of these with what `sphinx-ros tune` taught it.",
        when=When.UNCONFIGURED,
        also="+ADAPTER at any time",
        heading="The model",
        more="The demonstration model knows a simulated tabletop and nothing else. The published "
        "names are listed in docs/checkpoints.md; `sphinx-ros fetch` downloads them beforehand. "
        "A folder has config.json, meta.json, tokenizer.model and "
        "consolidated.NN-of-MM.model.pth or model.safetensors. While the model is loaded its "
        "adapter can be changed, from X to X+ADAPTER, to X+OTHER and back: requests under way end "
        "with the weights they began with, and the call returns when the new ones answer.",
    )
    server: str = row_field(
        "",
        "Address of a server that has the model, as http://gpu-box:8000 (`sphinx-ros serve` "
        "there); several with commas between: the first that can be reached. Empty: the model is "
        "loaded here.",
        when=When.UNCONFIGURED,
        reads=read_addresses,
        more="The node then needs neither torch nor a GPU (docs/serve.md); checkpoint, device and "
        "their like are those of the server.",
    )
    server_quality: int = row_field(
        QUALITY,
        "Quality of the JPEG that a picture is sent to the server as; 0: PNG, without a loss.",
        low=1,
        high=100,
        or_zero=True,
        when=When.UNCONFIGURED,
        more="A picture is sent once, however many questions there are about it.",
    )
    server_token: str = row_field(
        "",
        "Bearer token of the server; empty: that of the environment, SPHINX_ROS_TOKEN, which "
        "nobody can read from the node.",
        when=When.UNCONFIGURED,
    )
    server_fallback: str = row_field(
        "",
        "Checkpoint that is loaded here when no server can be reached, and answers until one is "
        "back; empty: none, and queries are answered NOT_ACTIVE meanwhile.",
        when=When.UNCONFIGURED,
        more="This needs torch, and the memory of that checkpoint from then on.",
    )
    variant: str = row_field(
        "",
        "Variant (llama_type) of a checkpoint folder that does not say it; empty: as it says, or "
        "what its tensors can only be.",
        when=When.UNCONFIGURED,
        more="Only for a folder that holds weights and nothing else: llama_ens, llama_ens5, ...",
    )
    tokenizer: str = row_field(
        "",
        "Path of the sentencepiece model, for a checkpoint folder without tokenizer.model.",
        when=When.UNCONFIGURED,
    )
    device: str = row_field(
        "auto",
        'Where the model runs: "auto" (CUDA if there is any), "cpu", "cuda", "cuda:1", ...',
        when=When.UNCONFIGURED,
    )
    devices: tuple[str, ...] = row_field(
        (),
        'Several devices that share one network, ["cuda:0", "cuda:1"], in place of device.',
        when=When.UNCONFIGURED,
        more="Their number must divide the network's heads.",
    )
    dtype: str = row_field(
        "auto",
        "Number format of the weights; auto: bfloat16 on CUDA, float32 on the CPU.",
        choices=DTYPES,
        when=When.UNCONFIGURED,
        more="Half the size is half the memory; answers may differ in the last digit.",
    )
    quantise: str = row_field(
        "none",
        "Store the decoder in fewer bits: int8 hardly changes answers, int4 does; nf4 needs "
        "bitsandbytes.",
        choices=("none", *KINDS),
        when=When.UNCONFIGURED,
        more="int8 takes half the memory of bfloat16, int4 a third. Vision stays as it is.",
    )
    threads: int = row_field(
        0,
        "CPU threads of the model; 0 leaves it to torch.",
        low=0,
        high=1024,
        when=When.UNCONFIGURED,
        more="Fewer than there are cores leave room for the rest of the robot.",
    )
