#!/bin/sh
# Search modes, storages and pooling of MiniLM's token embeddings on real collections in BEIR layout.
# usage: experiments/search_modes/run.sh FOLDER [COLLECTION...]     FOLDER holds scifact, cranfield, msmarco-dl-pool
# PYTHON is the interpreter; PLAID_PYTHON one with the extra plaid (its own environment), without it there is no PLAID.
set -eu
data=$1
shift
[ $# -gt 0 ] || set -- scifact cranfield msmarco-dl-pool
outputs=${OUTPUTS:-outputs}/search_modes

search() { # PYTHON COLLECTION SETTINGS...
    python=$1 name=$2
    shift 2
    $python -m colbert_lab task=evaluate name="search_modes_$name" evaluation=beir evaluation.path="$data/$name" \
        '~evaluation.splits.dev' evaluation.headline=null tracking=off evaluation.keep_embeddings=true \
        "output_dir=$outputs" "$@"
}

for name; do
    search "${PYTHON:-python}" "$name" "evaluation.mode=[exact,rerank,muvera,muvera_rerank]" \
        +teacher@evaluation.baselines.dense=bi_encoder
    search "${PYTHON:-python}" "$name" "evaluation.storage=[float32,float16,int8,residual4,residual2,residual1]"
    search "${PYTHON:-python}" "$name" "evaluation.pool_factor=[1,2,4]"
    [ -z "${PLAID_PYTHON:-}" ] || search "$PLAID_PYTHON" "$name" "evaluation.mode=[exact,plaid]"
done
"${PYTHON:-python}" experiments/search_modes/table.py "$outputs"
