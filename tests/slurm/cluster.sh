#!/usr/bin/env bash
# A real Slurm of two nodes on this machine alone, for tests: slurmctld, two slurmd and munged of Debian's packages
# slurm-wlm and munge (one slurmd a node needs a build with --enable-multiple-slurmd, which Debian's is), on the
# loopback device, without systemd, without cgroups and without a database.
#
#   tests/slurm/cluster.sh up      start it; then: source FOLDER/env.sh
#   tests/slurm/cluster.sh down    stop what `up` started, by its process numbers, and remove the folder
#
# CLUSTER   folder for configuration, state and logs (default: .slurm in the repository)
# PORT      of slurmctld; the nodes have the next two (default: 16817)
# CPUS      of a node (default: 2)
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd)
folder=${CLUSTER:-$root/.slurm}
port=${PORT:-16817}
cpus=${CPUS:-2}
PATH=$PATH:/usr/sbin:/sbin  # where Debian has munged and slurmd

die() {
  printf 'cluster.sh: %s\n' "$*" >&2
  exit 2
}

up() {
  local program user host
  for program in munged slurmctld slurmd sinfo; do
    command -v "$program" > /dev/null || die "there is no $program. On Debian: apt-get install slurm-wlm munge"
  done
  [ "$(id -u)" = 0 ] || die "slurmd starts jobs as root only. Run it as root, in a container for example."
  [ "${#folder}" -lt 90 ] || die "$folder: a socket in it would have too long a path. Give another: CLUSTER=/tmp/slurm"
  [ ! -e "$folder" ] || die "$folder exists: a cluster may be up. Stop it: tests/slurm/cluster.sh down"
  user=$(id -un)
  host=$(hostname -s)
  mkdir -p "$folder"/{munge,state,spool/n1,spool/n2,log,run}
  trap 'tail -n 5 "$folder"/log/*.log >&2; down' ERR
  # munged asks that others cannot write to the folders of its key and socket
  chmod 755 "$folder" "$folder"/*
  chmod 711 "$folder/munge"
  (umask 077 && head -c 1024 /dev/urandom > "$folder/munge/key")
  munged --force --key-file="$folder/munge/key" --socket="$folder/munge/socket" --pid-file="$folder/run/munged.pid" \
    --log-file="$folder/log/munged.log" --seed-file="$folder/munge/seed" --num-threads=2
  printf '%s\n' "CgroupPlugin=cgroup/v1" "CgroupAutomount=no" > "$folder/cgroup.conf"
  # GPUs that are null devices: jobs that ask for some are scheduled
  mknod "$folder/gpu0" c 1 3
  mknod "$folder/gpu1" c 1 3
  echo "NodeName=n[1-2] Name=gpu File=$folder/gpu[0-1]" > "$folder/gres.conf"
  cat > "$folder/slurm.conf" << CONF
ClusterName=neuromtm-tests
SlurmctldHost=$host(127.0.0.1)
SlurmctldPort=$port
SlurmUser=$user
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$folder/munge/socket
CredType=cred/munge
StateSaveLocation=$folder/state
SlurmdSpoolDir=$folder/spool/%n
SlurmctldPidFile=$folder/run/slurmctld.pid
SlurmdPidFile=$folder/run/slurmd.%n.pid
SlurmctldLogFile=$folder/log/slurmctld.log
SlurmdLogFile=$folder/log/slurmd.%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
MpiDefault=none
SwitchType=switch/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SchedulerType=sched/backfill
SchedulerParameters=bf_interval=1,sched_interval=1,sched_min_interval=0,batch_sched_delay=0
ReturnToService=2
JobRequeue=1
KillWait=20
SlurmdParameters=config_overrides
GresTypes=gpu
MinJobAge=300
SlurmctldTimeout=60
SlurmdTimeout=120
InactiveLimit=0
NodeName=n1 NodeHostname=$host NodeAddr=127.0.0.1 Port=$((port + 1)) CPUs=$cpus RealMemory=16000 Gres=gpu:2
NodeName=n2 NodeHostname=$host NodeAddr=127.0.0.1 Port=$((port + 2)) CPUs=$cpus RealMemory=16000 Gres=gpu:2
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
CONF
  # the nodes' names are those of no machine, so jobs are told where the first process of a training listens
  printf 'export SLURM_CONF=%q\nexport MASTER_ADDR=127.0.0.1\n' "$folder/slurm.conf" > "$folder/env.sh"
  export SLURM_CONF=$folder/slurm.conf
  slurmctld -c -f "$SLURM_CONF"
  slurmd -N n1 -f "$SLURM_CONF"
  slurmd -N n2 -f "$SLURM_CONF"
  local try
  for ((try = 0; try < 300; try++)); do
    [ "$(sinfo --noheader --Node --states=idle --format=%n 2> /dev/null | wc -l)" = 2 ] && break
    sleep 0.1
  done
  [ "$try" -lt 300 ]
  trap - ERR
  echo "Slurm is up: source $folder/env.sh"
}

stop() { # PID_FILE
  local pid try
  pid=$(cat "$1" 2> /dev/null) || return 0
  kill "$pid" 2> /dev/null || return 0
  for ((try = 0; try < 100; try++)); do
    kill -0 "$pid" 2> /dev/null || return 0
    sleep 0.1
  done
  kill -KILL "$pid" 2> /dev/null || true
}

down() {
  [ -e "$folder/slurm.conf" ] || { echo "No cluster in $folder."; return 0; }
  export SLURM_CONF=$folder/slurm.conf
  local try
  # jobs first: their processes are not children of the daemons
  timeout 10 scancel --quiet --signal=KILL --full --state=RUNNING --user "$(id -un)" 2> /dev/null || true
  timeout 10 scancel --quiet --user "$(id -un)" 2> /dev/null || true
  for ((try = 0; try < 100; try++)); do
    [ -z "$(timeout 10 squeue --noheader 2> /dev/null)" ] && break
    sleep 0.1
  done
  stop "$folder/run/slurmd.n1.pid"
  stop "$folder/run/slurmd.n2.pid"
  stop "$folder/run/slurmctld.pid"
  stop "$folder/run/munged.pid"
  rm -rf "$folder"
  echo "Slurm is down."
}

case ${1:-} in
  up) up ;;
  down) down ;;
  *) die "give one of: up, down" ;;
esac
