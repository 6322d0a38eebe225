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

without() {
    echo "Not installed:$missing ($1). The tests on real servers need them." >&2
    exit 1
}

# install_azurite: false where it cannot be had. In a subshell, which `without` may end.
install_azurite() (
    version=3.35.0
    place="$(cd "$(dirname "$0")/.." && pwd)/.venv/azurite"
    ! grep -qs "\"version\": \"$version\"" "$place/node_modules/azurite/package.json" || exit 0
    missing=" nodejs npm"
    command -v npm >/dev/null || { begin_installing nodejs npm && install_packages nodejs npm; } || exit 1
    echo "Installing azurite $version with npm"
    mkdir -p "$place"
    npm install --prefix "$place" --no-save --ignore-scripts --no-audit --no-fund --loglevel=error \
        "azurite@$version"
)
install_azurite || echo "Not installed: azurite. The tests of Azure are skipped." >&2

[ -n "$missing" ] || exit 0

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
