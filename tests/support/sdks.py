"""The official SDKs that `scripts/sdks.py` installs, and the environments their programs run in."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from support.server import RunningServer
from support.source import ROOT

DRIVERS: Final = ROOT / "tests" / "contract" / "drivers"
PYTHON_VERSIONS: Final = ("0.52.0", "0.77.0", "1.17.0", "2.12.0")
TYPESCRIPT_VERSIONS: Final = ("0.71.0", "1.12.0")


@dataclass(frozen=True, kw_only=True)
class SDK:
    """One way to use one release of an official SDK."""

    language: str
    """`py` or `ts`."""
    version: str
    mode: str
    """`sync` or `async`."""

    @property
    def name(self) -> str:
        """How the tests call it."""
        return f"{self.language}-{self.version}-{self.mode}"

    @property
    def home(self) -> Path:
        """Where `scripts/sdks.py` put it."""
        return ROOT / ".sdk" / f"{self.language}-{self.version}"

    @property
    def api_version(self) -> str:
        """The `anthropic-version` it sends (contract §1.1)."""
        current = int(self.version.split(".")[0]) >= (2 if self.language == "py" else 1)
        return "2026-10-21" if current else "2023-06-01"

    @property
    def file_namespaces(self) -> tuple[str, ...]:
        """Where it has calls about files: `ga` is `client.files`, `beta` is `client.beta.files` (contract §6.0)."""
        return ("beta",) if self.version in {"0.52.0", "0.77.0", "0.71.0"} else ("ga", "beta")

    def command(self, server: RunningServer) -> list[str]:
        """Return the command line of the driver, which reports on all modes at once."""
        if self.language == "py":
            return [str(self.python), str(DRIVERS / "sdk.py"), server.url, server.api_key]
        return ["node", str(DRIVERS / "sdk.mjs"), server.url, server.api_key]

    @property
    def python(self) -> Path:
        """Its interpreter."""
        return self.home / "bin" / "python"


ALL: Final = [
    *(SDK(language="py", version=version, mode=mode) for version in PYTHON_VERSIONS for mode in ("sync", "async")),
    *(SDK(language="ts", version=version, mode="async") for version in TYPESCRIPT_VERSIONS),
]


def clean_environment(**extra: str) -> dict[str, str]:
    """Return an environment in which no variable of this machine steers an SDK."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(("ANTHROPIC_", "PYTHON"))}
    # The drivers' SDKs may ask a proxy for 127.0.0.1 where one is configured.
    return inherited | {"NO_PROXY": "127.0.0.1", "no_proxy": "127.0.0.1"} | extra
