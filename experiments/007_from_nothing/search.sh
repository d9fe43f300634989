#!/bin/sh
# The search on dev behind the learning rates, temperatures and kinds of pairs in conf/experiment/from_nothing.yaml and in
# study.yaml; one seed. The supervised phase had 78 steps then; 66 read as many tokens as the other phases. OUTPUTS is where
# the runs go, BY_KIND the folder of triples that study.yaml prepares. `search.sh unsupervised distill` makes these
# alone.
# README.md has the values.
set -eu
OUTPUTS=${OUTPUTS:-outputs}
BY_KIND=${BY_KIND:-$OUTPUTS/007_from_nothing_data/by_kind}
PYTHON=${PYTHON:-python}
search() {
    name=$1
    shift
    "$PYTHON" -m colbert_lab -m +experiment=from_nothing "name=007_search/$name" trainer.precision=32-true tracking=off seed=1 \
        "phases.supervised.data.path=$BY_KIND" 'phases.supervised.data.source_weights=[0.25,0.02,0.33,0.4]' "output_dir=$OUTPUTS" \
        '~evaluation.splits.test' '~evaluation.splits.out_of_domain' evaluation.splits.dev.queries=1000 \
        evaluation.documents=3000 evaluation.baselines.dense=null "$@"
}
LEARNED=phases.unsupervised.objective.contrastive
one() {
    case $1 in
    unsupervised) search unsupervised 'schedule=[unsupervised]' 'evaluation.after=[unsupervised]' "$LEARNED.learnable=true" \
        "$LEARNED.temperature=1" phases.unsupervised.optimizer.lr=1e-3,2e-3,4e-3 ;;
    temperature) search temperature 'schedule=[unsupervised]' 'evaluation.after=[unsupervised]' \
        "$LEARNED.temperature=0.1,0.25" ;;
    kinds) search kinds 'schedule=[unsupervised]' 'evaluation.after=[unsupervised]' "$LEARNED.learnable=true" \
        "$LEARNED.temperature=1" phases.unsupervised.data.kinds.summary=0.4,2 ;;
    supervised) search supervised 'schedule=[unsupervised,supervised]' 'evaluation.after=[supervised]' ;;
    distill) search distill 'schedule=[distill]' 'evaluation.after=[distill]' phases.distill.optimizer.lr=1e-3,3e-3 \
        phases.distill.objective.distillation.student.temperature=1 ;;
    distill_last) search distill_last 'evaluation.after=[distill]' phases.distill.optimizer.lr=2e-4,1e-3 ;;
    esac
}
for each in "${@:-unsupervised temperature kinds supervised distill distill_last}"; do
    for name in $each; do one "$name"; done
done
