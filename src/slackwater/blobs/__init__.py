"""Where bytes live: requests and results, under keys."""

from slackwater.blobs.local import LocalBlobs

__all__ = ["LocalBlobs"]
