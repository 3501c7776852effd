"""A replay server: what live teachers answer over HTTP, answered from stored signals."""
