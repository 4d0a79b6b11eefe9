"""A declared simulator: one model of how an inference server behaves, in process and over HTTP.

It computes nothing: answers echo the question, and everything that it says is labelled as simulated. What it does model
is what a batch server has to live with: latency, capacity, token speed, a prefix cache, and faults.
"""

from slackwater.backends.simulated.backend import SimulatedBackend
from slackwater.backends.simulated.options import SimulatedOptions

__all__ = ["SimulatedBackend", "SimulatedOptions"]
