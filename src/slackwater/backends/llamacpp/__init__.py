"""The engine in the box: llama.cpp in a child process, for models in GGUF files on this machine."""

from pathlib import Path
from typing import Final

from slackwater.backends.llamacpp.engine import Engine, Running
from slackwater.backends.llamacpp.engines import LocalEngines
from slackwater.backends.llamacpp.fitting import CannotFitError, Fit, LocalModel, fit, together
from slackwater.backends.llamacpp.gguf import GGUF, GGUFError, read_gguf
from slackwater.backends.llamacpp.machine import Machine, this_machine, why_not

DEMO_MODEL_ID: Final = "slackwater-demo-3m"
"""A toy that comes with this package, for trying things out."""
DEMO_MODEL: Final = Path(__file__).with_name(f"{DEMO_MODEL_ID}.gguf")

__all__ = [
    "DEMO_MODEL",
    "DEMO_MODEL_ID",
    "GGUF",
    "CannotFitError",
    "Engine",
    "Fit",
    "GGUFError",
    "LocalEngines",
    "LocalModel",
    "Machine",
    "Running",
    "fit",
    "read_gguf",
    "this_machine",
    "together",
    "why_not",
]
