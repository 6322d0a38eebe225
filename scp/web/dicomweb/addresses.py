"""Addresses of what can be retrieved, below the base of the service; UIDs may hold any character."""

from __future__ import annotations

from urllib.parse import quote

from scp.model import Instance


def of_study(base: str, instance: Instance) -> str:
    """The address of an instance's study."""
    return f"{base}/studies/{quote(instance.study_instance_uid, safe='')}"


def of_instance(base: str, instance: Instance) -> str:
    """The address of an instance."""
    uids = (instance.series_instance_uid, instance.sop_instance_uid)
    series, sop_instance = (quote(uid, safe="") for uid in uids)
    return f"{of_study(base, instance)}/series/{series}/instances/{sop_instance}"
