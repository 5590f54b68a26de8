"""Text generation against the official code's, from two-shard checkpoints on disk."""

import pytest
import torch
from engine_support import After, Heard, Passes
from goldens import Golden, cases, picture
from official_stream import stream, stream_text

from sphinx_ros.checkpoint import load_checkpoint
from sphinx_ros.engine.official import generate_official
from sphinx_ros.engine.sampling import seeded
from sphinx_ros.errors import BadRequest
from sphinx_ros.image.pixels import preprocess
from sphinx_ros.prompt.conversation import conversation

CASES = [("llama_ens5", c) for c in cases("generate_cases_ens5.json")]
CASES += [("llama_ens5_light", c) for c in cases("generate_cases.json")]
BATCHES = [(name, case) for name, case in CASES if "stream" not in case]
STREAMS = [(name, case) for name, case in CASES if "stream" in case]


def case_id(value) -> str:
    return value.removeprefix("llama_") if isinstance(value, str) else value["image"][5:] or "text"


@pytest.fixture(scope="module")
def loaded(two_shards, image_tokens):
    """Golden name -> (model, tokenizer, function from a case's picture name to image tokens)."""
    models = {}

    def look(name, model, image):
        if not image:
            return None
        both = image_tokens.get(name)  # the pictures 120x200 and 210x130 of the golden file
        if both is not None and image in ("proc:120,200,0", "proc:210,130,1"):
            row = int(image == "proc:210,130,1")
            field = ("image_u8", "b2_image_u8")[row]
            assert (picture(image) == Golden(name)[field]).all()
            return both[row : row + 1]
        pixels = preprocess(picture(image), model.config.image_size)
        with torch.inference_mode():
            tokens = model.encode_image(torch.from_numpy(pixels)[None])
        return tokens

    def get(name):
        if name not in models:
            models.clear()
            model, tokenizer, _ = load_checkpoint(two_shards(name))
            seen = {}

            def image(picture_name):
                if picture_name not in seen:
                    seen[picture_name] = look(name, model, picture_name)
                return seen[picture_name]

            models[name] = (model, tokenizer, image)
        return models[name]

    return get


def prompts_of(case) -> list[str]:
    if "prompts" in case:
        return case["prompts"]
    return [conversation([tuple(turn) for turn in case["qas"]])]


def settings_of(case) -> dict:
    return {
        "max_new_tokens": case["max_gen_len"],
        "temperature": case["temperature"],
        "top_p": case["top_p"],
        "generator": seeded(case["seed"]),
        # the file doesn't say so: this one case was made with a sequence of 256
        "max_seq_len": 256 if case["max_gen_len"] == 200 else None,
    }


def stop_sequences(tokenizer, symbols) -> list[list[int]]:
    """As the official code builds them."""
    return [
        [tokenizer.eos_id],
        *map(tokenizer.encode_segment, symbols),
        *map(tokenizer.encode_wo_prefix_space, symbols),
    ]


@pytest.mark.parametrize(("name", "case"), BATCHES, ids=case_id)
def test_generate(loaded, name, case):
    model, tokenizer, image = loaded(name)
    prompts = [tokenizer.encode(prompt, bos=True) for prompt in prompts_of(case)]
    tokens = image(case["image"])
    if tokens is not None:
        tokens = tokens.expand(len(prompts), -1, -1)
    stop = stop_sequences(tokenizer, case["stop"])
    answers = generate_official(model, prompts, tokens, stop=stop, **settings_of(case))
    assert [answer.ids for answer in answers] == case["decoded_token_ids"]
    assert [tokenizer.decode(answer.ids) for answer in answers] == case["texts"]


@pytest.mark.parametrize(("name", "case"), STREAMS, ids=case_id)
def test_stream(loaded, name, case):
    model, tokenizer, image = loaded(name)
    (prompt,) = prompts_of(case)
    ids = stream(
        model,
        tokenizer.encode(prompt, bos=True),
        image(case["image"]),
        eos_id=tokenizer.eos_id,
        **settings_of(case),
    )
    read = [token for token, _ in ids]
    assert read[: len(case["decoded_token_ids"][0])] == case["decoded_token_ids"][0]
    texts = list(stream_text(read, tokenizer.decode, case["stop"]))
    assert texts == [(item["text"], item["end_of_content"]) for item in case["stream"]]


def test_a_prompt_too_long_for_the_sequence(loaded):
    """The official code fills the gap that shortening leaves with id 0."""
    model, tokenizer, _ = loaded("llama_ens5_light")
    prompt = tokenizer.encode("the red mug " * 40, bos=True)
    limits = {"max_new_tokens": 8, "max_seq_len": 40}
    (official,) = generate_official(model, [prompt], **limits)
    (direct,) = generate_official(model, [prompt[-32:]], **limits)
    assert official.ids[:4] == [0] * 4 and official.probabilities[0] != official.probabilities[0]
    streamed = list(stream(model, prompt, eos_id=-1, **limits))
    assert [token for token, _ in streamed] == direct.ids


def passes_of(model, room=4):
    """Passes behind no prefix."""
    return Passes(model, [], torch.zeros(1, 0, model.config.dim), room)


def test_rows_stop_and_report(loaded):
    """The end of an answer, its limit, an interruption, the listener."""
    model, tokenizer, _ = loaded("llama_ens5_light")
    ids = tokenizer.encode("Detect all people shown in the image.", bos=True)
    passes, heard = passes_of(model), Heard()
    (whole,) = passes.run(passes.row(ids, limit=10, watch=heard))
    assert whole.finish_reason == "length" and len(whole.ids) == whole.passes == 10
    assert heard.tokens == whole.ids, "each token of the answer is told, the last one too"
    (cut,) = passes.run(passes.row(ids, After(*whole.ids[4:6])))
    assert cut.finish_reason == "stop" and cut.ids == whole.ids[:4]
    assert cut.probabilities == pytest.approx(whole.probabilities[:4])
    calls = iter([False, False, True])
    (early,) = passes.run(passes.row(ids, watch=Heard(lambda: next(calls))))
    assert early.finish_reason == "interrupted" and early.ids == whole.ids[:2]
    assert not passes.frame.owner[passes.frame.start :].any(), "all slots are free again"
    with pytest.raises(BadRequest, match="between 1 and"):
        generate_official(model, [ids], max_new_tokens=4096)


def test_rows_of_several_lengths_answer_as_each_alone(loaded):
    model, tokenizer, _ = loaded("llama_ens5_light")
    asked = [tokenizer.encode(text, bos=True) for text in ("Detect", "What is left of it?", "A b")]
    alone = []
    for ids in asked:
        passes = passes_of(model)
        alone += passes.run(passes.row(ids))
    passes = passes_of(model)
    together = passes.run(*map(passes.row, asked))
    assert [one.ids for one in together] == [one.ids for one in alone]
    ending = After(*alone[1].ids[3:5])
    ended = passes.run(*(passes.row(ids, ending) for ids in asked))
    assert ended[1].ids == alone[1].ids[:3] and ended[1].finish_reason == "stop"
    assert ended[0].ids == alone[0].ids, "one row's end is no other's"
