# boot.sh GROUP DIR SHARE SCRIPT: in new namespaces, starts systemd on a copy of this machine in DIR, which runs SCRIPT.
set -e
group=$1 dir=$2 share=$(realpath "$3") script=$(realpath "$4")
echo 0 >"$group/cgroup.procs"
mount --make-rprivate /
# The script's output is visible outside, in $dir/out; everything else is in memory and in these namespaces only.
copy=$dir/copy root=$dir/copy/root
mkdir "$dir/out" "$copy"
mount -t tmpfs -o mode=755 tmpfs "$copy"
mkdir "$copy/upper" "$copy/work" "$root"
mount -t overlay -o lowerdir=/,upperdir="$copy/upper",workdir="$copy/work" overlay "$root"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for d in null zero full random urandom tty; do
	: >"$root/dev/$d"
	mount --bind "/dev/$d" "$root/dev/$d"
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
mount -t bpf -o mode=0700 bpf "$root/sys/fs/bpf" # as systemd does on a machine
mkdir "$root/share" "$root/out"
mount --bind "$share" "$root/share"
mount --bind "$dir/out" "$root/out"
install -m 755 "$script" "$root/script"
ip link set lo up
cat >"$root/etc/systemd/system/test.target" <<EOF
[Unit]
Requires=basic.target test.service
After=basic.target
EOF
cat >"$root/etc/systemd/system/test.service" <<EOF
[Unit]
After=basic.target
[Service]
Type=oneshot
ExecStart=/script
StandardOutput=file:/out/script
StandardError=inherit
ExecStopPost=/bin/systemctl --no-block poweroff --force
EOF
exec unshare --cgroup sh -ec '
	mount -t cgroup2 cgroup2 "$0/sys/fs/cgroup"
	exec env -i container=test PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot "$0" /lib/systemd/systemd --system --unit=test.target --log-target=console --show-status=no
' "$root"
