# shellcheck shell=bash
# It needs site.sh and given.sh.
# What a job does on its nodes. Sourced by the batch scripts, which run in the repository's folder.

# The run of this task of a sweep's array. Number N is the N-th row of its stage in grid.csv; a fine-tuning has the
# number of its pretraining, so that it can start as soon as this one has ended (--dependency=aftercorr).
run_of_task() { # SWEEP STAGE ANIMAL NUMBER
  awk -F, -v stage="$2" -v animal="$3" -v number="$4" '
    NR == 1 { for (i = 1; i <= NF; i++) at[$i] = i; next }
    $at["stage"] == "pretrain" && ++pretrained == number { from = $at["run"] }
    stage == "finetune" && $at["stage"] == stage && $at["animal"] == animal && $at["pretrained"] == from { print $at["run"] }
    stage != "finetune" && $at["stage"] == stage && ++seen == number { print $at["run"] }
  ' "$1/grid.csv"
}

# OPTIONS becomes what a run of a sweep was submitted with: a file with an argument a line.
read_options() { # SWEEP RUN
  mapfile -t OPTIONS < "$1/options/$2"
}

# PLACED becomes where a training runs: on what Slurm gave. The recipe's or the user's precision is kept.
placed() { # OPTIONS...
  local accelerator=cpu
  # Slurm's own words for the GPUs of a job
  [ -z "${SLURM_GPUS_ON_NODE-}${SLURM_JOB_GPUS-}${SLURM_STEP_GPUS-}" ] || accelerator=gpu
  PLACED=(--trainer.num_nodes "$SLURM_JOB_NUM_NODES" --trainer.devices "${SLURM_NTASKS_PER_NODE:-1}")
  [ -n "$(value_of --trainer.accelerator "$@")" ] || PLACED+=(--trainer.accelerator "$accelerator")
  [ -n "$(value_of --trainer.precision "$@")" ] || PLACED+=(--trainer.precision auto)
}

# One process for each task of the job. If one of them fails, Slurm ends the others.
launch() { # COMMAND...
  # srun does not take it over from sbatch
  export SRUN_CPUS_PER_TASK=${SLURM_CPUS_PER_TASK:-1} OMP_NUM_THREADS=${OMP_NUM_THREADS:-${SLURM_CPUS_PER_TASK:-1}}
  # A program heeds SIGUSR1 soon after its start. One that comes before would end it: it is ignored until then, and at
  # the time limit SIGTERM does the same.
  # shellcheck disable=SC2016  # the shell of each task replaces it
  srun --kill-on-bad-exit=1 bash -c 'trap "" USR1; exec "$@"' task "$@"
}

# The whole of pretrain.sbatch and finetune.sbatch.
run_training() { # [--site FILE] OPTIONS... | --sweep SWEEP --stage STAGE [--animal ANIMAL]
  local sweep='' animal='' site='' folder
  local stage=${PROGRAM%.sbatch}
  while [ $# -gt 1 ]; do
    case $1 in
      --sweep) sweep=$2 ;;
      --stage) stage=$2 ;;
      --animal) animal=$2 ;;
      --site) site=$2 ;;
      *) break ;;
    esac
    shift 2
  done
  # the shell waits for the run, which heeds these signals and ends in order
  trap : TERM USR1
  if [ -n "$sweep" ]; then
    site=$sweep/site.env
    local run
    run=$(run_of_task "$sweep" "$stage" "$animal" "$SLURM_ARRAY_TASK_ID")
    [ -n "$run" ] || die "$sweep/grid.csv has no row for task $SLURM_ARRAY_TASK_ID of the stage $stage${animal:+ on $animal}."
    folder=$sweep/$run
    read_options "$sweep" "$run"
  else
    OPTIONS=("$@")
    folder=$(value_of --run_dir "$@")
    [ -n "$folder" ] || die "give --run_dir RUN: a job that goes on must find its run again."
  fi
  if [ -n "$site" ]; then
    read_site "$site"
    enter_environment
  fi
  echo "$folder: job ${SLURM_ARRAY_JOB_ID:-$SLURM_JOB_ID}${SLURM_ARRAY_TASK_ID:+_$SLURM_ARRAY_TASK_ID} on" \
    "$SLURM_JOB_NODELIST, requeued ${SLURM_RESTART_COUNT:-0} times"
  if [ -e "$folder/ended" ]; then
    echo "$folder: has ended already. To do it again, remove the folder."
    return 0
  fi
  placed "${OPTIONS[@]}"
  case $stage in
    baseline) launch neuromtm baseline "${OPTIONS[@]}" ;;
    # the search makes the folder of its trial itself
    trial) launch neuromtm search "${OPTIONS[@]}" "${PLACED[@]}" ;;
    *)
      [ -n "$(value_of --auto_resume "${OPTIONS[@]}")" ] || PLACED+=(--auto_resume true)
      launch neuromtm fit "${OPTIONS[@]}" "${PLACED[@]}"
      [ "$stage" = pretrain ] ||
        launch neuromtm test --config "$folder/config.yaml" --ckpt_path "$folder/checkpoints/best.ckpt" ;;
  esac
  mkdir -p "$folder"
  date --utc +%FT%TZ > "$folder/ended"
}
