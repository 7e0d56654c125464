"""What is asked of Exim."""
