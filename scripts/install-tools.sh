#!/bin/sh
# Install the command-line tools that the tests use as real peers and as decoders of others, where they are
# missing: DCMTK, which the tests cannot do without, and GDCM, libjxl's djxl, dicom3tools, zstd and strace.
set -eu

"$(dirname "$0")/install-dcmtk.sh"

# command:package, as Debian names them
missing=""
for each in gdcmconv:libgdcm-tools djxl:libjxl-tools dciodvfy:dicom3tools zstd:zstd strace:strace; do
    command -v "${each%%:*}" >/dev/null || missing="$missing ${each##*:}"
done
[ -n "$missing" ] || exit 0

without() {
    echo "Not installed:$missing ($1). The tests that need them are skipped." >&2
    exit 0
}

command -v apt-get >/dev/null || without "there is no apt-get to install them with"
as_root=""
if [ "$(id -u)" -ne 0 ]; then
    command -v sudo >/dev/null || without "it takes root or sudo"
    as_root=sudo
fi

echo "Installing$missing with apt-get"
$as_root apt-get update -qq || echo "apt-get update failed; trying with the lists that are there" >&2
# One by one: a distribution that lacks one of them has the others.
for package in $missing; do
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package" >/dev/null ||
        echo "apt-get could not install $package: the tests that need it are skipped" >&2
done
