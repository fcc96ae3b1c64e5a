# Makes new namespaces a machine for a kubelet, and runs a command there: for on_a_machine.sh. Nothing of it outlives
# them but the control groups.
set -euo pipefail

mount -t tmpfs -o mode=755 tmpfs /run
mount --make-shared /run # as on any node: what the runtime mounts there, pods may see

# The node's programs write to places that all of them know and that cannot be chosen: what they write stays in memory.
mkdir -p /run/machine/var/{written,work}
mount -t overlay -o lowerdir=/var,upperdir=/run/machine/var/written,workdir=/run/machine/var/work overlay /var
# containerd stacks its images by overlays of its own, which cannot write to another overlay.
for place in /var/lib/containerd /var/lib/kubelet; do
    mkdir -p $place
    mount -t tmpfs tmpfs $place
done
mount --make-shared /var/lib/kubelet # what it mounts for one pod, another may see

# The kubelet sets these for the whole machine. It finds them as it wants them, and leaves the real ones alone.
mkdir /run/machine/sysctl
while read -r name value; do
    echo "$value" >"/run/machine/sysctl/$name"
    mount --bind "/run/machine/sysctl/$name" "/proc/sys/${name//.//}"
done <<'EOF'
kernel.keys.root_maxbytes 25000000
kernel.keys.root_maxkeys 1000000
kernel.panic 10
kernel.panic_on_oops 1
vm.overcommit_memory 1
vm.panic_on_oom 0
EOF

# The control group that holds all pods, in every hierarchy there is: one in version 2, one of each controller in version 1.
for hierarchy in /sys/fs/cgroup /sys/fs/cgroup/*; do
    [ -f "$hierarchy/cgroup.procs" ] || continue
    group=$hierarchy/$CREDLET_NODE_CGROUP
    mkdir "$group"
    if [ -f "$hierarchy/cpuset.cpus" ]; then # empty where it is new, and no process may join it then
        cat "$hierarchy/cpuset.cpus" >"$group/cpuset.cpus"
        cat "$hierarchy/cpuset.mems" >"$group/cpuset.mems"
    fi
done

# The node's own address, which stands for its network card: a bridge with nothing plugged in.
ip link set lo up
ip link add node0 type bridge
ip address add 10.240.0.10/24 dev node0
ip link set node0 up
ip route add default via 10.240.0.1

"$@"
exit $? # not exec: this first process stays, for somebody has to reap what containerd's shims leave
