"""The chat completions protocol: requests, answers and streams translated from and to Messages."""

from slackwater.backends.openai.client import OpenAIBackend
from slackwater.backends.openai.options import Flavour, Options, options_for

__all__ = ["Flavour", "OpenAIBackend", "Options", "options_for"]
