"""Artifacts on the Hub: where their parts lie, what they say, and what was seen of them before."""
