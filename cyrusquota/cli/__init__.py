"""The commands. Only here is anything printed, is the environment read, does a process exit."""
