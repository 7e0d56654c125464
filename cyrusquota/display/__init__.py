"""Format quota figures for people: sizes, tables, a report as text or as an HTML page."""
