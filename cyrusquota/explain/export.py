"""What is known here of the export that writes the map: its options, its jobs, its next map."""

from __future__ import annotations

from typing import Callable, Mapping, Optional

import attrs

from cyrusquota.cyrus.names import Recipient, ascii_lower
from cyrusquota.doctor.export_command import ExportCommand
from cyrusquota.doctor.schedule import Job, Schedule
from cyrusquota.maps import ALWAYS_EXEMPT, KeyForm
from cyrusquota.maps.installed import InstalledMap
from cyrusquota.publish.preview import Preview
from cyrusquota.verdicts.policies import Reserve


@attrs.frozen
class Export:
    """The export that writes the map, with the options that are known here.

    `source` is what this run reads. `exempt` has by whom each address or local part is exempted.
    `schedule` has the jobs that run exports; `exports_to` is the map of those that name none, and
    `command` is the one that writes this map. `preview` reads the whole source; it returns None
    where that can be read only once, and raises where an export would. `reserve` is how near to
    full the users are whom it lists, `key` the form of its keys.
    """

    source: str
    exempt: Mapping[str, str]
    schedule: Schedule
    command: ExportCommand
    preview: Callable[[InstalledMap], Optional[Preview]]
    exports_to: Optional[str] = None
    reserve: Reserve = attrs.field(factory=Reserve)
    key: KeyForm = KeyForm.AUTO

    def exempted(self, to: Recipient) -> Optional[str]:
        """Return why a recipient is never listed, or None."""
        names = (ascii_lower(to.local), ascii_lower(str(to)))
        if ALWAYS_EXEMPT in names:
            return f"{ALWAYS_EXEMPT} is never listed, so that somebody can be told of trouble"
        found = next((name for name in names if name in self.exempt), None)
        return None if found is None else f"{found} is exempt ({self.exempt[found]})"

    @property
    def job(self) -> Optional[Job]:
        """The first job that writes the map, or None."""
        return next(self.schedule.writing(self.command.map, self.exports_to), None)

    @property
    def idleness(self) -> str:
        """Why nothing renews the map, as far as the jobs tell; empty if a job writes it."""
        if self.job is not None:
            return ""
        jobs = self.schedule.running
        if jobs:
            outputs = ((job.name, job.output or self.exports_to) for job in jobs)
            return "; ".join(f"{name} writes {output or 'no map'}" for name, output in outputs)
        if self.schedule.problems:
            return f"no job was found that runs the export; {self.schedule.problems[0].said}"
        return "no cron job or timer runs the export"
