"""Verification in depths that can each fail: 1 integrity, 2 identity, 3 behaviour."""
