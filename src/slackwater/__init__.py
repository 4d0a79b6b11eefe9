"""Slackwater: Message Batches over any inference backend."""
