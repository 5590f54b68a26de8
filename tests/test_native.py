"""Passes and products by compiled functions, compared with those of torch."""

import copy
import os
import pickle
import platform
import shutil
import stat
import subprocess
import sys
import time

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from patience import PATIENCE
from PIL import Image
from small_network import SIZES
from torch._subclasses.fake_tensor import FakeTensorMode

import sphinx_ros.runtime.compiled as compiling
from sphinx_ros import Sphinx
from sphinx_ros.model import native, native_pass
from sphinx_ros.model.cache import Span
from sphinx_ros.model.config import ModelConfig
from sphinx_ros.model.cpu_layers import PackedLinear, WideLinear
from sphinx_ros.model.decoder import Decoder
from sphinx_ros.model.flat import Heads
from sphinx_ros.model.quant import (
    BlockedInt4Linear,
    BlockedInt8Linear,
    Int4Linear,
    Int8Linear,
    stored_linear,
)
from sphinx_ros.runtime.compiled import compiled, processor
from sphinx_ros.world.scenes import World

native.compile_with(compiled)
needs = pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
ABLE = {b"avx512_bf16", b"avx512_vnni", b"avx512bw", b"avx512vl"} <= set(processor().split())
blocks = pytest.mark.skipif(
    not ABLE or shutil.which("gcc") is None, reason="needs gcc, and a CPU with AVX-512's products"
)

PARAMS = SIZES | {"dim": 64, "n_heads": 4, "n_layers": 3, "multiple_of": 64}


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """A folder of its own for what is kept."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "sphinx_ros"


def decoder(seed=0, dtype=torch.float32, **changes):
    """A small random decoder; sizes are those of :data:`PARAMS`, changed."""
    torch.manual_seed(seed)
    made = Decoder(ModelConfig.from_json(PARAMS | changes, "llama_ens", 99)).eval()
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.2)
    return made.requires_grad_(False).to(dtype)


def turned(model, kind):
    """Each linear layer of the layers in blocks of fewer bits."""
    for block in model.layers:
        for owner in (block.attention, block.feed_forward):
            for name, layer in list(owner.named_children()):
                if type(layer) is torch.nn.Linear:
                    setattr(owner, name, stored_linear(kind, layer.weight, "cpu", torch.float32))
    return model


def questions(model, rows, seed=0):
    """Tokens in two caches: some see all before them, some not their neighbours. Both filled."""
    torch.manual_seed(seed)
    spans, positions = [], []
    shares = [n for n in (rows - rows // 2, rows // 2) if n]
    for number, n in enumerate(shares):
        filled = 21 + 14 * number
        cache = model.new_cache(1, filled + 20)
        cache.stored.fill_(float("nan"))  # nobody may read what nobody wrote
        x = torch.randn(1, filled, model.config.dim).to(model.norm.weight)
        model.hidden(x, cache=cache)
        visible = torch.zeros(n, filled + n, dtype=torch.bool)
        visible[:, :filled] = torch.rand(n, filled) < 0.9
        visible[:, 0] = True
        visible[:, filled:] = torch.eye(n, dtype=torch.bool)
        spans.append(Span(cache, torch.arange(filled, filled + n), visible))
        positions.append(torch.full((n,), filled))
    return torch.cat(positions), spans


def both(model, rows, seed=0):
    """(packed hidden states, what the caches hold) by torch and by the compiled pass."""
    found = []
    table = model._turn_table(torch.device("cpu"))
    made = native_pass.NativePass.of(model.layers, model._heads, model.config.norm_eps)
    assert made is not None
    for way in ("torch", "native"):
        positions, spans = questions(model, rows, seed)
        torch.manual_seed(seed)
        x = torch.randn(rows, model.config.dim).to(model.norm.weight)
        if way == "torch":
            model._native = None
            y = model.packed(x, positions, spans)
        else:
            y = made(x, table[positions], spans)
        found.append((y, [span.cache.stored.nan_to_num(0) for span in spans]))
    return found


def error(a, b):
    return ((a.float() - b.float()).norm() / b.float().norm()).item()


@needs
def test_it_is_there_where_it_can_be():
    assert native.native() and native.native_blocks() == ABLE
    assert native.native_int8_rows() or platform.machine() != "x86_64"


@pytest.fixture(params=[1, 2, 7])
def threads(request, monkeypatch):
    """So many threads for any pass; the machine may have fewer processors."""
    monkeypatch.setattr(native_pass, "ALONE", 0)
    before = torch.get_num_threads()
    torch.set_num_threads(request.param)
    yield request.param
    torch.set_num_threads(before)


@needs
@pytest.mark.parametrize("rows", [1, 2, 3, 5, native.MOST])
@pytest.mark.parametrize(
    "changes",
    [{}, {"n_kv_heads": 1}, {"n_kv_heads": 2}, {"dim": 128}, {"dim": 336, "n_heads": 1}],
    ids=["plain", "one key head", "two", "wider heads", "one head"],
)
def test_a_pass_is_that_of_torch(rows, changes, threads):
    (want, kept), (found, put) = both(decoder(rows, **changes), rows)
    assert found.dtype is torch.float32 and error(found, want) < 1e-5
    assert all(error(a, b) < 1e-5 for a, b in zip(put, kept, strict=True))


@pytest.fixture(params=[("-mavx2", "-mfma"), ()], ids=["AVX2", "SSE2"])
def lesser(request, cache, monkeypatch):
    """The functions as compiled for processors with less than this one has."""
    if platform.machine() != "x86_64":
        pytest.skip("flags of x86")
    monkeypatch.setattr(compiling, "FLAGS", ("-O3", *request.param, "-fopenmp", "-fPIC"))
    other = native.typed(compiled(native.SOURCE))
    assert not other.has_blocks() and bool(other.has_madd()) == bool(request.param)
    monkeypatch.setattr(native, "functions", lambda: other)
    monkeypatch.setattr(native, "native_blocks", lambda: False)
    monkeypatch.setattr(native, "native_int8_rows", lambda: bool(other.has_madd()))
    return other


@needs
@pytest.mark.parametrize("rows", [1, 2, 3, 8, native.MOST])
def test_other_processors_have_the_same_products(lesser, rows):
    torch.manual_seed(rows)
    for shape in ((16, 32), (96, 64), (48, 1120)):
        weight, x = torch.randn(shape), torch.randn(rows, shape[1])
        wide = WideLinear(weight.bfloat16())
        assert wide.is_native
        assert error(wide(x), x @ weight.bfloat16().float().T) < 1e-6
        eight = stored_linear("int8", weight, "cpu", torch.float32)
        assert type(eight) is Int8Linear and eight.is_native == bool(lesser.has_madd())
        most = 2e-4 if eight.is_native else 0.01
        assert error(eight(x), x @ eight.block(0, shape[0], x.dtype).T) < most
    flat, x = torch.ones(16, 4096), torch.ones(rows, 4096)  # sums beyond 32 bits
    assert error(stored_linear("int8", flat, "cpu", torch.float32)(x), x @ flat.T) < 0.005


@needs
@pytest.mark.parametrize("rows", [1, 3, native.MOST])
def test_other_processors_have_the_same_pass(lesser, rows):
    (want, _), (found, _) = both(decoder(rows, n_kv_heads=2), rows)
    assert error(found, want) < 1e-5
    for kind in ("wide", "int8"):
        model = turned(decoder(rows), kind)
        if kind == "wide" or lesser.has_madd():
            (want, _), (found, _) = both(model, rows)
            assert error(found, want) < 1e-4
        else:
            assert native_pass.NativePass.of(model.layers, model._heads, 1e-5) is None


@needs
def test_a_row_of_8_bits_that_is_no_number_stays_none(lesser):
    layer = Int8Linear(torch.randn(32, 64), "cpu")
    x = torch.randn(3, 64)
    x[1, 7] = float("nan")
    assert layer(x)[1].isnan().all() and layer(x)[[0, 2]].isfinite().all()


@needs
@settings(max_examples=20, deadline=None)
@given(st.integers(1, 16), st.integers(0, 10_000))
def test_a_token_gets_the_same_numbers_in_any_company(rows, seed):
    model = decoder(3)
    made = native_pass.NativePass.of(model.layers, model._heads, model.config.norm_eps)
    table = model._turn_table(torch.device("cpu"))
    positions, spans = questions(model, rows, seed)
    x = torch.randn(rows, model.config.dim)
    together = made(x.clone(), table[positions], spans)
    at = 0
    for span in spans:
        for n in range(len(span.slots)):
            one = Span(span.cache, span.slots[n : n + 1], span.visible[n : n + 1])
            alone = made(x[at : at + 1].clone(), table[positions[at : at + 1]], [one])
            assert error(alone[0], together[at]) < 1e-6
            at += 1


@blocks
@pytest.mark.parametrize("rows", [1, 4, native.MOST])
@pytest.mark.parametrize("kind", ["int8", "int4"])
def test_a_pass_with_fewer_bits_is_that_of_its_layers(rows, kind):
    model = turned(decoder(1), kind)
    assert isinstance(model.layers[0].attention.wq, (BlockedInt8Linear, BlockedInt4Linear))
    (want, _), (found, _) = both(model, rows)
    assert error(found, want) < 1e-4


@blocks
@pytest.mark.parametrize("rows", [1, 4, native.MOST])
def test_a_pass_of_bfloat16_is_as_near_to_exact_as_that_of_torch(rows):
    exact = decoder(2)
    model = decoder(2, torch.bfloat16)
    if not PackedLinear(model.layers[0].attention.wq.weight).is_native:
        pytest.skip("oneDNN packs in another order here")
    for block in model.layers:
        for owner in (block.attention, block.feed_forward):
            for name, layer in list(owner.named_children()):
                if type(layer) is torch.nn.Linear:
                    setattr(owner, name, PackedLinear(layer.weight))
    for parameter, like in zip(exact.parameters(), decoder(2).parameters(), strict=True):
        parameter.copy_(like.bfloat16())
    (want, _), _ = both(exact, rows)
    (theirs, _), (ours, _) = both(model, rows)
    assert ours.dtype is torch.bfloat16
    assert error(ours, want) < max(0.02, 1.5 * error(theirs, want))


@blocks
@pytest.mark.parametrize("rows", [1, 2, 3, 4, 6, 7, 8, 15, native.MOST])
@pytest.mark.parametrize("shape", [(64, 16), (192, 64), (128, 1088)], ids=str)
def test_products(rows, shape):
    torch.manual_seed(rows)
    weight, x = torch.randn(shape), torch.randn(rows, shape[1])
    packed = PackedLinear(weight.bfloat16())
    if packed.is_native:  # not where oneDNN fills a block up, or chose another order
        want = x.bfloat16().float() @ weight.bfloat16().float().T
        assert error(native.product(x, packed.matrix()), want) < 1e-5
    eight = BlockedInt8Linear(weight)
    for layer in (eight, BlockedInt4Linear(weight)) if shape[1] % 32 == 0 else (eight,):
        together = native.product(x, layer.matrix())
        assert error(together, x @ layer.block(0, shape[0], x.dtype).T) < 1e-4
        alone = [native.product(row[None], layer.matrix()) for row in x]
        assert torch.equal(torch.cat(alone), together), "a row's numbers depend on its neighbours"


@blocks
def test_blocks_and_back():
    weight = torch.randint(-127, 128, (192, 32), dtype=torch.int8)
    stored = native.blocks(weight, 4)
    four = (weight + 128).to(torch.uint8) >> 4
    bytes_of = native.paired(native.blocks(four, 8))
    plain, ours = Int4Linear(weight.float(), "cpu"), BlockedInt4Linear(weight.float())
    for low, high in ((0, 192), (64, 128), (10, 70), (191, 192)):
        assert torch.equal(native.unblocked(stored, low, high), weight[low:high])
        assert torch.equal(native.unblocked(native.unpaired(bytes_of), low, high), four[low:high])
    for low, high in ((0, 192), (64, 128), (64, 192)):
        for dtype in (torch.float32, torch.bfloat16):
            assert torch.equal(ours.block(low, high, dtype), plain.block(low, high, dtype))


@blocks
@pytest.mark.parametrize("odd", [float("nan"), float("inf"), float("-inf")])
@pytest.mark.parametrize("kind", [BlockedInt8Linear, BlockedInt4Linear])
def test_what_is_no_number_stays_none(kind, odd):
    layer = kind(torch.randn(64, 32))
    x = torch.randn(3, 32)
    x[1, 7] = odd
    y = native.product(x, layer.matrix())
    assert y[1].isnan().all() and y[[0, 2]].isfinite().all()
    assert torch.equal(layer(torch.zeros(1, 32)), torch.zeros(1, 64))


@needs
@pytest.mark.parametrize("dtype", [torch.float16, torch.float64], ids=str)
def test_other_number_types_stay_with_torch(dtype):
    for kind in ("int8", "wide"):
        model = turned(decoder(), kind)
        assert native_pass.NativePass.of(model.layers, model._heads, 1e-5) is not None
        model.to(dtype)
        assert native_pass.NativePass.of(model.layers, model._heads, 1e-5) is None


@needs
def test_what_is_moved_converted_or_copied_is_prepared_anew():
    model = decoder()
    model.prepare()
    assert copy.deepcopy(model)._native is None and model._native is not None
    assert pickle.loads(pickle.dumps(model))._native is None
    model.to(torch.float64)
    assert model._native is None


@needs
def test_tokens_that_it_can_not_take_go_to_torch():
    model = decoder()
    model.prepare()
    positions, spans = questions(model, 3)
    x = torch.randn(3, 64)
    assert model._native.takes(x, spans)
    assert not model._native.takes(torch.randn(native.MOST + 1, 64), spans)
    with torch.enable_grad():
        assert not model._native.takes(x.requires_grad_(), spans)
    with FakeTensorMode():
        assert not model._native.takes(torch.empty(3, 64), spans)
    half = Span(model.new_cache(1, 60), *spans[0][1:])
    half.cache.stored = half.cache.stored.half()
    assert not model._native.takes(torch.randn(3, 64), [half])


@needs
def test_small_passes_are_one_threads_work(monkeypatch):
    model = decoder()
    model.prepare()
    table, used = model._turn_table(torch.device("cpu")), []
    plain = model._native._work
    monkeypatch.setattr(model._native, "_work", lambda *a: (used.append(a[2]), plain(*a))[1])
    monkeypatch.setattr(torch, "get_num_threads", lambda: 5)
    products = sum(
        layer.weight.numel() for layer in model.layers.modules() if hasattr(layer, "in_features")
    )
    for most in (2 * products, 2 * products + 1):
        monkeypatch.setattr(native_pass, "ALONE", most)
        positions, spans = questions(model, 2)
        model._native(torch.randn(2, 64), table[positions], spans)
    assert used == [5, 1]


@needs
def test_slots_outside_of_the_cache_are_refused():
    model = decoder()
    model.prepare()
    positions, (span,) = questions(model, 1)
    table = model._turn_table(torch.device("cpu"))[positions]
    for slots, visible in (
        (torch.tensor([span.cache.length]), span.visible),
        (span.slots, torch.ones(1, span.cache.length + 1, dtype=torch.bool)),
    ):
        with pytest.raises(IndexError, match="positions of 41"):
            model._native(torch.randn(1, 64), table, [Span(span.cache, slots, visible)])
    with pytest.raises(ValueError, match="expected up to 32 rows of 64"):
        native.product(torch.randn(33, 64), model._native._layers[0].out)


@needs
def test_a_network_is_prepared_for_it_and_forgets_it():
    model = decoder()
    model.prepare()
    assert model._native is not None and model.cheap_tokens
    model.forget_prepared()
    assert model._native is None
    model.keep_plain()
    model.prepare()
    assert model._native is None, "weights that learn"


@pytest.mark.parametrize(
    "changes",
    [{"dim": 72, "n_heads": 3}, {"dim": 32, "n_heads": 4}],
    ids=["no whole vectors", "small heads"],
)
def test_sizes_that_it_is_not_written_for_stay_with_torch(changes):
    model = decoder(**changes)
    assert native_pass.NativePass.of(model.layers, model._heads, 1e-5) is None


def test_layers_of_several_kinds_stay_with_torch():
    model = decoder(dtype=torch.bfloat16)
    assert native_pass.NativePass.of(model.layers, Heads(4, 4, 16), 1e-5) is None
    assert native_pass.NativePass.of([], Heads(4, 4, 16), 1e-5) is None
    mixed = decoder()
    mixed.layers[1].attention.wq = torch.nn.Linear(64, 64)  # it has a bias
    assert native_pass.NativePass.of(mixed.layers, Heads(4, 4, 16), 1e-5) is None


# compiling


@pytest.fixture
def source(tmp_path):
    path = tmp_path / "seven.c"
    path.write_text("int seven(void) { return 7; }\n")
    return path


@needs
def test_it_is_compiled_once_and_kept_for_this_user_alone(cache, source, monkeypatch):
    assert compiled(source).seven() == 7
    (kept,) = cache.iterdir()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o700 == stat.S_IMODE(cache.stat().st_mode)
    monkeypatch.setattr(compiling, "_made", None)
    assert compiled(source).seven() == 7, "it was compiled again"


@needs
def test_a_changed_source_is_compiled_anew(cache, source):
    compiled(source)
    source.write_text("int seven(void) { return 70; }\n")
    assert compiled(source).seven() == 70 and len(list(cache.iterdir())) == 2


@needs
@pytest.mark.parametrize(
    "spoilt", ["cut off", "open to others", "a link", "a pipe", "no folder", "full"]
)
def test_where_nothing_can_be_kept_it_works_all_the_same(cache, source, monkeypatch, spoilt):
    if spoilt == "cut off":
        compiled(source)
        (kept,) = cache.iterdir()
        part = kept.read_bytes()[:-5000]
        kept.unlink()  # it is loaded here
        kept.write_bytes(part)
        kept.chmod(0o700)
    elif spoilt == "open to others":
        cache.mkdir(parents=True)
        cache.chmod(0o777)
    elif spoilt == "a pipe":
        compiled(source)
        (kept,) = cache.iterdir()
        kept.unlink()
        os.mkfifo(kept)
    elif spoilt == "a link":
        (cache.parent / "theirs").mkdir(parents=True, mode=0o700)
        cache.symlink_to(cache.parent / "theirs")
    elif spoilt == "no folder":
        cache.parent.write_text("a file")
    else:

        def full(path):
            raise OSError(28, "No space left on device")

        monkeypatch.setattr(compiling, "replaced", full)
    assert compiled(source).seven() == 7
    if spoilt in ("open to others", "a link"):
        assert not list(cache.iterdir()), "code from where anybody writes"


@needs
@pytest.mark.parametrize("does", ["sleep 100", "exit 1", "yes | head -c 9000000 >&2; exit 1"])
def test_a_compiler_that_is_none_costs_a_moment(cache, source, tmp_path, monkeypatch, does):
    monkeypatch.setattr(compiling, "SECONDS", 1.0)
    for name in compiling.COMPILERS:
        fake = tmp_path / name
        fake.write_text(f"#!/bin/sh\n{does}\n")
        fake.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    begun = time.monotonic()
    with pytest.raises(OSError, match=r"seven\.c can't be compiled"):
        compiled(source)
    assert "sleep" not in does or time.monotonic() - begun < PATIENCE
    assert not list(cache.glob("*.so"))


@needs
def test_a_library_of_something_else_is_not_taken(source, cache, monkeypatch):
    monkeypatch.setattr(native, "SOURCE", source)
    with pytest.raises(AttributeError):
        native.functions.__wrapped__()
    monkeypatch.setattr(native, "functions", native.functions.__wrapped__)
    assert not native.native.__wrapped__()


@needs
def test_bad_sources_and_no_compiler_are_said(cache, source, monkeypatch):
    source.write_text("int seven(void) { return seventy; }\n")
    with pytest.raises(OSError, match=r"seven\.c can't be compiled.*error.*seventy"):
        compiled(source)
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(OSError, match="no C compiler .*install gcc"):
        compiled(source)


def test_without_it_torch_does_the_same(tmp_path):
    code = (
        "import logging, sys, torch\n"
        "import numpy as np\n"
        "from PIL import Image\n"
        "from sphinx_ros import Sphinx\n"
        "from sphinx_ros.model import native\n"
        "logging.basicConfig(level='INFO')\n"
        "made = Sphinx.from_pretrained('demo')\n"
        "made.model.prepare()\n"
        "rgb = np.asarray(Image.open(sys.argv[1]).convert('RGB'))\n"
        "words = made.look(rgb).caption().raw_text\n"
        "print(made.model._native is None, native.native(), words)\n"
    )
    scene = tmp_path / "scene.png"
    Image.fromarray(World().observe(3).rgb).save(scene)
    as_usual = (
        Sphinx.from_pretrained("demo").look(World().observe(3).rgb).caption().raw_text + "\n"
    )
    for variables in ({"SPHINX_ROS_NATIVE": "0"}, {"PATH": "/nowhere"}):
        done = subprocess.run(
            [sys.executable, "-c", code, str(scene)],
            env=os.environ | variables,
            capture_output=True,
            text=True,
            check=True,
        )
        plain, native_there, words = done.stdout.split(" ", 2)
        assert (plain, native_there) == ("True", "False")
        assert words == as_usual
        assert ("install gcc" in done.stderr) == ("PATH" in variables)
