"""How Cyrus writes names, lists and its configuration. No database is read here."""
