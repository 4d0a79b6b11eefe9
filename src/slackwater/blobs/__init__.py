"""Where bytes live: requests and results, under keys."""

from slackwater.blobs.local import LocalBlobs
from slackwater.blobs.space import Space

__all__ = ["LocalBlobs", "Space"]
