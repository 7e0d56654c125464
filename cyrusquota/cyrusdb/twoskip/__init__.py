"""twoskip, the format of most databases since Cyrus 2.5 (lib/cyrusdb_twoskip.c)."""
