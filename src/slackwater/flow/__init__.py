"""The steps a batch passes through, in the order data passes them."""
