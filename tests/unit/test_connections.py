"""Which gate stands before which backend, and what is known of local models before anything is loaded."""

from pathlib import Path

import pytest
import structlog
from structlog.testing import capture_logs

from slackwater.backends.tokenizer import MESSAGE_TOKENS
from slackwater.clock import SystemClock
from slackwater.config import ConfigError, Settings, load
from slackwater.domain.ids import IdSource
from slackwater.main import connections as connections_module
from slackwater.main.connections import open_connections
from support.gguf import tiny_model
from support.tokenizer import word_tokenizer

SERVER = 'protocol = "openai"\nurl = "http://127.0.0.1:1"\n'


def settings(directory: Path, text: str) -> Settings:
    path = directory / "slackwater.toml"
    path.write_text(text + '[[models]]\nid = "*"\nbackend = "a"\n')
    return load(path, {})


@pytest.mark.parametrize(
    ("keys", "limit", "slots"),
    [
        ("", 16, None),  # found out while working, from sixteen up
        ("max_in_flight = 64", 64, None),
        ("slots = 8", 8, 8),
        ("slots = 8\nmax_in_flight = 4", 4, 8),
    ],
)
async def test_a_server_gets_as_much_as_its_configuration_says(
    tmp_path: Path, keys: str, limit: int, slots: int | None
) -> None:
    """More requests than it has slots would only wait there, and push each other's prefixes out."""
    configured = settings(tmp_path, f'[[backends]]\nname = "a"\n{SERVER}{keys}\n')
    async with open_connections(configured, SystemClock(), IdSource(lambda: 0)) as connections:
        gate = connections.gates["a"]
        assert (gate.limit, gate.slots) == (limit, slots)


async def test_a_local_model_is_known_before_it_is_loaded(tmp_path: Path) -> None:
    """Its slots bound the gate, with a place more for people; its context is shown; nothing is loaded for a list."""
    tiny_model(tmp_path / "a.gguf")
    local = '[[backends]]\nname = "a"\nprotocol = "llamacpp"\nmodel = "a.gguf"\nslots = 3\ncontext_tokens = 1024\n'
    async with open_connections(settings(tmp_path, local), SystemClock(), IdSource(lambda: 0)) as connections:
        gate = connections.gates["a"]
        assert (gate.limit, gate.slots) == (3, 3)
        for _ in range(3):
            assert gate.has_room()
            gate.take()
        assert not gate.has_room()
        async with gate.slot(interactive=True):
            assert gate.in_flight == 4
        assert await connections.backends["a"].models() == ["a"]
        assert not any(engine.is_idle for engine in connections.engines["a"])  # there is no child
        (route,) = connections.routes.routes
        assert (route.max_input_tokens, route.vision) == (1024, False)


async def test_a_model_that_cannot_be_used_does_not_stop_a_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is said at the start; the file may be replaced while the server runs."""
    monkeypatch.setattr(connections_module, "why_not", lambda: None)
    (tmp_path / "a.gguf").write_bytes(b"GGUF")
    local = '[[backends]]\nname = "a"\nprotocol = "llamacpp"\nmodel = "a.gguf"\n'
    monkeypatch.setattr(connections_module, "_log", structlog.get_logger())  # one that no other test has set up
    with capture_logs() as logged:
        async with open_connections(settings(tmp_path, local), SystemClock(), IdSource(lambda: 0)) as connections:
            assert connections.gates["a"].limit == 1
            assert await connections.backends["a"].models() == []
    (entry,) = logged
    assert (entry["backend"], entry["log_level"]) == ("a", "error")
    assert "a.gguf" in entry["error"]


async def test_a_machine_without_the_engine_says_so_in_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Once, when the server starts, and not only to clients at every call."""
    monkeypatch.setattr(connections_module, "why_not", lambda: "The engine is not installed.")
    tiny_model(tmp_path / "a.gguf")
    local = '[[backends]]\nname = "a"\nprotocol = "llamacpp"\nmodel = "a.gguf"\n'
    monkeypatch.setattr(connections_module, "_log", structlog.get_logger())  # one that no other test has set up
    with capture_logs() as logged:
        async with open_connections(settings(tmp_path, local), SystemClock(), IdSource(lambda: 0)):
            pass
    assert [entry["error"] for entry in logged] == ["The engine is not installed."]


async def test_models_with_one_tokenizer_share_it_and_others_have_none(tmp_path: Path) -> None:
    """A directory means the file in it; names are relative to the configuration."""
    (tmp_path / "qwen").mkdir()
    word_tokenizer(tmp_path / "qwen" / "tokenizer.json")
    models = "".join(
        f'[[models]]\nid = "{name}"\nbackend = "a"\n{tokenizer}'
        for name, tokenizer in [
            ("one", 'tokenizer = "qwen/tokenizer.json"\n'),
            ("two*", 'tokenizer = "qwen"\n'),
            ("none", ""),
        ]
    )
    configured = settings(tmp_path, f'[[backends]]\nname = "a"\n{SERVER}{models}')
    async with open_connections(configured, SystemClock(), IdSource(lambda: 0)) as connections:
        one, two, none = (connections.routes.find(name) for name in ("one", "two-b", "none"))
    assert one is not None
    assert two is not None
    assert none is not None
    assert one.tokenizer is two.tokenizer
    assert none.tokenizer is None
    assert one.tokenizer is not None
    assert one.tokenizer({"messages": [{"role": "user", "content": "one two"}]}) == 2 + MESSAGE_TOKENS


async def test_a_tokenizer_that_cannot_be_used_stops_the_start(tmp_path: Path) -> None:
    """A mistake in the configuration is told as one, before anybody counts."""
    (tmp_path / "tokenizer.json").write_text("{}")
    model = '[[models]]\nid = "m"\nbackend = "a"\ntokenizer = "tokenizer.json"\n'
    configured = settings(tmp_path, f'[[backends]]\nname = "a"\n{SERVER}{model}')
    with pytest.raises(ConfigError, match=r"models: .*tokenizer\.json cannot be used as a tokenizer"):
        async with open_connections(configured, SystemClock(), IdSource(lambda: 0)):
            pass
    with pytest.raises(ConfigError, match="there is no file"):
        settings(tmp_path, f'[[backends]]\nname = "a"\n{SERVER}{model.replace("tokenizer.json", "none.json")}')
