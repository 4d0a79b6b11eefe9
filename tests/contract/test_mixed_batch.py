"""A batch of everything at once, over both protocols: each line as the contract says, failures apart."""

import json
from collections.abc import Iterator
from typing import Any

import pytest

from support.server import RunningServer
from support.simulator import RunningSimulator
from support.waiting import until

PIXEL = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mP8z8BQDwAEhQGAhKmMIQAAAABJRU5ErkJggg=="
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "count": {"type": "integer"}},
    "required": ["city", "count"],
    "additionalProperties": False,
}
TOOL = {"name": "get_weather", "description": "Weather of a city.", "input_schema": SCHEMA}
ASK = {"role": "user", "content": "What is it like in Busan?"}

GOOD: dict[str, dict[str, Any]] = {
    "plain": {},
    "system": {"system": [{"type": "text", "text": "One word.", "cache_control": {"type": "ephemeral"}}]},
    "turns": {"messages": [ASK, {"role": "assistant", "content": "Mild."}, {"role": "user", "content": "And Seoul?"}]},
    "vision": {
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": PIXEL}},
                    {"type": "text", "text": "What is this?"},
                ],
            }
        ]
    },
    "tool": {"tools": [TOOL], "tool_choice": {"type": "tool", "name": "get_weather"}},
    "tool-result": {
        "tools": [TOOL],
        "messages": [
            ASK,
            {
                "role": "assistant",
                "content": [{"type": "tool_use", "id": "toolu_1", "name": "get_weather", "input": {}}],
            },
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "toolu_1", "content": "17 degrees"}]},
        ],
    },
    "thinking": {"max_tokens": 3_000, "thinking": {"type": "enabled", "budget_tokens": 1_024}},
    "structured": {"output_config": {"format": {"type": "json_schema", "schema": SCHEMA}}},
    "short": {"max_tokens": 1, "messages": [{"role": "user", "content": "tell me a long story about a lighthouse"}]},
}
BAD: dict[str, tuple[dict[str, Any], str, str]] = {
    "stream": ({"stream": True}, "invalid_request_error", "stream"),
    "none": ({"max_tokens": 0}, "invalid_request_error", "max_tokens"),
    "malformed": ({"messages": [{"role": "user"}]}, "invalid_request_error", "messages.0.content: Field required"),
    "extra": ({"colour": "red"}, "invalid_request_error", "colour: Extra inputs are not permitted"),
    "unknown": ({"model": "nobody-serves-this"}, "not_found_error", "model: nobody-serves-this"),
    "media": (
        {
            "messages": [
                {
                    "role": "user",
                    "content": [
                        {"type": "image", "source": {"type": "base64", "media_type": "image/bmp", "data": PIXEL}}
                    ],
                }
            ]
        },
        "invalid_request_error",
        "messages.0.content.0.image.source.base64.media_type",
    ),
}


@pytest.fixture(scope="module")
def simulator(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningSimulator]:
    """Run one backend that speaks both protocols."""
    one = RunningSimulator.start(tmp_path_factory.mktemp("simulator"), "--latency-ms", "1")
    yield one
    one.stop()


@pytest.fixture(scope="module", params=["anthropic", "openai"])
def server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, simulator: RunningSimulator
) -> Iterator[RunningServer]:
    """Run a server over one of the protocols."""
    flavour = 'flavour = "vllm"' if request.param == "openai" else ""
    config = f"""
        [[backends]]
        name = "sim"
        protocol = "{request.param}"
        url = "{simulator.url}"
        {flavour}
        [[models]]
        id = "claude-*"
        backend = "sim"
        upstream = "Qwen/Qwen3-8B"
    """
    one = RunningServer.start(tmp_path_factory.mktemp("server"), config)
    yield one
    one.stop()


@pytest.fixture(scope="module", params=["2023-06-01", "2026-10-21"])
def lines(request: pytest.FixtureRequest, server: RunningServer) -> dict[str, dict[str, Any]]:
    """Send the batch under one of the API versions and return its results by custom_id."""
    params = dict(GOOD) | {name: more for name, (more, _, _) in BAD.items()}
    params |= {"sampling": {"temperature": 0.3, "top_p": 0.9}}
    requests = [
        {
            "custom_id": name,
            "params": {"model": "claude-haiku-4-5-20251001", "max_tokens": 200, "messages": [ASK], **more},
        }
        for name, more in params.items()
    ]
    body = {"requests": requests}
    batch = json.loads(server.call("POST", "/v1/messages/batches", body, version=request.param))
    path = f"/v1/messages/batches/{batch['id']}"
    until(lambda: json.loads(server.call("GET", path))["processing_status"] == "ended")
    rows = [json.loads(line) for line in server.call("GET", f"{path}/results").splitlines()]
    assert len(rows) == len(requests)
    return {"version": {"is": request.param}} | {row["custom_id"]: row["result"] for row in rows}


@pytest.mark.parametrize("name", list(GOOD))
def test_a_good_request_succeeds_with_a_whole_message(lines: dict[str, dict[str, Any]], name: str) -> None:
    """S7, S8: the client's model name, the batch tier, text or tool use; whatever stands beside it."""
    assert lines[name]["type"] == "succeeded", lines[name]
    message = lines[name]["message"]
    assert message["model"] == "claude-haiku-4-5-20251001"
    assert message["id"].startswith("msg_")
    assert message["usage"]["service_tier"] == "batch"
    assert message["usage"]["output_tokens"] >= 1
    assert message["content"]


@pytest.mark.parametrize("name", list(BAD))
def test_a_bad_request_is_errored_with_its_reason(lines: dict[str, dict[str, Any]], name: str) -> None:
    """S8, section 16 rows 10, 16 and 30: the typed error, naming the field."""
    _, error_type, words = BAD[name]
    assert lines[name]["type"] == "errored"
    assert lines[name]["error"]["error"]["type"] == error_type
    assert lines[name]["error"]["error"]["message"].startswith(words)


def test_sampling_is_a_matter_of_the_version(lines: dict[str, dict[str, Any]]) -> None:
    """Section 16 row 3: legal under 2023-06-01, errored under 2026-10-21, never a refused create."""
    if lines["version"]["is"] == "2023-06-01":
        assert lines["sampling"]["type"] == "succeeded"
    else:
        assert lines["sampling"]["error"]["error"]["message"] == "temperature: Extra inputs are not permitted"


def test_what_the_model_did_is_told_by_the_stop_reason_and_the_blocks(lines: dict[str, dict[str, Any]]) -> None:
    """Section 16 row 18: max_tokens is a success; tools, thinking and structured output survive the translation."""
    assert lines["short"]["message"]["stop_reason"] == "max_tokens"
    tool = lines["tool"]["message"]
    assert tool["stop_reason"] == "tool_use"
    (use,) = [block for block in tool["content"] if block["type"] == "tool_use"]
    assert use["name"] == "get_weather"
    assert set(use["input"]) == {"city", "count"}
    assert lines["thinking"]["message"]["content"][0]["type"] == "thinking"
    answer = json.loads(lines["structured"]["message"]["content"][0]["text"])
    assert set(answer) == {"city", "count"}
    assert "17 degrees" in json.dumps(lines["tool-result"])
    assert "image/png" in json.dumps(lines["vision"])
