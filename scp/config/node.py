"""Who a node is and where it listens: the keys of [node]."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from scp.config.networks import Networks
from scp.config.values import AeTitle, Table, Workers


class NodeSettings(Table):
    """Who this node is, and where it listens; ``aliases`` are other AE titles that peers may call.

    Port 0 takes any that is free. ``proxies`` are load balancers, which say for whom they connect.
    """

    aet: AeTitle = "ZSCP"
    aliases: tuple[AeTitle, ...] = ()
    host: Annotated[str, Field(min_length=1)] = "0.0.0.0"  # noqa: S104 - an archive serves its network
    port: Annotated[int, Field(strict=True, ge=0, le=65535)] = 11112
    proxies: Networks = ()
    workers: Workers = "auto"
