"""quotalegacy, the default of quota_db in every version (lib/cyrusdb_quotalegacy.c)."""
