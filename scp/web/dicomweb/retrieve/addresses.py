"""Addresses of what is retrieved, below the base of the service; UIDs may hold any character."""

from __future__ import annotations

from urllib.parse import quote

from scp.model import Instance


def of_instance(base: str, instance: Instance) -> str:
    """The address of an instance."""
    uids = (instance.study_instance_uid, instance.series_instance_uid, instance.sop_instance_uid)
    study, series, sop_instance = (quote(uid, safe="") for uid in uids)
    return f"{base}/studies/{study}/series/{series}/instances/{sop_instance}"
