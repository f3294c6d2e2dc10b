# shellcheck shell=bash
# A sweep's folder: its grid, its jobs, its lock, and what is submitted. Sourced by sweep_sessions.sh and status.
#   SWEEP/grid.csv       a row a run
#   SWEEP/options/RUN    what the run's program is given, an argument a line
#   SWEEP/jobs.csv       run, job and log of everything that was submitted; the last line of a run counts
#   SWEEP/site.env       the site.env of the last submission
#   SWEEP/logs/          what the jobs print
#   SWEEP/RUN/ended      is written when a run has ended well; SWEEP/collected when the last job has

readonly GRID_HEADER=run,stage,objective,n_sessions,seed,animal,pretrained

# RUNS in the order of the grid, and of each: its row, stage, animal, pretraining, and number within its stage
RUNS=()
declare -A ROW=() STAGE=() ANIMAL=() PRETRAINED=() NUMBER=()
declare -A STAGE_SIZE=()

add_run() { # RUN STAGE OBJECTIVE N_SESSIONS SEED ANIMAL PRETRAINED
  [ -z "${ROW[$1]-}" ] || return 0
  RUNS+=("$1")
  ROW[$1]=$1,$2,$3,$4,$5,$6,$7
  STAGE[$1]=$2 ANIMAL[$1]=$6 PRETRAINED[$1]=$7
  STAGE_SIZE[$2]=$((${STAGE_SIZE[$2]:-0} + 1))
  NUMBER[$1]=${STAGE_SIZE[$2]}
}

# The rows that are there keep their places: a task of an array knows its run by the row.
read_grid() { # SWEEP
  local header run stage objective n_sessions seed animal pretrained
  [ -e "$1/grid.csv" ] || return 0
  {
    IFS= read -r header
    [ "$header" = "$GRID_HEADER" ] || die "$1/grid.csv does not begin with $GRID_HEADER: it is no sweep of this program."
    while IFS=, read -r run stage objective n_sessions seed animal pretrained; do
      add_run "$run" "$stage" "$objective" "$n_sessions" "$seed" "$animal" "$pretrained"
    done
  } < "$1/grid.csv"
}

write_grid() { # SWEEP
  local run
  {
    echo "$GRID_HEADER"
    for run in "${RUNS[@]}"; do echo "${ROW[$run]}"; done
  } > "$1/.grid.csv.$$"
  mv "$1/.grid.csv.$$" "$1/grid.csv"
}

# ---- what each run is given ----

# of the runs that a command asks for: their options, an argument a line
declare -A OPTIONS=()
ASKED=()

ask() { # RUN STAGE OBJECTIVE N_SESSIONS SEED ANIMAL PRETRAINED -- OPTIONS...
  add_run "${@:1:7}"
  ASKED+=("$1")
  OPTIONS[$1]=$(printf '%s\n' "${@:9}")
}

# A recipe by its whole path, so that it does not matter where this is called; one of the package keeps its name.
recipe() { # FILE
  if [ -f "$1" ]; then
    realpath -- "$1"
  else
    printf '%s\n' "$1"
  fi
}

# What a run has begun with stays: runs of other options in one table would not compare.
check_begun() { # SWEEP
  local run file differs
  for run in "${ASKED[@]}"; do
    file=$1/options/$run
    if [ ! -e "$file" ] || [ ! -e "$1/$run" ]; then continue; fi
    differs=$(diff <(cat "$file") <(printf '%s\n' "${OPTIONS[$run]}") | sed -n '/^[<>]/p' | head -n 2 | paste -sd ' ') || true
    [ -z "$differs" ] || die "$1/$run was begun with other options ($differs). Give the same, or another --out."
  done
}

write_options() { # SWEEP
  local run
  for run in "${ASKED[@]}"; do
    # that of a run that has begun is there and says the same
    [ ! -e "$1/options/$run" ] || [ ! -e "$1/$run" ] || continue
    mkdir -p "$(dirname -- "$1/options/$run")"
    printf '%s\n' "${OPTIONS[$run]}" > "$1/options/$run"
  done
}

# The options of the first run of each stage and objective are read, and what they describe is built without its data,
# so that a wrong one is refused here and not in 100 jobs. CONFIG[STAGE] becomes the whole configuration.
declare -A CONFIG=()
check_options() {
  local run stage kind objective words
  local -A seen=()
  for run in "${ASKED[@]}"; do
    stage=${STAGE[$run]} kind=fit
    IFS=, read -r _ _ objective _ <<< "${ROW[$run]}"
    [ -z "${seen[$stage $objective]-}" ] || continue
    seen[$stage $objective]=yes
    [ "$stage" != baseline ] || kind=baseline
    mapfile -t words <<< "${OPTIONS[$run]}"
    # shellcheck disable=SC2034  # a dry run reads it
    CONFIG[$stage]=$(checked "$kind" "${words[@]}") || die "neuromtm $kind refuses the options of $run."
  done
}

# What neuromtm says of a command line, without carrying it out: in the folder and the environment that jobs run in.
checked() { # COMMAND WORDS...
  cd "$ROOT" && enter_environment && python -P -m neuromtm.commands.checking "$@"
}

# ---- one submission at a time ----

# A folder is made by one process only, on file systems without locks too.
lock() { # SWEEP
  local folder=$1/.lock mine holder='' host pid user since
  mine="$(hostname) $$ $(id -un) $(date +%FT%T)"
  mkdir -p "$1" || die "$1: cannot be written to. Choose another --out."
  if ! mkdir "$folder" 2> /dev/null; then
    [ -d "$folder" ] || die "$1: cannot be written to. Choose another --out."
    holder=$(cat "$folder/holder" 2> /dev/null || true)
    read -r host pid user since <<< "$holder"
    if [ "$host" != "$(hostname)" ] || [ -e "/proc/$pid" ] || kill -0 "$pid" 2> /dev/null; then
      die "$1: another submission is at work (${user:-unknown}, process ${pid:-unknown} on ${host:-unknown}, since" \
        "${since:-just now}). Wait until it has ended. If it no longer runs, remove $folder."
    fi
    # it was killed. Of several that see this, one gets the folder's name
    mv "$folder" "$folder.$$" 2> /dev/null || die "$1: another submission has just begun. Wait until it has ended."
    if [ "$(cat "$folder.$$/holder" 2> /dev/null || true)" != "$holder" ]; then
      mv -n "$folder.$$" "$folder"
      die "$1: another submission has just begun. Wait until it has ended."
    fi
    rm -r "$folder.$$"
    mkdir "$folder" 2> /dev/null || die "$1: another submission has just begun. Wait until it has ended."
    echo "$PROGRAM: process $pid of $user on $host left a lock behind and no longer runs; it is removed." >&2
  fi
  LOCKED=$folder
  echo "$mine" > "$folder/holder"
}

unlock() {
  [ -z "${LOCKED-}" ] || rm -rf "$LOCKED"
  LOCKED=''
}

# ---- what is done, runs, waits or failed ----

# shellcheck disable=SC2034  # `status` reads LOG and REASON
declare -A JOB=() LOG=() STATE=() REASON=() QUEUE=()

read_jobs() { # SWEEP
  local run job log
  [ -e "$1/jobs.csv" ] || return 0
  while IFS=, read -r run job log; do
    [ "$run" != run ] || continue
    # shellcheck disable=SC2034
    JOB[$run]=$job LOG[$run]=$log
  done < "$1/jobs.csv"
}

# STATE[RUN] becomes done, running, waiting, failed (it was submitted, and is not in the queue) or new (it was not).
find_states() { # SWEEP
  local id state reason queue run
  read_jobs "$1"
  # without an answer nothing is known: what runs would be taken for failed, and submitted twice
  if ! queue=$(squeue --noheader --array --user "$(id -un)" --format '%i|%T|%r' 2>&1); then
    # a dry run may be on a machine without Slurm
    [ -n "$DRY_RUN" ] || die "squeue does not answer: ${queue##*$'\n'}. Try again later."
    queue=''
  fi
  while IFS='|' read -r id state reason; do
    [ -z "$id" ] || QUEUE[$id]="$state|$reason"
  done <<< "$queue"
  for run in "${RUNS[@]}" collect; do
    REASON[$run]=''
    if [ -e "$1/$run/ended" ] || { [ "$run" = collect ] && [ -e "$1/collected" ]; }; then
      STATE[$run]='done'
    elif [ -z "${JOB[$run]-}" ]; then
      STATE[$run]=new
    elif [ -z "${QUEUE[${JOB[$run]}]-}" ]; then
      STATE[$run]=failed
    else
      IFS='|' read -r state reason <<< "${QUEUE[${JOB[$run]}]}"
      case $state in
        PENDING | REQUEUED | REQUEUE_HOLD | SPECIAL_EXIT)
          # shellcheck disable=SC2034
          STATE[$run]=waiting REASON[$run]=$reason ;;
        *) STATE[$run]=running ;;
      esac
    fi
  done
}

# ---- submission ----

SUBMITTED=()
DRY_RUN=''

# ID becomes the number of the job; in a dry run the command is shown.
submit_job() { # OPTIONS OF sbatch...
  if [ -n "$DRY_RUN" ]; then
    ID="JOB$((${#SUBMITTED[@]} + 1))"
    printf '%s=' "$ID"
    printf ' %q' sbatch "$@"
    printf '\n'
  else
    ID=$(sbatch --parsable "$@") || return 1
    ID=${ID%%;*}  # the name of the cluster follows, where there are several
    [[ $ID =~ ^[0-9]+$ ]] || { echo "sbatch answered ${ID@Q}, which is no number of a job." >&2; return 1; }
  fi
  SUBMITTED+=("$ID")
}

# Numbers as an array of Slurm: 1,2,3,5 is 1-3,5
as_ranges() { # NUMBERS in rising order...
  local first=$1 last=$1 number text=''
  for number in "${@:2}" ''; do
    if [ -n "$number" ] && [ "$number" = $((last + 1)) ]; then
      last=$number
    else
      text+=,$first
      [ "$first" = "$last" ] || text+=-$last
      first=$number last=$number
    fi
  done
  printf '%s' "${text#,}"
}

# One array of runs. Each task finds its run by its number.
submit_array() { # SWEEP NAME KIND AT_ONCE DEPENDENCY STAGE ANIMAL RUNS...
  local sweep=$1 name=$2 kind=$3 at_once=$4 dependency=$5 stage=$6 animal=$7 run number numbers=() script=finetune
  local log=logs/$name
  for run in "${@:8}"; do
    number=${NUMBER[$run]}
    [ "$stage" != finetune ] || number=${NUMBER[${PRETRAINED[$run]}]}
    numbers+=("$number")
  done
  [ "$stage" != pretrain ] || script=pretrain
  mapfile -t numbers < <(printf '%s\n' "${numbers[@]}" | sort -n)
  sbatch_options "$kind"
  [ -z "$dependency" ] || SBATCH+=(--dependency="aftercorr:$dependency" --kill-on-invalid-dep=yes)
  submit_job --job-name="$name" --chdir="$ROOT" --output="$sweep/$log-%A_%a.out" "${SBATCH[@]}" \
    --array="$(as_ranges "${numbers[@]}")%$at_once" "$ROOT/slurm/$script.sbatch" --sweep "$sweep" --stage "$stage" \
    ${animal:+--animal "$animal"} || return 1
  for run in "${@:8}"; do
    number=${NUMBER[$run]}
    [ "$stage" != finetune ] || number=${NUMBER[${PRETRAINED[$run]}]}
    JOB[$run]=${ID}_$number
    [ -n "$DRY_RUN" ] || echo "$run,${ID}_$number,$log-${ID}_$number.out" >> "$sweep/jobs.csv"
  done
}

# Submit those of the given runs that are not done, running or waiting; all of them or none.
submit_runs() { # SWEEP AT_ONCE RUNS...
  local sweep=$1 at_once=$2 run wanted=() before='' ok=1
  for run in "${@:3}"; do
    case ${STATE[$run]} in failed | new) wanted+=("$run") ;; esac
  done
  [ "${STAGE_SIZE[trial]:-0}" = 0 ] || STATE[collect]='done'
  if [ "${#wanted[@]}" = 0 ] && [ "${STATE[collect]}" != failed ] && [ "${STATE[collect]}" != new ]; then
    echo "Nothing to submit: the runs are done, run or wait."
    return 0
  fi
  if [ -z "$DRY_RUN" ]; then
    mkdir -p "$sweep/logs"
    [ -e "$sweep/jobs.csv" ] || echo run,job,log > "$sweep/jobs.csv"
    before=$(cat "$sweep/jobs.csv")
    trap 'ok=0' INT TERM  # the jobs so far are cancelled below
  fi
  submit_stages "$sweep" "$at_once" "${wanted[@]}" || ok=0
  if [ "$ok" = 0 ]; then
    [ "${#SUBMITTED[@]}" = 0 ] || scancel "${SUBMITTED[@]}"
    printf '%s\n' "$before" > "$sweep/jobs.csv"
    die "nothing is submitted${SUBMITTED[0]:+: what had been is cancelled (${SUBMITTED[*]})}."
  fi
  trap - INT TERM
  [ -n "$DRY_RUN" ] || echo "Submitted: ${#wanted[@]} runs in the jobs ${SUBMITTED[*]}. How they do: slurm/status $sweep"
}

submit_stages() { # SWEEP AT_ONCE RUNS...
  local sweep=$1 at_once=$2 run stage group base after animal alive=() n_finetune=0
  local pretrainings='' members=()
  local -A of=()  # stage, animal and the job it waits for -> runs, with blanks between
  local groups=()
  for run in "${@:3}"; do
    [ "${STAGE[$run]}" != pretrain ] || pretrainings+=" $run"
  done
  if [ -n "$pretrainings" ]; then
    read -ra members <<< "$pretrainings"
    submit_array "$sweep" pretrain pretrain "$at_once" '' pretrain '' "${members[@]}" || return 1
  fi
  for run in "${@:3}"; do
    stage=${STAGE[$run]} after=''
    [ "$stage" != pretrain ] || continue
    group=$stage,,
    if [ "$stage" = finetune ]; then
      base=${PRETRAINED[$run]}
      # it waits for the same task of the array of pretrainings
      [ "${STATE[$base]}" = "done" ] || after=${JOB[$base]%_*}
      group=finetune,${ANIMAL[$run]},$after
      [ -n "${of[$group]-}" ] || n_finetune=$((n_finetune + 1))
    fi
    [ -n "${of[$group]-}" ] || groups+=("$group")
    of[$group]+=" $run"
  done
  for group in "${groups[@]}"; do
    IFS=, read -r stage animal after <<< "$group"
    read -ra members <<< "${of[$group]}"
    case $stage in
      finetune)
        # an array for each animal: together they take no more than one array may
        submit_array "$sweep" "finetune-$animal" finetune "$((at_once > n_finetune ? at_once / n_finetune : 1))" \
          "$after" finetune "$animal" "${members[@]}" ;;
      scratch) submit_array "$sweep" scratch finetune "$at_once" '' scratch '' "${members[@]}" ;;
      trial) submit_array "$sweep" trial finetune "$at_once" '' trial '' "${members[@]}" ;;
      baseline) submit_array "$sweep" baseline cpu "$at_once" '' baseline '' "${members[@]}" ;;
    esac || return 1
  done
  # a search writes its own table
  [ "${STAGE_SIZE[trial]:-0}" = 0 ] || return 0
  # it comes last, whatever becomes of the runs: the table of what is there
  for run in "${RUNS[@]}"; do
    case ${STATE[$run]} in running | waiting) alive+=("${JOB[$run]%_*}") ;; esac
  done
  mapfile -t alive < <(printf '%s\n' "${alive[@]}" "${SUBMITTED[@]}" | sort -u | sed '/^$/d')
  sbatch_options cpu
  [ "${#alive[@]}" = 0 ] || SBATCH+=(--dependency="afterany:$(IFS=:; echo "${alive[*]}")")
  local former=''
  [ "${STATE[collect]}" != waiting ] || former=${JOB[collect]}
  submit_job --job-name=collect --chdir="$ROOT" --output="$sweep/logs/collect-%j.out" "${SBATCH[@]}" \
    "$ROOT/slurm/collect.sbatch" --sweep "$sweep" || return 1
  [ -n "$DRY_RUN" ] || { echo "collect,$ID,logs/collect-$ID.out" >> "$sweep/jobs.csv"; rm -f "$sweep/collected"; }
  # it may have begun in the meantime
  [ -z "$former" ] || [ -n "$DRY_RUN" ] || scancel "$former" || true
}
