#!/usr/bin/env bash
# All of BrainWideBench: fetch the sessions, prepare them, train, export, score. docs/benchmarks.md explains it.
#   examples/brainwidebench.sh FOLDER LABEL
# FOLDER takes everything that is fetched and written; LABEL names the submission. From the environment:
#   SEEDS    seeds of the trainings, at least three for a submission (43 44 45)
#   TASKS    tasks to train for (all)
#   FIT      further options of every training (--config conf/trainer/gpu.yaml)
#   DEVICE   where predictions are computed (cuda)
#   SCORER   folder of the scorer (scorers): pip install --no-deps --target scorers ibl-bwb-eval
# What is done is skipped, so the same command goes on after an interruption.
set -euo pipefail
usage() { sed -n '2,10s/^# //p' "$0" >&2; exit 2; }
refuse() { echo "brainwidebench.sh: $1" >&2; exit 2; }

every_task="activity choice contrast reward licking whisker wheel left_paw right_paw region"
[ $# -eq 2 ] || usage
folder=$1 label=$2 scorer=${SCORER:-scorers}
read -ra seeds <<< "${SEEDS:-43 44 45}"
read -ra tasks <<< "${TASKS:-$every_task}"
read -ra fit <<< "${FIT:---config conf/trainer/gpu.yaml}"
bucket=s3://brain-wide-bench/brainsets

declare -A windows=(
  [contrast]=stimulus_contrast [licking]=licking_rate [whisker]=whisker_motion_energy [wheel]=wheel_speed
  [left_paw]=left_paw_speed [right_paw]=right_paw_speed [choice]=choice [reward]=reward
)

# what is wrong is said now, and not after days of training
[ -f conf/bwb/pretrain.yaml ] || refuse "run it in the folder of the checkout, which has conf/bwb/pretrain.yaml."
[ -d "$scorer/ibl_bwb_eval" ] ||
  refuse "no scorer in $scorer: pip install --no-deps --target $scorer ibl-bwb-eval, or name its folder by SCORER."
for task in "${tasks[@]}"; do
  [[ " $every_task " == *" $task "* ]] || refuse "TASKS: there is no task $task. There are: $every_task."
done
for seed in "${seeds[@]}"; do
  [[ $seed =~ ^[0-9]+$ ]] || refuse "SEEDS: $seed is no whole number."
done
for program in aws python neuromtm; do
  command -v "$program" > /dev/null || refuse "the program $program is not there. Install it, or activate its environment."
done

fetch() { # build: all_units for behaviour, selected_units for activity and regions; part: eval or pretrain
  aws s3 sync "$bucket/$1/ibl_brain_wide_bench_2026/$2" "$folder/bucket/$1/$2" --no-sign-request
}

prepare() { # task, files; exit code 1 says that some sessions lack what the task needs, which is printed
  python -m data_prep bwb "${@:2}" --task "$1" --out "$folder/data/$1" || [ $? -eq 1 ]
}

train() { # run, options
  neuromtm fit "${@:2}" "${fit[@]}" --run_dir "$folder/runs/$1" --auto_resume true
}

export_run() { # run
  neuromtm export bwb "$folder/runs/$1" --out "$folder/predictions" --label "$label" --truth "$folder/truth" \
    --device "${DEVICE:-cuda}"
}

selected=$folder/bucket/selected_units
fetch selected_units pretrain
fetch selected_units eval
prepare co_smoothing "$selected/pretrain" "$selected/eval"
train pretrain --config conf/bwb/pretrain.yaml --data.root "$folder/data/co_smoothing"
pretrained=$folder/runs/pretrain/checkpoints/best.ckpt

for task in "${tasks[@]}"; do
  case $task in
    activity) options=(--config conf/finetune.yaml --model.pretrained "$pretrained" --data.root "$folder/data/co_smoothing") ;;
    region)
      prepare unit_cosmos "$selected/pretrain" "$selected/eval"
      options=(--config conf/bwb/region.yaml --data.root "$folder/data/unit_cosmos")
      ;;
    *)
      fetch all_units eval
      prepare "${windows[$task]}" "$folder/bucket/all_units/eval"
      options=(--config "conf/bwb/$task.yaml" --model.pretrained "$pretrained" --data.root "$folder/data/${windows[$task]}")
      ;;
  esac
  for seed in "${seeds[@]}"; do
    train "$task-$seed" "${options[@]}" --seed_everything "$seed"
    export_run "$task-$seed"
  done
done
PYTHONPATH=$scorer python -m ibl_bwb_eval.scoring.aggregation --pred_dir "$folder/predictions" --gt_dir "$folder/truth"
