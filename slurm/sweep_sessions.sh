#!/usr/bin/env bash
# A sweep over the number of sessions that a model is pretrained on: every number x objective x seed, each pretrained
# model fine-tuned on each held-out animal and tested; then the table and the scaling curve. docs/cluster.md has all of it.
# The same command again goes on with what is not done, and leaves alone what is.
set -euo pipefail
readonly PROGRAM=sweep_sessions.sh
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
readonly ROOT
source "$ROOT/slurm/lib/site.sh"
source "$ROOT/slurm/lib/given.sh"
source "$ROOT/slurm/lib/sweep.sh"
source "$ROOT/slurm/lib/hours.sh"

usage() {
  cat << 'TEXT'
usage: slurm/sweep_sessions.sh --out SWEEP --sessions 1,2,4,10 [OPTIONS] [-- PRETRAIN [-- FINETUNE [-- SCRATCH]]]

the grid
  --sessions N,N,...      how many sessions a model is pretrained on
  --objectives O,O        mtm: the recipe's masking; temporal: temporal masking alone (default: mtm)
  --seeds S,S,...         seed of weights, masks and the choice of sessions (default: 0)
  --animals A,A,... | auto
                          held-out animals; auto: all subjects of the role heldout in the manifest (default: auto)
  --scratch               also a model for each objective, seed and animal that is not pretrained
  --baselines KIND,...    also these baselines for each animal, e.g. factor_analysis

recipes
  --data DIR              prepared sessions (default: DATA of site.env)
  --pretrain-config FILE  may be given several times, as --config of neuromtm fit (default: conf/pretrain.yaml)
  --finetune-config FILE  the same (default: conf/finetune.yaml)
  --steps N               every pretraining takes N steps, whatever its number of sessions, and no callback of the
                          recipe (early stopping) ends it before; without it the recipe says how many epochs
  --val-every K           with --steps: steps from one validation to the next (default: N / 20 or a little less)
  -- PRETRAIN ...         further options of neuromtm fit, for pretraining and for training from scratch
  -- FINETUNE ...         after another --: for fine-tuning. After a third one: for training from scratch alone.
                          Baselines take --data.min_firing_rate_hz and --data.n_train_trials of the fine-tuning

jobs
  --out SWEEP             folder of the sweep
  --site FILE             what the cluster is like (default: slurm/site.env)
  --at-once N             so many pretrainings run at the same time at most, and so many fine-tunings (default: 8)
  --dry-run               print the grid, the commands and the hours, and submit nothing
  --trials-per-s X        measured speed of a pretraining on all its GPUs (throughput/trials_per_s in TensorBoard), for
                          the hours
TEXT
}

SWEEP='' DATA='' SITE_FILE=$ROOT/slurm/site.env AT_ONCE=8 STEPS='' VAL_EVERY='' TRIALS_PER_S=''
SCRATCH='' SESSIONS=() OBJECTIVES=(mtm) SEEDS=(0) ANIMALS=(auto) BASELINES=()
PRETRAIN_CONFIGS=() FINETUNE_CONFIGS=() FOR_PRETRAIN=() FOR_FINETUNE=() FOR_SCRATCH=()

read_options_of_sweep() {
  while [ $# -gt 0 ]; do
    case $1 in
      --help | -h) usage; exit 0 ;;
      --scratch) SCRATCH=yes; shift; continue ;;
      --dry-run) DRY_RUN=yes; shift; continue ;;
      --) shift; break ;;
      --*) require_value "$@" ;;
    esac
    case $1 in
      --sessions) read_list "$1" "$2"; SESSIONS=("${LIST[@]}") ;;
      --objectives) read_list "$1" "$2"; OBJECTIVES=("${LIST[@]}") ;;
      --seeds) read_list "$1" "$2"; SEEDS=("${LIST[@]}") ;;
      --animals) read_list "$1" "$2"; ANIMALS=("${LIST[@]}") ;;
      --baselines) read_list "$1" "$2"; BASELINES=("${LIST[@]}") ;;
      --data) DATA=$2 ;;
      --out) SWEEP=$2 ;;
      --site) SITE_FILE=$2 ;;
      --at-once) AT_ONCE=$2 ;;
      --steps) STEPS=$2 ;;
      --val-every) VAL_EVERY=$2 ;;
      --trials-per-s) TRIALS_PER_S=$2 ;;
      --pretrain-config) PRETRAIN_CONFIGS+=("$(recipe "$2")") ;;
      --finetune-config) FINETUNE_CONFIGS+=("$(recipe "$2")") ;;
      *) die "there is no option $1. sweep_sessions.sh --help lists them." ;;
    esac
    shift 2
  done
  local part=1
  while [ $# -gt 0 ]; do
    [[ $1 != *$'\n'* ]] || die "an option with a line break: ${1@Q}"
    case $part:$1 in
      *:--) part=$((part + 1)) ;;
      1:*) FOR_PRETRAIN+=("$1") ;;
      2:*) FOR_FINETUNE+=("$1") ;;
      3:*) FOR_SCRATCH+=("$1") ;;
      *) die "more than three parts of options, each after --: there is nothing that ${1@Q} is for." ;;
    esac
    shift
  done
}

check_lists() {
  local value
  [ -n "$SWEEP" ] || die "give --out SWEEP, the folder of the sweep."
  [ "${#SESSIONS[@]}" -gt 0 ] || die "give --sessions N,N,... : how many sessions each model is pretrained on."
  for value in "${SESSIONS[@]}"; do require_whole --sessions "$value"; done
  require_whole --at-once "$AT_ONCE"
  [ -z "$STEPS" ] || require_whole --steps "$STEPS"
  [ -z "$VAL_EVERY" ] || require_whole --val-every "$VAL_EVERY"
  for value in "${SEEDS[@]}"; do require_seed --seeds "$value"; done
  for value in "${OBJECTIVES[@]}"; do
    [ "$value" = mtm ] || [ "$value" = temporal ] || die "--objectives takes mtm and temporal, not ${value@Q}."
  done
  for value in "${ANIMALS[@]}" ${BASELINES[@]+"${BASELINES[@]}"}; do
    [[ $value =~ ^[A-Za-z0-9._-]+$ ]] || die "${value@Q} cannot be in a folder's name: --animals and --baselines take" \
      "names of letters, digits, dots, - and _."
  done
  if [ -n "$TRIALS_PER_S" ] && [[ ! $TRIALS_PER_S =~ ^([0-9]{1,9}(\.[0-9]{1,9})?|\.[0-9]{1,9})$ || ! $TRIALS_PER_S =~ [1-9] ]]; then
    die "--trials-per-s takes a number above 0, e.g. 1500, not ${TRIALS_PER_S@Q}."
  fi
  [ -z "$VAL_EVERY" ] || [ -n "$STEPS" ] || die "--val-every counts steps: it needs --steps."
  [ -z "$VAL_EVERY" ] || [ "$VAL_EVERY" -le "$STEPS" ] || die "--val-every $VAL_EVERY is more than --steps $STEPS: no validation would come."
}

# What the grid sets cannot be set again after --: the last option wins, and the table would say another thing.
# shellcheck disable=SC2034  # arrays are read by their names
check_options_after_dashes() {
  local option
  local -A in_pretrain in_finetune in_all=(
    [data.root]='Give --data DIR.' [data.role]='Give the sessions their roles when they are prepared.'
    [data.subjects]='Give --animals A,A,...' [data.sessions]='Give --sessions N,N,... and --animals A,A,...'
    [seed_everything]='Give --seeds S,S,...' [data.seed]='Give --seeds S,S,...' [run_dir]='Give --out SWEEP.'
    [trainer.default_root_dir]='Give --out SWEEP.' [auto_resume]='Every run goes on from its last checkpoint.'
    [ckpt_path]='Every run goes on from its last checkpoint.'
    [trainer.devices]='Give GPUS_PER_NODE and TASKS_PER_NODE in site.env.' [trainer.num_nodes]='Give NODES in site.env.'
  )
  for option in "${!in_all[@]}"; do
    in_pretrain[$option]=${in_all[$option]} in_finetune[$option]=${in_all[$option]}
  done
  in_pretrain[config]='Give --pretrain-config FILE.' in_pretrain[data.n_sessions]='Give --sessions N,N,...'
  in_finetune[config]='Give --finetune-config FILE.'
  in_finetune[model.pretrained]='It is the best checkpoint of the pretraining.'
  [[ " ${OBJECTIVES[*]} " != *" temporal "* ]] ||
    in_pretrain[model.objective.schemes]='Give --objectives, and the schemes of mtm in a file by --pretrain-config.'
  refuse_taken in_finetune "${FOR_FINETUNE[@]}"
  refuse_taken in_pretrain "${FOR_SCRATCH[@]}"
  if [ -n "$STEPS" ]; then
    for option in max_steps max_epochs max_time min_steps min_epochs check_val_every_n_epoch val_check_interval; do
      in_pretrain[trainer.$option]='Give --steps and --val-every; without them the recipe says how long a run is.'
    done
    in_pretrain[trainer.callbacks]='Add one by --trainer.callbacks+=CLASS.'
  fi
  refuse_taken in_pretrain "${FOR_PRETRAIN[@]}"
}

# TRAIN_OF[pretrain] becomes the training trials of each session for pretraining, TRAIN_OF[animal NAME] of an animal's
declare -A TRAIN_OF=()
read_manifest() {
  local rows subject role n_train n_pretrain=0 value known
  local -A pretrains=()
  rows=$(enter_environment && python "$ROOT/slurm/lib/manifest.py" "$DATA") || exit 2
  while IFS=$'\t' read -r subject role n_train; do
    if [ "$role" = heldout ]; then
      TRAIN_OF[animal $subject]+=" $n_train"
    else
      n_pretrain=$((n_pretrain + 1)) pretrains[$subject]=yes
      TRAIN_OF[pretrain]+=" $n_train"
    fi
  done <<< "$rows"
  for value in "${SESSIONS[@]}"; do
    [ "$value" -le "$n_pretrain" ] || die "--sessions has $value, but $DATA has only $n_pretrain sessions of the role pretrain."
  done
  known=$(printf '%s\n' "${!TRAIN_OF[@]}" | sed -n 's/^animal //p' | sort)
  if [ "${ANIMALS[*]}" = auto ]; then
    mapfile -t ANIMALS <<< "$known"
    [ -n "${ANIMALS[0]-}" ] || die "$DATA has no session of the role heldout, so that there is no animal to fine-tune on."
  fi
  for value in "${ANIMALS[@]}"; do
    [ -n "${TRAIN_OF[animal $value]-}" ] || die "$DATA has no session of the role heldout of ${value@Q}." \
      "It has those of: ${known//$'\n'/ }."
    [[ $value =~ ^[A-Za-z0-9._-]+$ ]] || die "the subject ${value@Q} cannot be in a folder's name. Choose --animals."
    [ -z "${pretrains[$value]-}" ] || echo "$PROGRAM: $value has sessions for pretraining too: it is no animal that is held out." >&2
  done
}

# ---- the grid, and what each run is given ----

make_grid() {
  local objective n seed animal run kind name words value
  local steps=()
  if [ -n "$STEPS" ]; then
    steps=(--trainer.max_steps "$STEPS" --trainer.max_epochs -1 --trainer.check_val_every_n_epoch null)
    steps+=(--trainer.val_check_interval "${VAL_EVERY:-$(validation_interval "$STEPS")}" --trainer.callbacks null)
  fi
  local pretrain=() finetune=()
  for name in "${PRETRAIN_CONFIGS[@]}"; do pretrain+=(--config "$name"); done
  for name in "${FINETUNE_CONFIGS[@]}"; do finetune+=(--config "$name"); done
  for objective in "${OBJECTIVES[@]}"; do
    words=("${pretrain[@]}")
    [ "$objective" = mtm ] || words+=(--model.objective.schemes '[temporal]')
    for n in "${SESSIONS[@]}"; do
      for seed in "${SEEDS[@]}"; do
        name=$objective-n$n-s$seed
        ask "pretrain/$name" pretrain "$objective" "$n" "$seed" '' '' -- "${words[@]}" --data.root "$DATA" \
          --data.role pretrain --data.n_sessions "$n" --seed_everything "$seed" ${steps[@]+"${steps[@]}"} \
          ${FOR_PRETRAIN[@]+"${FOR_PRETRAIN[@]}"} --run_dir "$SWEEP/pretrain/$name" --auto_resume true
        for animal in "${ANIMALS[@]}"; do
          run=finetune/$name-$animal
          ask "$run" finetune "$objective" "$n" "$seed" "$animal" "pretrain/$name" -- "${finetune[@]}" \
            --data.root "$DATA" --data.role heldout --data.subjects "[\"$animal\"]" --seed_everything "$seed" \
            ${FOR_FINETUNE[@]+"${FOR_FINETUNE[@]}"} --model.pretrained "$SWEEP/pretrain/$name/checkpoints/best.ckpt" \
            --run_dir "$SWEEP/$run" --auto_resume true
        done
      done
    done
    [ -n "$SCRATCH" ] || continue
    for seed in "${SEEDS[@]}"; do
      for animal in "${ANIMALS[@]}"; do
        run=scratch/$objective-s$seed-$animal
        ask "$run" scratch "$objective" 0 "$seed" "$animal" '' -- "${words[@]}" --data.root "$DATA" \
          --data.role heldout --data.subjects "[\"$animal\"]" --seed_everything "$seed" \
          ${FOR_PRETRAIN[@]+"${FOR_PRETRAIN[@]}"} ${FOR_SCRATCH[@]+"${FOR_SCRATCH[@]}"} \
          --run_dir "$SWEEP/$run" --auto_resume true
      done
    done
  done
  # the neurons and trials of the fine-tuned models, with which they are compared
  words=()
  for name in min_firing_rate_hz n_train_trials; do
    value=$(value_of "--data.$name" ${FOR_FINETUNE[@]+"${FOR_FINETUNE[@]}"})
    [ -z "$value" ] || words+=("--$name" "$value")
  done
  for kind in ${BASELINES[@]+"${BASELINES[@]}"}; do
    for animal in "${ANIMALS[@]}"; do
      run=baseline/$kind-$animal
      ask "$run" baseline "$kind" 0 0 "$animal" '' -- --data "$DATA" --kind "$kind" --role heldout \
        --subjects "$animal" ${words[@]+"${words[@]}"} --out "$SWEEP/$run"
    done
  done
}

# About twenty validations, the last one after the last step: the largest part of N that divides it, from a twentieth on.
validation_interval() { # N
  local parts
  for ((parts = 20; parts <= 40; parts++)); do
    [ "$(($1 % parts))" != 0 ] || { echo "$(($1 / parts))"; return; }
  done
  echo "$(($1 > 20 ? $1 / 20 : 1))"
}

# ---- all of it ----

read_options_of_sweep "$@"
check_lists
check_options_after_dashes
[ -n "$DRY_RUN" ] || require_slurm
read_site "$SITE_FILE"
DATA=${DATA:-${SITE[DATA]}}
[ -n "$DATA" ] || die "give --data DIR, the folder of prepared sessions, or DATA in $SITE_NAME."
DATA=$(realpath -m -- "$DATA")
SWEEP=$(realpath -m -- "$SWEEP")
[[ $SWEEP =~ ^[A-Za-z0-9._/+@:=-]+$ ]] || die "--out ${SWEEP@Q}: choose a folder without blanks and quotes in its name."
[ "${#PRETRAIN_CONFIGS[@]}" -gt 0 ] || PRETRAIN_CONFIGS=("$ROOT/conf/pretrain.yaml")
[ "${#FINETUNE_CONFIGS[@]}" -gt 0 ] || FINETUNE_CONFIGS=("$ROOT/conf/finetune.yaml")
read_manifest
if [ -z "$DRY_RUN" ]; then
  trap unlock EXIT
  lock "$SWEEP"
fi
read_grid "$SWEEP"
make_grid
check_begun "$SWEEP"
find_states "$SWEEP"
check_options
if [ -n "$DRY_RUN" ]; then
  show_grid
  echo
else
  write_grid "$SWEEP"
  write_options "$SWEEP"
  keep_site "$SITE_FILE" "$SWEEP"
fi
submit_runs "$SWEEP" "$AT_ONCE" "${ASKED[@]}"
if [ -n "$DRY_RUN" ]; then
  echo
  show_hours
fi
