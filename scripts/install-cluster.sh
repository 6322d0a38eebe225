#!/bin/sh
# Install what the tests of several nodes start besides SeaweedFS, which comes with pip: PostgreSQL, HAProxy, and
# the tools of the restore drill, where they are missing; and Azurite, into .venv. No service of theirs is started:
# the tests start their own, on free ports.
set -eu
. "$(dirname "$0")/apt.sh"

# Debian puts some where ordinary users do not look.
PATH="$PATH:/usr/sbin:$(echo /usr/lib/postgresql/*/bin | tr ' ' ':')"
missing=""
command -v initdb >/dev/null || missing="$missing postgresql"
command -v haproxy >/dev/null || missing="$missing haproxy"
command -v rclone >/dev/null || missing="$missing rclone"
command -v sqlite3 >/dev/null || missing="$missing sqlite3"
azurite=3.35.0
azurite_in="$(cd "$(dirname "$0")/.." && pwd)/.venv/azurite"

# has_azurite: whether it is there, in this version.
has_azurite() {
    grep -qs "\"version\": \"$azurite\"" "$azurite_in/node_modules/azurite/package.json"
}
has_azurite || command -v npm >/dev/null || missing="$missing nodejs npm"

# install_azurite: without it, the tests of Azure are skipped.
install_azurite() {
    ! has_azurite || return 0
    echo "Installing azurite $azurite with npm"
    mkdir -p "$azurite_in"
    npm install --prefix "$azurite_in" --no-save --ignore-scripts --no-audit --no-fund --loglevel=error \
        "azurite@$azurite" || echo "Not installed: azurite (npm could not). The tests of Azure are skipped." >&2
}
if [ -z "$missing" ]; then
    install_azurite
    exit 0
fi

without() {
    echo "Not installed:$missing ($1). The tests on real servers need them." >&2
    exit 1
}

# shellcheck disable=SC2086 - each is a package
begin_installing $missing
# The packages start a service each, unless a policy forbids that while they are installed.
policy=/usr/sbin/policy-rc.d
own=""
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' | $as_root tee "$policy" >/dev/null
    $as_root chmod 755 "$policy"
    own=$policy
fi
trap '[ -z "$own" ] || $as_root rm -f "$own"' EXIT
# shellcheck disable=SC2086 - each is a package
install_packages $missing || without "apt-get could not install them"
install_azurite
