#!/bin/sh
# The laptop twin of every published recipe, and the ready examples, on the embedded text, one seed each.
# usage: experiments/recipes/run.sh [NAME...]     PYTHON is the interpreter, OUTPUTS where the runs go
set -eu
outputs=${OUTPUTS:-outputs}
python=${PYTHON:-python}
[ $# -gt 0 ] || set -- colbert_az colbert_v2 reason_mxbai muvera_nano colbert_zero_kd supervised_kd colbert_zero \
    colbert_zero_noprompts margin_mse matryoshka lora best_on_dev xtr search_lr

for name; do
    if [ "$name" = muvera_nano ]; then
        # raw or normalised teacher scores x student scores as they are or normalised, each in three search modes
        side=phases.distill.objective.distillation
        $python -m colbert_lab -m +experiment=muvera_nano "output_dir=$outputs" tracking=off \
            "$side.teacher.normalisation=none,minmax" "$side.student.normalisation=none,minmax"
    elif [ "$name" = search_lr ]; then
        $python -m colbert_lab -m "+experiment=$name" "output_dir=$outputs" tracking=off
    elif [ "$name" = colbert_zero_kd ]; then
        $python -m colbert_lab "+experiment=$name" "output_dir=$outputs" tracking=off   # README's main table
        $python -m colbert_lab "+experiment=$name" size=full "output_dir=$outputs" tracking=off
    else
        $python -m colbert_lab "+experiment=$name" "output_dir=$outputs" tracking=off
    fi
done
$python experiments/recipes/table.py "$outputs"
