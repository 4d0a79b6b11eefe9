"""Fixtures that every kind of test may ask for."""

import signal

pytest_plugins = ["support.postgres", "support.seeds", "support.table"]

# A shell starts what it puts into the background deaf to Ctrl-C, and so would be every program that a test interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)
