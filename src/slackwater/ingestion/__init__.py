"""Ingest in a process of its own: no event loop is held, and its memory is given back.

The server tells the child on its standard input where the body is and how much of it has arrived; what became of it
comes back on the child's standard output, as MessagePack.
"""
