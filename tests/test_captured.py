"""Captured pieces give what a plain pass gives, whatever is in their memory, or are let go.

There is no GPU here: what a CUDA graph does is rehearsed on the CPU.
"""

import gc
import logging
import random
import weakref

import pytest
import torch
from engine_support import Passes
from graph_support import Recorder
from small_network import SIZES

from sphinx_ros.model.cache import Span
from sphinx_ros.model.captured import LADDER
from sphinx_ros.model.config import ModelConfig
from sphinx_ros.model.sphinx import SphinxModel

LENGTH = 130
"""Positions of a test's caches."""


@pytest.fixture(autouse=True, scope="module")
def one_thread():
    """Networks this small take longer on two, above all beside other work."""
    count = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(count)


def twins(**changes):
    """Two networks of the same weights."""
    config = ModelConfig.from_json(SIZES | changes, "llama_ens", 99)
    torch.manual_seed(0)
    made = [SphinxModel(config).eval().requires_grad_(False) for _ in range(2)]
    made[1].load_state_dict(made[0].state_dict())
    return made


def ready(network, capture):
    """Small passes of the network go by captures, from its present weights on."""
    network.prepare()
    network.capture_passes(capture)


class Case:
    """Passes of random spans on two networks whose caches begin alike."""

    def __init__(self, plain, captured, seed=0):
        self.networks, self.draw = (plain, captured), random.Random(seed)
        self.device = plain.norm.weight.device
        self.caches = []
        for _ in range(3):
            pair = [network.new_cache(1, LENGTH) for network in self.networks]
            pair[0].stored.normal_()
            pair[1].stored.copy_(pair[0].stored)
            self.caches.append(pair)

    def step(self, number):
        """The logits of both for that number of tokens, of one to three frames."""
        draw = self.draw
        frames = draw.sample(self.caches, min(draw.randint(1, 3), number))
        sizes = [1] * len(frames)
        for _ in range(number - len(frames)):
            sizes[draw.randrange(len(sizes))] += 1
        spans = ([], [])
        for pair, size in zip(frames, sizes, strict=True):
            used = draw.randint(size, LENGTH)
            slots = torch.tensor(draw.sample(range(used), size))
            visible = torch.rand(size, used) < 0.5
            visible[torch.arange(size), slots] = True
            for mine, cache in zip(spans, pair, strict=True):
                mine.append(Span(cache, slots.to(self.device), visible.to(self.device)))
        tokens, positions = torch.randint(99, (number,)), torch.randint(LENGTH, (number,))
        wanted = torch.tensor(draw.sample(range(number), draw.randint(1, number)))
        given = [x.to(self.device) for x in (tokens, positions)]
        return [
            network.step(*given, mine, wanted.to(self.device))
            for network, mine in zip(self.networks, spans, strict=True)
        ]

    def compare(self, number, tolerance=1e-4):
        want, found = self.step(number)
        assert found.shape == want.shape and found.dtype is torch.float32
        assert torch.allclose(found, want, atol=tolerance, rtol=tolerance), number
        for plain, captured in self.caches:
            kept, mine = plain.stored.float(), captured.stored.float()
            assert torch.allclose(kept, mine, atol=tolerance, rtol=tolerance), number


@pytest.mark.parametrize("changes", [{}, {"n_kv_heads": 2}], ids=["all heads", "shared heads"])
def test_padded_pieces_give_what_a_plain_pass_gives(changes):
    plain, captured = twins(**changes)
    recorder = Recorder()
    ready(captured, recorder)
    case = Case(plain, captured)
    numbers = [*range(1, 71), 100, LADDER[-1] - 1, LADDER[-1], LADDER[-1] + 1]
    case.draw.shuffle(numbers)
    with torch.inference_mode():
        for number in numbers:
            case.compare(number)
    pieces = captured.config.n_layers + 1
    assert recorder.captures == pieces * len(LADDER)
    assert recorder.starts == pieces * sum(number <= LADDER[-1] for number in numbers)


def test_bfloat16_pieces_give_what_a_plain_pass_gives():
    plain, captured = (network.bfloat16() for network in twins())
    ready(captured, Recorder())
    case = Case(plain, captured)
    with torch.no_grad():
        for number in (3, 1, 4, 64, 9, 3, 17, 2, 33):
            case.compare(number, 0.1)


def test_logits_are_kept_while_later_passes_go_on():
    plain, captured = twins()
    ready(captured, Recorder())
    case = Case(plain, captured)
    with torch.inference_mode():
        case.step(4)
        want, found = case.step(4)
        case.step(3)
        case.step(4)
    assert torch.allclose(found, want, atol=1e-4)


def test_what_was_captured_in_inference_mode_goes_on_outside_of_it():
    plain, captured = (network.requires_grad_() for network in twins())
    ready(captured, recorder := Recorder())
    case = Case(plain, captured)
    for mode in (torch.inference_mode, torch.no_grad, torch.inference_mode):
        with mode():
            for number in (2, 2, 7):
                case.compare(number)
    assert recorder.starts == 9 * (captured.config.n_layers + 1)


def test_answers_are_the_same_tokens():
    plain, captured = twins()
    recorder = Recorder()
    ready(captured, recorder)
    answers = []
    for network in (plain, captured):
        image = torch.randn(1, 5, 64, generator=torch.Generator().manual_seed(1))
        passes = Passes(network, [1, 7, 8], image)
        with torch.inference_mode():
            rows = [passes.row(prompt) for prompt in ([5], [9, 4, 3], [2] * 30)]
            answers.append([answered.ids for answered in passes.run(*rows)])
    assert answers[0] == answers[1] and recorder.starts


def test_many_tokens_and_gradients_are_not_captured():
    plain, captured = twins()
    recorder = Recorder()
    ready(captured, recorder)
    case = Case(plain, captured)
    case.compare(2)  # gradients are on
    with torch.inference_mode():
        case.compare(LADDER[-1] + 1)
    assert not recorder.captures


def does_nothing(run):
    return lambda: None


def has_no_memory(run):
    raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 MiB\nmore of it")


def fails_later(run):
    def again():
        raise RuntimeError("CUDA error: an illegal memory access was encountered")

    return again


@pytest.mark.parametrize(
    "capture, words",
    [
        (does_nothing, "logits are off by"),
        (has_no_memory, "OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 MiB"),
        (fails_later, "RuntimeError: CUDA error"),
    ],
)
def test_a_capture_that_fails_costs_one_line_and_no_answer(capture, words, caplog):
    plain, captured = twins()
    tried = []
    ready(captured, lambda run: tried.append(run) or capture(run))
    case = Case(plain, captured)
    with torch.inference_mode(), caplog.at_level(logging.DEBUG):
        case.compare(3)
        before = len(tried)
        for number in (3, 8, 1):
            case.compare(number)
        ready(captured, Recorder())  # any number of times: what is off stays off
        case.compare(3)
    assert len(tried) == before > 0
    (record,) = caplog.records
    assert words in record.message and "\n" not in record.message


def test_a_later_rung_that_fails_ends_those_before_it(caplog):
    plain, captured = twins()
    recorder = Recorder()
    good = captured.config.n_layers + 1

    def capture(run):
        return recorder(run) if recorder.captures < good else does_nothing(run)

    ready(captured, capture)
    case = Case(plain, captured)
    with torch.inference_mode():
        for number in (2, 2, 5):
            case.compare(number)
        starts = recorder.starts
        case.compare(2)
    assert recorder.starts == starts > 0 and len(caplog.records) == 1


def test_what_was_captured_goes_with_its_network():
    _, captured = twins()
    recorder = Recorder()
    ready(captured, recorder)
    with torch.inference_mode():
        Case(captured, captured).step(2)
    assert recorder.captures
    kept = weakref.ref(recorder)
    gc.disable()
    try:
        del recorder, captured
        assert kept() is None
    finally:
        gc.enable()


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=["float32", "bfloat16"])
def test_graphs_of_a_gpu_give_what_a_plain_pass_gives(dtype, caplog):
    plain, captured = (network.to("cuda", dtype) for network in twins())
    captured.prepare()
    case = Case(plain, captured)
    with torch.inference_mode():
        for number in case.draw.sample(range(1, 71), 70):
            case.compare(number, 0.1 if dtype is torch.bfloat16 else 1e-3)
    assert not caplog.records, "graphs were captured"
