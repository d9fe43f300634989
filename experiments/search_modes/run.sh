#!/bin/sh
# Search modes, storages and pooling of MiniLM's token embeddings on real collections in BEIR layout.
# usage: experiments/search_modes/run.sh FOLDER   (FOLDER holds scifact, cranfield, msmarco-dl-pool)
set -eu
data=$1
python=${PYTHON:-python}
for name in scifact cranfield msmarco-dl-pool; do
    for ways in \
        "evaluation.mode=[exact,rerank,muvera,muvera_rerank]" \
        "evaluation.storage=[float32,float16,int8,residual4,residual2,residual1]" \
        "evaluation.pool_factor=[1,2,4]"; do
        $python -m colbert_lab task=evaluate name="search_modes_$name" evaluation=beir evaluation.path="$data/$name" \
            '~evaluation.splits.dev' evaluation.headline=null +teacher@evaluation.baselines.dense=bi_encoder \
            evaluation.keep_embeddings=true tracking=off "$ways" "output_dir=${OUTPUTS:-outputs}"
    done
done
