"""Decide who is over quota and why: policies, verdicts, the fast selection, the summary."""
