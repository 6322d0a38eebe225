"""What an admin does with the policy of a running node, from its page: looks, tries, saves.

Each is one call that returns frozen dataclasses; the command ``zscp policy`` makes the same calls.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from scp.archive.archive import Archive
from scp.audit import events, messages
from scp.audit.actors import host, this_process
from scp.audit.changes import changed_keys, is_of_security
from scp.audit.events import AuditOutcome, Participant
from scp.audit.trail import AuditTrail
from scp.background.lookup import LookedUp
from scp.config.load import judge
from scp.config.saving import ConfigurationFile, ConfigurationText, SavedText, with_unix_ends
from scp.config.settings import Settings
from scp.errors import OutOfResources
from scp.index.watch import Watch
from scp.lifecycle.comparison import PICKED, try_text
from scp.node.node import needs_restart
from scp.policy.reports import Holdings, PolicyTrial
from scp.web.reports import PolicySaved, ReloadReport


def save_text(
    file: ConfigurationFile,
    text: str,
    digest: str,
    in_force: Settings,
    trail: AuditTrail,
    who: tuple[Participant, ...],
) -> PolicySaved:
    """Save an edited configuration, and record who did: with the names of keys, and no value."""
    saved = file.save(text, digest)
    after = judge(text, file.environ).settings
    if saved.outcome != "saved" or after is None:
        return PolicySaved(saved)
    changed = changed_keys(in_force, after)
    kind = events.SECURITY_CONFIGURATION if is_of_security(changed) else events.SOFTWARE_CONFIGURATION
    node = messages.node_subject(f"{in_force.node.aet}@{host()}")
    told = f"configuration file saved; changed keys: {', '.join(changed) or 'none'}"
    trail.record(messages.alert(kind, who, node, told, AuditOutcome.SUCCESS))
    restart = tuple(filter(needs_restart, changed))
    return PolicySaved(saved, changed=tuple(changed), needs_restart=restart)


@dataclass(frozen=True, slots=True)
class PolicyDesk:
    """Of the node whose ``settings`` are in force; any thread may call. ``archive`` gives it, opened.

    ``reload`` has the node read its configuration again. ``holdings`` gives what its rules hold, as it was
    looked up last.
    """

    file: ConfigurationFile
    settings: Callable[[], Settings]
    archive: Callable[[], Archive]
    reload: Callable[[], ReloadReport]
    trail: AuditTrail
    holdings: Callable[[], LookedUp[Holdings]]

    def read(self) -> ConfigurationText:
        """The configuration file: for admins alone, as it may hold passwords. Raises ConfigurationError."""
        return self.file.read()

    def try_text(self, text: str, most: int | None = PICKED, watch: Watch | None = None) -> PolicyTrial:
        """See :func:`scp.lifecycle.comparison.try_text`."""
        return try_text(self.archive(), self.settings(), text, self.file.environ, most, watch)

    def save(self, text: str, digest: str, who: Participant) -> PolicySaved:
        """Save an edited text, and have the node use it.

        ``digest`` is that of the file which was edited. This takes as long as a reload: up to 10 s. Nobody
        takes the role of an admin from themselves: they could not take that back here.
        """
        if told := self._locked_out(text, who.user_id):
            return PolicySaved(SavedText("not possible", told, digest))
        done = save_text(self.file, text, digest, self.settings(), self.trail, (who, this_process()))
        if done.saved.outcome != "saved":
            return done
        return replace(done, reload=self.reload(), others=self._others())

    def _locked_out(self, text: str, name: str) -> str:
        """Why a user may not save a text; empty where they may."""
        after = judge(with_unix_ends(text), self.file.environ).settings
        if after is None or not self.settings().http.is_admin(name) or after.http.is_admin(name):
            return ""
        return (
            f"it takes the role admin away from you, {name}; let another admin save it, or use "
            "zscp policy save on the machine of the node"
        )

    def _others(self) -> tuple[str, ...] | None:
        try:
            return tuple(str(one) for one in self.archive().elsewhere.cluster.living())
        except OutOfResources:  # what was saved is saved
            return None
