"""Words and rules of asynchronous inference: pure values, no I/O, no clock, no logging."""
