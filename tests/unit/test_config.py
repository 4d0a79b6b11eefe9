"""Settings: every key documented, every mistake one readable sentence, every secret kept out of sight."""

import ast
import inspect
import itertools
import re
import stat
import textwrap
import threading
import typing
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

import pytest

from slackwater.config import (
    AnthropicBackendSettings,
    ConfigError,
    LlamaCppBackendSettings,
    OpenAIBackendSettings,
    Settings,
    SimulatedBackendSettings,
    backend_api_key,
    backends,
    load,
    load_pepper,
    with_engines,
    with_simulator,
    with_stand_in,
)
from slackwater.config.section import Section
from slackwater.config.settings import ModelSettings, PriceSettings

DOCS = Path(__file__).parents[2] / "docs" / "settings.md"
SIMULATED = """
[[backends]]
name = "sim"
protocol = "simulated"
"""


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "slackwater.toml"
    path.write_text(text)
    return path


def mistakes(tmp_path: Path, text: str = "", environ: Mapping[str, str] | None = None) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        load(written(tmp_path, text), environ or {})
    return caught.value.messages


def test_nothing_at_all_is_a_configuration() -> None:
    """Every key has a default; these are part of the surface scripts rely on."""
    settings = load(None, {})
    assert (settings.server.host, settings.server.port, settings.server.public_url) == ("127.0.0.1", 8321, "")
    assert (settings.storage.data_dir, settings.storage.database) == (Path("slackwater-data"), "sqlite")
    assert (settings.worker.enabled, settings.worker.max_in_flight, settings.worker.lease_seconds) == (True, 256, 30)
    assert (settings.batches.expires_after_seconds, settings.batches.results_kept_days) == (86_400, 29)
    assert settings.backends == ()
    assert settings.routes().routes == ()


def test_the_command_line_beats_the_environment_beats_the_file(tmp_path: Path) -> None:
    """Three layers, and what none of them says keeps its default."""
    path = written(tmp_path, '[server]\nhost = "::1"\nport = 1\npublic_url = "https://example.com/api/"\n')
    environ = {"SLACKWATER_SERVER__PORT": "2", "SLACKWATER_SERVER__HOST": "0.0.0.0"}  # noqa: S104  # a value to read back
    settings = load(path, environ, {"server": {"port": 3, "host": None}})
    assert settings.server.port == 3
    assert settings.server.host == "0.0.0.0"  # noqa: S104  # likewise
    assert settings.server.public_url == "https://example.com/api"


def test_the_whole_example_of_the_design_loads(tmp_path: Path) -> None:
    """Sections, backends, models and a price with half-cent digits."""
    settings = load(
        written(
            tmp_path,
            """
            [server]
            host = "127.0.0.1"
            [storage]
            data_dir = "/tmp/x"
            blobs = "local"
            [worker]
            max_in_flight = 8
            [batches]
            expires_after_seconds = 5
            [[backends]]
            name = "gpu0"
            protocol = "openai"
            url = "http://127.0.0.1:8000/"
            api_key_env = "VLLM_API_KEY"
            max_in_flight = 64
            timeout_seconds = 600
            [[models]]
            id = "claude-haiku-4-5-20251001"
            backend = "gpu0"
            upstream = "Qwen/Qwen3-8B"
            max_input_tokens = 32768
            max_tokens = 8192
            vision = false
            price = { input = 0.005, output = 5.00 }
            """,
        ),
        {},
    )
    (backend,) = settings.backends
    assert isinstance(backend, OpenAIBackendSettings)
    assert (backend.url, backend.max_in_flight, backend.flavour) == ("http://127.0.0.1:8000", 64, "auto")
    route = settings.routes().find("claude-haiku-4-5-20251001")
    assert route is not None
    assert route.upstream == "Qwen/Qwen3-8B"
    assert (route.price.input_nanousd_per_mtok, route.price.output_nanousd_per_mtok) == (5_000_000, 5_000_000_000)


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("[server]\nprot = 9000", 'slackwater.toml: server.prot: unknown key (did you mean "port"?)'),
        ("[servr]\nport = 1", 'slackwater.toml: servr: unknown section (did you mean "server"?)'),
        ("[server]\nzzzzzz = 1", "slackwater.toml: server.zzzzzz: unknown key"),
        ("[server]\nport = 65536", "slackwater.toml: server.port: should be less than or equal to 65535, not 65536"),
        (
            '[server]\npublic_url = "x"',
            'slackwater.toml: server.public_url: must look like "https://batches.example.com"',
        ),
        (
            '[server]\ntrusted_proxies = ["10.0.0.0/33"]',
            (
                'slackwater.toml: server.trusted_proxies: "10.0.0.0/33" is not an address '
                'or a network such as "10.0.0.0/8"'
            ),
        ),
        (
            '[server]\ncors_origins = ["*"]',
            'slackwater.toml: server.cors_origins: "*" is not an origin such as "https://app.example.com"',
        ),
        (
            '[storage]\nblobs = "s3://b/p"',
            'slackwater.toml: storage.blobs: object storage is not available yet; use "local"',
        ),
        (
            '[storage]\ndatabase = "mysql://root:hunter2@db"',
            'slackwater.toml: storage.database: must be "sqlite" or "postgresql://user:password@host/name"',
        ),
        (
            "[batches]\nexpires_after_seconds = 0",
            "slackwater.toml: batches.expires_after_seconds: should be greater than 0, not 0",
        ),
        (
            '[[backends]]\nname = "a"',
            'slackwater.toml: backends[0]: protocol must be set: "anthropic", "openai", "llamacpp" or "simulated"',
        ),
        (
            '[[backends]]\nname = "a"\nprotocol = "opnai"',
            'slackwater.toml: backends[0]: protocol must be "anthropic", "openai", "llamacpp" or "simulated"',
        ),
        ('[[backends]]\nname = "a"\nprotocol = "openai"', "slackwater.toml: backends[0].url: must be set"),
        (
            SIMULATED + "latncy_ms = 3",
            'slackwater.toml: backends[0].latncy_ms: unknown key (did you mean "latency_ms"?)',
        ),
        (
            SIMULATED + 'url = "http://x"',
            'slackwater.toml: backends[0].url: this key belongs to backends with protocol "anthropic"',
        ),
        (SIMULATED + SIMULATED, 'slackwater.toml: backends: "sim" is there more than once'),
        (
            SIMULATED + '[[models]]\nid = "m"\nbackend = "sin"',
            'slackwater.toml: models: "m" names the backend "sin", which is not configured (did you mean "sim"?)',
        ),
        (
            SIMULATED + SIMULATED.replace("sim", "two", 1),
            "slackwater.toml: models: there are several backends, so [[models]] must say which one serves which model",
        ),
        (
            SIMULATED + '[[models]]\nid = "m"\nbackend = "sim"\nprice = { input = 1 }',
            "slackwater.toml: models[0].price.output: must be set",
        ),
        (
            "[server",
            "slackwater.toml: not valid TOML: Expected ']' at the end of a table declaration (at end of document)",
        ),
    ],
)
def test_a_mistake_is_one_sentence_that_names_its_place(tmp_path: Path, text: str, sentence: str) -> None:
    """Where it was written, which key, what is wrong, what was probably meant."""
    assert mistakes(tmp_path, text) == (sentence,)


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    """Nobody wants to learn of them one restart at a time."""
    found = mistakes(tmp_path, '[server]\nprot = 1\nport = "x"\n[worker]\nmax_in_flight = 0')
    assert len(found) == 3


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        ("SLACKWATER_SERVER__PROT", "1", 'SLACKWATER_SERVER__PROT: unknown key (did you mean "port"?)'),
        ("SLACKWATER_BACKENDS__0", "x", "SLACKWATER_BACKENDS__0: there is no place for this in the configuration"),
        (
            "SLACKWATER_BACKENDS__99999999__URL",
            "x",
            "SLACKWATER_BACKENDS__99999999__URL: there is no place for this in the configuration",
        ),
        ("SLACKWATER_SERVER__PORT__X", "1", "SLACKWATER_SERVER__PORT__X: should be a valid integer"),
        ("SLACKWATER_SERVR__PORT", "1", 'SLACKWATER_SERVR__PORT: unknown section (did you mean "server"?)'),
        (
            "SLACKWATER_SERVER__PORT",
            "x",
            'SLACKWATER_SERVER__PORT: should be a valid integer, unable to parse string as an integer, not "x"',
        ),
        (
            "SLACKWATER_BACKENDS__0__PROTOCOL",
            "opnai",
            'SLACKWATER_BACKENDS__0__PROTOCOL: protocol must be "anthropic", "openai", "llamacpp" or "simulated"',
        ),
        (
            "SLACKWATER_MODELS",
            "[{",
            (
                "SLACKWATER_MODELS: not valid JSON: "
                "Expecting property name enclosed in double quotes: line 1 column 3 (char 2)"
            ),
        ),
    ],
)
def test_a_mistake_in_a_variable_names_the_variable(tmp_path: Path, variable: str, value: str, sentence: str) -> None:
    """An operator who set a variable looks for its name, not for a key in a file."""
    assert mistakes(tmp_path, "", {variable: value}) == (sentence,)


def test_every_section_can_be_set_by_variables_alone() -> None:
    """Containers have no file: lists come as JSON, by index, or separated by commas."""
    settings = load(
        None,
        {
            "SLACKWATER_SERVER__TRUSTED_PROXIES": "10.0.0.0/8, ::1",
            "SLACKWATER_BACKENDS__0__NAME": "a",
            "SLACKWATER_BACKENDS__0__PROTOCOL": "anthropic",
            "SLACKWATER_BACKENDS__0__URL": "http://127.0.0.1:1",
            "SLACKWATER_MODELS": '[{"id": "*", "backend": "a", "price": {"input": 0.1, "output": 0.3}}]',
            "SLACKWATER_API_KEY": "not a setting",
            "SLACKWATER_BASE_URL": "not a setting",
        },
    )
    assert settings.server.trusted_proxies == ("10.0.0.0/8", "::1")
    assert isinstance(settings.backends[0], AnthropicBackendSettings)
    assert settings.models[0].price == PriceSettings(input=Decimal("0.1"), output=Decimal("0.3"))
    assert settings.routes().routes[0].price.input_nanousd_per_mtok == 100_000_000


def test_a_variable_changes_one_key_of_a_backend_in_the_file(tmp_path: Path) -> None:
    """The rest of that backend stays as it is written."""
    settings = load(written(tmp_path, SIMULATED + "latency_ms = 3"), {"SLACKWATER_BACKENDS__0__CAPACITY": "7"})
    (backend,) = settings.backends
    assert isinstance(backend, SimulatedBackendSettings)
    assert (backend.latency_ms, backend.capacity) == (3, 7)


def test_a_missing_file_is_said_plainly(tmp_path: Path) -> None:
    """A path that was named must be there."""
    with pytest.raises(ConfigError, match="there is no such file"):
        load(tmp_path / "nowhere.toml", {})


def test_a_single_backend_serves_every_model_name() -> None:
    """Without [[models]] there is nothing to choose."""
    routes = load(None, {"SLACKWATER_BACKENDS": '[{"name": "a", "protocol": "simulated"}]'}).routes()
    route = routes.find("anything")
    assert route is not None
    assert (route.backend, route.upstream_for("anything")) == ("a", "anything")


def test_secrets_are_in_no_repr_and_in_no_message(tmp_path: Path) -> None:
    """I5: a database password is shown nowhere."""
    settings = load(None, {"SLACKWATER_STORAGE__DATABASE": "postgresql://u:hunter2@db/x"})
    assert settings.storage.database.endswith("/x")
    assert "hunter2" not in repr(settings)
    assert "hunter2" not in str(settings)
    assert "hunter2" not in "".join(mistakes(tmp_path, '[storage]\ndatabase = "mysql://u:hunter2@db"'))


def test_settings_cannot_be_changed() -> None:
    """Read once, checked once, frozen."""
    with pytest.raises(ValueError, match="frozen"):
        load(None, {}).server.port = 1  # type: ignore[misc]


def test_a_backend_key_comes_from_the_variable_that_is_named() -> None:
    """I5: the configuration holds the variable's name only; naming one that is not set is a mistake."""
    backend = OpenAIBackendSettings(name="a", protocol="openai", url="http://x", api_key_env="A_KEY")
    assert backend_api_key(backend, {"A_KEY": "s"}) == "s"
    assert backend_api_key(SimulatedBackendSettings(name="a", protocol="simulated"), {}) is None
    with pytest.raises(ConfigError, match="A_KEY, which is not set"):
        backend_api_key(backend, {})


def test_a_pepper_is_made_once_and_only_its_owner_can_read_it(tmp_path: Path) -> None:
    """A1: it lives outside the database, survives restarts, and two first starts at once agree on it."""
    settings = load(None, {}, {"storage": {"data_dir": tmp_path / "deep" / "data"}})
    found: list[bytes] = []
    starts = [threading.Thread(target=lambda: found.append(load_pepper(settings, {}))) for _ in range(8)]
    for start in starts:
        start.start()
    for start in starts:
        start.join()
    path = settings.storage.data_dir / "pepper"
    assert len(found) == 8
    assert set(found) == {path.read_bytes()}
    assert len(found[0]) == 32
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(path.parent.iterdir()) == [path]


def test_a_pepper_can_be_shared_between_machines(tmp_path: Path) -> None:
    """With PostgreSQL every server needs the same one: a file, or a variable, which wins."""
    shared = tmp_path / "shared"
    shared.write_bytes(b"p" * 32)
    settings = load(None, {}, {"storage": {"pepper_file": shared, "data_dir": tmp_path}})
    assert load_pepper(settings, {}) == b"p" * 32
    assert load_pepper(settings, {"SLACKWATER_PEPPER": "q" * 20}) == b"q" * 20
    with pytest.raises(ConfigError, match="at least 16 bytes"):
        load_pepper(settings, {"SLACKWATER_PEPPER": "short"})


@dataclass(frozen=True, kw_only=True)
class Found:
    """What detection reports of one engine."""

    kind: str
    url: str = "http://127.0.0.1:1"
    protocol: str = "openai"
    models: tuple[str, ...] = ()
    slots: int | None = None


def test_engines_on_this_machine_become_backends() -> None:
    """Each model under its own name, every other name at the first engine's first model."""
    found = [Found(kind="vllm", models=("a", "b")), Found(kind="vllm", models=("b", "c"), slots=4)]
    settings = with_engines(load(None, {}), found)
    assert [backend.name for backend in settings.backends] == ["vllm", "vllm-1"]
    assert isinstance(settings.backends[0], OpenAIBackendSettings)
    assert settings.backends[0].flavour == "vllm"
    assert [getattr(backend, "slots", None) for backend in settings.backends] == [None, 4]
    routes = settings.routes()
    served = {name: (route.backend, route.upstream) for name in "abcd" if (route := routes.find(name))}
    assert served == {"a": ("vllm", None), "b": ("vllm", None), "c": ("vllm-1", None), "d": ("vllm", "a")}
    assert Settings.model_validate(settings.model_dump()) == settings


def test_where_nothing_can_run_the_simulator_answers() -> None:
    """The first start works on a machine with nothing on it; serve says loudly what answers."""
    (backend,) = with_simulator(load(None, {})).backends
    assert isinstance(backend, SimulatedBackendSettings)


def test_a_toy_that_stands_in_serves_every_name_and_is_known_as_one(tmp_path: Path) -> None:
    """Its routes say so, whichever name a client sends; a client's own name is not changed by that."""
    toy = model_file(tmp_path, "toy.gguf")
    routes = with_stand_in(load(None, {}), "toy-demo", toy, "toy-demo (toy)").routes()
    for name in ("toy-demo", "claude-haiku-4-5"):
        route = routes.find(name)
        assert route is not None
        assert (route.backend, route.stand_in, route.display_name, route.vision) == (
            "toy-demo",
            True,
            "toy-demo (toy)",
            False,
        )


def model_file(directory: Path, name: str) -> Path:
    """Put down something that could be a model; configuration does not look inside."""
    directory.mkdir(parents=True, exist_ok=True)
    path = directory / name
    path.write_bytes(b"GGUF")
    return path


LOCAL = '[[backends]]\nname = "qwen"\nprotocol = "llamacpp"\nmodel = "%s"\n'


def test_a_model_file_is_relative_to_the_configuration_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Wherever the command runs; one in a variable is relative to where it runs, and `~` is the home directory."""
    here = model_file(tmp_path / "etc" / "models", "qwen.gguf")
    config = tmp_path / "etc" / "slackwater.toml"
    config.write_text(LOCAL % "models/qwen.gguf")
    (backend,) = load(config, {}).backends
    assert isinstance(backend, LlamaCppBackendSettings)
    assert backend.model == here
    monkeypatch.setenv("HOME", str(tmp_path / "etc"))
    config.write_text(LOCAL % "~/models/qwen.gguf")
    assert load(config, {}).backends[0] == backend
    monkeypatch.chdir(tmp_path)
    settings = load(config, {"SLACKWATER_BACKENDS__0__MODEL": "etc/models/qwen.gguf"})
    assert settings.backends[0] == backend.model_copy(update={"model": Path("etc/models/qwen.gguf")})


def test_a_model_file_that_cannot_be_used_is_said_with_its_path(tmp_path: Path) -> None:
    """And what to do about it."""
    (sentence,) = mistakes(tmp_path, LOCAL % "gone.gguf")
    where, _, next_step = sentence.partition("; ")
    assert where == f"slackwater.toml: backends[0].model: there is no file {tmp_path}/gone.gguf"
    assert next_step == "`slackwater doctor` lists the models on this machine"
    assert mistakes(tmp_path, f'[engine]\nmodel = "{tmp_path}"\n') == (
        f"slackwater.toml: engine.model: {tmp_path} is a directory; name the .gguf file in it",
    )
    assert mistakes(tmp_path, "[engine]\nmemory_mib = 1\n") == (
        "slackwater.toml: engine.memory_mib: should be greater than or equal to 64, not 1",
    )
    model_file(tmp_path, "eye.gguf")
    assert mistakes(tmp_path, '[engine]\nmmproj = "eye.gguf"\n') == (
        "slackwater.toml: engine: mmproj belongs to a model: set `model` too",
    )


def test_one_model_is_configured_in_two_lines(tmp_path: Path) -> None:
    """`[engine] model` alone serves every name; beside others its backend is called `local`."""
    model_file(tmp_path, "qwen.gguf")
    text = '[engine]\nmodel = "qwen.gguf"\n'
    settings = load(written(tmp_path, text), {})
    (backend,) = settings.backends
    assert isinstance(backend, LlamaCppBackendSettings)
    assert (backend.name, backend.model, backend.mmproj) == ("local", tmp_path / "qwen.gguf", None)
    route = settings.routes().find("anything")
    assert route is not None
    assert (route.backend, route.vision, route.stand_in) == ("local", False, False)
    assert Settings.model_validate(settings.model_dump()) == settings
    more = text + SIMULATED + '[[models]]\nid = "a"\nbackend = "local"\n[[models]]\nid = "*"\nbackend = "sim"\n'
    routes = load(written(tmp_path, more), {}).routes()
    assert [routes.find(name).backend for name in ("a", "b")] == ["local", "sim"]  # type: ignore[union-attr]
    assert mistakes(tmp_path, text + SIMULATED) == (
        "slackwater.toml: models: there are several backends, so [[models]] must say which one serves which model",
    )
    assert mistakes(tmp_path, text + SIMULATED.replace("sim", "local", 1)) == (
        'slackwater.toml: backends: "local" is what [engine] model is called; give this one another name',
    )


def test_a_local_model_sees_images_only_with_a_projector(tmp_path: Path) -> None:
    """Without one a request with an image is refused as that request's own error, not by the engine."""
    model_file(tmp_path, "qwen.gguf")
    model_file(tmp_path, "eye.gguf")
    blind = load(written(tmp_path, LOCAL % "qwen.gguf"), {}).routes().routes[0]
    seeing = load(written(tmp_path, LOCAL % "qwen.gguf" + 'mmproj = "eye.gguf"\n'), {}).routes().routes[0]
    assert (blind.vision, seeing.vision) == (False, True)


def documented() -> Iterator[tuple[str, str]]:
    """Yield each section's table of keys as docs/settings.md must have it, from the models themselves."""
    for section, field in Settings.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, Section):
            yield f"[{section}]", table(field.annotation)
    for title, model in (
        ('[[backends]] protocol = "anthropic"', AnthropicBackendSettings),
        ('[[backends]] protocol = "openai"', OpenAIBackendSettings),
        ('[[backends]] protocol = "llamacpp"', LlamaCppBackendSettings),
        ('[[backends]] protocol = "simulated"', SimulatedBackendSettings),
        ("[[models]]", ModelSettings),
        ("price", PriceSettings),
    ):
        yield title, table(model)


def table(model: type[Section]) -> str:
    rows = ["| key | default | meaning |", "|---|---|---|"]
    meanings = dict(
        itertools.chain.from_iterable(described(one) for one in reversed(model.__mro__) if issubclass(one, Section))
    )
    for name, field in model.model_fields.items():
        default = "required" if field.is_required() else f"`{shown(field.default)}`"
        choices = typing.get_args(field.annotation) if typing.get_origin(field.annotation) is typing.Literal else ()
        text = re.sub(r"\s+", " ", meanings[name])
        if len(choices) > 1:
            text += " One of " + ", ".join(f"`{choice}`" for choice in choices) + "."
        rows.append(f"| `{name}` | {default} | {text} |")
    return "\n".join(rows)


def described(section: type[Section]) -> Iterator[tuple[str, str]]:
    """Yield the name of each key that a class has itself, and the text below it. At a start nobody would read that."""
    (tree,) = ast.parse(textwrap.dedent(inspect.getsource(section))).body
    assert isinstance(tree, ast.ClassDef)
    for key, below in itertools.pairwise(tree.body):
        match key, below:
            case ast.AnnAssign(target=ast.Name(id=name)), ast.Expr(value=ast.Constant(value=str(text))):
                yield name, text


def shown(value: object) -> str:
    match value:
        case None:
            return "none"
        case bool():
            return str(value).lower()
        case tuple():
            return "[]"
        case str() | Path():
            return f'"{value}"'
        case _:
            return str(value)


@pytest.mark.parametrize(("title", "rows"), list(documented()), ids=lambda value: value[:20])
def test_docs_settings_md_lists_every_key_as_it_is(title: str, rows: str) -> None:
    """docs/settings.md and the models say the same: key, default, meaning."""
    text = DOCS.read_text()
    assert f"`{title}`" in text
    assert rows in text


@pytest.mark.parametrize("page", ["settings.md", "local-models.md"])
def test_every_configuration_in_the_documentation_loads(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As it stands there, but for the model files, which nobody has."""
    monkeypatch.setattr(backends, "existing", lambda path: path)
    examples = re.findall(r"```toml\n(.*?)```", DOCS.with_name(page).read_text(), re.DOTALL)
    assert examples
    for example in examples:
        load(written(tmp_path, example), {})


def test_every_key_of_every_model_is_described() -> None:
    """No row of the documentation is empty."""
    assert [rows for _, rows in documented() if re.search(r"\|  \|$", rows, re.MULTILINE)] == []
