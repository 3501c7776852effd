"""Shards → rows in memory maps: decoded and checked once, zero-copy from then on."""
