"""What clients of live teachers send and expect: requests read, replies made; no framework."""
