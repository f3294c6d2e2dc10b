"""Turn recordings of any source into shards."""
