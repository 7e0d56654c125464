"""Quota figures for the eye: sizes in units, tables, bars, and a page. Nothing here prints."""
