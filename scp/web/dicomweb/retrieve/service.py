"""WADO-RS (PS3.18 10.4): what is retrieved, as rows of the table of routes."""

from __future__ import annotations

from scp.web.dicomweb.asked import Route
from scp.web.dicomweb.bulk_types import COMPRESSED, OCTETS
from scp.web.dicomweb.retrieve import bulkdata, frames, instances, metadata, rendered
from scp.web.dicomweb.retrieve.media_types import DICOM

_STUDY = "/studies/{study}"
_SERIES = f"{_STUDY}/series/{{series}}"
_INSTANCE = f"{_SERIES}/instances/{{instance}}"
_FRAMES = f"{_INSTANCE}/frames/{{frames}}"
_LEVELS = ((_STUDY, "Study"), (_SERIES, "Series"), (_INSTANCE, "Instance"))
_WHOLE_OR_LESS, _ACCEPT = (200, 206), ("accept",)
_PARTS = f'multipart/related; type="{DICOM}"'
_OF_FRAMES = tuple(
    each for kind in (OCTETS, *COMPRESSED) for each in (kind, f'multipart/related; type="{kind}"')
)
_OF_BULK_DATA = (OCTETS, f'multipart/related; type="{OCTETS}"')
_OF_PICTURES = (*_ACCEPT, "window", "viewport", "quality")

ROUTES = (
    *(
        Route(
            "GET",
            path,
            "get",
            "wado-rs",
            instances.serve,
            f"Retrieve{level}",
            (_PARTS, DICOM) if level == "Instance" else (_PARTS,),
            _ACCEPT,
            _WHOLE_OR_LESS,
        )
        for path, level in _LEVELS
    ),
    *(
        Route(
            "GET",
            f"{path}/metadata",
            "get",
            "wado-rs metadata",
            metadata.serve,
            f"Retrieve{level}Metadata",
            metadata.ANSWERS,
            _ACCEPT,
            _WHOLE_OR_LESS,
        )
        for path, level in _LEVELS
    ),
    Route("GET", _FRAMES, "get", "wado-rs frames", frames.serve, "RetrieveFrames", _OF_FRAMES, _ACCEPT),
    Route(
        "GET",
        f"{_INSTANCE}/bulkdata/{{path}}",
        "get",
        "wado-rs bulkdata",
        bulkdata.serve,
        "RetrieveBulkdata",
        _OF_BULK_DATA,
        _ACCEPT,
        _WHOLE_OR_LESS,
    ),
    *(
        Route(
            "GET",
            f"{path}/rendered",
            "get",
            "wado-rs rendered",
            rendered.serve,
            f"RetrieveRendered{level}",
            rendered.ANSWERS,
            _OF_PICTURES,
        )
        for path, level in ((_INSTANCE, "Instance"), (_FRAMES, "Frames"))
    ),
    *(
        Route(
            "GET",
            f"{path}/thumbnail",
            "get",
            "wado-rs thumbnail",
            rendered.serve_thumbnail,
            f"Retrieve{level}Thumbnail",
            rendered.ANSWERS,
            _OF_PICTURES,
        )
        for path, level in (*_LEVELS, (_FRAMES, "Frame"))
    ),
)
