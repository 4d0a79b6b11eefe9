"""The HTTP edge: one module per resource, one function per endpoint: read the input, call a step, answer."""
