"""Waits, watches and tails: who is notified of which change, and what each has been shown so far."""
