"""What holds for every input, by Hypothesis."""
