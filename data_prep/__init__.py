"""Recordings of any source, turned into shards."""
