"""What each module does, in small examples."""
