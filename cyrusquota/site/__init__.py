"""What one Cyrus server knows: the quota source, mailboxes, their headers, conversations totals."""
