"""Finding engines on this machine."""

from slackwater.backends.detect import PORTS, Found, detect
from support.stub import Received, Stub, reply

CLOSED = 1
"""A port on which nothing listens."""


def port_of(stub: Stub) -> int:
    return int(stub.url.rpartition(":")[2])


async def test_an_engine_is_found_by_its_list_of_models(stub: Stub) -> None:
    """It is named by what it says of itself, whatever port it has."""
    stub.answers = [reply({"data": [{"id": "Qwen/Qwen3-8B", "owned_by": "vllm"}]})]
    found = await detect(2.0, ports=[("sglang", CLOSED), ("llamacpp", port_of(stub))])
    assert found == [Found(kind="vllm", url=stub.url, models=("Qwen/Qwen3-8B",))]


async def test_ollama_is_asked_for_its_version_first(stub: Stub) -> None:
    """Its port alone proves nothing."""
    stub.answers = [reply({"version": "0.12"}), reply({"data": [{"id": "qwen3:8b", "owned_by": "library"}]})]
    found = await detect(2.0, ports=[("ollama", port_of(stub))])
    assert found == [Found(kind="ollama", url=stub.url, models=("qwen3:8b",))]
    assert [request.path for request in stub.received] == ["/api/version", "/v1/models"]


async def test_a_llama_cpp_server_is_asked_how_many_slots_it_has(stub: Stub) -> None:
    """Each group of requests with a common prefix keeps to one; a server that says nothing useful has none."""
    listing = reply({"data": [{"id": "m.gguf", "owned_by": "llamacpp"}]})
    for props, slots in (
        (reply({"total_slots": 4}), 4),
        (reply({"total_slots": "4"}), None),
        (reply({"total_slots": 0}), None),
        (reply([]), None),
        (reply(b"<html>"), None),
        (reply(status=403), None),
    ):
        stub.answers = [listing, props]
        found = await detect(2.0, ports=[("vllm", port_of(stub))])
        assert found == [Found(kind="llamacpp", url=stub.url, models=("m.gguf",), slots=slots)]


async def test_an_engine_behind_a_key_is_found_without_its_models(stub: Stub) -> None:
    """`doctor` can then say that a key is needed."""
    stub.answers = [reply(status=401)]
    assert await detect(2.0, ports=[("litellm", port_of(stub))]) == [
        Found(kind="litellm", url=stub.url, needs_key=True)
    ]


async def test_what_is_not_an_engine_is_not_found(stub: Stub) -> None:
    """A web page, an odd object, a redirect, a refusal: something else uses the port."""
    for answer in (reply(b"<html>"), reply({"hello": 1}), reply(status=302, location="/x"), reply(status=404)):
        stub.answers = [answer]
        assert await detect(2.0, ports=[("vllm", port_of(stub))]) == []


async def test_a_port_that_does_not_answer_in_time_is_passed_over(stub: Stub) -> None:
    """The first start must not wait for a black hole."""

    async def hang(_request: Received, _writer: object) -> None:
        await stub.stopped.wait()

    stub.play = hang
    assert await detect(0.1, ports=[("vllm", port_of(stub))]) == []


def test_the_usual_ports_are_asked() -> None:
    """Those of ollama, llama.cpp, vLLM, SGLang, LM Studio and LiteLLM."""
    assert {port for _, port in PORTS} == {11434, 8080, 8000, 30000, 1234, 4000}
