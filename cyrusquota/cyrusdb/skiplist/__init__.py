"""Read the skiplist format."""
