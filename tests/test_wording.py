"""Prompts in the exact bytes of the official conversation and the official questions."""

import json
import math
from pathlib import Path

import pytest

from sphinx_ros.errors import BadRequest, Status
from sphinx_ros.prompt.conversation import conversation
from sphinx_ros.prompt.english import plural, singular
from sphinx_ros.prompt.wording import (
    CHOOSING_BEGINS,
    TRUE_OR_FALSE,
    UNANSWERABLE,
    as_chosen,
    chosen,
    format_box,
    format_number,
    multiple_choice,
    presence_question,
    question,
    short_answer,
)
from sphinx_ros.tasks import Task
from sphinx_ros.types import Answer

OFFICIAL = json.loads((Path(__file__).parent / "data" / "prompts.json").read_text())
TEMPLATE = OFFICIAL["templates"][OFFICIAL["default_conversation"]]
SHORT = "\nAnswer the question using a single word or phrase."


@pytest.mark.parametrize("name", sorted(TEMPLATE["cases"]))
def test_conversation_bytes(name):
    case, turns = TEMPLATE["cases"][name], OFFICIAL["histories"][name]
    if "error" in case:
        with pytest.raises(BadRequest, match="only the last turn"):
            conversation(turns)
    else:
        assert conversation(turns).encode() == case["prompt"].encode()


def test_an_answer_goes_on_where_the_open_prompt_ends():
    asked = conversation([("Where?", None)])
    assert conversation([("Where?", "here")]) == asked + " here\n###"
    assert not asked.endswith(" ")


def test_grounding_and_short_answers_as_in_the_official_evaluation():
    prompts = OFFICIAL["eval_prompts"]
    expected = prompts["refcoco_val"]["input"].format("blue backpack")
    assert question(Task.GROUND, "blue backpack") == expected
    assert question(Task.GROUND, " blue backpack. ") == expected
    words = "What's that?"
    assert question(Task.ASK, words) == prompts["vqav2_val"]["input"].format(words)
    assert question(Task.ASK, words) == words + SHORT


@pytest.mark.parametrize(
    "text, expected",
    [
        ("people", "Detect all people shown in the image."),
        ("person", "Detect all people shown in the image."),
        ("", "Detect all objects shown in the image."),
        ("red mug", "Detect all red mugs shown in the image."),
        ("the tallest building", "Detect the tallest building in the image."),
    ],
)
def test_detection(text, expected):
    assert question(Task.DETECT, text) == expected


def test_other_tasks():
    box = (0.1234, 0.5, 1.0, -0.01)
    assert question("pose", box=box) == (
        "Detect the key points of the person in the region [0.123,0.500,0.999,0.000]."
    )
    assert question(Task.POSE).startswith("Detect the key points of the person")
    assert question(Task.DESCRIBE, box=box, decimals=2) == (
        "Please provide a short description of this region: [0.12,0.50,0.99,0.00]"
    )
    assert question(Task.CAPTION).startswith("Describe the image concisely. Include the bounding")
    assert question(Task.READ_TEXT).startswith("Please detect all texts and provide their")


@pytest.mark.parametrize(
    "arguments",
    [
        (Task.GROUND, ""),
        (Task.ASK, " \n"),
        (Task.DESCRIBE,),
        (Task.POSE, "", (0.1, 0.2, math.nan, 0.4)),
        (Task.DESCRIBE, "", (0.1, 0.2, 0.3)),
    ],
)
def test_missing_words_or_regions(arguments):
    with pytest.raises(BadRequest):
        question(*arguments)


def test_numbers_have_fixed_digits():
    assert [format_number(v) for v in (0, 0.0004, 0.0006, 0.5, 0.9996, 1, 7)] == [
        "0.000",
        "0.000",
        "0.001",
        "0.500",
        "0.999",
        "0.999",
        "0.999",
    ]
    assert format_box((0, 0, 1, 1), decimals=2) == "[0.00,0.00,0.99,0.99]"


@pytest.mark.parametrize("huge", [1e308, 10**400])
def test_numbers_of_any_size_are_clipped_before_they_are_rounded(huge):
    assert format_box((-huge, 0, huge, huge)) == "[0.000,0.000,0.999,0.999]"
    with pytest.raises(BadRequest, match="finite"):
        format_box((0, 0, huge, math.inf))


@pytest.mark.parametrize(
    "one, many",
    [
        ("mug", "mugs"),
        ("red cube", "red cubes"),
        ("person", "people"),
        ("box", "boxes"),
        ("glass", "glasses"),
        ("battery", "batteries"),
        ("key", "keys"),
        ("red shelf", "red shelves"),
        ("brush", "brushes"),
        ("sheep", "sheep"),
    ],
)
def test_number_of_nouns(one, many):
    assert plural(one) == many and plural(many) == many
    assert singular(many) == one and singular(one) == one


@pytest.mark.parametrize(
    "one, many",
    [
        ("lens", "lenses"),
        ("bus", "buses"),
        ("gas", "gases"),
        ("canvas", "canvases"),
        ("policeman", "policemen"),
        ("bookshelf", "bookshelves"),
        ("minibus", "minibuses"),
        ("human", "humans"),
        ("mongoose", "mongooses"),
        ("thief", "thieves"),
        ("roof", "roofs"),
        ("stomach", "stomachs"),
        ("church", "churches"),
        ("photo", "photos"),
        ("city", "cities"),
        ("ox", "oxen"),
        ("building", "buildings"),
        ("painted mug", "painted mugs"),
        ("USB stick", "USB sticks"),
    ],
)
def test_plurals_by_spelling_and_by_heart(one, many):
    assert plural(one) == many and plural(many) == many and singular(one) == one


@pytest.mark.parametrize(
    "words",
    """
    news|scissors|species|series|goldfish|sheep|luggage|clothing|grass|dice|cattle|policemen|women
    two mugs|sizes|cookies|glasses|cup on the table|person wearing red|red mug left of the can
    mug painted blue|a lot of mugs|mug and can|something blue|\u676f\u5b50|Tassen|TV|caf\u00e9
    running|mug (white)|mug's|t-shirt|x
    """.strip()
    .replace("\n    ", "|")
    .split("|"),
)
def test_words_that_are_no_sure_singular_stay_as_they_were_asked(words):
    assert plural(words) == words


@pytest.mark.parametrize(
    "words", ["lens", "news", "scissors", "series", "two mugs", "mugs on the table", "Mug", "TV"]
)
def test_the_label_is_what_was_asked_where_its_singular_is_not_sure(words):
    assert singular(words) == words


@pytest.mark.parametrize(
    "words",
    """
    mug|mugs|a mug|all mugs|all mug|all the mugs|all of the mugs|ALL mugs|each mug|every mug
    any mugs|some mugs|some of the mugs|the mugs|Mug|Mugs|MUGS|mugs.|mug?|  a   mug
    """.strip()
    .replace("\n    ", "|")
    .split("|"),
)
def test_all_of_a_kind_in_any_words_is_one_question(words):
    assert question(Task.DETECT, words) == "Detect all mugs shown in the image."
    assert singular(words).lower() == "mug"


def test_everything_is_all_objects():
    for words in ("everything", "all", "Anything", "all objects", "objects"):
        assert question(Task.DETECT, words) == question(Task.DETECT)
        assert singular(words) == "object"
    assert question(Task.DETECT, "everyone") == question(Task.DETECT, "people")


def test_one_certain_thing_and_names_keep_their_words():
    for words in ("the tallest building", "the mug", "the mug on the table"):
        assert question(Task.DETECT, words) == f"Detect {words} in the image."
    for words in ("Coca Cola bottle", "allen key", "anvil", "A4 paper"):
        assert question(Task.DETECT, words) == f"Detect all {words}s shown in the image."
    braces = "{kinds} {0}"
    assert question(Task.DETECT, braces) == f"Detect all {braces} shown in the image."


@pytest.mark.parametrize(
    ("said", "asked"),
    [
        ("THE RED MUG", "the red mug"),
        ("GREEN BOTTLE", "green bottle"),
        ("The Mug Left Of The Can", "the mug left of the can"),
        ("Second Object From The Right", "second object from the right"),
        ("The mug", "the mug"),
        ("Find the Coca Cola can", "find the Coca Cola can"),
        ("Coca Cola can", "Coca Cola can"),
        ("Eiffel Tower", "Eiffel Tower"),
        ("USB", "USB"),
        ("the NASA logo", "the NASA logo"),
        ("the red mug", "the red mug"),
    ],
)
def test_capitals_that_say_nothing_are_small_where_a_thing_is_looked_for(said, asked):
    for task in (Task.GROUND, Task.POINT):
        assert question(task, said) == question(task, asked)
        assert asked in question(task, said)


@pytest.mark.parametrize(
    ("said", "thing"),
    [
        ("the red mug", "a red mug"),
        ("Find the orange mug.", "an orange mug"),
        ("please show me a ball  left of the can", "a ball left of the can"),
        ("where is my cup?", "a cup"),
        ("Eiffel tower", "an eiffel tower"),
        ("FIND THE RED MUG", "a red mug"),
        ("The Orange Mug", "an orange mug"),
        ("the", "a the"),
        ("find", "a find"),
    ],
)
def test_whether_it_is_there(said, thing):
    assert presence_question(said) == f"Is there {thing} in the image?"


def test_questions_in_words_as_in_the_official_evaluation():
    prompts = OFFICIAL["eval_prompts"]
    assert short_answer(" What's that? ") == prompts["gqa_testdev"]["input"].format("What's that?")
    unsure = short_answer(UNANSWERABLE.format(text="What is it?"))
    assert unsure == prompts["vizwiz_val"]["input"].format("What is it?")
    assert prompts["scienceqa_test"] == {"input": "{}", "output": CHOOSING_BEGINS}
    said = TRUE_OR_FALSE.format(text="The cat is on the mat.")
    assert said == 'Is the following statement "The cat is on the mat." true or false?'


def test_a_question_with_choices():
    assert multiple_choice("Which?", ["red", "blue"], "A hint.") == (
        "Context:\nA hint.\nQuestion:\nWhich?\nChoices:\nA. red\nB. blue\n"
        'Answer with the option"s letter from the given choices directly.'
    )
    assert multiple_choice("Which?", ["a", "b"], directly=False).endswith("\nA. a\nB. b")
    assert multiple_choice("Which?", ["a", "b"]).startswith("Context:\nN/A\nQuestion:")
    assert multiple_choice("Which?", ["a", "b"], "").startswith("Context:\n\nQuestion:")
    for bad in ([], ["one"], "ab", ["x"] * 27):
        with pytest.raises(BadRequest, match="2 to 26"):
            multiple_choice("Which?", bad)
    with pytest.raises(BadRequest, match="empty"):
        multiple_choice("Which?", ["a", " "])
    for bad in (5, {"a", "b"}, None):
        with pytest.raises(BadRequest, match="2 to 26"):
            multiple_choice("Which?", bad)
    assert multiple_choice("Which?", iter("ab")) == multiple_choice("Which?", ["a", "b"])


@pytest.mark.parametrize(
    ("said", "number"),
    [
        ("B", 1), ("b.", 1), (" (B) ", 1), ("B. dog", 1), ("B: dog", 1), ("The answer is B.", 1),
        ("answer: B", 1), ("Option B", 1), ("dog", 1), ("Dog.", 1), ("A", 0), ("E", None),
        ("A dog is here", None), ("Because", None), ("", None), ("cat or dog", None),
        ("\u212a", None), ("\u0130.", None), ("\u017f", None),
    ],
)  # fmt: skip
def test_which_choice_an_answer_names(said, number):
    assert chosen(said, ["cat", "dog"]) == number


def test_an_answer_with_choices_is_the_choice_itself():
    found = as_chosen(Answer("B", raw_text="B"), ["cat", "dog"])
    assert (found.text, found.raw_text, found.status) == ("dog", "B", Status.OK)
    lost = as_chosen(Answer("E", raw_text="E"), ["cat", "dog"])
    assert (lost.text, lost.status) == ("E", Status.PARSE_FAILED)
