"""Read the twom format."""
