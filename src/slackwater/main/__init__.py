"""The composition root: the only area that names concrete adapters, and the only one that starts and stops things."""

from slackwater.main.connections import Connections
from slackwater.main.processes import OnFirstKey, OnReady, open_admin, open_backends, serve, work

__all__ = ["Connections", "OnFirstKey", "OnReady", "open_admin", "open_backends", "serve", "work"]
