"""Packages of npm that zscp is tried with: fetched, compared with what was looked at, and unpacked.

Nothing of them is in the package (docs/decisions/0208). ``python -m scripts.npm`` fetches those that are not
there.
"""

from __future__ import annotations

import base64
import hashlib
import shutil
import subprocess
import sys
import tarfile
import tempfile
from dataclasses import dataclass
from pathlib import Path

CACHE = Path(__file__).resolve().parents[1] / ".venv" / "npm"
_FETCH_SECONDS = 600.0
_LINES = 3  # of what npm says was wrong


class NotThere(Exception):
    """A package cannot be had; the text says why."""


@dataclass(frozen=True, slots=True)
class NpmPackage:
    """One version of a package. ``integrity`` is what the registry says of it: other bytes are not unpacked.

    What lies below ``built`` is taken, of which ``start`` is a file; ``size`` is told before it is fetched.
    """

    name: str
    version: str
    integrity: str
    built: str
    start: str
    size: str

    @property
    def folder(self) -> Path:
        """Where it is, once it was fetched."""
        return CACHE / self.name / self.version

    def is_fetched(self) -> bool:
        """Whether it is there already."""
        return (self.folder / self.start).exists()

    def fetched(self) -> Path:
        """The folder of what is built of it, which is fetched once, from npm's registry. Raises NotThere."""
        if self.is_fetched():
            return self.folder
        npm = shutil.which("npm")
        if npm is None:
            raise NotThere(f"npm is not installed, and fetches {self.name}: install it, and repeat this")
        sys.stderr.write(f"npm fetches {self.name} {self.version}, {self.size}, once.\n")
        try:
            self.folder.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=self.folder.parent) as name:
                self._unpack(self._packed(npm, Path(name)), made := Path(name) / "made")
                made.rename(self.folder)
        except OSError as error:
            if not self.is_fetched():  # else another process was faster
                raise NotThere(f"{self.name} cannot be put into {self.folder}: {error}") from error
        return self.folder

    def _packed(self, npm: str, folder: Path) -> Path:
        """The package as npm packs it; none of its scripts runs, and nothing that it depends on comes."""
        options = ["--ignore-scripts", "--loglevel=error", f"--pack-destination={folder}"]
        try:
            done = subprocess.run(  # noqa: S603 - of ours
                [npm, "pack", *options, f"{self.name}@{self.version}"],
                cwd=folder,
                check=False,
                timeout=_FETCH_SECONDS,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
            )
        except subprocess.TimeoutExpired as error:
            raise NotThere(f"npm did not fetch {self.name} within {_FETCH_SECONDS:.0f} s") from error
        found = next(folder.glob("*.tgz"), None)
        if done.returncode or found is None:
            lines = done.stderr.decode("utf-8", "replace").splitlines()[:_LINES]
            raise NotThere("\n".join((f"npm could not fetch {self.name} {self.version}:", *lines)))
        with found.open("rb") as file:
            digest = base64.b64encode(hashlib.file_digest(file, "sha512").digest()).decode()
        if f"sha512-{digest}" != self.integrity:
            raise NotThere(
                f"npm fetched another {self.name} {self.version} than the one that was looked at: {digest}"
            )
        return found

    def _unpack(self, package: Path, folder: Path) -> None:
        """What is built; its maps to the source, of OHIF 38 MB, are for its authors."""
        with tarfile.open(package) as archive:
            for member in archive.getmembers():
                name = member.name
                if member.isfile() and name.startswith(self.built) and not name.endswith(".map"):
                    member.name = name.removeprefix(self.built)
                    archive.extract(member, folder, filter="data")


# A viewer (scripts/ohif.py), and a client in JavaScript that it, too, asks with.
OHIF = NpmPackage(
    "@ohif/app",
    "3.13.2",
    "sha512-WZdxmpmG7rqFgW9ZJLcbgr3XCtLi1KDNPoMaeY5PPe6j4G4fjEjjkycZM6C6Zk2F87BKxFfpq+jd5xXZB9E8EA==",
    "package/dist/",
    "index.html",
    "50 MB",
)
DICOMWEB_CLIENT = NpmPackage(
    "dicomweb-client",
    "0.11.3",
    "sha512-7t1Rc/01fyFnKlQeNPW9Pvxvmsx8R/BgB2n7BxTuWirRFwlTC5upEeLeS3vO72P+n6/SQZ3+5ij0bgaWDHQG/A==",
    "package/build/",
    "dicomweb-client.js",
    "1 MB",
)


def main() -> int:
    """Fetch what is not there; the exit status."""
    status = 0
    for package in (OHIF, DICOMWEB_CLIENT):
        try:
            sys.stdout.write(f"{package.name} {package.version} is in {package.fetched()}\n")
        except NotThere as error:
            sys.stderr.write(f"{error}\n")
            status = 1
    return status


if __name__ == "__main__":
    sys.exit(main())
