"""The project against a real Cyrus IMAP server and a real Exim, both private and on loopback."""
