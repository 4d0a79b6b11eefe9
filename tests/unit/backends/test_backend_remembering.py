"""What is remembered about a llama.cpp server has an end: models' names come from clients."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

from slackwater.backends.openai.guided import PROBE_TOOL
from slackwater.backends.openai.llamacpp import REMEMBERED_MAX, LlamaCpp

if TYPE_CHECKING:
    from slackwater.backends.http import HTTPClient


class Server:
    """Tells of every tool, and has one token for every text."""

    async def post(self, path: str, body: Mapping[str, Any], *, model: str) -> dict[str, Any]:
        assert body["model"] == model
        return {"tokens": [7]} if path == "/tokenize" else {"prompt": PROBE_TOOL["function"]["name"]}


async def test_a_client_that_names_ever_new_models_takes_no_more_memory() -> None:
    """A route for every name passes them all on; the last ones are known, and each is served."""
    llamacpp = LlamaCpp(cast("HTTPClient", Server()))
    for number in range(REMEMBERED_MAX + 50):
        name = f"model-{number}"
        assert (await llamacpp._template({"model": name, "tools": [PROBE_TOOL]})).tools
        assert await llamacpp._not_json(name, model=name) == [[7, 1000.0]]
    assert len(llamacpp._templates) == len(llamacpp._biases) == REMEMBERED_MAX
