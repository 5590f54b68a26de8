"""What is measured on a GPU: each key of the JSON with its unit and its meaning, in tables.

"{rows}", "{questions}", "{network}" and the like stand for what differs between keys of one kind.
"""

from __future__ import annotations

from typing import NamedTuple


class Key(NamedTuple):
    """One kind of value. heading: of its column, in tables with a line for each of a kind."""

    name: str
    words: str
    unit: str = ""
    heading: str = ""


class Table(NamedTuple):
    """Keys that are shown together. across: the placeholder whose values are the lines; "": a line
    for each key.
    """

    title: str
    keys: tuple[Key, ...]
    across: str = ""


def _parity(dtype: str, what: str, unit: str) -> tuple[Key, ...]:
    name = f"parity_{{network}}_{dtype}_"
    return (
        Key(name + "image", f"{what}, image tokens", unit, "image tokens"),
        Key(name + "logits", f"{what}, logits of a whole sequence", unit, "logits"),
        Key(name + "steps", f"{what}, logits token by token", unit, "token by token"),
        Key(name + "packed", f"{what}, logits of packed passes", unit, "packed passes"),
        Key(name + "same_best", "share of the answer's tokens that are the best here, too", "",
            "same best token"),
        Key(name + "graphs", "packed passes went by captured graphs", "", "by graphs"),
    )  # fmt: skip


def _steps(section: str, kind: str) -> tuple[Key, ...]:
    name = f"{section}_{kind}_"
    return (
        Key(name + "step_{rows}_ms", "a pass of so many questions", "ms", f"{kind}, ms"),
        Key(name + "plain_step_{rows}_ms", "the same without captured graphs", "ms",
            f"{kind} without graphs, ms"),
        Key(name + "gb_per_s_{rows}", "bytes a pass of one question reads, by its time", "GB/s",
            f"{kind}, GB/s"),
        Key(name + "bandwidth_share_{rows}", "the same as a share of the card's bandwidth", "",
            f"{kind}, share of bandwidth"),
    )  # fmt: skip


def _look(section: str) -> tuple[Key, ...]:
    return (
        Key(f"{section}_look_ms", "a look, all of it", "ms"),
        Key(f"{section}_pixels_ms", "of it: pixels, on the host", "ms"),
        Key(f"{section}_encode_ms", "of it: encoding", "ms"),
        Key(f"{section}_prefill_ms", "of it: prefill of picture and system text", "ms"),
    )


def _questions(section: str) -> tuple[Table, ...]:
    name = section.capitalize()
    return (
        Table(
            f"{name}: questions for a box",
            (
                Key(f"{section}_box_tokens", "tokens of a box"),
                Key(f"{section}_box_passes", "passes of a box, forced text beside chosen"),
                Key(f"{section}_first_box_ms", "first box on a new frame", "ms"),
                Key(f"{section}_boxes_per_s_{{questions}}",
                    "boxes a second on one frame, {questions} at a time"),
                Key(f"{section}_official_ms", "one question by the official loop", "ms"),
                Key(f"{section}_official_first_ms", "its first token", "ms"),
                Key(f"{section}_official_token_ms", "each further token", "ms"),
            ),
        ),
        Table(
            f"{name}: questions on a new frame",
            (
                Key(f"{section}_questions_{{questions}}_ms", "so many questions on a new frame",
                    "ms", "look and answers, ms"),
                Key(f"{section}_speedup_{{questions}}", "times faster than the official loop", "",
                    "times faster than the official loop"),
            ),
            "questions",
        ),
    )  # fmt: skip


def _graphs(name: str) -> tuple[Key, ...]:
    kind = f" ({name.partition('_')[2]})" if "_" in name else ""
    return (
        Key(f"{name}_graphs", f"passes go by captured graphs{kind}"),
        Key(f"{name}_graphs_difference", f"their logits off the plain ones, by their size{kind}"),
    )


def _kernels(section: str, of: str, words: str) -> tuple[Key, ...]:
    return (
        Key(f"{section}_{of}_kernels", f"kernels of {words}"),
        Key(f"{section}_{of}_kernels_ms", "of its time the card works", "ms"),
    )


TABLES = (
    Table(
        "The machine",
        (
            Key("device", "device"),
            Key("card", "card"),
            Key("card_gb", "its memory", "GB"),
            Key("free_gb", "of it free at the start", "GB"),
            Key("compute_capability", "compute capability"),
            Key("multiprocessors", "multiprocessors"),
            Key("driver", "driver"),
            Key("cuda", "CUDA of torch"),
            Key("cudnn", "cuDNN"),
            Key("torch", "torch"),
            Key("python", "Python"),
            Key("cpu_cores", "CPU cores"),
            Key("measured_at", "measured"),
            Key("quick", "toy sizes (--quick)"),
            Key("copy_gb_per_s", "a plain copy, bytes read and written", "GB/s"),
            Key("sum_gb_per_s", "a plain sum, bytes read", "GB/s"),
            Key("bandwidth_gb_per_s", "bandwidth: the better of the two", "GB/s"),
            Key("product_float32_tflops", "a plain product in float32", "TFLOP/s"),
            Key("product_tf32_tflops", "with TF32", "TFLOP/s"),
            Key("product_bfloat16_tflops", "in bfloat16", "TFLOP/s"),
        ),
    ),
    Table(
        "Parity",
        (
            Key("parity_ok", "everything is within its limit"),
            Key("parity_over", "what is not"),
            Key("parity_limit_{dtype}", "limit in {dtype}"),
            Key("parity_worst_{dtype}", "worst difference of logits in {dtype}"),
            Key("parity_demo_{dtype}_answers", "answers of the demonstration model in {dtype}"),
            Key("parity_demo_{dtype}_answers_equal",
                "of these in {dtype} word for word those of a CPU in float32"),
            Key("parity_demo_{dtype}_tokens_equal_share",
                "share of tokens in {dtype} before an answer's first difference"),
        ),
    ),
    Table(
        "Parity in float32: greatest difference from the official numbers",
        (
            *_parity("float32", "greatest difference", ""),
            Key("parity_{network}_float32_usual",
                "greatest difference, logits with TF32 as torch has it unless told otherwise", "",
                "logits, TF32 as torch has it"),
        ),
        "network",
    ),
    Table(
        "Parity in bfloat16: size of the difference by that of the official numbers, median token",
        _parity("bfloat16", "relative difference of the median token", ""),
        "network",
    ),
    Table(
        "Demonstration model",
        (
            Key("demo_dtype", "number type"),
            Key("demo_load_s", "loading it", "s"),
            Key("demo_first_answer_s", "the first look and answer of the process", "s"),
            *_look("demo"),
            Key("demo_pass_{rows}_ms", "a pass of {rows} questions, the host's work included",
                "ms"),
            *_graphs("demo"),
            *_kernels("demo", "step", "a pass of one question"),
        ),
    ),
    Table(
        "Demonstration model: passes",
        (
            Key("demo_step_{rows}_ms", "a pass of so many questions, inputs ready", "ms", "ms"),
            Key("demo_plain_step_{rows}_ms", "the same without captured graphs", "ms",
                "without graphs, ms"),
        ),
        "rows",
    ),
    *_questions("demo"),
    Table(
        "Stop means stop",
        (
            Key("stop_answer_ms", "the answer that is stopped, when it is not", "ms"),
            Key("stop_pass_ms", "a pass of it", "ms"),
            Key("stop_cancel_passes", "passes that begin after a cancel, the worst"),
            Key("stop_cancel_ms", "from the cancel to the end, the worst", "ms"),
            Key("stop_limit_passes", "passes that end after a time limit, the worst"),
            Key("stop_limit_ms", "beyond the time limit, the worst", "ms"),
            Key("stop_others_equal", "a question beside a cancelled one is answered as alone"),
        ),
    ),
    Table(
        "Full size, SPHINX-Tiny-1k, random weights",
        (
            Key("full_made_s", "making it", "s"),
            Key("full_weights_gb", "weights", "GB"),
            *_look("full"),
            Key("full_look_tflop", "operations of encoding", "TFLOP"),
            Key("full_encode_tflops", "rate of encoding", "TFLOP/s"),
            Key("full_encode_of_product", "as a share of a plain product"),
            Key("full_bfloat16_step_gb", "bytes that a pass reads", "GB"),
            Key("full_int8_step_gb", "with int8", "GB"),
            Key("full_int4_step_gb", "with int4", "GB"),
            *_graphs("full_bfloat16"),
            *_graphs("full_int8"),
            *_graphs("full_int4"),
            Key("full_batch8_step_over_1", "a pass of 8 questions by one of 1"),
            Key("full_int8_over_bfloat16", "a pass with int8 by one in bfloat16"),
            Key("full_int4_over_bfloat16", "with int4"),
            *_kernels("full", "step", "a pass of one question"),
            *_kernels("full", "encode", "encoding"),
            Key("full_frame_mb", "memory of a frame", "MB"),
            Key("full_frame_allocated_mb", "as the card's allocator counts it", "MB"),
            Key("full_peak_gb", "most memory of a look and 32 answers", "GB"),
            Key("full_peak_over_weights", "by the weights"),
        ),
    ),
    Table(
        "Full size: passes",
        (
            *_steps("full", "bfloat16"),
            *_steps("full", "int8"),
            *_steps("full", "int4"),
        ),
        "rows",
    ),
    *_questions("full"),
    Table(
        "Decoder of 13 billion parameters, random weights",
        (
            Key("big_left_out", "why it was left out"),
            Key("big_weights_gb", "weights", "GB"),
            Key("big_prefill_ms", "prefill of a picture and 60 tokens", "ms"),
            Key("big_bfloat16_step_gb", "bytes that a pass reads", "GB"),
            *_graphs("big_bfloat16"),
            *_kernels("big", "step", "a pass of one question"),
        ),
    ),
    Table("Decoder of 13 billion parameters: passes", _steps("big", "bfloat16"), "rows"),
)  # fmt: skip

FAILED = Key("failed_{part}", "why a part could not be measured")
