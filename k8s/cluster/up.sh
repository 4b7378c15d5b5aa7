#!/usr/bin/env bash
# Starts a Kubernetes cluster of one or more nodes for tests, built from the published Go modules:
# kube-apiserver, kube-controller-manager, kube-scheduler, kubelet on containerd and runc,
# kube-proxy, CoreDNS, metrics-server, and kube-router as the NetworkPolicy enforcer.
# All of it runs in private pid, network and mount namespaces and keeps its files in
# $CLUSTER_DIR. Outside the namespaces there is one listener, 127.0.0.1:$API_PORT.
#
#   CLUSTER_DIR=/var/tmp/cluster ./up.sh            build what is missing, start, wait for Ready
#   CLUSTER_DIR=/var/tmp/cluster ./up.sh build      build only (worth caching: $CLUSTER_DIR/bin)
#   ADDONS="coredns metrics-server kube-router"     the default; any subset, or empty
#   NODES=3                                         nodes node1..node3 (1), each in its own network namespace
#   APISERVER_ARGS, MANAGER_ARGS                    further flags, e.g. --default-unreachable-toleration-seconds=10
#
# Needs root, Debian's packages and Go. Afterwards: export KUBECONFIG=$CLUSTER_DIR/admin.conf
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
D=${CLUSTER_DIR:?set CLUSTER_DIR}
mkdir -p "$D"; D=$(cd "$D" && pwd)
ADDONS=${ADDONS-coredns metrics-server kube-router}
API_PORT=${API_PORT:-6443}
NODES=${NODES:-1}
# node N is 10.210.0.(10+N) with pods in 10.244.N.0/24; the control plane is 10.210.0.1
HUB=10.210.0.1 SVC_NET=10.96.0.0/16 DNS_IP=10.96.0.10
CG=kube-$(printf %s "$D" | cksum | cut -d' ' -f1)
has() { case " $ADDONS " in *" $1 "*) true ;; *) false ;; esac; }
say() { printf '%4ds %s\n' "$SECONDS" "$*"; }

packages() {
  local want=() p
  for p in containerd:containerd ctr:containerd runc:runc etcd:etcd-server socat:socat iptables:iptables \
           ipset:ipset conntrack:conntrack openssl:openssl ip:iproute2 nsenter:util-linux; do
    command -v "${p%%:*}" >/dev/null || want+=("${p##*:}")
  done
  [ -x /usr/lib/cni/ptp ] || want+=(containernetworking-plugins)
  [ ${#want[@]} -eq 0 ] && return
  say "apt-get install ${want[*]}"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -q >"$D/log/apt.log" 2>&1
  apt-get install -y -q --no-install-recommends "${want[@]}" >>"$D/log/apt.log" 2>&1
}

# One module for all programs (go.mod next to this script): their shared packages compile once.
build() {
  export GOWORK=off GOGC=${GOGC:-400} # less compile time for more memory
  local n x=k8s.io/component-base/version y=k8s.io/client-go/pkg/version v sum
  v=$(cd "$here" && go list -m -f '{{.Version}}' k8s.io/kubernetes)
  sum=$(cat "$here"/go.mod "$here"/go.sum "$here"/*/main.go | sha256sum)
  if [ "$(cat "$D/bin/.built" 2>/dev/null)" != "$sum" ]; then
    say "building Kubernetes $v, CoreDNS, metrics-server, kube-router"
    n=${v#v1.}; n=${n%%.*}
    (cd "$here" && CGO_ENABLED=0 GOFLAGS='' go build -buildvcs=false -trimpath -o "$D/bin/" \
      -ldflags "-s -w -X $x.gitVersion=$v -X $x.gitMajor=1 -X $x.gitMinor=$n -X $y.gitVersion=$v" \
      ./kube ./coredns ./pause sigs.k8s.io/metrics-server/cmd/metrics-server github.com/cloudnativelabs/kube-router/v2/cmd/kube-router) \
      >"$D/log/build.log" 2>&1 || { tail -20 "$D/log/build.log"; return 1; }
    echo "$sum" >"$D/bin/.built"
  fi
  for n in kube-apiserver kube-controller-manager kube-scheduler kubelet kube-proxy kubectl; do ln -sf kube "$D/bin/$n"; done
}

# cert NAME SUBJECT [SAN]
cert() {
  local f="$D/pki/$1" ca="$D/pki/${4:-ca}"
  [ -s "$f.crt" ] && return
  openssl ecparam -name prime256v1 -genkey -noout -out "$f.key"
  openssl req -new -key "$f.key" -subj "$2" -out "$f.csr"
  { echo 'extendedKeyUsage=serverAuth,clientAuth'; echo 'keyUsage=digitalSignature'; [ -z "${3:-}" ] || echo "subjectAltName=$3"; } >"$f.ext"
  openssl x509 -req -in "$f.csr" -CA "$ca.crt" -CAkey "$ca.key" -CAcreateserial -days 365 -extfile "$f.ext" -out "$f.crt" 2>/dev/null
  rm -f "$f.csr" "$f.ext"
}
authority() {
  [ -s "$D/pki/$1.crt" ] && return
  openssl ecparam -name prime256v1 -genkey -noout -out "$D/pki/$1.key"
  openssl req -x509 -new -key "$D/pki/$1.key" -subj "/CN=$1" -days 3650 -out "$D/pki/$1.crt"
}
# kubeconfig FILE CERT SERVER
kubeconfig() {
  cat >"$D/$1" <<Y
apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "$3", certificate-authority-data: $(base64 -w0 "$D/pki/ca.crt")}}]
users: [{name: u, user: {client-certificate-data: $(base64 -w0 "$D/pki/$2.crt"), client-key-data: $(base64 -w0 "$D/pki/$2.key")}}]
contexts: [{name: twinway-local, context: {cluster: c, user: u}}]
current-context: twinway-local
Y
  chmod 600 "$D/$1"
}
credentials() {
  mkdir -p "$D/pki"; chmod 700 "$D/pki"
  authority ca; authority front-proxy-ca
  cert apiserver /CN=kube-apiserver "DNS:localhost,DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc,DNS:kubernetes.default.svc.cluster.local,IP:127.0.0.1,IP:$HUB,IP:10.96.0.1"
  local n
  for n in $(seq "$NODES"); do
    cert "node$n" "/O=system:nodes/CN=system:node:node$n" "DNS:node$n,IP:10.210.0.$((10 + n)),IP:127.0.0.1"
    kubeconfig "node$n.conf" "node$n" "https://$HUB:6443"
  done
  cert apiserver-kubelet /O=system:masters/CN=apiserver-kubelet
  cert admin /O=system:masters/CN=admin
  cert manager /CN=system:kube-controller-manager
  cert scheduler /CN=system:kube-scheduler
  cert proxy /CN=system:kube-proxy
  cert front-proxy /CN=front-proxy "" front-proxy-ca
  [ -s "$D/pki/sa.key" ] || { openssl genrsa -out "$D/pki/sa.key" 2048 2>/dev/null; openssl rsa -in "$D/pki/sa.key" -pubout -out "$D/pki/sa.pub" 2>/dev/null; }
  kubeconfig admin.conf admin "https://127.0.0.1:$API_PORT"
  kubeconfig manager.conf manager https://127.0.0.1:6443
  kubeconfig scheduler.conf scheduler https://127.0.0.1:6443
  kubeconfig proxy.conf proxy "https://$HUB:6443"
  kubeconfig inside.conf admin "https://$HUB:6443"
}

# node_configs N
node_configs() {
  local n=$1 e="$D/etc/node$1" ip=10.210.0.$((10 + $1))
  mkdir -p "$e/cni" "$D/data/node$n/plugins"
  cat >"$e/containerd.toml" <<T
version = 2
root = "$D/data/node$n/containerd"
state = "$D/run/ns/node$n"
[grpc]
  address = "$D/run/node$n.sock"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:1"
  restrict_oom_score_adj = true
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "$e/cni"
T
  # ptp, not bridge: every packet between pods is routed, so Services and policies always apply
  cat >"$e/cni/10-pods.conflist" <<J
{"cniVersion": "1.0.0", "name": "pods", "plugins": [
  {"type": "ptp", "mtu": 1500, "ipam": {"type": "host-local", "subnet": "10.244.$n.0/24", "dataDir": "$D/run/ns/ipam$n", "routes": [{"dst": "0.0.0.0/0"}]}},
  {"type": "portmap", "capabilities": {"portMappings": true}}]}
J
  cat >"$e/kubelet.yaml" <<Y
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: $ip
healthzBindAddress: 127.0.0.1
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: "$D/pki/ca.crt"}}
authorization: {mode: Webhook}
tlsCertFile: $D/pki/node$n.crt
tlsPrivateKeyFile: $D/pki/node$n.key
containerRuntimeEndpoint: unix://$D/run/node$n.sock
failCgroupV1: false
cgroupDriver: cgroupfs
cgroupRoot: /$CG/node$n
cgroupsPerQOS: true
enforceNodeAllocatable: [pods]
failSwapOn: false
oomScoreAdj: 0
clusterDomain: cluster.local
clusterDNS: [$DNS_IP]
resolvConf: $D/etc/resolv.conf
imageGCHighThresholdPercent: 100
evictionHard: {memory.available: 100Mi, nodefs.available: "1%", imagefs.available: "1%", nodefs.inodesFree: "1%"}
volumePluginDir: $D/data/node$n/plugins
podLogsDir: $D/data/node$n/logs
nodeStatusUpdateFrequency: 5s
nodeLeaseDurationSeconds: 12
Y
  cat >"$e/proxy.yaml" <<Y
apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
clientConnection: {kubeconfig: "$D/proxy.conf"}
mode: iptables
clusterCIDR: 10.244.0.0/16
hostnameOverride: node$n
oomScoreAdj: 0
conntrack: {maxPerCore: 0, min: 0, tcpEstablishedTimeout: 0s, tcpCloseWaitTimeout: 0s}
bindAddress: $ip
healthzBindAddress: 127.0.0.1:10256
metricsBindAddress: 127.0.0.1:10249
Y
}

configs() {
  mkdir -p "$D/etc"; : >"$D/etc/resolv.conf"
  local n; for n in $(seq "$NODES"); do node_configs "$n"; done
  # the first process of the namespaces
  cat >"$D/etc/init.sh" <<I
#!/usr/bin/env bash
set -eu
cd "$D"; export PATH="$D/bin:\$PATH" GOMAXPROCS=\${GOMAXPROCS:-2}
unset KUBECONFIG http_proxy https_proxy HTTP_PROXY HTTPS_PROXY
mount --make-rshared /
for p in /var/lib/cni /var/log/containers /run/netns; do
  mkdir -p "\$p" "$D/data\$p"; mount --bind "$D/data\$p" "\$p"
done
mount -t tmpfs run "$D/run/ns"
ip link set lo up
sysctl -qw net.ipv4.ip_forward=1
ip link add nodes type bridge; ip addr add $HUB/24 dev nodes; ip link set nodes up
for n in \$(seq $NODES); do
  ip netns add node\$n
  ip link add n\$n type veth peer name eth0 netns node\$n; ip link set n\$n master nodes up
  ip -n node\$n link set lo up; ip -n node\$n addr add 10.210.0.\$((10 + n))/24 dev eth0; ip -n node\$n link set eth0 up
  ip -n node\$n route add default via $HUB
  for m in \$(seq $NODES); do [ \$m = \$n ] || ip -n node\$n route add 10.244.\$m.0/24 via 10.210.0.\$((10 + m)); done
  ip route add 10.244.\$n.0/24 via 10.210.0.\$((10 + n))
  nsenter --net=/run/netns/node\$n sysctl -qw net.ipv4.ip_forward=1 net.ipv4.conf.all.route_localnet=1
done
ip route add $SVC_NET via 10.210.0.11
run() { local n=\$1; shift; setsid "\$@" </dev/null >"$D/log/\$n.log" 2>&1 & echo \$! >"$D/run/ns/\$n.pid"; }
on() { local n=\$1 what=\$2; shift 2; run "node\$n-\$what" nsenter --net=/run/netns/node\$n -- "\$@"; }
run etcd etcd --data-dir "$D/data/etcd" --listen-client-urls http://127.0.0.1:2379 --advertise-client-urls http://127.0.0.1:2379 --listen-peer-urls http://127.0.0.1:2380 --unsafe-no-fsync
for n in \$(seq $NODES); do on \$n containerd containerd --config "$D/etc/node\$n/containerd.toml"; done
run relay socat "UNIX-LISTEN:$D/run/api.sock,fork,unlink-early,backlog=256" TCP:127.0.0.1:6443
run apiserver kube-apiserver --etcd-servers=http://127.0.0.1:2379 --bind-address=0.0.0.0 --secure-port=6443 --advertise-address=$HUB \\
  --client-ca-file=$D/pki/ca.crt --tls-cert-file=$D/pki/apiserver.crt --tls-private-key-file=$D/pki/apiserver.key \\
  --kubelet-certificate-authority=$D/pki/ca.crt --kubelet-client-certificate=$D/pki/apiserver-kubelet.crt --kubelet-client-key=$D/pki/apiserver-kubelet.key \\
  --kubelet-preferred-address-types=InternalIP --service-cluster-ip-range=$SVC_NET --allow-privileged=true \\
  --service-account-issuer=https://kubernetes.default.svc.cluster.local --service-account-key-file=$D/pki/sa.pub --service-account-signing-key-file=$D/pki/sa.key \\
  --authorization-mode=Node,RBAC --enable-admission-plugins=NodeRestriction --enable-aggregator-routing=true \\
  --requestheader-client-ca-file=$D/pki/front-proxy-ca.crt --requestheader-allowed-names=front-proxy --requestheader-username-headers=X-Remote-User \\
  --requestheader-group-headers=X-Remote-Group --requestheader-extra-headers-prefix=X-Remote-Extra- \\
  --proxy-client-cert-file=$D/pki/front-proxy.crt --proxy-client-key-file=$D/pki/front-proxy.key \${APISERVER_ARGS:-}
for i in \$(seq 300); do kubectl --kubeconfig "$D/inside.conf" get --raw /readyz >/dev/null 2>&1 && break; sleep 0.2; done
run manager kube-controller-manager --kubeconfig=$D/manager.conf --authentication-kubeconfig=$D/manager.conf --authorization-kubeconfig=$D/manager.conf \\
  --root-ca-file=$D/pki/ca.crt --service-account-private-key-file=$D/pki/sa.key --use-service-account-credentials=true --leader-elect=false --bind-address=127.0.0.1 --node-monitor-grace-period=16s \\
  --cluster-signing-cert-file=$D/pki/ca.crt --cluster-signing-key-file=$D/pki/ca.key \\
  --horizontal-pod-autoscaler-sync-period=5s --horizontal-pod-autoscaler-downscale-stabilization=20s --horizontal-pod-autoscaler-cpu-initialization-period=20s --horizontal-pod-autoscaler-initial-readiness-delay=5s \${MANAGER_ARGS:-}
run scheduler kube-scheduler --kubeconfig=$D/scheduler.conf --authentication-kubeconfig=$D/scheduler.conf --authorization-kubeconfig=$D/scheduler.conf --leader-elect=false --bind-address=127.0.0.1
for n in \$(seq $NODES); do
  on \$n kubelet kubelet --config=$D/etc/node\$n/kubelet.yaml --kubeconfig=$D/node\$n.conf --root-dir=$D/data/node\$n/kubelet --cert-dir=$D/data/node\$n/pki --hostname-override=node\$n --node-ip=10.210.0.\$((10 + n))
  on \$n proxy kube-proxy --config=$D/etc/node\$n/proxy.yaml
done
if [ -n "\${WITH_ROUTER:-}" ]; then
  for n in \$(seq $NODES); do # kube-router gives up when its node is not registered yet
    for i in \$(seq 300); do kubectl --kubeconfig "$D/inside.conf" get node node\$n >/dev/null 2>&1 && break; sleep 0.2; done
    on \$n router kube-router --kubeconfig=$D/inside.conf --hostname-override=node\$n --run-router=false --run-service-proxy=false --run-firewall=true \\
      --service-cluster-ip-range=$SVC_NET --health-port=0 --metrics-port=0
  done
fi
while :; do wait -n || sleep 1; done
I
  cat >"$D/enter" <<X
#!/bin/sh
# runs a command in the network of a node: $D/enter curl http://CLUSTER_IP/ ; NODE=node2 $D/enter ip route
exec nsenter -t "\$(cat "$D/run/init.pid")" -m -n -p -- nsenter "--net=/run/netns/\${NODE:-node1}" -- "\$@"
X
  cat >"$D/relay" <<X
#!/bin/sh
# makes an address of the cluster's network reachable outside it: $D/relay 18080 10.210.0.11:30080 -> 127.0.0.1:18080
s="$D/run/relay-\$1.sock"
setsid nsenter -t "\$(cat "$D/run/init.pid")" -n -- socat "UNIX-LISTEN:\$s,fork,unlink-early,backlog=256" "TCP:\$2,nodelay" </dev/null >/dev/null 2>&1 &
echo \$! >>"$D/run/relays"
i=0; while [ ! -S "\$s" ] && [ \$i -lt 50 ]; do sleep 0.1; i=\$((i+1)); done
setsid socat "TCP-LISTEN:\$1,bind=127.0.0.1,fork,reuseaddr,backlog=256,nodelay" "UNIX-CONNECT:\$s" </dev/null >/dev/null 2>&1 &
echo \$! >>"$D/run/relays"
X
  chmod +x "$D/enter" "$D/relay" "$D/etc/init.sh"
}

alive() { [ -s "$D/run/init.pid" ] && [ -d "/proc/$(cat "$D/run/init.pid")" ]; }
quiet() { "$@" >"$D/log/quiet.log" 2>&1 || { cat "$D/log/quiet.log" >&2; return 1; }; }
k() { "$D/bin/kubectl" --kubeconfig "$D/admin.conf" "$@"; }

start() {
  if alive; then say "already running"; return; fi
  [ ${#D} -le 80 ] || { echo "CLUSTER_DIR is too long for unix sockets" >&2; return 1; }
  rm -rf "$D/run"; mkdir -p "$D"/{run/ns,log,data}
  credentials; configs
  local c g f n
  # the kubelet wants its cgroup root to exist in every hierarchy (v1, hybrid or v2)
  awk '$3 ~ /^cgroup2?$/ && $2 ~ "^/sys/fs/cgroup" {print $2}' /proc/self/mounts | sort -u | while read -r c; do
    for g in "$CG" $(seq -f "$CG/node%g" "$NODES"); do
      mkdir -p "$c/$g"
      if [ -e "$c/$g/cpuset.mems" ] && [ "$c" != /sys/fs/cgroup ]; then
        for f in cpus mems; do cat "$c/cpuset.$f" >"$c/$g/cpuset.$f"; done
      fi
      if [ "$c" = /sys/fs/cgroup ]; then
        for f in cpuset cpu io memory pids hugetlb; do echo "+$f" >"$c/cgroup.subtree_control"; echo "+$f" >"$c/$g/cgroup.subtree_control"; done 2>/dev/null || true
      fi
    done
  done
  WITH_ROUTER=$(has kube-router && echo 1 || true) setsid unshare -m -n -p -f --mount-proc --propagation private "$D/etc/init.sh" </dev/null >"$D/log/init.log" 2>&1 &
  local u=$! i
  for i in $(seq 100); do
    p=$(ps -o pid= --ppid "$u" | tr -d ' ') && [ -n "$p" ] && break; sleep 0.05
  done
  echo "$p" >"$D/run/init.pid"
  setsid socat "TCP-LISTEN:$API_PORT,bind=127.0.0.1,fork,reuseaddr,backlog=256" "UNIX-CONNECT:$D/run/api.sock" </dev/null >"$D/log/socat.log" 2>&1 &
  echo $! >"$D/run/relays"
  for i in $(seq 300); do k get --raw /readyz >/dev/null 2>&1 && break; sleep 0.2; done
  k get --raw /readyz >/dev/null
  say "apiserver ready"
  images
  for n in $(seq "$NODES"); do
    for i in $(seq 300); do k get node "node$n" >/dev/null 2>&1 && break; sleep 0.2; done
    quiet k wait --for=condition=Ready "node/node$n" --timeout=60s
  done
  say "$NODES node(s) ready"
  addons
  say "KUBECONFIG=$D/admin.conf"
}

images() {
  "$here/image.sh" localhost/pause:1 "$D/bin/pause"
  if has coredns; then "$here/image.sh" localhost/coredns:1 "$D/bin/coredns"; fi
  if has metrics-server; then "$here/image.sh" localhost/metrics-server:1 "$D/bin/metrics-server"; fi
}

addons() {
  # what kubeadm would create for kube-proxy and for the apiserver's calls to the kubelet
  k apply -f - >/dev/null <<Y
apiVersion: rbac.authorization.k8s.io/v1
kind: ClusterRoleBinding
metadata: {name: node-proxier}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: ClusterRole, name: "system:node-proxier"}
subjects: [{kind: User, name: "system:kube-proxy", apiGroup: rbac.authorization.k8s.io}]
Y
  local a n i w=()
  for a in coredns metrics-server; do
    if has "$a"; then k apply -f "$here/$a.yaml" >/dev/null; w+=("deployment/$a"); fi
  done
  [ ${#w[@]} -eq 0 ] || quiet k -n kube-system wait --for=condition=Available "${w[@]}" --timeout=90s
  if has kube-router; then
    for n in $(seq "$NODES"); do
      for i in $(seq 150); do NODE=node$n "$D/enter" iptables -S KUBE-ROUTER-FORWARD >/dev/null 2>&1 && break; sleep 0.2; done
      NODE=node$n "$D/enter" iptables -S KUBE-ROUTER-FORWARD >/dev/null
    done
  fi
  if has metrics-server; then quiet k wait --for=condition=Available apiservice/v1beta1.metrics.k8s.io --timeout=90s; fi
}

mkdir -p "$D"/{bin,log,src,run}
[ "$(id -u)" = 0 ] || { echo "needs root" >&2; exit 1; }
case ${1:-all} in
  build) packages; build ;;
  start) start ;;
  all) packages; build; start ;;
  *) echo "usage: $0 [build|start]" >&2; exit 2 ;;
esac
