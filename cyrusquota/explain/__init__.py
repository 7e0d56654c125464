"""One user explained: what the mail server would answer, what the map says, and what Exim does.

`user` finds who is meant and judges him as the whole export would, `answers` asks the map and Exim,
`agreement` says whether the three agree, and why they may not.
"""
