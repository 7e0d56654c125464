"""skiplist, the format of most databases up to Cyrus 2.4 (lib/cyrusdb_skiplist.c)."""
