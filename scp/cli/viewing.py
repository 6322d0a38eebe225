"""Commands that show one stored object: its header, a picture of it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from scp.cli.common import ConfigOption, IssuerOption, JsonOption, Patient, PatientOption, opened
from scp.errors import ConfigurationError, ObjectMissing

if TYPE_CHECKING:
    from scp.archive.archive import Archive
    from scp.model import Instance
    from scp.viewing.display import VoiWindow

app = typer.Typer()

UidArgument = Annotated[str, typer.Argument(metavar="UID", help="The SOP Instance UID.")]


@app.command()
def header(  # noqa: PLR0913, PLR0917 - typer's options
    uid: UidArgument,
    first: Annotated[int, typer.Option(min=0, help="The number of the first row; 0: from the start.")] = 0,
    limit: Annotated[int, typer.Option(min=1, help="Most rows.")] = 2000,
    width: Annotated[int, typer.Option(min=1, help="Most characters of a value.")] = 128,
    whole: Annotated[
        bool, typer.Option("--whole", help="Read the whole file, and compare it with its digest.")
    ] = False,
    patient_id: PatientOption = None,
    issuer: IssuerOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Show the header of a stored object, element by element.

    Of a large file only the beginning is read: it is not compared with its digest, and what is behind Pixel
    Data is not shown.
    """
    from scp.cli import viewing_output
    from scp.viewing.header import header_view

    with opened(config) as (archive, _):
        instance = _named(archive, uid, Patient(patient_id, issuer))
        found = header_view(archive, instance, first, limit, width, whole)
    viewing_output.header(found, json)


@app.command()
def picture(  # noqa: PLR0913, PLR0917 - typer's options
    uid: UidArgument,
    target: Annotated[Path, typer.Argument(metavar="FILE", help="The PNG file to write.")],
    frame: Annotated[int, typer.Option(min=1, help="Which frame of several.")] = 1,
    size: Annotated[int, typer.Option(min=1, max=4096, help="Most pixels on the longer side.")] = 1024,
    window: Annotated[
        str, typer.Option(metavar="C/W", help="Window center and width, in place of the object's.")
    ] = "",
    patient_id: PatientOption = None,
    issuer: IssuerOption = None,
    config: ConfigOption = None,
    json: JsonOption = False,
) -> None:
    """Write a picture of a stored image as a PNG file; it is not for diagnosis."""
    from scp.cli import viewing_output
    from scp.viewing.picture import picture as picture_of

    with opened(config) as (archive, _):
        instance = _named(archive, uid, Patient(patient_id, issuer))
        found = picture_of(archive, instance, frame, size, _window(window))
    try:
        target.write_bytes(found.png)
    except OSError as error:
        raise ConfigurationError(f"{target} cannot be written: {error.strerror}") from error
    viewing_output.picture(found, target, json)


def _named(archive: Archive, uid: str, patient: Patient) -> Instance:
    """The newest object of a UID. Raises ObjectMissing, and BadParameter where several patients have it."""
    found = patient.of(archive.named(uid))
    if not found:
        raise ObjectMissing(
            f"no object with the SOP Instance UID {uid} is held; zscp ls --level image lists all"
        )
    return found[0]


def _window(told: str) -> VoiWindow | None:
    from scp.viewing.display import VoiWindow

    if not told:
        return None
    center, _, width = told.partition("/")
    try:
        return VoiWindow(float(center), float(width))
    except ValueError:
        raise typer.BadParameter(f"--window {told} is not C/W, such as 40/400") from None
