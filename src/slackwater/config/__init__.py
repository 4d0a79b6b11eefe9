"""Settings: read once, checked once, frozen.

Three layers are merged, later ones win: a TOML file, `SLACKWATER_SECTION__KEY` variables, and what the command line
says. Every value remembers where it came from, so that a mistake is reported as one sentence that names its place.
"""

from slackwater.config.backends import (
    AnthropicBackendSettings,
    BackendSettings,
    EngineSettings,
    LlamaCppBackendSettings,
    OpenAIBackendSettings,
    SimulatedBackendSettings,
)
from slackwater.config.connect import with_engines, with_simulator, with_stand_in
from slackwater.config.load import ConfigError, load
from slackwater.config.secret import backend_api_key, load_pepper
from slackwater.config.settings import (
    BatchSettings,
    DocumentSettings,
    FileSettings,
    LogSettings,
    ModelSettings,
    ServerSettings,
    Settings,
    StorageSettings,
    WorkerSettings,
)

__all__ = [
    "AnthropicBackendSettings",
    "BackendSettings",
    "BatchSettings",
    "ConfigError",
    "DocumentSettings",
    "EngineSettings",
    "FileSettings",
    "LlamaCppBackendSettings",
    "LogSettings",
    "ModelSettings",
    "OpenAIBackendSettings",
    "ServerSettings",
    "Settings",
    "SimulatedBackendSettings",
    "StorageSettings",
    "WorkerSettings",
    "backend_api_key",
    "load",
    "load_pepper",
    "with_engines",
    "with_simulator",
    "with_stand_in",
]
