#!/bin/sh
# Get what tests start themselves: Debian packages, when this is CI or NURT_INSTALL=1 and we are root, then pinned jars.
# Called by make, from the top of the checkout. Whatever cannot be had is named; tests say what they miss.
set -eu

wanted=
need() { command -v "$1" >/dev/null 2>&1 || wanted="$wanted $2"; }
need java openjdk-17-jre-headless
need mvn maven
need redis-server redis-server
command -v docker >/dev/null 2>&1 || need docker-compose docker-compose
ls -d /usr/lib/postgresql/*/bin >/dev/null 2>&1 || need postgres postgresql
PATH="$PATH:/usr/sbin" need mariadbd mariadb-server

install() {
    export DEBIAN_FRONTEND=noninteractive
    # a package must not start a server of its own: tests start theirs on free ports
    policy=/usr/sbin/policy-rc.d
    [ -e "$policy" ] || { printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod +x "$policy"; }
    # shellcheck disable=SC2086 # a list of words
    apt-get update -q=2 && apt-get install -q=2 --no-install-recommends $wanted >/dev/null
}

if [ -n "$wanted" ]; then
    case "${CI:-}${NURT_INSTALL:-}" in *1* | *true* | *yes*) may=yes ;; *) may=no ;; esac
    if [ "$may" = no ]; then
        echo "nurt: for all tests install:$wanted (as root, NURT_INSTALL=1 make test does)"
    elif [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null 2>&1; then
        echo "nurt: only root can install, and only by apt-get; missing:$wanted"
    else
        echo "nurt: installing$wanted"
        install || echo "nurt: not all of$wanted could be installed; tests say which they miss"
    fi
fi

.venv/bin/python -m tests.services.stack.java
