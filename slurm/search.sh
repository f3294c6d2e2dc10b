#!/usr/bin/env bash
# A search over options of a training by neuromtm search: each trial is a task of an array, on one GPU.
# The same command again, with more trials for example, goes on.
set -euo pipefail
readonly PROGRAM=search.sh
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
readonly ROOT
source "$ROOT/slurm/lib/site.sh"
source "$ROOT/slurm/lib/given.sh"
source "$ROOT/slurm/lib/sweep.sh"

usage() {
  cat << 'TEXT'
usage: slurm/search.sh --out STUDY --space FILE --trials N [OPTIONS] -- OPTIONS OF neuromtm fit

  --out STUDY       folder of the study
  --space FILE      what may be chosen, see docs/search.md
  --trials N        how many trials there are to be in all
  --at-once N       so many run at the same time at most (default: 4); with fewer each one learns from more others
  --site FILE       what the cluster is like (default: slurm/site.env)
  --dry-run         print the command and submit nothing
TEXT
}

STUDY='' SPACE='' TRIALS='' AT_ONCE=4 SITE_FILE=$ROOT/slurm/site.env
while [ $# -gt 0 ]; do
  case $1 in
    --help | -h) usage; exit 0 ;;
    --dry-run) DRY_RUN=yes; shift; continue ;;
    --) shift; break ;;
    --*) require_value "$@" ;;
  esac
  case $1 in
    --out) STUDY=$2 ;;
    --space) SPACE=$2 ;;
    --trials) TRIALS=$2 ;;
    --at-once) AT_ONCE=$2 ;;
    --site) SITE_FILE=$2 ;;
    *) die "there is no option $1. search.sh --help lists them." ;;
  esac
  shift 2
done
[ -n "$STUDY" ] || die "give --out STUDY, the folder of the study."
[ -f "$SPACE" ] || die "give --space FILE, a file of options and their ranges."
require_whole --trials "$TRIALS"
require_whole --at-once "$AT_ONCE"
[[ "$*" != *$'\n'* ]] || die "an option has a line break."
# shellcheck disable=SC2034  # read by its name
declare -A TAKEN=(
  [run_dir]='Give --out STUDY.' [trainer.default_root_dir]='Give --out STUDY.'
  [auto_resume]='Every trial goes on from its last checkpoint.' [ckpt_path]='Every trial goes on from its last checkpoint.'
  [trainer.devices]='A trial has one device.' [trainer.num_nodes]='A trial has one device.'
)
refuse_taken TAKEN "$@"
[ -n "$DRY_RUN" ] || require_slurm
read_site "$SITE_FILE"
STUDY=$(realpath -m -- "$STUDY")
[[ $STUDY =~ ^[A-Za-z0-9._/+@:=-]+$ ]] || die "--out ${STUDY@Q}: choose a folder without blanks and quotes in its name."
if [ -z "$DRY_RUN" ]; then
  trap unlock EXIT
  lock "$STUDY"
fi
read_grid "$STUDY"
for ((number = 1; number <= TRIALS; number++)); do
  ask "tasks/$number" trial '' 0 0 '' '' -- "$STUDY" --space "$STUDY/space.yaml" -- "$@"
done
check_begun "$STUDY"
find_states "$STUDY"
if [ -e "$STUDY/space.yaml" ] && ! cmp -s "$SPACE" "$STUDY/space.yaml"; then
  for number in "${RUNS[@]}"; do
    case ${STATE[$number]} in
      done | running | waiting) die "$STUDY was begun with another space. Give --space $STUDY/space.yaml, or another --out." ;;
    esac
  done
fi
# as each task will read them, before anything is submitted
(checked search "$STUDY" --space "$(realpath -- "$SPACE")" -- "$@") || die "neuromtm search refuses the space or the options after --."
if [ -z "$DRY_RUN" ]; then
  [ "$SPACE" -ef "$STUDY/space.yaml" ] || cp -- "$SPACE" "$STUDY/space.yaml"
  write_grid "$STUDY"
  write_options "$STUDY"
  keep_site "$SITE_FILE" "$STUDY"
fi
submit_runs "$STUDY" "$AT_ONCE" "${ASKED[@]}"
