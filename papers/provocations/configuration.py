"""imapd.conf cannot be followed."""

from __future__ import annotations

from papers.provocations._provocation import Provocation

PROVOCATIONS = (
    Provocation(
        "cyrusquota-export -C imapd.conf",
        "The file is not there, or cannot be read. A file that another one includes is named"
        " together with the line that includes it.",
        "Look where Cyrus has it (`ps ax` shows -C FILE), and name it. As another user than root,"
        " check that it is readable.",
        names={"imapd.conf: cannot": "FILE: cannot", "No such file or directory": "REASON"},
    ),
    Provocation(
        "cyrusquota-export -C imapd.conf",
        "A line is neither an option, nor a comment, nor @include.",
        "Mend the line. Cyrus itself does not start with such a file.",
        names={"imapd.conf": "FILE", "'configdirectory /var/lib/cyrus'": "TEXT"},
        files={"imapd.conf": b"configdirectory /var/lib/cyrus\n"},
    ),
    Provocation(
        "cyrusquota-export -C imapd.conf",
        "Files include one another in a circle, or one file twice.",
        "Remove one of the @include lines.",
        names={"imapd.conf": "FILE"},
        files={"imapd.conf": b"@include: imapd.conf\n"},
    ),
    Provocation(
        "cyrusquota-export -C imapd.conf",
        "Everything is found from configdirectory, and the file does not set it.",
        "Is it the right file? Otherwise name the data itself.",
        names={"imapd.conf": "FILE"},
        files={"imapd.conf": b"virtdomains: off\n"},
    ),
    Provocation(
        "cyrusquota-export -C imapd.conf",
        "The option is on or off.",
        "Mend the option.",
        names={"imapd.conf": "FILE", "fulldirhash": "NAME", "'maybe'": "TEXT"},
        files={"imapd.conf": b"configdirectory: /x\nfulldirhash: maybe\n"},
    ),
    Provocation(
        "cyrusquota-export -C imapd.conf",
        "virtdomains has three values.",
        "Mend the option. It decides who is who, so it is not guessed.",
        names={"imapd.conf": "FILE", "'maybe'": "TEXT"},
        files={"imapd.conf": b"configdirectory: /x\nvirtdomains: maybe\n"},
    ),
    Provocation(
        "cyrusquota-export -C imapd.conf",
        "quota_db names no format that any Cyrus has.",
        "Mend the option.",
        names={"imapd.conf": "FILE", "'cdb'": "TEXT"},
        files={"imapd.conf": b"configdirectory: /x\nquota_db: cdb\n"},
    ),
)
