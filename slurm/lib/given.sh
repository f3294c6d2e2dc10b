# shellcheck shell=bash
# What a command line gives: values, lists, and options of neuromtm that the scripts set themselves. Sourced by the
# scripts of slurm/.

readonly WHOLE='^[1-9][0-9]{0,8}$' WHOLE_OR_0='^(0|[1-9][0-9]{0,9})$' LARGEST_SEED=4294967295

require_value() { # OPTION AND WHAT FOLLOWS IT...
  if [ $# -lt 2 ] || [ -z "$2" ] || [[ $2 == --* ]]; then die "$1 needs a value."; fi
  [[ $2 != *$'\n'* ]] || die "$1 ${2@Q}: a value with a line break."
}

# LIST becomes the values of an option, of which each stands there once.
read_list() { # OPTION VALUE
  local value
  local -A seen=()
  [[ $2 =~ ^[^,]+(,[^,]+)*$ ]] || die "$1 ${2@Q}: give values with one comma between them."
  IFS=, read -ra LIST <<< "$2"
  for value in "${LIST[@]}"; do
    [ -z "${seen[$value]-}" ] || die "$1 $2: ${value@Q} stands there twice."
    seen[$value]=yes
  done
}

require_whole() { # OPTION VALUE
  [[ $2 =~ $WHOLE ]] || die "$1 takes a whole number from 1 to 999999999, not ${2@Q}."
}

require_seed() { # OPTION VALUE
  if [[ ! $2 =~ $WHOLE_OR_0 ]] || [ "$2" -gt "$LARGEST_SEED" ]; then
    die "$1 takes whole numbers from 0 to $LARGEST_SEED, not ${2@Q}."
  fi
}

# Refuse options of neuromtm fit that the script sets itself, where the last one would win in silence.
refuse_taken() { # TAKEN WORDS...   TAKEN names an associative array: option -> what to give instead
  local -n taken=$1
  local word option own
  for word in "${@:2}"; do
    [[ $word == --* ]] || continue
    option=${word%%=*}
    option=${option#--}
    option=${option//.init_args/}
    # what is added to a list of the grid changes the grid too; callbacks may be added
    [ "$option" = trainer.callbacks+ ] || option=${option%+}
    case $option in
      help | print_config) die "$word: a job would print it and end, so it cannot be given here. Give it to neuromtm fit." ;;
    esac
    for own in "${!taken[@]}"; do
      # also by a whole group, as --data FILE or --model.objective {...}
      if [ "$option" = "$own" ]; then
        die "$word: $PROGRAM sets it itself, so it cannot be given here. ${taken[$own]}"
      elif [[ $own == "$option".* ]]; then
        die "$word: $PROGRAM sets $own itself, so it cannot be given here. ${taken[$own]}"
      fi
    done
  done
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
