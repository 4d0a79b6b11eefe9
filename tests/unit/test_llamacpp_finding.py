"""Models that other programs have put on this machine are found under the names people know them by."""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest

from slackwater.backends.llamacpp import finding
from slackwater.backends.llamacpp.finding import FoundModel, find_models


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return an empty home directory."""
    path = tmp_path / "home"
    path.mkdir()
    return path


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return an empty folder that a command is run in."""
    path = tmp_path / "here"
    path.mkdir()
    return path


def put(path: Path, content: bytes = b"GGUF") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path


def pulled(models: Path, manifest: str, **layers: bytes) -> dict[str, Path]:
    """Do as `ollama pull` does: blobs by checksum, and a manifest that names them. Return the blob of each layer."""
    entries, blobs = [], {}
    for kind, content in layers.items():
        digest = hashlib.sha256(content).hexdigest()
        blobs[kind] = put(models / "blobs" / f"sha256-{digest}", content)
        entries.append({"mediaType": f"application/vnd.ollama.image.{kind}", "digest": f"sha256:{digest}"})
    put(models / "manifests" / manifest, json.dumps({"schemaVersion": 2, "layers": entries}).encode())
    return blobs


def found(home: Path, folder: Path, **environ: str) -> list[FoundModel]:
    return find_models(home=home, environ=environ, folder=folder)


def test_ollama_s_models_have_the_names_one_runs_them_by(home: Path, folder: Path, tmp_path: Path) -> None:
    """`qwen3:8b`, `user/model:tag`, `hf.co/org/repo:tag`; with the projector, without templates and adapters."""
    models = home / ".ollama/models"
    qwen = pulled(models, "registry.ollama.ai/library/qwen3/8b", model=b"a", template=b"t", adapter=b"x")
    llava = pulled(models, "registry.ollama.ai/someone/llava/latest", model=b"b", projector=b"p")
    other = pulled(tmp_path / "other", "hf.co/org/repo-GGUF/Q4_K_M", model=b"c")
    assert {one.name: (one.path, one.mmproj, one.source) for one in found(home, folder)} == {
        "qwen3:8b": (qwen["model"], None, "Ollama"),
        "someone/llava:latest": (llava["model"], llava["projector"], "Ollama"),
    }
    names = {one.name: one.path for one in found(home, folder, OLLAMA_MODELS=str(tmp_path / "other"))}
    assert names["hf.co/org/repo-GGUF:Q4_K_M"] == other["model"]


@pytest.mark.parametrize(
    "manifest",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"layers": null}',
        b'{"layers": [1]}',
        b'{"layers": [{"mediaType": "application/vnd.ollama.image.model", "digest": "sha256:../../../etc/passwd"}]}',
        b"[" * 100_000,
        b"\xff\xfe",
    ],
)
def test_a_manifest_that_is_none_is_passed_over(home: Path, folder: Path, manifest: bytes) -> None:
    """Nothing of what others have written is trusted: neither its shape nor the paths in it."""
    models = home / ".ollama/models"
    put(models / "manifests/registry.ollama.ai/library/bad/latest", manifest)
    good = pulled(models, "registry.ollama.ai/library/good/latest", model=b"a")
    assert [(one.name, one.path) for one in found(home, folder)] == [("good:latest", good["model"])]


def test_a_model_that_is_still_being_pulled_is_not_there(home: Path, folder: Path) -> None:
    """Its manifest names a blob that has another name until it is whole."""
    blob = pulled(home / ".ollama/models", "registry.ollama.ai/library/half/latest", model=b"a")["model"]
    blob.rename(blob.with_name(blob.name + "-partial"))
    assert found(home, folder) == []


def test_each_program_s_folder_is_known(home: Path, folder: Path, tmp_path: Path) -> None:
    """LM Studio, the Hugging Face cache, llama.cpp's own cache, the current folder and one level below it."""
    expected = {
        "LM Studio": put(home / ".lmstudio/models/org/repo/Qwen3-8B-Q4_K_M.gguf"),
        "the Hugging Face cache": put(
            home / ".cache/huggingface/hub/models--org--repo/snapshots/abc123/sub/Phi-4-Q8_0.gguf"
        ),
        "llama.cpp's cache": put(home / ".cache/llama.cpp/ggml-org_gemma-3-4b-it-GGUF_gemma-3-4b-it-Q4_K_M.gguf"),
        "this folder": put(folder / "models/mine.GGUF"),
    }
    put(folder / "a/b/too-deep.gguf")
    put(folder / ".hidden/secret.gguf")
    put(folder / "notes.txt")
    assert {one.source: one.path for one in found(home, folder)} == expected
    assert [one.name for one in found(home, folder)] == [
        "Qwen3-8B-Q4_K_M",
        "Phi-4-Q8_0",
        "gemma-3-4b-it-Q4_K_M",
        "mine",
    ]
    elsewhere = put(tmp_path / "hub/models--a--b/snapshots/r/elsewhere.gguf")
    for variables in ({"HF_HUB_CACHE": str(tmp_path / "hub")}, {"HF_HOME": str(tmp_path)}):
        assert [one.path for one in found(tmp_path / "nobody", tmp_path / "nowhere", **variables)] == [elsewhere]


def test_a_file_is_found_once_whatever_leads_to_it(home: Path, folder: Path) -> None:
    """The Hugging Face cache has links, one for each revision."""
    blob = put(home / ".cache/huggingface/hub/models--o--r/blobs/0123")
    for revision in ("one", "two"):
        link = home / f".cache/huggingface/hub/models--o--r/snapshots/{revision}/m-Q4_0.gguf"
        link.parent.mkdir(parents=True)
        link.symlink_to(blob)
    (one,) = found(home, folder)
    assert (one.name, one.path.name) == ("m-Q4_0", "m-Q4_0.gguf")


def test_a_model_in_several_files_is_one_model(folder: Path, home: Path) -> None:
    """Named by its first part, which is the one to open."""
    first = put(folder / "big-Q8_0-00001-of-00003.gguf")
    put(folder / "big-Q8_0-00002-of-00003.gguf")
    put(folder / "big-Q8_0-00003-of-00003.gguf")
    assert [(one.name, one.path) for one in found(home, folder)] == [("big-Q8_0", first)]


@pytest.mark.parametrize(
    ("files", "pairs"),
    [
        (["gemma-Q4_K_M", "mmproj-model-f16"], {"gemma-Q4_K_M": "mmproj-model-f16"}),
        (["gemma-Q4_K_M", "gemma-Q8_0", "mmproj-F16"], {"gemma-Q4_K_M": "mmproj-F16", "gemma-Q8_0": "mmproj-F16"}),
        (["gemma-Q4_K_M", "mmproj-BF16", "mmproj-F16", "mmproj-F32"], {"gemma-Q4_K_M": "mmproj-F16"}),
        (["gemma-Q4_K_M", "llama-Q4_K_M", "mmproj-F16"], {"gemma-Q4_K_M": None, "llama-Q4_K_M": None}),
        (
            ["gemma-UD-Q4_K_XL", "llama-Q4_K_M", "mmproj-gemma-f16"],
            {"gemma-UD-Q4_K_XL": "mmproj-gemma-f16", "llama-Q4_K_M": None},
        ),
        (["mmproj-gemma-f16"], {}),
        (
            ["a_x-GGUF_x-Q4_0", "a_x-GGUF_mmproj-model-f16", "b_y-GGUF_y-Q4_0"],
            {"x-Q4_0": "a_x-GGUF_mmproj-model-f16", "y-Q4_0": None},
        ),
    ],
)
def test_a_projector_goes_with_the_model_it_is_named_after(
    home: Path, folder: Path, files: list[str], pairs: dict[str, Any]
) -> None:
    """One without a name goes with the only model beside it; in doubt there is none."""
    for name in files:
        put(folder / f"{name}.gguf")
    assert {one.name: one.mmproj and one.mmproj.stem for one in found(home, folder)} == pairs


def test_a_name_that_is_no_text_is_passed_over(home: Path, folder: Path) -> None:
    """A configuration could not name it."""
    put(folder / os.fsdecode(b"\xff.gguf"))
    good = put(folder / "größe 'x\".gguf")
    assert [one.path for one in found(home, folder)] == [good]


def test_nothing_keeps_anybody_waiting(home: Path, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder with more entries than anybody's models is looked at in part; missing ones are empty."""
    monkeypatch.setattr(finding, "FILES_MAX", 3)
    for number in range(9):
        put(folder / f"{number}.gguf")
    assert len(found(home, folder)) == 3
    assert found(home / "nobody", folder / "nowhere") == []
