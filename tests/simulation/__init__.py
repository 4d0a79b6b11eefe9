"""A whole deployment in one thread: real steps, store and files under a clock and a scheduler that follow a seed.

Everything that could differ between two runs of a seed comes from its random numbers or from counters: the order of
what is ready, how long a statement or a call takes, who is killed when. `python -m simulation --seed N` replays one.
"""
