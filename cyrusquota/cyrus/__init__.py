"""How Cyrus writes names, lists and its configuration; nothing here reads a database."""
