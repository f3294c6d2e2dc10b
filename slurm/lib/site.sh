# shellcheck shell=bash
# What a cluster is like (site.env), and the options of sbatch that follow from it. Sourced by the scripts of slurm/.

die() {
  printf '%s: %s\n' "$PROGRAM" "$*" >&2
  exit 2
}

# SITE[KEY] is a value of site.env, or empty. The file is never sourced and no value is ever evaluated.
declare -A SITE=()
# what a value must look like; what is allowed has no meaning for a shell that is not inside quotes, or stands inside them
declare -rA SITE_PATTERN=(
  [PARTITION]='^[A-Za-z0-9._,-]+$' [CPU_PARTITION]='^[A-Za-z0-9._,-]+$' [ACCOUNT]='^[A-Za-z0-9._-]+$'
  [QOS]='^[A-Za-z0-9._-]+$' [CONSTRAINT]='^[][A-Za-z0-9._,|&*()-]+$' [NODES]='^[1-9][0-9]*$'
  [GPUS_PER_NODE]='^(0|[1-9][0-9]*)$' [GPU_TYPE]='^[A-Za-z0-9._-]+$' [TASKS_PER_NODE]='^[1-9][0-9]*$'
  [CPUS_PER_TASK]='^[1-9][0-9]*$' [MEM]='^[1-9][0-9]*[KMGT]?$' [PRETRAIN_TIME]='^[0-9]+([:-][0-9]+)*$'
  [FINETUNE_TIME]='^[0-9]+([:-][0-9]+)*$' [MODULES]='^[A-Za-z0-9._/+: -]+$' [ENVIRONMENT]='^/[A-Za-z0-9._/+@:, -]*$'
  [DATA]='^/[A-Za-z0-9._/+@:, -]*$' [SBATCH_OPTIONS]='^--[A-Za-z0-9._/+:,=@ -]+$'
)
declare -rA SITE_EXAMPLE=(
  [PARTITION]=gpu [CPU_PARTITION]=cpu [ACCOUNT]=my-group [QOS]=normal [CONSTRAINT]='a100|h100' [NODES]=1
  [GPUS_PER_NODE]=4 [GPU_TYPE]=a100 [TASKS_PER_NODE]=1 [CPUS_PER_TASK]=8 [MEM]=64G [PRETRAIN_TIME]=24:00:00
  [FINETUNE_TIME]=04:00:00 [MODULES]='cuda/12.4 python/3.12' [ENVIRONMENT]=/path/to/neuromtm/.venv
  [DATA]=/path/to/sessions [SBATCH_OPTIONS]='--exclude=n3 --reservation=mine'
)
readonly SITE_REQUIRED=(PARTITION GPUS_PER_NODE CPUS_PER_TASK PRETRAIN_TIME FINETUNE_TIME ENVIRONMENT)

read_site() { # FILE
  local file=$1 line key value number=0
  [ -f "$file" ] || die "$file: no such file. Copy slurm/site.env.example to it and fill it in, or name another: --site FILE."
  SITE=()
  while IFS= read -r line || [ -n "$line" ]; do
    number=$((number + 1))
    [[ $line =~ ^[[:blank:]]*(#.*)?$ ]] && continue
    [[ $line =~ ^([A-Z_]+)=(.*)$ ]] || die "$file, line $number: ${line@Q} is not KEY=VALUE."
    key=${BASH_REMATCH[1]} value=${BASH_REMATCH[2]}
    value=${value%"${value##*[![:blank:]]}"}  # without blanks at the end
    [ -n "${SITE_PATTERN[$key]-}" ] || die "$file, line $number: there is no key $key. There are: $(known_keys)."
    [ -z "${SITE[$key]+there}" ] || die "$file, line $number: $key is there twice."
    [ -z "$value" ] || [[ $value =~ ${SITE_PATTERN[$key]} ]] || die "$file, line $number: $key=${value@Q} is not a value" \
      "that it takes. One is $key=${SITE_EXAMPLE[$key]}; values are plain text, without quotes, variables and commands."
    SITE[$key]=$value
  done < "$file"
  for key in "${SITE_REQUIRED[@]}"; do
    [ -n "${SITE[$key]-}" ] || die "$file: $key has no value. Add a line such as $key=${SITE_EXAMPLE[$key]}"
  done
  for key in PRETRAIN_TIME FINETUNE_TIME; do
    # minutes, or minutes:seconds; a run that is told of its end at its start would be requeued again and again
    [[ ! ${SITE[$key]} =~ ^0*[0-9](:[0-9]+)?$ ]] || die "$file: $key=${SITE[$key]} is less than ten minutes; a run is told" \
      "of its end three to four minutes before. Give more, e.g. $key=${SITE_EXAMPLE[$key]}"
  done
  for key in "${!SITE_PATTERN[@]}"; do
    SITE[$key]=${SITE[$key]-}
  done
  [ -x "${SITE[ENVIRONMENT]}/bin/neuromtm" ] || die "$file: ENVIRONMENT=${SITE[ENVIRONMENT]} has no bin/neuromtm."
}

known_keys() {
  printf '%s\n' "${!SITE_PATTERN[@]}" | sort | paste -sd ' '
}

# Modules and environment of the site, for the commands that follow.
enter_environment() {
  local modules
  read -ra modules <<< "${SITE[MODULES]}"
  if [ "${#modules[@]}" -gt 0 ]; then
    # shellcheck disable=SC1091  # in a shell that is no login shell the function is not there
    [ "$(type -t module)" = function ] || { set +u; source /etc/profile; set -u; }
    [ "$(type -t module)" = function ] || die "site.env names MODULES, but there is no command module here."
    module load "${modules[@]}" || die "module load ${modules[*]} failed."
  fi
  export PATH=${SITE[ENVIRONMENT]}/bin:$PATH
}

# Processes of a pretraining on each node.
tasks_per_node() {
  if [ "${SITE[GPUS_PER_NODE]}" -gt 0 ]; then
    echo "${SITE[GPUS_PER_NODE]}"
  else
    echo "${SITE[TASKS_PER_NODE]:-1}"
  fi
}

# SBATCH becomes the options of sbatch for one of: pretrain (all nodes and GPUs), finetune (one GPU), cpu (none).
sbatch_options() { # KIND
  local kind=$1 nodes=1 tasks=1 gpus=0 partition=${SITE[PARTITION]} constraint=${SITE[CONSTRAINT]} more
  local limit=${SITE[FINETUNE_TIME]}
  case $kind in
    pretrain) nodes=${SITE[NODES]:-1} tasks=$(tasks_per_node) gpus=${SITE[GPUS_PER_NODE]} limit=${SITE[PRETRAIN_TIME]} ;;
    finetune) [ "${SITE[GPUS_PER_NODE]}" = 0 ] || gpus=1 ;;
    cpu) [ -z "${SITE[CPU_PARTITION]}" ] || { partition=${SITE[CPU_PARTITION]}; constraint=''; } ;;
  esac
  SBATCH=(--partition="$partition" --nodes="$nodes" --ntasks-per-node="$tasks" --cpus-per-task="${SITE[CPUS_PER_TASK]}")
  SBATCH+=(--time="$limit")
  [ "$gpus" = 0 ] || SBATCH+=(--gres="gpu:${SITE[GPU_TYPE]:+${SITE[GPU_TYPE]}:}$gpus")
  [ -z "${SITE[MEM]}" ] || SBATCH+=(--mem="${SITE[MEM]}")
  [ -z "${SITE[ACCOUNT]}" ] || SBATCH+=(--account="${SITE[ACCOUNT]}")
  [ -z "${SITE[QOS]}" ] || SBATCH+=(--qos="${SITE[QOS]}")
  [ -z "$constraint" ] || SBATCH+=(--constraint="$constraint")
  read -ra more <<< "${SITE[SBATCH_OPTIONS]}"
  SBATCH+=("${more[@]}")
}

require_slurm() {
  command -v sbatch > /dev/null || die "there is no sbatch on the PATH. Run this where jobs are submitted, on a login node."
}

# The last value of an option in a command line.
value_of() { # OPTION WORDS...
  local option=$1 value='' word previous=''
  for word in "${@:2}"; do
    [ "$previous" != "$option" ] || value=$word
    [[ $word != "$option="* ]] || value=${word#*=}
    previous=$word
  done
  printf '%s' "$value"
}
