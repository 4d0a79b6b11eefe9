"""What must not stand in the configuration itself: the pepper of key digests (A1) and the backends' keys (I5)."""

import os
import secrets
from collections.abc import Mapping
from pathlib import Path

from slackwater.config.load import ConfigError
from slackwater.config.settings import Settings

PEPPER_BYTES = 32
PEPPER_BYTES_MIN = 16


def backend_api_key(backend: object, environ: Mapping[str, str]) -> str | None:
    """Return the key a backend is to be sent. Raises ConfigError when its variable is named but not set."""
    variable: str | None = getattr(backend, "api_key_env", None)
    if variable is None:
        return None
    if not environ.get(variable):
        raise ConfigError(f'backend "{getattr(backend, "name", "")}": api_key_env names {variable}, which is not set')
    return environ[variable]


def load_pepper(settings: Settings, environ: Mapping[str, str]) -> bytes:
    """Return the pepper of key digests, made on the first start. Raises ConfigError.

    Order: `SLACKWATER_PEPPER`, `storage.pepper_file`, `data_dir/pepper` (mode 0600).
    """
    if text := environ.get("SLACKWATER_PEPPER"):
        pepper, source = text.encode(), "SLACKWATER_PEPPER"
    else:
        path = settings.storage.pepper_file or settings.storage.data_dir / "pepper"
        try:
            pepper, source = _read_or_make(path), str(path)
        except OSError as problem:
            raise ConfigError(f"{path}: {problem.strerror or problem}") from problem
    if len(pepper) < PEPPER_BYTES_MIN:
        raise ConfigError(f"{source}: a pepper must have at least {PEPPER_BYTES_MIN} bytes")
    return pepper


def _read_or_make(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    # Whole and durable before it has its name: a pepper that is lost makes every key of this data directory useless.
    draft = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        os.write(descriptor, secrets.token_bytes(PEPPER_BYTES))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
    try:
        os.link(draft, path)
    except FileExistsError:
        pass  # another process starting beside us was first; its pepper counts
    finally:
        draft.unlink()
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    return path.read_bytes()
