"""What the demo model is trained for, one job per module."""
