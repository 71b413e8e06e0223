#!/bin/sh
# What an operator does with the package, under systemd: /share has it in versions 1.0.0 and 1.1.0.
set -eux
exec 2>&1
trap 'code=$?; [ $code = 0 ] && touch /out/passed; [ $code = 0 ] || journalctl --no-pager -u dtlsguard -u server | tail -60' EXIT

eventually() { # eventually COMMAND...: a server that has just served a client starts again
	for _ in $(seq 40); do
		"$@" && return
		sleep 1
	done
	"$@"
}
handshake() { # handshake PORT
	timeout 10 openssl s_client -dtls1_2 -connect "127.0.0.1:$1" </dev/null >/tmp/client 2>&1 || true
	grep 'Cipher is [A-Z]' /tmp/client
}
client() { eventually handshake "$1" || { cat /tmp/client; return 1; }; }
field() { sed -n "s/^$1:[[:space:]]*//p" "/proc/$(systemctl show -p MainPID --value dtlsguard)/status"; }

: install
dpkg --install /share/dtlsguard_1.0.0-1_*.deb
test "$(stat -c '%U %a' /etc/dtlsguard/secret)" = 'dtlsguard 600'
test "$(stat -c '%s' /etc/dtlsguard/secret)" = 65
! systemctl is-active dtlsguard
! systemctl is-enabled dtlsguard
man -w dtlsguard dtlsflood
dtlsguard version | grep 1.0.0

: first service
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=test -keyout /tmp/key -out /tmp/cert
mkfifo /tmp/nothing
systemd-run --unit server sh -c 'sleep infinity >/tmp/nothing & while :; do openssl s_server -dtls1_2 -listen -naccept 1 -accept 127.0.0.1:4434 -cert /tmp/cert -key /tmp/key -quiet </tmp/nothing; done'
cat >/etc/dtlsguard/dtlsguard.toml <<EOF
harvest-pool = 64
[[service]]
listen = "127.0.0.1:4433"
backend = "127.0.0.1:4434"
EOF
dtlsguard config check /etc/dtlsguard/dtlsguard.toml
systemctl enable --now dtlsguard
systemctl is-active dtlsguard
client 4433
eventually dtlsguard status

: privileges
bind=0000000000000400 # CAP_NET_BIND_SERVICE, for services that a reload adds
test "$(field CapEff)" = $bind
test "$(field NoNewPrivs)" = 1
test "$(field Seccomp)" = 2
test "$(field Uid | cut -f1)" = "$(id -u dtlsguard)"
systemd-analyze security --no-pager --threshold=30 dtlsguard | tail -1

: reload
cat >>/etc/dtlsguard/dtlsguard.toml <<EOF
[[service]]
listen = "127.0.0.1:443"
backend = "127.0.0.1:4434"
EOF
pid=$(systemctl show -p MainPID --value dtlsguard)
systemctl reload dtlsguard
client 443
test "$pid" = "$(systemctl show -p MainPID --value dtlsguard)"

: XDP
ip link add outside type veth peer inside
ip link set outside up
ip link set inside up
sed -i '1i interface = "inside"' /etc/dtlsguard/dtlsguard.toml
systemctl restart dtlsguard
ip link show inside | grep prog/xdp
test "$(stat -c %U /sys/fs/bpf/dtlsguard/inside)" = dtlsguard
test "$(field CapEff)" = $bind
systemctl stop dtlsguard
! ip link show inside | grep prog/xdp
test "$(ls /sys/fs/bpf/dtlsguard)" = ''
systemctl start dtlsguard

: upgrade, with what the operator wrote
before=$(cat /etc/dtlsguard/secret)
dpkg --force-confold --install /share/dtlsguard_1.1.0-1_*.deb
dtlsguard version | grep 1.1.0
systemctl is-active dtlsguard
! readlink "/proc/$(systemctl show -p MainPID --value dtlsguard)/exe" | grep deleted # it is the new program
grep -q 4433 /etc/dtlsguard/dtlsguard.toml
test "$before" = "$(cat /etc/dtlsguard/secret)"
client 4433

: purge
dpkg --purge dtlsguard
! systemctl is-active dtlsguard
! ip link show inside | grep prog/xdp
test ! -e /etc/dtlsguard
test ! -e /sys/fs/bpf/dtlsguard
: the image, read-only, as its user
mkdir -p /tmp/image/root
cd /tmp/image
tar -xf /share/dtlsguard_1.0.0_image.tar
for blob in blobs/sha256/*; do case $(head -c1 "$blob") in {) ;; *) tar -xf "$blob" -C root ;; esac; done # layers, not JSON
test "$(ls root)" = "$(printf 'dtlsguard\nrun')"
mount --bind root root
mount -o remount,bind,ro root
mount -t tmpfs -o uid=65532,gid=65532,mode=755 tmpfs root/run
image="chroot --userspec=65532:65532 root /dtlsguard"
$image run --listen 127.0.0.1:4444 --backend 127.0.0.1:4434 --harvest-pool 64 --control /run/s --metrics-listen off &
eventually $image status --control /run/s
client 4444
kill $!
wait $!
umount root/run root
cd /

: the same by rpm, on a system whose packages it does not know
rpm --install --nodeps /share/dtlsguard-1.0.0-1.*.rpm
test "$(stat -c '%U %a' /etc/dtlsguard/secret)" = 'dtlsguard 600'
! systemctl is-active dtlsguard
cat >/etc/dtlsguard/dtlsguard.toml <<EOF
harvest-pool = 64
[[service]]
listen = "127.0.0.1:4433"
backend = "127.0.0.1:4434"
EOF
systemctl start dtlsguard
client 4433
rpm --upgrade --nodeps /share/dtlsguard-1.1.0-1.*.rpm
dtlsguard version | grep 1.1.0
systemctl is-active dtlsguard
grep -q 4433 /etc/dtlsguard/dtlsguard.toml
client 4433
rpm --erase dtlsguard
! systemctl is-active dtlsguard
test ! -e /usr/bin/dtlsguard
: done
