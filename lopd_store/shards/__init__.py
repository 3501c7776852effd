"""Rows ⇄ Parquet bytes: a deterministic writer, and a reader for files nobody vouches for."""
