"""docs/errors.md against the code."""

import re
from pathlib import Path

from slackwater.domain.errors import BY_TYPE

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "errors.md").read_text()


def test_the_table_of_types_is_the_table_in_the_code() -> None:
    """Contract §2.2: type, status, and what the SDKs do."""
    rows = re.findall(r"^\| (\d+) \| `(\w+)` \|.*\| (yes|no) \|$", PAGE, re.MULTILINE)
    documented = {kind: (int(status), retried == "yes") for status, kind, retried in rows}
    assert documented == {kind: (error.status, error.retryable) for kind, error in BY_TYPE.items()}


def test_every_error_code_is_documented() -> None:
    """Contract §2.2."""
    areas = ("api", "flow", "store")
    paths = [path for area in areas for path in sorted((ROOT / "src" / "slackwater" / area).glob("*.py"))]
    source = "".join(path.read_text() for path in paths)
    codes = set(re.findall(r'error_code="(\w+)"|code = "(\w+)"', source))
    used = {first or second for first, second in codes}
    assert used == set(re.findall(r"^\| `(\w+)` \| \d+ \|", PAGE, re.MULTILINE))
