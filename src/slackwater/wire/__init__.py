"""The JSON shapes of the wire, and the only place that knows them."""
