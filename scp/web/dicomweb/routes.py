"""All resources of DICOMweb, as one table; each service lists its own."""

from __future__ import annotations

from scp.web.dicomweb.retrieve import service as retrieve
from scp.web.dicomweb.search import service as search
from scp.web.dicomweb.store import service as store

ROUTES = (*search.ROUTES, *retrieve.ROUTES, *store.ROUTES)
