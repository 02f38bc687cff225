#!/bin/bash
# Trains one recipe on several nodes, and goes on by itself when its time is over:
#   sbatch --nodes 2 configs/launch/slurm.sh RECIPE OUTPUT
# Three minutes before the end each process gets SIGUSR1: the run finishes its step, writes a checkpoint and ends with
# status 75, and the job is queued again.
#SBATCH --ntasks-per-node=8
#SBATCH --gpus-per-node=8
#SBATCH --cpus-per-task=8
#SBATCH --time=24:00:00
#SBATCH --signal=USR1@180
#SBATCH --requeue
#SBATCH --open-mode=append

RECIPE=$1
OUTPUT=$2
RESUME=""
if [ -f "$OUTPUT/run.json" ]; then
    RESUME="--resume"
fi

MASTER_ADDR=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
MASTER_PORT=$((20000 + SLURM_JOB_ID % 10000))
export MASTER_ADDR MASTER_PORT RECIPE OUTPUT RESUME

# Without a launcher in between, so that each process gets the signal itself.
srun bash -c '
    export RANK=$SLURM_PROCID WORLD_SIZE=$SLURM_NTASKS LOCAL_RANK=$SLURM_LOCALID LOCAL_WORLD_SIZE=$SLURM_NTASKS_PER_NODE
    exec python -m diffalign train "$RECIPE" --set output="$OUTPUT" $RESUME'
STATUS=$?

if [ "$STATUS" -eq 75 ]; then
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$STATUS"
