#!/bin/sh
# What an operator does with the package, under systemd. /share has versions 1.0.0 and 1.1.0.
set -eux
exec 2>&1
trap 'code=$?; [ $code = 0 ] && touch /out/passed; [ $code = 0 ] || journalctl --no-pager -u dtlsguard -u server4434 -u server4436 | grep -v tick | tail -100' EXIT

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
not() { if "$@"; then return 1; fi; } # set -e does not look at "! COMMAND"
attached() { ip link show inside | grep prog/xdp; }
deleted() { readlink "/proc/$(systemctl show -p MainPID --value dtlsguard)/exe" | grep deleted; }
client() { eventually handshake "$1" || { cat /tmp/client; return 1; }; }
pid() { systemctl show -p MainPID --value dtlsguard; }
field() { sed -n "s/^$1:[[:space:]]*//p" "/proc/$(pid)/status"; }
another_than() { # another_than PID: the service runs as another process
	systemctl is-active dtlsguard && test "$(pid)" != 0 && test "$(pid)" != "$1"
}
status_says() { systemctl show -p StatusText --value dtlsguard | grep "$1"; } # status_says TEXT
serve() { # serve PORT PIPE: a server that sends its client, one at a time, what comes through PIPE
	systemd-run --unit "server$1" sh -c "while :; do openssl s_server -dtls1_2 -listen -naccept 1 -accept 127.0.0.1:$1 -cert /tmp/cert -key /tmp/key -quiet <$2; done"
}
# 20 lines per second in both directions while the guard is reloaded, upgraded and restarted.
ticks='for i in $(seq 1 10000); do echo tick $i || exit; sleep 0.05; done'
begin_session() { # begin_session PORT: the server's lines begin after the handshake, since with input waiting s_server asks for no cookie
	sh -c "$ticks" | timeout 840 openssl s_client -dtls1_2 -connect "127.0.0.1:$1" -quiet >/tmp/received 2>/tmp/session &
	session=$!
	eventually more_than -1 5
	sh -c "$ticks" <>/tmp/ticks >/tmp/ticks &
}
count() { # count: lines received so far by the client and by the server
	journalctl --no-pager -q -o cat -u server4436 | grep '^tick' >/tmp/sent || true
	to_client=$(wc -l </tmp/received) to_server=$(wc -l </tmp/sent)
}
more_than() { count && test "$to_client" -gt "$1" && test "$to_server" -gt "$2"; }
goes_on() { count; eventually more_than "$((to_client + 5))" "$((to_server + 5))"; }
without_gap() { # without_gap FILE: the lines in it are consecutive
	sed -n 's/^tick //p' "$1" | awk 'NR > 1 && $1 != last + 1 { print "after", last, "came", $1; lost = 1 } { last = $1 } END { print NR, "lines"; exit lost || NR < 100 }'
}

: install
dpkg --install /share/dtlsguard_1.0.0-1_*.deb
test "$(stat -c '%U %a' /etc/dtlsguard/secret)" = 'dtlsguard 600'
test "$(stat -c '%s' /etc/dtlsguard/secret)" = 65
test "$(stat -c '%U %a' /var/log/dtlsguard)" = 'dtlsguard 750'
not systemctl is-active dtlsguard
not systemctl is-enabled dtlsguard
man -w dtlsguard dtlsflood
dtlsguard version | grep 1.0.0

: first service
openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -subj /CN=test -keyout /tmp/key -out /tmp/cert
mkfifo /tmp/nothing /tmp/ticks
sleep infinity <>/tmp/nothing >/tmp/nothing &
sleep infinity <>/tmp/ticks >/tmp/ticks &
serve 4434 /tmp/nothing
serve 4436 /tmp/ticks
cat >/etc/dtlsguard/dtlsguard.toml <<EOF
map-log = "/var/log/dtlsguard/map.jsonl"
harvest-pool = 64
[[service]]
listen = "127.0.0.1:4433"
backend = "127.0.0.1:4434"
[[service]]
name = "session"
listen = "127.0.0.1:4435"
backend = "127.0.0.1:4436"
EOF
mkdir /etc/systemd/system/dtlsguard.service.d
printf '[Service]\nWatchdogSec=10\n' >/etc/systemd/system/dtlsguard.service.d/watchdog.conf # shorter than this script
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

: reload with one more service, while a session runs
begin_session 4435
goes_on
pid=$(pid)
cat >>/etc/dtlsguard/dtlsguard.toml <<EOF
[[service]]
listen = "127.0.0.1:443"
backend = "127.0.0.1:4434"
EOF
systemctl reload dtlsguard
client 443
goes_on
test "$pid" = "$(pid)"
eventually status_says 'of 3 services ready'

: upgrade: another process
dtlsguard upgrade
eventually another_than "$pid"
goes_on

: restart: the service manager keeps the open files
pid=$(pid)
systemctl restart dtlsguard
another_than "$pid"
goes_on

: XDP
ip link add outside type veth peer inside
ip link set outside up
ip link set inside up
sed -i '1i interface = "inside"' /etc/dtlsguard/dtlsguard.toml
systemctl restart dtlsguard
attached
test "$(stat -c %U /sys/fs/bpf/dtlsguard/inside)" = dtlsguard
test "$(field CapEff)" = $bind
goes_on
kill "$session"
without_gap /tmp/received
without_gap /tmp/sent

: watchdog: nothing moves, so no ping comes
pid=$(pid)
kill -STOP "$pid"
eventually another_than "$pid" || eventually another_than "$pid"
journalctl --no-pager -q -u dtlsguard | grep SIGABRT

: stop
systemctl stop dtlsguard
not attached
test "$(ls /sys/fs/bpf/dtlsguard)" = ''
systemctl start dtlsguard

: upgrade that keeps what the operator wrote
before=$(cat /etc/dtlsguard/secret)
dpkg --force-confold --install /share/dtlsguard_1.1.0-1_*.deb
dtlsguard version | grep 1.1.0
systemctl is-active dtlsguard
not deleted # the new program runs
grep -q 4433 /etc/dtlsguard/dtlsguard.toml
test "$before" = "$(cat /etc/dtlsguard/secret)"
client 4433

: purge
dpkg --purge dtlsguard
not systemctl is-active dtlsguard
not attached
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

: the same with rpm, on a system whose packages rpm does not know
rpm --install --nodeps /share/dtlsguard-1.0.0-1.*.rpm
test "$(stat -c '%U %a' /etc/dtlsguard/secret)" = 'dtlsguard 600'
not systemctl is-active dtlsguard
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
not systemctl is-active dtlsguard
test ! -e /usr/bin/dtlsguard
: done
