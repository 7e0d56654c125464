"""Read the twoskip format."""
