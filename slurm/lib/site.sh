# shellcheck shell=bash
# What a cluster is like (site.env), and the options of sbatch that follow from it. Sourced by the scripts of slurm/.

die() {
  printf '%s: %s\n' "$PROGRAM" "$*" >&2
  exit 2
}

# minutes, minutes:seconds, hours:minutes:seconds, days-hours, days-hours:minutes, days-hours:minutes:seconds
readonly SLURM_TIME='^([0-9]{1,6}(:[0-9]{1,6}){0,2}|[0-9]{1,6}-[0-9]{1,6}(:[0-9]{1,6}){0,2})$'

# SITE[KEY] is a value of site.env, or empty. The file is never sourced and no value is ever evaluated.
declare -A SITE=()
SITE_NAME=''
# what a value must look like; what is allowed has no meaning for a shell that is not inside quotes, or stands inside them
declare -rA SITE_PATTERN=(
  [PARTITION]='^[A-Za-z0-9._,-]+$' [CPU_PARTITION]='^[A-Za-z0-9._,-]+$' [ACCOUNT]='^[A-Za-z0-9._-]+$'
  [QOS]='^[A-Za-z0-9._-]+$' [CONSTRAINT]='^[][A-Za-z0-9._,|&*()-]+$' [NODES]='^[1-9][0-9]{0,4}$'
  [GPUS_PER_NODE]='^(0|[1-9][0-9]{0,3})$' [GPU_TYPE]='^[A-Za-z0-9._-]+$' [TASKS_PER_NODE]='^[1-9][0-9]{0,3}$'
  [CPUS_PER_TASK]='^[1-9][0-9]{0,4}$' [MEM]='^[1-9][0-9]{0,8}[KMGT]?$' [PRETRAIN_TIME]="$SLURM_TIME"
  [FINETUNE_TIME]="$SLURM_TIME" [MODULES]='^[A-Za-z0-9._/+: -]+$' [ENVIRONMENT]='^/[A-Za-z0-9._/+@:, -]*$'
  [DATA]='^/[A-Za-z0-9._/+@:, -]*$' [SBATCH_OPTIONS]='^-[A-Za-z0-9._/+:,=@-]+( +-[A-Za-z0-9._/+:,=@-]+)*$'
)
# options of sbatch that the scripts give themselves, where another one would win: which key says it instead, if any
declare -rA SBATCH_TAKEN=(
  [--partition]=PARTITION [-p]=PARTITION [--account]=ACCOUNT [-A]=ACCOUNT [--qos]=QOS [-q]=QOS
  [--constraint]=CONSTRAINT [-C]=CONSTRAINT [--nodes]=NODES [-N]=NODES [--ntasks]=TASKS_PER_NODE [-n]=TASKS_PER_NODE
  [--ntasks-per-node]=TASKS_PER_NODE [--gres]=GPUS_PER_NODE [--gpus]=GPUS_PER_NODE [-G]=GPUS_PER_NODE
  [--gpus-per-node]=GPUS_PER_NODE [--cpus-per-task]=CPUS_PER_TASK [-c]=CPUS_PER_TASK [--mem]=MEM
  [--time]='PRETRAIN_TIME and FINETUNE_TIME' [-t]='PRETRAIN_TIME and FINETUNE_TIME' [--array]='' [-a]=''
  [--dependency]='' [-d]='' [--output]='' [-o]='' [--job-name]='' [-J]='' [--chdir]='' [-D]='' [--parsable]=''
  [--open-mode]='' [--requeue]='' [--no-requeue]='' [--signal]='' [--kill-on-invalid-dep]='' [--wrap]='' [--wait]=''
  [-W]='' [--test-only]='' [--help]='' [-h]=''
)
declare -rA SITE_EXAMPLE=(
  [PARTITION]=gpu [CPU_PARTITION]=cpu [ACCOUNT]=my-group [QOS]=normal [CONSTRAINT]='a100|h100' [NODES]=1
  [GPUS_PER_NODE]=4 [GPU_TYPE]=a100 [TASKS_PER_NODE]=1 [CPUS_PER_TASK]=8 [MEM]=64G [PRETRAIN_TIME]=24:00:00
  [FINETUNE_TIME]=04:00:00 [MODULES]='cuda/12.4 python/3.12' [ENVIRONMENT]=/path/to/neuromtm/.venv
  [DATA]=/path/to/sessions [SBATCH_OPTIONS]='--exclude=n3 --reservation=mine'
)
readonly SITE_REQUIRED=(PARTITION GPUS_PER_NODE CPUS_PER_TASK PRETRAIN_TIME FINETUNE_TIME ENVIRONMENT)

read_site() { # FILE
  local file=$1 line key value word number=0
  [ -f "$file" ] || die "$file: no such file. Copy slurm/site.env.example to it and fill it in, or name another: --site FILE."
  SITE=() SITE_NAME=$file
  while IFS= read -r line || [ -n "$line" ]; do
    number=$((number + 1))
    line=${line%$'\r'}  # a file that was written on Windows
    [ "$number" != 1 ] || line=${line#$'\xEF\xBB\xBF'}  # the mark of UTF-8 that some editors put in front
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
    # a run that is told of its end at its start would be requeued again and again
    [ "$(seconds_of "${SITE[$key]}")" -ge 600 ] || die "$file: $key=${SITE[$key]} is less than ten minutes; a run is told" \
      "of its end three to four minutes before. Give more, e.g. $key=${SITE_EXAMPLE[$key]}"
  done
  for word in ${SITE[SBATCH_OPTIONS]-}; do
    [[ $word =~ ^(--[^=]+|-[A-Za-z]) ]] || die "$file: SBATCH_OPTIONS has the word ${word@Q}, which is no option."
    word=${BASH_REMATCH[1]}
    [ -z "${SBATCH_TAKEN[$word]+taken}" ] || die "$file: SBATCH_OPTIONS has $word, which the scripts set" \
      "themselves${SBATCH_TAKEN[$word]:+: give ${SBATCH_TAKEN[$word]} instead}."
  done
  for key in "${!SITE_PATTERN[@]}"; do
    SITE[$key]=${SITE[$key]-}
  done
  [ -x "${SITE[ENVIRONMENT]}/bin/neuromtm" ] || die "$file: ENVIRONMENT=${SITE[ENVIRONMENT]} has no bin/neuromtm."
}

# Seconds of a time limit as Slurm reads it.
seconds_of() { # LIMIT
  local days=0 rest=$1 parts
  [[ $1 != *-* ]] || { days=${1%-*} rest=${1#*-}; }
  IFS=: read -ra parts <<< "$rest"
  if [[ $1 == *-* ]]; then
    parts=("${parts[0]}" "${parts[1]:-0}" "${parts[2]:-0}")
  else
    case ${#parts[@]} in
      1) parts=(0 "${parts[0]}" 0) ;;
      2) parts=(0 "${parts[@]}") ;;
    esac
  fi
  # 10# because 08 is no octal number
  echo $((10#$days * 86400 + 10#${parts[0]} * 3600 + 10#${parts[1]} * 60 + 10#${parts[2]}))
}

known_keys() {
  printf '%s\n' "${!SITE_PATTERN[@]}" | sort | paste -sd ' '
}

# The jobs of a sweep read its own copy. The file that is given may be this copy.
keep_site() { # FILE SWEEP
  [ ! "$1" -ef "$2/site.env" ] || return 0
  cp -- "$1" "$2/.site.env.$$"
  mv -- "$2/.site.env.$$" "$2/site.env"
}

# Modules and environment of the site, for the commands that follow.
enter_environment() {
  local modules
  read -ra modules <<< "${SITE[MODULES]}"
  if [ "${#modules[@]}" -gt 0 ]; then
    # shellcheck disable=SC1091  # in a shell that is no login shell the function is not there
    [ "$(type -t module)" = function ] || { set +u; source /etc/profile; set -u; }
    [ "$(type -t module)" = function ] || die "$SITE_NAME names MODULES, but there is no command module here."
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
