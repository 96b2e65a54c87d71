#!/bin/bash
#SBATCH --job-name=mlffdb
#SBATCH --array=0-@last
#SBATCH --ntasks=1
#SBATCH --output=mlffdb-%A_%a.log
#SBATCH --open-mode=append
#SBATCH --requeue
#SBATCH --signal=B:TERM@@120
#SBATCH --export=ALL
@directives
set -eu
cd -- @folder
@exports
echo "task ${SLURM_ARRAY_TASK_ID} of job ${SLURM_ARRAY_JOB_ID} on $(hostname), restarts" \
    "${SLURM_RESTART_COUNT:-0}, GPUs ${CUDA_VISIBLE_DEVICES:-none}"
# exec, so that the signal of --signal reaches the workers and not this shell
exec @command
