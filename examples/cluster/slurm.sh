#!/bin/bash
# A run on two nodes with four GPUs each: sbatch slurm.sh my_scenario.yaml
#SBATCH --nodes=2 --ntasks-per-node=1 --gpus-per-node=4 --cpus-per-task=16
set -euo pipefail
head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
srun --nodes=1 --ntasks=1 -w "$head" ray start --head --port=6379 --block &
sleep 20
srun --nodes=1 --ntasks=1 --exclude="$head" ray start --address="$head:6379" --block &
sleep 20
RAY_ADDRESS="$head:6379" robust-aigen run "$1" --engine ray --address auto --device cuda --output /shared/results
