#!/bin/sh
# Install the command-line tools that the tests use as real peers and as decoders of others, where they are
# missing: DCMTK, which the tests cannot do without, and GDCM, libjxl's djxl, dicom3tools, zstd, strace and
# Prometheus's promtool, which checks the alert rules.
set -eu
. "$(dirname "$0")/apt.sh"

"$(dirname "$0")/install-dcmtk.sh"

# command:package, as Debian names them
missing=""
for each in gdcmconv:libgdcm-tools djxl:libjxl-tools dciodvfy:dicom3tools zstd:zstd strace:strace promtool:prometheus; do
    command -v "${each%%:*}" >/dev/null || missing="$missing ${each##*:}"
done
[ -n "$missing" ] || exit 0

without() {
    echo "Not installed:$missing ($1). The tests that need them are skipped." >&2
    exit 0
}

promtool() (
    folder=$(mktemp -d) && trap 'rm -rf "$folder"' EXIT && chmod 755 "$folder" && cd "$folder" || return
    apt-get download -qq prometheus 2>/dev/null && dpkg-deb -x prometheus_*.deb . &&
        $as_root install -m 755 usr/bin/promtool /usr/local/bin/promtool
)

# shellcheck disable=SC2086 - each is a package
begin_installing $missing
# One by one: a distribution that lacks one of them has the others.
for package in $missing; do
    if [ "$package" = prometheus ]; then # only its tool: the package would start a service
        promtool || echo "apt-get could not get prometheus: the tests that need promtool are skipped" >&2
        continue
    fi
    install_packages "$package" ||
        echo "apt-get could not install $package: the tests that need it are skipped" >&2
done
