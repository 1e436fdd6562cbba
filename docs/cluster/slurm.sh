#!/bin/bash
# A catalogue on a SLURM cluster: sbatch docs/cluster/slurm.sh SOURCES DESTINATION, both on the shared disk or URLs.
#SBATCH --job-name=hyperstem
#SBATCH --nodes=8
#SBATCH --ntasks-per-node=1
#SBATCH --exclusive
#SBATCH --requeue
set -euo pipefail
export RAY_USAGE_STATS_ENABLED=0
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
# Ray starts on every node, the command runs on the first one, and Ray ends with it.
srun ray symmetric-run --address "$head:6379" --min-nodes "$SLURM_JOB_NUM_NODES" -- \
  hyperstem separate "$1" -o "$2" --ray "$head:6379"
