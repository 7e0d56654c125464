"""The commands: nothing else prints, reads the environment, or exits the process."""
