#!/bin/sh
# The search on dev behind the learning rates, temperatures and kinds of pairs in conf/experiment/from_nothing.yaml and in
# study.yaml; one seed. OUTPUTS is where the runs go, MINED the folder of triples that
# study.yaml prepares. `search.sh distill unsupervised` makes these alone.
set -eu
OUTPUTS=${OUTPUTS:-outputs}
MINED=${MINED:-$OUTPUTS/007_from_nothing_data/mined}
PYTHON=${PYTHON:-python}
search() {
    name=$1
    shift
    "$PYTHON" -m colbert_lab -m +experiment=from_nothing "name=007_search/$name" trainer.precision=32-true tracking=off seed=1 \
        "phases.supervised.data.path=$MINED" "output_dir=$OUTPUTS" '~evaluation.splits.test' '~evaluation.splits.out_of_domain' \
        evaluation.splits.dev.queries=1000 evaluation.documents=3000 evaluation.baselines.dense=null "$@"
}
one() {
    case $1 in
    unsupervised)
        search unsupervised 'schedule=[unsupervised]' 'evaluation.after=[unsupervised]' \
            phases.unsupervised.optimizer.lr=1e-3,2e-3,4e-3 ;;
    temperature)
        search temperature 'schedule=[unsupervised]' 'evaluation.after=[unsupervised]' \
            phases.unsupervised.objective.contrastive.learnable=false \
            phases.unsupervised.objective.contrastive.temperature=0.3,1 ;;
    kinds)
        search kinds 'schedule=[unsupervised]' 'evaluation.after=[unsupervised]' \
            phases.unsupervised.data.kinds.summary=0.4,2 ;;
    distill)
        search distill 'schedule=[distill]' 'evaluation.after=[distill]' \
            phases.distill.optimizer.lr=1e-3,3e-3 ;;
    supervised)
        search supervised 'schedule=[unsupervised,supervised]' \
            'evaluation.after=[supervised]' phases.supervised.optimizer.lr=5e-4,2e-3 ;;
    distill_last)
        search distill_last \
            'evaluation.after=[distill]' phases.distill.optimizer.lr=5e-4,2e-3 ;;
    dense)
        search dense 'schedule=[unsupervised]' 'evaluation.after=[unsupervised]' \
            student.output=single student.dim=null phases.unsupervised.objective.contrastive.learnable=false \
            phases.unsupervised.objective.contrastive.temperature=0.05,0.1 ;;
    esac
}
for each in "${@:-unsupervised temperature kinds supervised distill distill_last dense}"; do
    for name in $each; do one "$name"; done
done
