#!/usr/bin/env bash
# A Slurm cluster of this machine alone, for tests: one_node.sh install | start | stop
#
# Debian's or Ubuntu's packages; needs root. The configuration lies in Slurm's own place, since
# Snakemake's plugin does not pass SLURM_CONF on. There is no accounting (no database).
set -euo pipefail

CONFIGURATION=/etc/slurm/slurm.conf

install() {
    apt-get update -qq
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
        slurmctld slurmd slurm-client munge
}

configure() {
    local cores memory
    if [[ -f $CONFIGURATION ]] && ! grep -q crackutils-test "$CONFIGURATION"; then
        echo "$CONFIGURATION is that of another cluster: nothing was changed" >&2
        exit 1
    fi
    cores=$(nproc)
    memory=$(awk '/MemTotal/ {print int($2 / 1024 * 0.9)}' /proc/meminfo)
    mkdir -p /etc/slurm /var/spool/slurmctld /var/spool/slurmd /run/munge
    cat >"$CONFIGURATION" <<END
ClusterName=crackutils-test
SlurmctldHost=$(hostname -s)
SlurmUser=root
AuthType=auth/munge
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
MpiDefault=none
ReturnToService=2
SlurmdTimeout=30
MinJobAge=600
StateSaveLocation=/var/spool/slurmctld
SlurmdSpoolDir=/var/spool/slurmd
SlurmctldPidFile=/run/slurmctld.pid
SlurmdPidFile=/run/slurmd.pid
SlurmctldLogFile=/var/log/slurmctld.log
SlurmdLogFile=/var/log/slurmd.log
NodeName=$(hostname -s) CPUs=$cores RealMemory=$memory State=UNKNOWN
PartitionName=all Nodes=ALL Default=YES MaxTime=INFINITE State=UP
END
}

start() {
    configure
    chown munge: /run/munge
    pgrep -x munged >/dev/null || runuser -u munge -- munged
    pgrep -x slurmctld >/dev/null || slurmctld -c
    pgrep -x slurmd >/dev/null || slurmd
    for _ in $(seq 60); do
        if [[ $(sinfo --noheader --format=%T 2>/dev/null) == idle* ]]; then return; fi
        sleep 1
    done
    echo "Slurm's node is not idle after a minute: see /var/log/slurmctld.log" >&2
    return 1
}

stop() {
    # by the ids that the daemons wrote down
    for daemon in slurmd slurmctld; do
        if [[ -f /run/$daemon.pid ]]; then kill "$(cat /run/$daemon.pid)" 2>/dev/null || true; fi
    done
}

case "${1:-}" in
install | start | stop) "$1" ;;
*)
    sed -n 2p "$0" >&2
    exit 2
    ;;
esac
