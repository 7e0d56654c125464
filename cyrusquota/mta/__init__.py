"""Ask Exim about its configuration, and recognise the overquota router in it."""
