"""Limits of the wire and of the path, each with its reason."""

MIB = 2**20

BATCH_REQUESTS_MAX = 100_000  # contract §1.8
BATCH_BODY_BYTES_MAX = 256 * MIB  # contract §1.8: whether MB is decimal is not stated, so the larger reading
MESSAGE_BODY_BYTES_MAX = 32 * MIB  # contract §1.8
FILE_BYTES_MAX = 500 * MIB  # contract §1.8
FILES_BYTES_MAX = 2**40  # contract §6.1: 1 TB for an organization
CUSTOM_ID_PATTERN = r"[a-zA-Z0-9_-]{1,64}"  # contract §4.1; always full-matched: `$` lets a trailing newline through
CUSTOM_ID_LENGTH_MAX = 64
JSON_DEPTH_MAX = 100  # reliability B6

SHARD_REQUESTS_MAX = 256  # a lease covers this much: small enough to share, large enough to amortise a transaction
SHARD_BYTES_MAX = 8 * MIB  # bounds what a worker holds in memory for one lease

PAGE_LIMIT_DEFAULT = 20  # contract §3
PAGE_LIMIT_MAX = 1_000

RETRIED_CREATE_WINDOW_SECONDS = 15 * 60  # D3: how long a create repeated by an SDK is recognised
IDEMPOTENCY_KEY_WINDOW_SECONDS = 24 * 3600  # D3

ATTEMPTS_MAX = 5  # X7
