"""Inference servers, one module per protocol; each class here meets the `Backend` port."""

from slackwater.backends.anthropic import AnthropicBackend
from slackwater.backends.openai import OpenAIBackend, Options, options_for

__all__ = ["AnthropicBackend", "OpenAIBackend", "Options", "options_for"]
