"""Read the quotalegacy format."""
