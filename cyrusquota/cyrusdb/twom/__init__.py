"""twom, the format that Cyrus 3.13 and later can use instead of twoskip (lib/twom.c)."""
