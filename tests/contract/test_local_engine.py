"""The official SDK against a server whose models run in the engine in the box: nothing between them is simulated."""

from collections.abc import Iterator
from typing import Any, Final, Literal

import anthropic
import pytest
from anthropic import Anthropic
from pydantic import BaseModel, ConfigDict

from support.engine import TIME, WEATHER, WEATHER_CALL, image
from support.gguf import tiny_model, tiny_projector
from support.server import RunningServer
from support.waiting import until

CONTEXT: Final = 1024
ASK: Final = [{"role": "user", "content": "hello"}]


class Person(BaseModel):
    """What a structured answer is parsed into."""

    model_config = ConfigDict(extra="forbid")

    name: Literal["Ada", "Grace"]
    trade: Literal["poet", "sailor"]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """Start one server with a model that sees, one that counts and one that calls."""
    directory = tmp_path_factory.mktemp("local")
    tiny_projector(directory / "mmproj.gguf")
    models = {
        "sees": tiny_model(directory / "sees.gguf"),
        "counts": tiny_model(directory / "counts.gguf", says=["one", " two", " three", " t\u00fcr".encode(), " six"]),
        "calls": tiny_model(directory / "calls.gguf", says=["Let me see.", *WEATHER_CALL]),
    }
    config = "".join(
        f"""
        [[backends]]
        name = "{name}"
        protocol = "llamacpp"
        model = "{path}"
        context_tokens = {CONTEXT}
        slots = 3
        threads = 1
        {'mmproj = "mmproj.gguf"' if name == "sees" else ""}
        [[models]]
        id = "{name}"
        backend = "{name}"
        """
        for name, path in models.items()
    )
    server = RunningServer.start(directory, config)
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def client(running: RunningServer) -> Anthropic:
    """Return a client with no retries: every failure is to be seen."""
    return Anthropic(base_url=running.url, api_key=running.api_key, max_retries=0, timeout=30)


def sent(**params: Any) -> dict[str, Any]:
    """Return what every call here sends; the models that count and call need no temperature to say the same again."""
    return {"max_tokens": 64, "messages": ASK, **params}


def test_a_message_and_its_stream_are_the_same(client: Anthropic) -> None:
    """Contract §7, §7.1: the SDK puts the events together to the very message."""
    whole = client.messages.create(model="counts", **sent())
    assert [(block.type, block.text) for block in whole.content] == [("text", "one two three t\u00fcr six")]
    assert (whole.stop_reason, whole.model, whole.role) == ("end_turn", "counts", "assistant")
    assert whole.id.startswith("msg_")
    with client.messages.stream(model="counts", **sent()) as stream:
        pieces = list(stream.text_stream)
        final = stream.get_final_message()
    assert "".join(pieces) == "one two three t\u00fcr six"
    assert len(pieces) > 4
    assert [(block.type, block.text) for block in final.content] == [("text", "one two three t\u00fcr six")]
    assert final.usage.output_tokens == whole.usage.output_tokens


def test_a_stop_sequence_is_named(client: Anthropic) -> None:
    """Contract §7."""
    message = client.messages.create(model="counts", **sent(stop_sequences=["nine", " three"]))
    assert [block.text for block in message.content] == ["one two"]
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", " three")


def test_tools_are_called_in_answers_and_in_streams(client: Anthropic) -> None:
    """A round with a tool: the call, its result, and a choice that leaves the model none."""
    message = client.messages.create(model="calls", **sent(tools=[WEATHER]))
    assert [block.type for block in message.content] == ["text", "tool_use"]
    use = message.content[1]
    assert use.type == "tool_use"
    assert (use.name, use.input, message.stop_reason) == ("get_weather", {"city": "Paris"}, "tool_use")
    with client.messages.stream(model="calls", **sent(tools=[WEATHER])) as stream:
        inputs = [event.snapshot for event in stream if event.type == "input_json"]
        assert stream.get_final_message().content[1].model_dump()["input"] == {"city": "Paris"}
    assert inputs
    result = {"type": "tool_result", "tool_use_id": use.id, "content": "sunny"}
    turns = [*ASK, {"role": "assistant", "content": message.content}, {"role": "user", "content": [result]}]
    choice = {"type": "tool", "name": "get_weather"}
    again = client.messages.create(model="counts", **sent(tools=[WEATHER], tool_choice=choice, messages=turns))
    assert [block.type for block in again.content] == ["tool_use"]


def test_a_structured_answer_is_parsed_by_the_sdk(client: Anthropic) -> None:
    """`messages.parse`, whole and as a stream, from a model that would say something else."""
    for model in ("sees", "counts"):
        parsed = client.messages.parse(model=model, output_format=Person, **sent())
        assert isinstance(parsed.parsed_output, Person)
        with client.messages.stream(model=model, output_format=Person, **sent()) as stream:
            text = "".join(stream.text_stream)
        assert Person.model_validate_json(text)


def test_images_are_seen_by_models_that_can(client: Anthropic) -> None:
    """With a projector; without one, and for what is no image, the request is refused."""
    look = [{"role": "user", "content": [image(), {"type": "text", "text": "What is it?"}]}]
    assert client.messages.create(model="sees", **sent(messages=look)).content
    with pytest.raises(anthropic.BadRequestError, match=r"messages\.0\.content\.0"):
        client.messages.create(model="counts", **sent(messages=look))
    odd = [{"role": "user", "content": [{**image(), "source": {**image()["source"], "data": "bm8gaW1hZ2U="}}]}]
    with pytest.raises(anthropic.BadRequestError, match="image"):
        client.messages.create(model="sees", **sent(messages=odd))
    address = {"type": "image", "source": {"type": "url", "url": "http://127.0.0.1:1/x.png"}}
    with pytest.raises(anthropic.BadRequestError, match="url"):
        client.messages.create(model="sees", **sent(messages=[{"role": "user", "content": [address]}]))


@pytest.mark.parametrize(
    ("model", "params"),
    [
        ("counts", {"system": "Be brief."}),
        ("calls", {"system": [{"type": "text", "text": "Be brief."}], "tools": [WEATHER]}),
        ("counts", {"tools": [WEATHER, TIME], "tool_choice": {"type": "any"}}),
        ("counts", {"tools": [WEATHER, TIME], "tool_choice": {"type": "tool", "name": "get_time"}}),
        ("sees", {"messages": [{"role": "user", "content": [image(), {"type": "text", "text": "What is it?"}]}]}),
        ("counts", {"messages": [*ASK, {"role": "assistant", "content": "one"}]}),
    ],
)
def test_tokens_counted_before_are_the_tokens_used(client: Anthropic, model: str, params: dict[str, Any]) -> None:
    """Contract §7.2: exactly, with templates, tools and images."""
    counted = client.messages.count_tokens(model=model, **{"messages": ASK, **params})
    usage = client.messages.create(model=model, **sent(**params)).usage
    assert (usage.cache_read_input_tokens or 0) + usage.input_tokens == counted.input_tokens


def test_a_prompt_that_is_too_long_is_refused_in_the_words_of_the_api(client: Anthropic) -> None:
    """Contract §2.3."""
    with pytest.raises(anthropic.BadRequestError, match=r"prompt is too long: \d+ tokens > 1024 maximum"):
        client.messages.create(model="counts", **sent(messages=[{"role": "user", "content": "z" * 2000}]))


def test_a_batch_over_all_of_it_ends_with_the_right_lines(client: Anthropic) -> None:
    """S1, S2: text, calls, structured answers and a refusal side by side, on two models."""
    schema = Person.model_json_schema()
    wanted = {"format": {"type": "json_schema", "schema": schema}}
    kinds: dict[str, dict[str, Any]] = {
        "text": {"model": "counts"},
        "tool": {"model": "calls", "tools": [WEATHER]},
        "json": {"model": "counts", "output_config": wanted},
        "long": {"model": "counts", "messages": [{"role": "user", "content": "z" * 2000}]},
    }
    requests = [
        {"custom_id": f"{kind}-{n}", "params": {"max_tokens": 64, "messages": ASK, **params}}
        for n in range(6)
        for kind, params in kinds.items()
    ]
    batch = client.messages.batches.create(requests=requests)  # type: ignore[arg-type]
    until(lambda: client.messages.batches.retrieve(batch.id).processing_status == "ended" or None)
    lines = {line.custom_id: line.result for line in client.messages.batches.results(batch.id)}
    assert len(lines) == len(requests)
    for name, result in lines.items():
        kind = name.split("-")[0]
        if result.type == "errored":
            assert kind == "long"
            assert "prompt is too long" in result.error.error.message
            continue
        assert result.type == "succeeded"
        block = result.message.content[-1]
        if block.type == "tool_use":
            assert (kind, block.input) == ("tool", {"city": "Paris"})
        else:
            assert block.type == "text"
            assert Person.model_validate_json(block.text) if kind == "json" else block.text.startswith("one two")
