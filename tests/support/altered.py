"""`slackwater` on a machine that a test sets: `python -m support.altered serve …`.

ALTERED_WALL names a file with the seconds by which the wall clock is ahead, read at every look at it; a look of the
sweep at what nothing refers to comes after ALTERED_LOOK seconds. ALTERED_SYNC makes it careless: `normal` leaves
commits of SQLite to its next checkpoint, `directory` does not sync the names of blobs.
"""

import os
import sys
import time
from pathlib import Path

from slackwater.blobs import local
from slackwater.cli import main
from slackwater.flow import sweep
from slackwater.store import sqlite

if __name__ == "__main__":
    wall, look = os.environ.get("ALTERED_WALL"), os.environ.get("ALTERED_LOOK")
    if wall is not None:
        real = time.time  # noqa: TID251  # what a clock asks
        time.time = lambda: real() + float(Path(wall).read_text("ascii"))  # noqa: TID251  # likewise
    if look is not None:
        sweep.ORPHAN_ROUND_SECONDS = sweep.ROUND_SECONDS = float(look)
    match os.environ.get("ALTERED_SYNC"):
        case "normal":
            sqlite._PRAGMAS = tuple(pragma.replace("FULL", "NORMAL") for pragma in sqlite._PRAGMAS)
        case "directory":
            local._sync_directory = lambda _: None
    sys.exit(main())
