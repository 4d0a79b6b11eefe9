"""Checking Messages bodies: strict shapes and the API's rules, refused in the API's words (contract §2.3, §7)."""

from slackwater.wire.params.check import Checked, check_count_tokens, check_messages
from slackwater.wire.params.failure import ParamsError
from slackwater.wire.params.plain import Plain

__all__ = ["Checked", "ParamsError", "Plain", "check_count_tokens", "check_messages"]
