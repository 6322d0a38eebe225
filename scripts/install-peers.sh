#!/bin/sh
# Install what the benchmark measures zscp against, where it is missing: DCMTK's tools, Orthanc and its DICOMweb.
set -eu
. "$(dirname "$0")/apt.sh"

"$(dirname "$0")/install-dcmtk.sh"

# Debian puts Orthanc where ordinary users do not look.
PATH="$PATH:/usr/sbin:/usr/local/sbin"
plugin=/usr/share/orthanc/plugins/libOrthancDicomWeb.so
if command -v Orthanc >/dev/null && [ -e "$plugin" ]; then
    exit 0
fi

without() {
    echo "Orthanc or its DICOMweb is not installed, and $1: measuring without it." >&2
    exit 0
}

here_before=$(command -v Orthanc || true)
begin_installing orthanc
install_packages orthanc orthanc-dicomweb || without "apt-get could not install it"
if [ -n "$here_before" ]; then # with its service, which is somebody's
    exit 0
fi

# The package starts a service on ports 8042 and 4242. Orthanc was not here before, so this service is of our
# own making; nobody asked for it, and it would take part in every measurement.
if [ -d /run/systemd/system ]; then
    $as_root systemctl disable --now orthanc.service || echo "the service orthanc could not be stopped" >&2
elif [ -x /etc/init.d/orthanc ]; then
    $as_root /etc/init.d/orthanc stop || echo "the service orthanc could not be stopped" >&2
fi
