# shellcheck shell=bash
# What a dry run of sweep_sessions.sh shows: the grid, and the hours with their arithmetic.
# shellcheck disable=SC2153  # STAGE and ANIMAL are arrays of sweep.sh

setting() { # STAGE SECTION NAME   a value of a configuration
  awk -v section="$2:" -v name="$3:" '/^[a-z]/ { at = $1 } at == section && /^  [a-z]/ && $1 == name { print $2 }' \
    <<< "${CONFIG[$1]}"
}

show_grid() {
  local run
  printf '%-36s %-9s %-16s %10s %5s  %-12s %s\n' run stage objective n_sessions seed animal state
  for run in "${ASKED[@]}"; do
    local stage objective n_sessions seed animal
    IFS=, read -r _ stage objective n_sessions seed animal _ <<< "${ROW[$run]}"
    printf '%-36s %-9s %-16s %10s %5s  %-12s %s\n' "$run" "$stage" "$objective" "$n_sessions" "$seed" "$animal" "${STATE[$run]}"
  done
}

# Two numbers: the training trials of a session, and of a batch on one rank; both are means over sessions. A session is
# divided into batches of nearly equal size, as in neuromtm.data.sampler, so that one with few trials has small batches.
declare -A SIZES=()
sizes_of() { # STAGE TRIALS OF EACH SESSION
  local batch together most
  batch=$(setting "$1" data batch_size) together=$(setting "$1" data sessions_per_batch)
  most=$(setting "$1" data n_train_trials)
  awk -v batch="${batch:-1}" -v together="${together:-1}" -v most="$most" '{
    for (i = 1; i <= NF; i++) {
      n = most + 0 > 0 && most + 0 < $i ? most + 0 : $i
      piece = batch / together; total += n; pieces += int((n + piece - 1) / piece)
    }
    printf "%.6g %.6g\n", total / NF, pieces ? together * total / pieces : 0
  }' <<< "$2"
}

# How long the trainings of a stage take that are to be submitted. Tests and the start of jobs are not in it.
show_hours_of() { # STAGE N_DEVICES TRIALS_PER_S
  local stage=$1 run trials text device=GPU
  local -A n_runs=()
  [ "${SITE[GPUS_PER_NODE]}" != 0 ] || device=process
  for run in "${ASKED[@]}"; do
    [ "${STAGE[$run]}" = "$stage" ] || continue
    case ${STATE[$run]} in new | failed) ;; *) continue ;; esac
    local steps epochs batches n_sessions own of a_session a_batch in_epochs
    steps=$(setting "$stage" trainer max_steps) epochs=$(setting "$stage" trainer max_epochs)
    batches=$(setting "$stage" trainer accumulate_grad_batches)
    [[ $steps =~ ^[0-9]+$ ]] || steps=0
    [[ $epochs =~ ^[0-9]+$ ]] || epochs=0
    [[ $batches =~ ^[0-9]+$ ]] || batches=1
    IFS=, read -r _ _ _ n_sessions _ <<< "${ROW[$run]}"
    own=${TRAIN_OF[pretrain]-} of=$stage
    if [ "$stage" != pretrain ]; then
      of=${ANIMAL[$run]} own=${TRAIN_OF[animal $of]}
      n_sessions=$(wc -w <<< "$own")
    fi
    [ -n "${SIZES[$stage $of]-}" ] || SIZES[$stage $of]=$(sizes_of "$stage" "$own")
    read -r a_session a_batch <<< "${SIZES[$stage $of]}"
    in_epochs=$(awk "BEGIN { printf \"%.0f\", $epochs * $n_sessions * $a_session }")
    trials=$(awk "BEGIN { printf \"%.0f\", $steps * $batches * $a_batch * $2 }")
    text="$steps steps x $([ "$batches" = 1 ] || echo "$batches batches x ")$a_batch trials x $2 ranks"
    if [ "$trials" = 0 ] || { [ "$in_epochs" != 0 ] && [ "$in_epochs" -lt "$trials" ]; }; then
      text="$epochs epochs x $n_sessions sessions x $a_session trials$([ "$stage" = pretrain ] || echo " of $of")"
      trials=$in_epochs
    fi
    n_runs["$trials|$text"]=$((${n_runs["$trials|$text"]:-0} + 1))
  done
  local key
  for key in "${!n_runs[@]}"; do printf '%s|%s\n' "$key" "${n_runs[$key]}"; done | sort -n |
    awk -F'|' -v stage="$stage" -v speed="$3" -v devices="$2" -v device="$device" '{
      seconds = $1 / speed; hours = $3 * seconds * devices / 3600; total += hours
      printf "  %s: %d x (%s) / %g trials/s = %d x %.0f s; x %d %s = %.2f hours\n", stage, $3, $2, speed, $3, seconds, devices,
        device (devices == 1 ? "" : device == "GPU" ? "s" : "es"), hours
    } END { if (NR) printf "  %s, together: %.2f %s hours\n", stage, total, device }'
}

show_hours() {
  local devices
  devices=$((${SITE[NODES]:-1} * $(tasks_per_node)))
  if [ -z "$TRIALS_PER_S" ]; then
    echo "Hours: give --trials-per-s, the measured speed of a pretraining on $devices processes."
    return
  fi
  echo "Hours of training, without tests and the start of jobs; early stopping makes them fewer:"
  show_hours_of pretrain "$devices" "$TRIALS_PER_S"
  local speed_of_one
  speed_of_one=$(awk -v speed="$TRIALS_PER_S" -v devices="$devices" 'BEGIN { print speed / devices }')
  show_hours_of finetune 1 "$speed_of_one"
  show_hours_of scratch 1 "$speed_of_one"
}
