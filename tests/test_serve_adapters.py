"""One server with several adapters: each request is answered by the model that it names."""

import base64
import contextlib
import threading

import openai
import pytest
from adapter_support import random_adapter
from serve_support import client, jpeg, served
from small_network import picture, random_checkpoint

from sphinx_ros import Sphinx
from sphinx_ros.commands.cli import main
from sphinx_ros.errors import BadRequest
from sphinx_ros.image.formats import decode_file
from sphinx_ros.serve.desk import Desk
from sphinx_ros.serve.lending import Lender

DATA = [jpeg(picture(64, 48, seed)) for seed in range(2)]
TOKENS = 12


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    folder = tmp_path_factory.mktemp("adapters")
    return {
        name: str(random_adapter(folder / name, random_checkpoint(), seed))
        for seed, name in enumerate(("mugs", "plates"))
    }


@pytest.fixture(scope="module")
def plain(folders):
    """Name of a model -> what it says of each picture, loaded by itself."""
    base = str(random_checkpoint())
    said = {}
    for name, folder in {base: "", **folders}.items():
        one = Sphinx.from_pretrained(f"{base}+{folder}" if folder else base, device="cpu")
        looks = [one.look(decode_file(data)) for data in DATA]
        said[name] = [seen.caption(max_new_tokens=TOKENS).raw_text for seen in looks]
    assert len({text for texts in said.values() for text in texts}) == 6, said
    return said


@pytest.fixture(scope="module")
def address(folders):
    lender = Lender(str(random_checkpoint()), adapters=folders, device="cpu")
    assert lender.settled.wait(60)
    assert lender.health().state == "ready", lender.health().message
    with served(Desk(lender, lender.health)) as made:
        yield made
    lender.close()


def test_many_clients_of_several_models(address, plain):
    """Every answer is that of the named model alone, though they are asked at the same time."""
    told, names = [], list(plain)

    def ask(number):
        with client(address) as asked:
            for step in range(9):
                name, at = names[(number + step) % 3], (number + step // 3) % 2
                given = {"model": name, "max_new_tokens": TOKENS}
                sent = {"files": {"image": DATA[at]}, "data": given}
                answer = asked.post("/v1/caption", **sent)
                told.append((name, at, answer.status_code, answer.json()))

    threads = [threading.Thread(target=ask, args=[number]) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(told) == 36 and {http for *_, http, _ in told} == {200}
    for name, at, _, said in told:
        assert said["model"] == name
        assert said["answers"][0]["raw_text"] == plain[name][at]


def test_a_picture_is_looked_at_by_each_model(address, plain):
    name = list(plain)[1]
    with client(address) as asked:
        fields = {"image": jpeg(picture(40, 40, 7))}
        first = asked.post("/v1/pictures", files=fields).json()
        assert not first["cached"]
        again = {"picture": first["picture"]}
        assert asked.post("/v1/pictures", json=again).json()["cached"]
        assert not asked.post("/v1/pictures", json={**again, "model": name}).json()["cached"]


def test_the_openai_door_asks_the_model_that_is_named(address, plain):
    base, *names = plain
    url = "data:image/jpeg;base64," + base64.b64encode(DATA[0]).decode()
    image = {"type": "image_url", "image_url": {"url": url}}
    message = {"role": "user", "content": [image, {"type": "text", "text": "caption"}]}
    with openai.OpenAI(base_url=f"{address}/v1", api_key="none", max_retries=0) as theirs:
        listed = [one.id for one in theirs.models.list()]
        assert listed == [f"{name}{end}" for name in plain for end in ("", ":tasks")]
        for name in plain:
            assert theirs.models.retrieve(name).id == name
            given = {"messages": [message], "max_tokens": TOKENS}
            answer = theirs.chat.completions.create(model=f"{name}:tasks", **given)
            assert answer.choices[0].message.content == plain[name][0].strip()
            assert answer.model == name
        with pytest.raises(openai.NotFoundError, match=f"no model 'any'.*{names[0]}, {names[1]}"):
            theirs.chat.completions.create(model="any", **given)


def test_a_client_in_python_chooses_by_name(address, plain):
    rgb = decode_file(DATA[0])
    with contextlib.closing(Sphinx.connect(address, quality=None)) as remote:
        want = {}
        for name in list(plain)[1:]:
            chosen = remote.adapt(name)
            assert chosen.name == name
            want[name] = chosen.look(rgb).caption(max_new_tokens=TOKENS).raw_text
        base = chosen.adapt(None)
        assert base.name == remote.name == next(iter(plain))
        want[base.name] = base.look(rgb).caption(max_new_tokens=TOKENS).raw_text
        with pytest.raises(BadRequest, match=r"no adapter 'cups'; it has mugs, plates: start it"):
            remote.adapt("cups")
    assert want == {name: texts[0] for name, texts in plain.items()}


def test_a_model_that_is_not_there_is_refused_by_name(address):
    with client(address) as asked:
        answer = asked.post("/v1/caption?model=cups", files={"image": DATA[0]})
        assert answer.status_code == 404
        error = answer.json()["error"]
        assert "no model 'cups'" in error["message"] and error["param"] == "model"
        assert asked.get("/v1/info").json()["adapters"] == ["mugs", "plates"]


def test_an_adapter_of_other_weights_is_told_by_health(folders):
    lender = Lender("demo", adapters=folders, device="cpu")
    assert lender.settled.wait(60)
    health = lender.health()
    assert health.state == "failed" and "was made for" in health.message


@pytest.mark.parametrize(
    "words, said",
    [
        (["plates"], "is not NAME=FOLDER"),
        (["a:tasks=/x"], "is not NAME=FOLDER"),
        (["plates=/nowhere"], "--adapter plates: '/nowhere' holds no adapter_model.safetensors"),
        (["a={folder}", "--adapter", "a={folder}"], "the name a is there twice"),
        (["demo={folder}"], "the name demo is there twice"),
        (["a={folder}", "--devices", "cpu,cpu"], "leave out --devices"),
    ],
)
def test_what_can_t_be_served_is_said_before_anything_is_loaded(folders, capsys, words, said):
    given = [word.format(folder=folders["mugs"]) for word in words]
    assert main(["serve", "--port", "0", "--adapter", *given]) == 2
    assert said in capsys.readouterr().err
