"""`slackwater` on a machine that a test sets: `python -m support.altered serve …`.

ALTERED_WALL names a file with the seconds by which the wall clock is ahead, read at every look at it; a look of the
sweep at what nothing refers to comes after ALTERED_LOOK seconds.
"""

import os
import sys
import time
from pathlib import Path

from slackwater.cli import main
from slackwater.flow import sweep

if __name__ == "__main__":
    wall, look = os.environ.get("ALTERED_WALL"), os.environ.get("ALTERED_LOOK")
    if wall is not None:
        real = time.time  # noqa: TID251  # what a clock asks
        time.time = lambda: real() + float(Path(wall).read_text("ascii"))  # noqa: TID251  # likewise
    if look is not None:
        sweep.ORPHAN_ROUND_SECONDS = sweep.ROUND_SECONDS = float(look)
    sys.exit(main())
