"""A model is added to a configuration file whatever it is called, and whatever else is in the file."""

import os
import tomllib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from slackwater.config import ConfigError, LlamaCppBackendSettings, load
from slackwater.config.adding import Addition, add_local_model, backend_name, local_lines, toml_text


@given(st.text())
def test_any_text_survives_being_written(text: str) -> None:
    """Quotes, line breaks, control characters, every script."""
    assert tomllib.loads(f"key = {toml_text(text)}") == {"key": text}


@given(st.text(), st.sets(st.text(max_size=3)))
def test_a_backend_s_name_is_plain_new_and_short(name: str, taken: set[str]) -> None:
    """Whatever the model is called."""
    made = backend_name(name, taken)
    assert made not in taken
    assert 1 <= len(made) <= 64
    assert made.isascii()
    again = backend_name(name, {*taken, made})
    assert again not in {*taken, made}


def test_a_model_with_an_odd_name_is_added(tmp_path: Path) -> None:
    """The file, the id and the projector come out as they went in."""
    model, eye = tmp_path / 'gr\u00f6\u00dfe "x" \\ y.gguf', tmp_path / "eye's.gguf"
    for path in (model, eye):
        path.write_bytes(b"GGUF")
    config = tmp_path / "slackwater.toml"
    add_local_model(config, Addition(id='a "b"', name="gr\u00f6\u00dfe", model=model, mmproj=eye), {})
    settings = load(config, {})
    (backend,) = settings.backends
    assert isinstance(backend, LlamaCppBackendSettings)
    assert (backend.name, backend.model, backend.mmproj) == ("gr-e", model, eye)
    assert settings.models[0].id == 'a "b"'


def test_a_path_that_is_no_text_is_refused_and_nothing_is_left_behind(tmp_path: Path) -> None:
    """A configuration is UTF-8; a file's name may be any bytes."""
    model = tmp_path / os.fsdecode(b"\xff.gguf")
    model.write_bytes(b"GGUF")
    with pytest.raises(ConfigError, match="not UTF-8"):
        add_local_model(tmp_path / "c.toml", Addition(id="a", name="a", model=model), {})
    assert list(tmp_path.iterdir()) == [model]


def test_a_link_stays_a_link(tmp_path: Path) -> None:
    """What it points to is written."""
    model = tmp_path / "a.gguf"
    model.write_bytes(b"GGUF")
    (tmp_path / "real").mkdir()
    real = tmp_path / "real" / "c.toml"
    real.write_text("# mine\n")
    link = tmp_path / "c.toml"
    link.symlink_to(real)
    add_local_model(link, Addition(id="a", name="a", model=model), {})
    assert link.is_symlink()
    assert real.read_text().startswith("# mine\n\n[[backends]]")


def test_lines_for_a_second_model_have_another_name(tmp_path: Path) -> None:
    """Two models may be called alike."""
    one = [*local_lines(Addition(id="a", name="x", model=tmp_path))]
    two = [*local_lines(Addition(id="b", name="x", model=tmp_path), {"x"})]
    assert (one[1], two[1]) == ('name = "x"', 'name = "x-2"')
