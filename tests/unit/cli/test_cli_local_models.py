"""Models on this machine through the command line: doctor finds them, `models add` configures them, serve says toy."""

import json
import stat
from pathlib import Path

import pytest

from slackwater.backends import detect as detection
from slackwater.backends import llamacpp
from slackwater.cli import serve as serve_command
from slackwater.config import LlamaCppBackendSettings, SimulatedBackendSettings, load
from support.gguf import tiny_model, tiny_projector

from .conftest import Command


@pytest.fixture(autouse=True)
def nothing_else_here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Hide what this machine really has: its models, its inference servers, its lack of an engine."""
    for name in ("OLLAMA_MODELS", "HF_HOME", "HF_HUB_CACHE", "LLAMA_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(llamacpp, "why_not", lambda: None)

    async def detect() -> list[detection.Found]:
        return []

    monkeypatch.setattr(detection, "detect", detect)


def pulled(tmp_path: Path, name: str, tag: str) -> Path:
    """Put a model where Ollama would; return its blob."""
    models = tmp_path / "home/.ollama/models"
    digest = "0" * 64
    manifest = models / "manifests/registry.ollama.ai/library" / name / tag
    manifest.parent.mkdir(parents=True)
    layer = {"mediaType": "application/vnd.ollama.image.model", "digest": f"sha256:{digest}"}
    manifest.write_text(json.dumps({"layers": [layer]}))
    (models / "blobs").mkdir()
    return tiny_model(models / "blobs" / f"sha256-{digest}")


def files(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


async def test_the_lines_doctor_writes_for_models_are_a_configuration(command: Command, tmp_path: Path) -> None:
    """Each model that runs here under its own name, with its projector; the others are named with the reason."""
    blob = pulled(tmp_path, "qwen3", "8b")
    mine = tiny_model(tmp_path / "mine.gguf", seed=1)
    eye = tiny_projector(tmp_path / "mmproj-mine.gguf")
    (tmp_path / "broken.gguf").write_bytes(b"GGUF")
    ended = await command("doctor", "--json")
    assert ended.code == 0, ended.out
    told = json.loads(ended.out)
    rows = {row["name"]: row for row in told["models"]}
    assert {name: row["fits"] for name, row in rows.items()} == {"qwen3:8b": True, "mine": True, "broken": False}
    assert (rows["mine"]["mmproj"], rows["mine"]["context_tokens"]) == (str(eye), 2048)
    assert "broken.gguf" in rows["broken"]["reason"]
    (tmp_path / "doctor.toml").write_text("\n".join(told["toml"]))
    settings = load(tmp_path / "doctor.toml", {})
    local = {one.name: one for one in settings.backends if isinstance(one, LlamaCppBackendSettings)}
    assert {name: (one.model, one.mmproj) for name, one in local.items()} == {
        "qwen3-8b": (blob, None),
        "mine": (mine, eye),
    }
    assert {model.id: model.backend for model in settings.models} == {"qwen3:8b": "qwen3-8b", "mine": "mine"}


async def test_doctor_calls_a_configured_model_that_cannot_run_a_problem(command: Command, tmp_path: Path) -> None:
    """Before anybody waits for it."""
    (tmp_path / "broken.gguf").write_bytes(b"GGUF" * 9)
    (tmp_path / "c.toml").write_text('[engine]\nmodel = "broken.gguf"\n')
    ended = await command("doctor", "--config", "c.toml")
    assert ended.code == 1
    assert "problem backend        local" in ended.out


async def test_a_model_is_added_by_its_path(command: Command, tmp_path: Path) -> None:
    """The file is made; its model serves its own name; the projector beside it comes along."""
    tiny_model(tmp_path / "models.gguf")
    model = tiny_model(tmp_path / "Tiny-Q8_0.gguf")
    eye = tiny_projector(tmp_path / "mmproj-Tiny-f16.gguf")
    ended = await command("models", "add", "Tiny-Q8_0.gguf", "--config", "new.toml")
    assert (ended.code, ended.out) == (0, ""), ended.err
    assert "2,048 tokens each" in ended.err
    assert "next: slackwater serve --config new.toml" in ended.err
    settings = load(tmp_path / "new.toml", {})
    (backend,) = settings.backends
    assert isinstance(backend, LlamaCppBackendSettings)
    assert (backend.name, backend.model, backend.mmproj) == ("Tiny-Q8_0", model, eye)
    assert [(one.id, one.backend) for one in settings.models] == [("Tiny-Q8_0", "Tiny-Q8_0")]


async def test_a_model_is_added_by_the_name_it_has_elsewhere(command: Command, tmp_path: Path) -> None:
    """Ollama's; `latest` need not be said; the id is the name, or what --id says."""
    blob = pulled(tmp_path, "qwen3", "latest")
    ended = await command("models", "add", "qwen3", "--id", "claude-*")
    assert ended.code == 0, ended.err
    settings = load(tmp_path / "slackwater.toml", {})
    (backend,) = settings.backends
    assert isinstance(backend, LlamaCppBackendSettings)
    assert (backend.name, backend.model, settings.models[0].id) == ("qwen3-latest", blob, "claude-*")


async def test_what_a_person_wrote_stays_as_it_is(command: Command, tmp_path: Path) -> None:
    """Comments, order, mode; what served every name goes on doing so, in a line of its own."""
    tiny_model(tmp_path / "a.gguf")
    tiny_model(tmp_path / "b.gguf", seed=1)
    config = tmp_path / "slackwater.toml"
    text = '# mine\n[[backends]]\nname = "sim"  # do not touch\nprotocol = "simulated"'
    config.write_text(text)
    config.chmod(0o600)
    ended = await command("models", "add", "a.gguf")
    assert "every other model name is still served by sim" in ended.err
    assert (await command("models", "add", "b.gguf")).code == 0
    assert config.read_text().startswith(text + "\n")
    assert stat.S_IMODE(config.stat().st_mode) == 0o600
    routes = load(config, {}).routes()
    assert [routes.find(name).backend for name in ("a", "b", "c")] == ["a", "b", "sim"]  # type: ignore[union-attr]
    assert files(tmp_path) == ["a.gguf", "b.gguf", "slackwater.toml"]


async def test_a_model_that_cannot_be_added_changes_nothing(command: Command, tmp_path: Path) -> None:
    """Repetitions, damaged files, what is no model, what is not there: one sentence each, and the file as it was."""
    tiny_model(tmp_path / "a.gguf")
    tiny_model(tmp_path / "b.gguf", seed=1)
    tiny_projector(tmp_path / "eye.gguf")
    (tmp_path / "broken.gguf").write_bytes(b"GGUF")
    (tmp_path / "folder").mkdir()
    assert (await command("models", "add", "a.gguf")).code == 0
    before = (tmp_path / "slackwater.toml").read_bytes()
    for arguments, sentence in (
        (("a.gguf", "--id", "x"), 'is configured already, as the backend "a"'),
        (("b.gguf", "--id", "a"), 'the model "a" is configured already'),
        (("broken.gguf",), "broken.gguf"),
        (("eye.gguf",), "is a projector (mmproj)"),
        (("folder",), "folder is a directory"),
        (("gone/x.gguf",), "there is no file gone/x.gguf"),
        (("aa",), "did you mean a?"),
        (("b.gguf", "--mmproj", "a.gguf"), "is not a projector"),
    ):
        ended = await command("models", "add", *arguments)
        assert (ended.code, ended.out) == (1, "")
        assert sentence in ended.err
        assert "Traceback" not in ended.err
        assert (tmp_path / "slackwater.toml").read_bytes() == before


async def test_a_file_that_cannot_take_a_table_keeps_its_content(command: Command, tmp_path: Path) -> None:
    """The result is loaded before it takes the file's place; a file that is wrong already is not made longer."""
    tiny_model(tmp_path / "a.gguf")
    config = tmp_path / "slackwater.toml"
    for text, sentence in (
        ('backends = [{ name = "sim", protocol = "simulated" }]\n', "slackwater.toml: not valid TOML"),
        ("[server]\nprot = 1\n", "unknown key"),
    ):
        config.write_text(text)
        ended = await command("models", "add", "a.gguf")
        assert ended.code == 1
        assert sentence in ended.err
        assert config.read_text() == text
        assert files(tmp_path) == ["a.gguf", "slackwater.toml"]


def test_where_nothing_is_configured_a_toy_answers_and_is_called_one(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """It is named with what it is; a real model on this machine is offered with the lines that configure it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(llamacpp, "DEMO_MODEL", tiny_model(tmp_path / "toy"))
    settings = serve_command._with_engines(load(None, {}))
    assert [one.name for one in settings.backends] == ["slackwater-demo-3m"]
    assert [(one.id, one.route().stand_in) for one in settings.models] == [("slackwater-demo-3m", True), ("*", True)]
    assert all("toy" in (one.display_name or "") for one in settings.models)
    told = capsys.readouterr().err
    assert "slackwater-demo-3m, a TOY of 3 million parameters, answers" in told
    assert "slackwater models add FILE.gguf" in told
    mine = tiny_model(tmp_path / "mine.gguf")
    serve_command._with_engines(load(None, {}))
    told = capsys.readouterr().err
    assert "slackwater models add mine" in told
    assert f'model = "{mine}"' in told


def test_where_no_engine_can_run_the_simulator_answers_and_says_why(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    """Nobody takes its answers for a model's."""
    monkeypatch.setattr(llamacpp, "why_not", lambda: "The engine needs a soldering iron.")
    (backend,) = serve_command._with_engines(load(None, {})).backends
    assert isinstance(backend, SimulatedBackendSettings)
    told = capsys.readouterr().err
    assert "a SIMULATOR answers, there is no language model behind it" in told
    assert "soldering iron" in told
    monkeypatch.setattr(llamacpp, "why_not", lambda: None)
    monkeypatch.setattr(llamacpp, "DEMO_MODEL", tmp_path / "gone")
    (backend,) = serve_command._with_engines(load(None, {})).backends
    assert isinstance(backend, SimulatedBackendSettings)
    assert "this installation is not whole" in capsys.readouterr().err


async def test_a_local_model_that_is_tried_out_is_loaded(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """How it runs is said; one that cannot be loaded is a problem with its reason, and the exit code says so."""
    monkeypatch.undo()
    monkeypatch.chdir(tmp_path)
    tiny_model(tmp_path / "good.gguf")
    (tmp_path / "cut.gguf").write_bytes((tmp_path / "good.gguf").read_bytes()[:100_000])
    text = "".join(
        f'[[backends]]\nname = "{name}"\nprotocol = "llamacpp"\nmodel = "{name}.gguf"\n[[models]]\nid = "{name}"\n'
        f'backend = "{name}"\n'
        for name in ("good", "cut")
    )
    (tmp_path / "two.toml").write_text(text)
    ended = await command("backends", "test", "--config", "two.toml")
    good, cut = json.loads(ended.out)["data"]
    assert ended.code == 1
    assert (good["state"], good["models"], good["problem"]) == ("ok", ["good"], None)
    assert "2,048 tokens each" in good["runs"]
    assert (cut["state"], cut["models"], cut["runs"]) == ("problem", [], None)
    assert "is cut off" in cut["problem"]
    listed = json.loads((await command("backends", "list", "--config", "two.toml")).out)["data"]
    assert [one["file"] for one in listed] == ["good.gguf", "cut.gguf"]
