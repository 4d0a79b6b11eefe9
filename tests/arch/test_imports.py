"""Who may import whom, beyond the layers that import-linter checks in `make check`."""

import sys
from typing import Final

from support.source import Source, package

EDGES: Final = {"api", "console", "cluster"}
ADAPTERS: Final = {"store", "blobs", "backends", "documents", "webhooks", "telemetry", "clock"}

THIRD_PARTY: Final = {
    "domain": set[str](),
    "failpoints": set[str](),
    "ports": set[str](),
    "wire": {"msgspec", "pydantic", "pydantic_core"},
    "flow": {"msgspec", "structlog"},
}
"""What each inner area may import from outside the standard library: no step knows HTTP, none knows SQL."""

STEPS: Final = {
    ("admit", "ingest"): "admitting starts with the body",
    ("ingest", "split"): "which is split into its requests",
    ("ingest", "plan"): "and put in plan order, in the same pass over the file",
    ("batches", "deliver"): "an owner who asks for results gets a delivery",
    ("files", "content"): "an owner who downloads gets the bytes, checked",
    ("material", "content"): "a request that names a file likewise",
    ("record", "journal"): "a line is journaled before it is committed",
    ("infer", "resolve"): "a turn begins with what its request is",
    ("infer", "gate"): "waits for a slot",
    ("gate", "limit"): "of which there are as many as its limit says",
    ("infer", "material"): "is filled in there with what its sources stand for",
    ("infer", "meter"): "ends with what it cost",
    ("infer", "stored"): "and brings an entry of a stored shard",
    ("schedule", "stored"): "entries are what is put in order",
    ("schedule", "lanes"): "by the lanes of their backend, where it has slots",
    ("lanes", "stored"): "which order entries too",
    ("infer", "plan"): "a shard's model may be the mixed one",
    ("holding", "infer"): "a shard in hand knows the turns that are on their way",
    ("close", "record"): "lines of unsent requests go the way of all lines",
    ("close", "stored"): "which are read as a worker reads them",
    ("sweep", "close"): "closing is the first thing in a round",
    ("sweep", "deliver"): "a compaction reads results as a delivery does",
    ("interactive", "resolve"): "a synchronous call is a request of its own",
    ("interactive", "gate"): "which passes the same gate",
    ("interactive", "material"): "is filled in likewise",
    ("interactive", "meter"): "and is metered alike",
}
"""Which step may import which other one, and why. `dispatch` joins the steps of processing and may import them all."""


ELSEWHERE: Final = {
    ("cli.simulate", "backends.simulated"): "the simulator as a server is a program of its own",
    ("cli.serve", "backends.detect"): "looking for engines comes before there is a configuration to compose",
    ("cli.doctor", "backends.detect"): "likewise",
    ("cli.serve", "backends.llamacpp"): "and a toy stands in where nothing is configured or found",
    ("cli.doctor", "backends.llamacpp"): "whether the engine in the box can run here",
    ("cli.local_models", "backends.llamacpp"): "model files are looked at before anybody has configured them",
    ("cli.adding", "backends.llamacpp"): "likewise",
    ("cli.backends", "backends.llamacpp"): "a local model that is tried out is loaded",
    ("config.settings", "documents.addresses"): "what may be fetched from is checked where it is read",
    ("cli.administration", "store.errors"): "what went wrong at a start is said in words",
}
"""Who names something of an adapter outside `main`, and why."""


def test_the_innermost_layers_need_nothing_but_python() -> None:
    """And the ones around them only what is listed here."""
    foreign = {
        f"{source.module} imports {name}"
        for source in package()
        if source.area in THIRD_PARTY
        for name in _third_party(source)
        if name not in THIRD_PARTY[source.area]
    }
    assert foreign == set()


def test_the_words_and_ports_do_no_input_or_output() -> None:
    """They are values and rules.

    (Ids draw from `os.urandom`, and a `Path` in a port is a name, not a file.)
    """
    outside = {"asyncio", "io", "socket", "logging", "subprocess", "tempfile", "sqlite3", "json"}
    found = {
        f"{source.module} imports {name}"
        for source in package()
        if source.area in {"domain", "ports"}
        for name in source.imports()
        if name.split(".")[0] in outside
    }
    assert found == set()


def test_edges_never_import_adapters_and_adapters_never_import_steps() -> None:
    """They meet in `main` alone."""
    crossing = {
        f"{source.module} imports {name}"
        for source in package()
        for name in _own(source)
        if (source.area in EDGES and name.split(".")[0] in ADAPTERS)
        or (source.area in ADAPTERS and name.split(".")[0] == "flow")
    }
    assert crossing == set()


def test_steps_do_not_import_each_other() -> None:
    """A step is told what it needs; the exceptions stand in a table with their reasons."""
    crossing = {
        (source.module.split(".")[1], name.split(".")[1])
        for source in package()
        if source.area == "flow" and "." in source.module
        for name in _own(source)
        if name.startswith("flow.")
    }
    crossing = {(step, other) for step, other in crossing if step not in {other, "dispatch"}}
    assert crossing - STEPS.keys() == set()


def test_only_main_names_concrete_adapters() -> None:
    """The composition root is the one place where a store or a backend protocol is chosen."""
    naming = {
        (source.module, ".".join(name.split(".")[:2]))
        for source in package()
        if source.area not in ADAPTERS | {"main"}
        for name in _own(source)
        if name.split(".")[0] in ADAPTERS - {"clock"}
    }
    assert naming - ELSEWHERE.keys() == set()


def test_the_package_never_imports_the_sdk_it_serves() -> None:
    """The SDK is a witness in the tests; a server built on it would only prove that it agrees with itself."""
    assert [
        source.module for source in package() if any(name.split(".")[0] == "anthropic" for name in source.imports())
    ] == []


def _own(source: Source) -> set[str]:
    prefix = "slackwater."
    return {name.removeprefix(prefix) for name in source.imports() if name.startswith(prefix)}


def _third_party(source: Source) -> set[str]:
    roots = {name.split(".")[0] for name in source.imports()}
    return roots - sys.stdlib_module_names - {"slackwater", "__future__"}
