#!/bin/sh
# Runs the commands of docs/runbook.md, section by section from /share/runbook, and checks the outcome of each.
set -eux
exec 2>&1
trap 'code=$?; [ $code = 0 ] && touch /out/passed; [ $code = 0 ] || journalctl --no-pager -u dtlsguard -u server -u prometheus | tail -60' EXIT
export DEBIAN_FRONTEND=noninteractive

step() { # step SECTION: runs its commands in this shell
	: "== $1"
	. "/share/runbook/$1"
	rm "/share/runbook/$1"
}
not() { if "$@"; then return 1; fi; } # set -e does not look at "! COMMAND"
eventually() {
	set +x
	until "$@"; do sleep 1; done # the test has a time limit
	set -x
}

mkdir /tmp/packages /tmp/packages/upgrade
cd /tmp/packages
cp /share/dtlsguard_1.0.0-1_*.deb .
cp /share/dtlsguard_1.1.0-1_*.deb upgrade
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=test -keyout /tmp/key -out /tmp/cert
systemd-run --unit server /share/server 127.0.0.1 4434 /tmp/cert /tmp/key
# User namespaces do not work in a chroot.
mkdir -p /etc/systemd/system/prometheus.service.d
printf '[Service]\nPrivateUsers=no\n' >/etc/systemd/system/prometheus.service.d/test.conf
# Let an attack count as ended sooner.
mkdir -p /etc/systemd/system/dtlsguard.service.d
printf '[Service]\nEnvironment=DTLSGUARD_ATTACK_QUIET=3s\n' >/etc/systemd/system/dtlsguard.service.d/test.conf

step install
not systemctl is-active dtlsguard
step first-service
step verify >/tmp/verify
cat /tmp/verify
grep 'Cipher is [A-Z]' /tmp/verify
grep '"ready":true' /tmp/verify
step monitor
step rehearse-an-attack
step under-attack >/tmp/attack
cat /tmp/attack
grep 'attack-started.*vpn' /tmp/attack
grep 'verdict=answered.*service=vpn' /tmp/attack
grep 198.51.100.0/24 /tmp/attack
alert() { curl -s http://127.0.0.1:9090/api/v1/alerts | grep '"alertname":"DTLSGuardAttack".*"state":"firing"'; }
eventually alert
timeout 60 openssl s_client -dtls1_2 -connect 127.0.0.1:4433 </dev/null >/tmp/client # served during the flood
step end-of-the-attack
told() { journalctl -t dtlsguard-event --no-pager | grep "$1"; }
eventually told 'attack-started vpn [1-9]'
eventually told 'attack-ended vpn'
step rotate
step change-the-configuration
eventually told reloaded
step upgrade
dtlsguard version | grep 1.1.0
step uninstall
not systemctl is-active dtlsguard
test ! -e /etc/dtlsguard
test "$(ls /share/runbook)" = '' # every section was run
: done
