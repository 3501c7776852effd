"""Engines: token ids in, log-probs out. Opening one imports its packages, and nothing else does."""
