# Plays one machine: the first process in a node's own mount, pid, uts, ipc and network namespaces.
# N: its number; DIR: its disk; PKI, BIN: folders; GROUP: its cgroup; REGISTRY: the registry.
set -e
hostname n$N
for d in etc var opt; do mount -t overlay overlay -o lowerdir=/$d,upperdir=$DIR/$d-up,workdir=$DIR/$d-work /$d; done
mount -t tmpfs -o mode=755 tmpfs /run
CONTENT=/var/lib/containerd
[ $N = 1 ] || CONTENT=/var/lib/elsewhere # where Shoal does not look, so that the kubelet makes the folder where it does
mkdir -p $CONTENT /var/lib/kubelet /var/log /etc/cni/net.d /opt/cni /run/sysctl /run/lock
mount --bind $DIR/containerd $CONTENT # an overlay on an overlay is refused
mount --bind $DIR/kubelet /var/lib/kubelet
mount --bind $DIR/log /var/log
ln -sfn /usr/lib/cni /opt/cni/bin
# What the kubelet would write into the /proc/sys that all machines share.
for kv in vm/overcommit_memory=1 vm/panic_on_oom=0 kernel/panic=10 kernel/panic_on_oops=1 kernel/keys/root_maxkeys=1000000 kernel/keys/root_maxbytes=25000000; do
  f=/run/sysctl/$(echo ${kv%=*} | tr / .)
  echo ${kv#*=} >$f
  mount --bind $f /proc/sys/${kv%=*}
done
mount --make-rshared /
if [ ! -e /etc/containerd/config.toml ]; then # not at a reboot
  [ $N = 1 ] || rm -rf /var/lib/containerd
  mkdir -p "/etc/containerd/certs.d/$REGISTRY"
  printf '# the registry of the lab\nserver = "http://%s"\n' $REGISTRY >"/etc/containerd/certs.d/$REGISTRY/hosts.toml"
  cat >/etc/containerd/config.toml <<C
version = 3
root = "$CONTENT"
[plugins."io.containerd.cri.v1.images"]
  snapshotter = "overlayfs"
[plugins."io.containerd.cri.v1.images".pinned_images]
  sandbox = "$REGISTRY/pause:1"
[plugins."io.containerd.cri.v1.images".registry]
  config_path = "/etc/containerd/certs.d"
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
[plugins."io.containerd.nri.v1.nri"]
  disable = true
C
fi
cat >/etc/cni/net.d/10-lab.conflist <<C
{"cniVersion":"1.0.0","name":"lab","plugins":[{"type":"bridge","bridge":"cni0","isGateway":true,"ipMasq":false,
 "ipam":{"type":"host-local","ranges":[[{"subnet":"10.89.$N.0/24"}]],"routes":[{"dst":"0.0.0.0/0"}]}},
 {"type":"portmap","capabilities":{"portMappings":true},"snat":true}]}
C
cat >/var/lib/kubelet/config.yaml <<C
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
failCgroupV1: false
cgroupDriver: cgroupfs
cgroupRoot: /$GROUP/n$N
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
authentication: {anonymous: {enabled: false}, webhook: {enabled: false}, x509: {clientCAFile: $PKI/ca.crt}}
authorization: {mode: AlwaysAllow}
clusterDNS: [10.96.0.10]
clusterDomain: cluster.local
failSwapOn: false
maxOpenFiles: 20000
nodeStatusUpdateFrequency: 2s
nodeLeaseDurationSeconds: 8
evictionHard: {memory.available: "50Mi", nodefs.available: "0%", nodefs.inodesFree: "0%", imagefs.available: "0%", imagefs.inodesFree: "0%"}
imageGCHighThresholdPercent: 100
imageGCLowThresholdPercent: 99
resolvConf: /etc/resolv.conf
C
set +e
keep() { while :; do "$@"; echo "$1 exited with $?"; sleep 0.5; done; } # stands in for systemd
export PATH=$BIN:$PATH
keep containerd >>/var/log/containerd.log 2>&1 &
until [ -S /run/containerd/containerd.sock ]; do sleep 0.1; done
keep kubelet --config=/var/lib/kubelet/config.yaml --kubeconfig=$PKI/kubeconfig --hostname-override=n$N \
  --node-ip=10.88.0.1$N --node-labels=topology.kubernetes.io/zone=zone-$N --v=2 >>/var/log/kubelet.log 2>&1 &
wait # and reaps whoever lost its parent
