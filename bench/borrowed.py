"""What the tests have already and figures need too: a private PostgreSQL server, how to tell that a worker is up."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1] / "tests"))

from support.postgres import PostgresServer
from support.workers import catches

__all__ = ["PostgresServer", "catches"]
