"""WADO-RS (PS3.18 10.4): what is retrieved, as rows of the table of routes."""

from __future__ import annotations

from scp.web.dicomweb.asked import Route
from scp.web.dicomweb.retrieve import bulkdata, frames, instances, metadata, rendered

_STUDY = "/studies/{study}"
_SERIES = f"{_STUDY}/series/{{series}}"
_INSTANCE = f"{_SERIES}/instances/{{instance}}"

ROUTES = (
    *(Route("GET", path, "get", "wado-rs", instances.serve) for path in (_STUDY, _SERIES, _INSTANCE)),
    *(
        Route("GET", f"{path}/metadata", "get", "wado-rs metadata", metadata.serve)
        for path in (_STUDY, _SERIES, _INSTANCE)
    ),
    Route("GET", f"{_INSTANCE}/frames/{{frames}}", "get", "wado-rs frames", frames.serve),
    Route("GET", f"{_INSTANCE}/bulkdata/{{path}}", "get", "wado-rs bulkdata", bulkdata.serve),
    *(
        Route("GET", f"{path}/rendered", "get", "wado-rs rendered", rendered.serve)
        for path in (_INSTANCE, f"{_INSTANCE}/frames/{{frames}}")
    ),
    *(
        Route("GET", f"{path}/thumbnail", "get", "wado-rs thumbnail", rendered.serve_thumbnail)
        for path in (_STUDY, _SERIES, _INSTANCE, f"{_INSTANCE}/frames/{{frames}}")
    ),
)
