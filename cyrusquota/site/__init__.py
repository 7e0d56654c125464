"""What one Cyrus server holds: where its quotas are, its mailboxes, their headers and totals."""
