# shellcheck shell=bash
# What the log of a job says of a run, in one line. Sourced by status.

# What the job printed since its last start, a line for each one that a progress bar drew anew; the end of a long log.
since_start() { # FILE
  tail -c 400000 -- "$1" | tr '\r' '\n' |
    awk '/: job [0-9_]+ on .*, requeued [0-9]+ times$/ { n = 0; delete lines } /[^[:space:]]/ { lines[++n] = $0 }
      END { for (i = 1; i <= n; i++) print lines[i] }'
}

# How far a run is: the last line that counts steps or the like, else the last one that is no warning.
progress_in() { # FILE
  since_start "$1" | awk '
    /^(Step [0-9,]+|Neurons left out in turn:|trial [0-9]+:|neuromtm: )/ { step = $0; last = "" ; next }
    /Warning: |^\[[A-Z][0-9]+ |^ |^srun: |^slurmstepd: |: job [0-9_]+ on .*, requeued [0-9]+ times$/ { next }
    { last = $0 }
    END { print step != "" ? step : last }' | cut -c 1-160
}

# Why a run failed: the first reason since its last start, because what comes later follows from it. That is what the
# program says, the error that ended it, or what Slurm says of a process that could say nothing.
reason_in() { # FILE
  since_start "$1" | awk '
    / on [^ ]+, requeued [0-9]+ times$/ { hosts = $0; sub(/, requeued.*/, "", hosts); sub(/.* on /, "", hosts); next }
    /^(neuromtm|[a-z]+\.sbatch): / && reason == "" { reason = $0; next }
    /^(\[rank[0-9]+\]: ?)?[A-Za-z_.]*(Error|Exception|Interrupt)(:|$)/ && reason == "" { reason = $0; next }
    # who was ended, and where; a line of slurmstepd knows no host
    /^srun: error: .*: task/ && !/Exited with exit code/ && (reason == "" || reason ~ /^slurmstepd: /) { reason = $0; next }
    /^slurmstepd: error: / && reason == "" { reason = $0; next }
    /^srun: / { ended = $0; next }
    /^slurmstepd: / { next }
    { last = $0 }
    END {
      if (reason == "") reason = last != "" ? last : ended != "" ? ended : "its log says nothing"
      if (reason ~ /^slurmstepd: / && reason !~ / ON /) reason = reason " (on " hosts ")"
      print reason
    }' | cut -c 1-200
}
