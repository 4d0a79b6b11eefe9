"""Inference servers, one module per protocol; each class here meets the `Backend` port."""

from slackwater.backends.anthropic import AnthropicBackend

__all__ = ["AnthropicBackend"]
