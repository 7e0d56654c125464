"""Explain one user's quota status: what the mail server, the map and Exim answer.

`user` finds the user and evaluates them as the export does. `results` has the three answers, and
the reasons why they may differ. `render` formats all of it.
"""
