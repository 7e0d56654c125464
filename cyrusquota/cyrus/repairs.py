"""What to do about damaged quota data, in Cyrus's commands.

Shared by all formats, since the repair depends on the kind of damage and not on the format. Each is
tried with Cyrus 3.6.1: afterwards the record has the right limit and the right usage, and the
header of the INBOX names it. Shorter ways do not work: SETQUOTA refuses a value in bad format, and
`quota -f` alone makes its user unlimited, and a cut value, too.
"""

from __future__ import annotations

#: A record that Cyrus does not see, or sees without a limit.
SET_LIMIT = "set the limit again with SETQUOTA, then run `quota -f ROOT`"
#: A value that Cyrus cannot read.
DELETE_ROW = (
    "delete the record with `cyr_dbtool FILE BACKEND delete ROOT`, set the limit again with"
    " SETQUOTA, then run `quota -f ROOT`"
)
#: A database file. `ctl_cyrusdb -c`, usually an event in cyrus.conf, makes the copy.
RESTORE = (
    "stop Cyrus, copy the file back from db.backup1 in the configdirectory, start Cyrus, then run"
    " `quota -f`"
)
#: A skiplist file: the only format in which recovery corrects more than the end of the file.
RECOVER = f"stop Cyrus and run `ctl_cyrusdb -r`, or if that fails, {RESTORE}"
#: A line of a flat file; `quota` prints nothing while it is there.
REMOVE_LINE = (
    "stop Cyrus, remove the line (or copy the file back from db.backup1 in the configdirectory),"
    " start Cyrus, set the limit again with SETQUOTA, then run `quota -f`"
)
#: A quota file that Cyrus does not find; SETQUOTA would make another one.
MOVE_FILE = "move it there, then run `quota -f`"
#: The header of a mailbox.
RECONSTRUCT = "rebuild it with `reconstruct`"
