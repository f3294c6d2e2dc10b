#!/usr/bin/env bash
# A search over options of a training by neuromtm search: each trial is a task of an array, on one GPU.
# The same command again, with more trials for example, goes on.
set -euo pipefail
readonly PROGRAM=search.sh
ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
readonly ROOT
source "$ROOT/slurm/lib/site.sh"
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
    --*) [ $# -gt 1 ] || die "$1 needs a value." ;;
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
for number in "$TRIALS" "$AT_ONCE"; do
  [[ $number =~ ^[1-9][0-9]*$ ]] || die "--trials and --at-once take whole numbers from 1, not ${number@Q}."
done
[[ "$*" != *$'\n'* ]] || die "an option has a line break."
[ -n "$DRY_RUN" ] || require_slurm
read_site "$SITE_FILE"
STUDY=$(realpath -m -- "$STUDY")
[[ $STUDY =~ ^[A-Za-z0-9._/+@:=-]+$ ]] || die "--out ${STUDY@Q}: choose a folder without blanks and quotes in its name."
if [ -z "$DRY_RUN" ]; then
  trap unlock EXIT
  lock "$STUDY"
fi
[ ! -e "$STUDY/space.yaml" ] || cmp -s "$SPACE" "$STUDY/space.yaml" ||
  die "$STUDY was begun with another space. Give --space $STUDY/space.yaml, or another --out."
read_grid "$STUDY"
for ((number = 1; number <= TRIALS; number++)); do
  ask "tasks/$number" trial '' 0 0 '' '' -- "$STUDY" --space "$STUDY/space.yaml" -- "$@"
done
check_begun "$STUDY"
find_states "$STUDY"
# the parser reads the options of all trials before anything is submitted
(cd "$ROOT" && enter_environment && neuromtm fit "$@" --trainer.accelerator cpu --print_config > /dev/null) ||
  die "neuromtm fit refuses the options after --."
if [ -z "$DRY_RUN" ]; then
  [ -e "$STUDY/space.yaml" ] || cp -- "$SPACE" "$STUDY/space.yaml"
  write_grid "$STUDY"
  write_options "$STUDY"
  cp -- "$SITE_FILE" "$STUDY/site.env"
fi
submit_runs "$STUDY" "$AT_ONCE" "${ASKED[@]}"
