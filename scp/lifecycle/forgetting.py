"""A node that is gone for ever is forgotten, where nothing is lost with it."""

from __future__ import annotations

from scp.archive.archive import Archive
from scp.errors import ObjectElsewhere, ObjectMissing
from scp.objects.names import node_of


def forget(archive: Archive, node: str, lost: bool = False) -> tuple[str, list[str]]:
    """Remove a node from those that share the index; returns what was known of it.

    With ``lost``, what the index names in its landing log is given up as well: returns the SOP Instance UIDs.
    Raises ObjectMissing where there is no such node, and ObjectElsewhere where it lives, or has such objects:
    these are not lost while its disk is there.
    """
    cluster = archive.elsewhere.cluster
    found = next((one for one in cluster.nodes.all() if one.report.id == node), None)
    if found is None:
        raise ObjectMissing(f"there is no node {node}; zscp nodes shows all")
    if found.lives:
        raise ObjectElsewhere(f"{found} lives: it would be back in seconds; stop it first")
    named = [one for one in archive.all() if node_of(one.key) == node]
    if named and not lost:
        raise ObjectElsewhere(
            f"the landing log of {found} has {len(named)} objects that are nowhere else; start that node, or"
            " move what is in its .landing folder to that of another node, which then encodes them. If its"
            " disk is lost: --lost"
        )
    for one in named:
        archive.forget(one.sop_instance_uid, one.key)
    archive.sync()
    cluster.nodes.forget(node)
    return str(found), [one.sop_instance_uid for one in named]
