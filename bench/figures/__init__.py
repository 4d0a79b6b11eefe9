"""One module for each figure, in the order in which they are measured."""

from collections.abc import Callable
from typing import Final

from context import Context, Row

from figures import (
    create,
    documents,
    end_to_end,
    fairness,
    interactive,
    listing,
    pdf,
    peers,
    prefixes,
    results,
    retrieve,
    saturation,
    sdk,
    startup,
    upload,
    workers,
)

FIGURES: Final[dict[str, Callable[[Context], list[Row]]]] = {
    "create": create.measure,
    "end-to-end": end_to_end.measure,
    "sdk": sdk.measure,
    "peers": peers.measure,
    "workers": workers.measure,
    "results": results.measure,
    "retrieve": retrieve.measure,
    "list": listing.measure,
    "startup": startup.measure,
    "saturation": saturation.measure,
    "fairness": fairness.measure,
    "prefixes": prefixes.measure,
    "interactive": interactive.measure,
    "upload": upload.measure,
    "pdf": pdf.measure,
    "documents": documents.measure,
}
