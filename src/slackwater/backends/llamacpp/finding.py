"""Finds GGUF models that other programs have put on this machine: only files are looked at, and none is opened.

Ollama keeps models under the checksums of their content and their names in manifests; everybody else keeps files with
names that end in `.gguf`.
"""

import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

MODEL_LAYER: Final = "application/vnd.ollama.image.model"
PROJECTOR_LAYER: Final = "application/vnd.ollama.image.projector"
MANIFEST_BYTES_MAX: Final = 2**20
FILES_MAX: Final = 20_000
"""Entries of one place that are looked at: a home directory under `.` must not keep anybody waiting."""
_QUANTIZATION: Final = re.compile(
    r"(?:[-_.](?:ud|i1|iq\d\w*|q\d\w*|tq\d\w*|fp?16|fp?32|bf16|mxfp4\w*))+$", re.IGNORECASE
)
_PART: Final = re.compile(r"-(\d{5})-of-\d{5}$")
_REPOSITORY: Final = re.compile(r"^(.+[-_]gguf_)(.+)$", re.IGNORECASE)
"""llama.cpp puts the repository before the name: `ggml-org_gemma-3-4b-it-GGUF_gemma-3-4b-it-Q4_K_M`."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundModel:
    """A model file somebody else has put here."""

    name: str
    """What people call it: Ollama's `qwen3:8b`, else the file's name without its ending."""
    path: Path
    """Of a model in several files the first one."""
    mmproj: Path | None
    """The projector that seems to belong to it."""
    source: str
    """Who has put it here, in words."""


def find_models(*, home: Path, environ: Mapping[str, str], folder: Path) -> list[FoundModel]:
    """Look in the usual places below `home`, those that `environ` names, and `folder`; each file once."""
    found: dict[Path, FoundModel] = {}
    for one in _everywhere(home, environ, folder):
        found.setdefault(_real(one.path), one)
    return list(found.values())


def _everywhere(home: Path, environ: Mapping[str, str], folder: Path) -> Iterator[FoundModel]:
    cache = Path(environ.get("XDG_CACHE_HOME") or home / ".cache")
    ollama = environ.get("OLLAMA_MODELS")
    for place in (
        *([Path(ollama)] if ollama else []),
        home / ".ollama/models",
        Path("/usr/share/ollama/.ollama/models"),
        Path("/var/lib/ollama/.ollama/models"),
    ):
        yield from in_ollama(place)
    for place in (home / ".lmstudio/models", home / ".cache/lm-studio/models"):
        yield from in_folder(place, source="LM Studio", depth=3)
    hub = environ.get("HF_HUB_CACHE") or Path(environ.get("HF_HOME") or cache / "huggingface") / "hub"
    for repository in _folders(Path(hub), prefix="models--"):
        yield from in_folder(repository / "snapshots", source="the Hugging Face cache", depth=3)
    yield from in_folder(Path(environ.get("LLAMA_CACHE") or cache / "llama.cpp"), source="llama.cpp's cache", depth=0)
    yield from in_folder(folder, source="this folder", depth=1)


def in_ollama(models: Path) -> Iterator[FoundModel]:
    """Yield what Ollama keeps below its `models` directory."""
    manifests = models / "manifests"
    for path in sorted(_files(manifests, depth=5)):
        parts = path.relative_to(manifests).parts
        layers = _layers(path)
        model = _blob(models, layers.get(MODEL_LAYER))
        if model is not None and len(parts) >= 3:  # noqa: PLR2004  # registry, model, tag
            yield FoundModel(
                name=_ollama_name(parts),
                path=model,
                mmproj=_blob(models, layers.get(PROJECTOR_LAYER)),
                source="Ollama",
            )


def in_folder(folder: Path, *, source: str, depth: int) -> Iterator[FoundModel]:
    """Yield the models in a folder and `depth` levels below it, each with the projector that lies beside it."""
    together: dict[tuple[Path, str], list[Path]] = {}
    for path in sorted(_files(folder, depth=depth)):
        if path.suffix.lower() == ".gguf":
            together.setdefault((path.parent, _repository(path)), []).append(path)
    for files in together.values():
        projectors = [path for path in files if _is_projector(path)]
        models = [path for path in files if not _is_projector(path) and not _is_further_part(path)]
        alone = len({_plain(path) for path in models}) == 1
        for path in models:
            mmproj = _projector_for(path, projectors, alone=alone)
            yield FoundModel(name=_name(path), path=path, mmproj=mmproj, source=source)


def _ollama_name(parts: tuple[str, ...]) -> str:
    usual = ("registry.ollama.ai", "library")
    *names, tag = parts
    shown = names[2:] if tuple(names[:2]) == usual else names[1:] if names[0] == usual[0] else names
    return f"{'/'.join(shown)}:{tag}"


def _layers(manifest: Path) -> dict[str, str]:
    """Return media type → digest of a manifest, the first layer of each type; nothing when it is none."""
    try:
        if manifest.stat().st_size > MANIFEST_BYTES_MAX:
            return {}
        content: Any = json.loads(manifest.read_bytes())
        found: dict[str, str] = {}
        for layer in content["layers"]:
            found.setdefault(str(layer["mediaType"]), str(layer["digest"]))
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return {}
    return found


def _blob(models: Path, digest: str | None) -> Path | None:
    if digest is None or not re.fullmatch(r"sha256:[0-9a-f]{64}", digest):
        return None
    path = models / "blobs" / digest.replace(":", "-")
    return path if path.is_file() else None


def _projector_for(model: Path, projectors: list[Path], *, alone: bool) -> Path | None:
    """Choose the projector whose name fits; one without a name of its own fits where there is one model only."""
    fitting = []
    for projector in projectors:
        core = re.sub(r"[-_.]?mmproj[-_.]?", "", _plain(projector))
        if core == _plain(model) or (core in {"", "model"} and alone):
            fitting.append(projector)
    # Sixteen bits are what the engines' own documentation uses; the rest in the order of the alphabet.
    return min(fitting, key=lambda path: ("-f16" not in path.stem.lower(), path.name), default=None)


def _plain(path: Path) -> str:
    """Return a file's name without its repository, its part's number and how its weights are stored."""
    return _QUANTIZATION.sub("", _name(path)).lower()


def _name(path: Path) -> str:
    stem = _PART.sub("", path.stem)
    repository = _REPOSITORY.match(stem)
    return repository[2] if repository else stem


def _repository(path: Path) -> str:
    repository = _REPOSITORY.match(path.stem)
    return repository[1] if repository else ""


def _is_projector(path: Path) -> bool:
    return "mmproj" in path.stem.lower()


def _is_further_part(path: Path) -> bool:
    part = _PART.search(path.stem)
    return part is not None and int(part[1]) > 1


def _folders(folder: Path, *, prefix: str) -> Iterable[Path]:
    return [path for path in _entries(folder) if path.name.startswith(prefix) and path.is_dir()]


def _files(folder: Path, *, depth: int) -> Iterator[Path]:
    """Yield the files of a folder and of `depth` levels below; what cannot be read is not there."""
    left = FILES_MAX
    waiting = [(folder, depth)]
    while waiting:
        here, below = waiting.pop()
        for path in _entries(here):
            left -= 1
            if left < 0:
                return
            if path.is_file():
                yield path
            elif below and path.is_dir() and not path.name.startswith("."):
                waiting.append((path, below - 1))


def _entries(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return sorted(Path(entry.path) for entry in entries if _is_text(entry.path))
    except OSError:
        return []


def _is_text(path: str) -> bool:
    """Tell whether a path can be written into a configuration, which is UTF-8; on Linux a name may be any bytes."""
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def _real(path: Path) -> Path:
    try:
        return path.resolve()
    except (OSError, RuntimeError):
        return path
