"""The schema of the config: names and types. Values live in ``conf/``.

The composed config is merged into these dataclasses, so an unknown key or a value of the wrong type in any
file or override is an error that names the key.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING, DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from colbert_lab.errors import InputError

# OmegaConf 2.3 reads Optional[X] and X | None alike; Any stands for a union, or for what Hydra instantiates.


@dataclass
class HeadSettings:
    """See :func:`colbert_lab.student.heads.head_shapes`."""

    depth: int = MISSING
    width: float = MISSING
    activation: str = MISSING
    residual: bool = MISSING
    gated: bool = MISSING


@dataclass
class StudentSettings:
    """See :func:`colbert_lab.student.student.build_student`."""

    backbone: str = MISSING
    architecture: Any = None
    layers: int | None = None
    checkpoint: str | None = MISSING
    trust_remote_code: bool = MISSING
    output: str | None = MISSING
    pooling: str = MISSING
    dim: int | None = MISSING
    bias: bool = MISSING
    widen: int | None = MISSING
    head: HeadSettings = field(default_factory=HeadSettings)
    dropout: float | None = MISSING
    attention: str = MISSING
    query_length: int = MISSING
    document_length: int = MISSING
    query_marker: str | None = MISSING
    document_marker: str | None = MISSING
    expansion: str = MISSING
    skiplist: Any = MISSING


@dataclass
class PromptSettings:
    """See :class:`colbert_lab.tokens.tokenizer.TokenRules`."""

    query: str | None = MISSING
    document: str | None = MISSING
    extend_length: bool | None = MISSING


@dataclass
class SideSettings:
    """See :class:`colbert_lab.objectives.distillation.Side`."""

    normalisation: str = MISSING
    temperature: float = MISSING


@dataclass
class DistillationSettings:
    """See :class:`colbert_lab.objectives.distillation.Distillation`."""

    weight: float = MISSING
    direction: str = MISSING
    teacher: SideSettings = field(default_factory=SideSettings)
    student: SideSettings = field(default_factory=SideSettings)


@dataclass
class ContrastiveSettings:
    """See :class:`colbert_lab.objectives.contrastive.Contrastive`."""

    weight: float = MISSING
    temperature: float = MISSING
    learnable: bool = MISSING
    false_negative_ratio: float | None = MISSING
    own_negatives: bool = MISSING
    batch_negatives: bool = MISSING


@dataclass
class ObjectiveSettings:
    """See :class:`colbert_lab.objectives.mix.Mix`."""

    distillation: DistillationSettings = field(default_factory=DistillationSettings)
    contrastive: ContrastiveSettings = field(default_factory=ContrastiveSettings)


@dataclass
class LrScheduleSettings:
    """See :func:`colbert_lab.training.optim.make_scheduler`."""

    name: str = MISSING
    warmup: float = MISSING


@dataclass
class PhaseSettings:
    """One named slot of ``phases``; see ``conf/phase``."""

    data: Any = None
    prompts: PromptSettings | None = None
    epochs: float | None = MISSING
    steps: int | None = MISSING
    batch_size: int = MISSING
    accumulation: int = MISSING
    n_way: int | None = MISSING
    query_length: int | None = MISSING
    document_length: int | None = MISSING
    objective: ObjectiveSettings = field(default_factory=ObjectiveSettings)
    optimizer: Any = MISSING
    head_lr: float | None = MISSING
    layer_decay: float | None = MISSING
    lr_schedule: LrScheduleSettings = field(default_factory=LrScheduleSettings)
    gradient_clip: float | None = MISSING
    token_budget: int = MISSING
    recompute: Any = MISSING
    evaluate_every: int | None = MISSING
    checkpoint_every: int = MISSING
    log_every: int = MISSING


@dataclass
class DevCutSettings:
    """Size of the dev split that is evaluated while training."""

    documents: int | None = MISSING
    queries: int | None = MISSING


@dataclass
class TableSettings:
    """See :class:`colbert_lab.text.hub_tables.Table`."""

    path: str = "{path}"
    config: str | None = None
    split: str = "train"
    file: str | None = None
    columns: dict[str, Any] = field(default_factory=dict)


@dataclass
class LayoutSettings:
    """See :class:`colbert_lab.text.hub_splits.Layout`, and ``conf/layout``."""

    corpus: TableSettings | None = None
    queries: TableSettings | None = None
    qrels: TableSettings | None = None
    rows: TableSettings | None = None
    skip_empty: bool = False


@dataclass
class ProtocolSettings:
    """What a split asks for, see ``SplitRequest`` in ``text/split_request.py``; null leaves it to the student."""

    query_length: int | None = None
    document_length: int | None = None
    query_prompt: str | None = None
    document_prompt: str | None = None
    domain: str | None = None
    exclude_same_id: bool = False


@dataclass
class SplitSettings:
    """One entry of ``evaluation.splits``, see :class:`colbert_lab.text.split_request.SplitRequest`."""

    type: str = MISSING
    path: str | None = None
    split: str = MISSING
    queries: int | None = None
    layout: LayoutSettings | None = None
    name: str | None = None
    role: str | None = None
    protocol: ProtocolSettings = field(default_factory=ProtocolSettings)


@dataclass
class RerankSettings:
    """What the mode ``rerank`` reranks: a retriever's documents or a TREC run file, its first ``depth``."""

    depth: int = MISSING
    first_stage: Any = MISSING
    run: str | None = MISSING


@dataclass
class MuveraSettings:
    """See :class:`colbert_lab.retrieval.variants.Muvera`."""

    repetitions: int = MISSING
    bits: int = MISSING
    inner_dim: int | None = MISSING
    final_dim: int | None = MISSING
    fill_empty: bool = MISSING
    seed: int = MISSING
    approximate: bool = MISSING
    rerank: int = MISSING


@dataclass
class PlaidSettings:
    """See :class:`colbert_lab.retrieval.variants.Plaid`."""

    bits: int = MISSING
    n_probe: int = MISSING
    n_full_scores: int = MISSING
    seed: int = MISSING


@dataclass
class EvaluationSettings:
    """See ``conf/evaluation``."""

    splits: dict[str, SplitSettings | None] = field(default_factory=dict)
    every: Any = None
    means: dict[str, list[str] | None] = field(default_factory=dict)
    unknown_documents: str = "error"
    path: str | None = None
    split: str | None = None
    full: bool = False
    documents: int | None = None
    headline: str | None = MISSING
    measures: list[str] = MISSING
    depth: int = MISSING
    baselines: Any = MISSING
    mode: Any = MISSING
    storage: Any = MISSING
    pool_factor: Any = MISSING
    pool_protected: int = MISSING
    rerank: RerankSettings = field(default_factory=RerankSettings)
    muvera: MuveraSettings = field(default_factory=MuveraSettings)
    plaid: PlaidSettings = field(default_factory=PlaidSettings)
    memory: float = MISSING
    keep_embeddings: bool = MISSING
    during_training: DevCutSettings = field(default_factory=DevCutSettings)
    token_budget: int = MISSING
    precision: str = MISSING


@dataclass
class TrainerSettings:
    """Passed to Lightning's Trainer; ``precision=auto`` is bf16-mixed where the processor has it."""

    accelerator: str = MISSING
    devices: Any = MISSING
    num_nodes: int = MISSING
    strategy: str = MISSING
    precision: str = MISSING
    num_workers: int = MISSING
    threads: int | None = MISSING
    deterministic: bool = MISSING


@dataclass
class TrackingSettings:
    """See ``conf/tracking``."""

    mode: str = MISSING
    project: str = MISSING
    entity: str | None = MISSING
    tags: list[str] = MISSING


@dataclass
class CompareSettings:
    """See :func:`colbert_lab.results.compare.compare_runs`."""

    baseline: str | None = MISSING
    measures: list[str] | None = MISSING
    splits: list[str] | None = MISSING
    systems: list[str] = MISSING
    published: list[str] = MISSING
    output: str | None = MISSING


@dataclass
class ScoreSettings:
    """See ``conf/score``."""

    teacher: Any = None
    files: list[str] = MISSING
    combine: str = MISSING
    missing: str = MISSING
    candidates: str = MISSING
    retrievers: Any = MISSING
    top: int = MISSING
    random: int = MISSING
    positives: bool = MISSING
    part: int = MISSING


@dataclass
class MineFilterSettings:
    """See :class:`colbert_lab.teachers.positive_aware.PositiveAware`."""

    teacher: Any = None
    max_score: float | None = MISSING
    ratio: float | None = MISSING
    margin: float | None = MISSING


@dataclass
class MineSettings:
    """See :class:`colbert_lab.teachers.mining.Mining` and :class:`colbert_lab.teachers.mined.Finishing`."""

    retrievers: dict[str, Any] = field(default_factory=dict)
    shares: dict[str, float] | None = MISSING
    negatives: int = MISSING
    ranks: list[int] = MISSING
    sample: str = MISSING
    filter: MineFilterSettings = field(default_factory=MineFilterSettings)
    short: str = MISSING
    output: str = MISSING
    part: int = MISSING


@dataclass
class AuditSettings:
    """See ``conf/audit``."""

    rows: int | None = MISSING
    documents: int | None = MISSING
    ngram: int = MISSING
    near: float = MISSING
    splits: str = MISSING
    teacher: SideSettings = field(default_factory=SideSettings)


@dataclass
class ExplainSettings:
    """See ``conf/explain``."""

    top: int = MISSING
    heatmap: int = MISSING


@dataclass
class PushSettings:
    """See ``conf/push``."""

    license: str | None = MISSING
    license_name: str | None = MISSING
    license_link: str | None = MISSING
    language: Any = MISSING
    base_model: str | None = MISSING
    datasets: list[str] | None = MISSING
    private: bool = MISSING
    replace: bool = MISSING
    dry_run: bool = MISSING


@dataclass
class LedgerSettings:
    """See :class:`colbert_lab.results.ledger_query.Query`, and ``conf/ledger``; a string stands for a list of one."""

    name: Any = MISSING
    status: Any = MISSING
    where: Any = MISSING
    since: str | None = MISSING
    commit: str | None = MISSING
    sort: Any = MISSING
    limit: int | None = MISSING
    headline: str | None = MISSING
    columns: Any = MISSING


@dataclass
class Settings:
    """The whole config."""

    task: str = MISSING
    name: str = MISSING
    seed: int = MISSING
    output_dir: str = MISSING
    cache_dir: str = MISSING
    reuse: bool = MISSING
    allow_flat_teacher: bool = MISSING
    allow_contamination: bool = MISSING
    drop_contamination: bool = MISSING
    allow_prompt_mismatch: bool = MISSING
    progress: bool = MISSING
    schedule: list[str] = MISSING
    phases: dict[str, PhaseSettings] = field(default_factory=dict)
    student: StudentSettings = field(default_factory=StudentSettings)
    prompts: PromptSettings = field(default_factory=PromptSettings)
    data: Any = None
    evaluation: EvaluationSettings = field(default_factory=EvaluationSettings)
    trainer: TrainerSettings = field(default_factory=TrainerSettings)
    tracking: TrackingSettings = field(default_factory=TrackingSettings)
    runs: list[str] = MISSING
    out: str | None = MISSING
    repo: str | None = MISSING
    query: str | None = MISSING
    document: str | None = MISSING
    compare: CompareSettings = field(default_factory=CompareSettings)
    score: ScoreSettings = field(default_factory=ScoreSettings)
    mine: MineSettings = field(default_factory=MineSettings)
    audit: AuditSettings = field(default_factory=AuditSettings)
    explain: ExplainSettings = field(default_factory=ExplainSettings)
    push: PushSettings = field(default_factory=PushSettings)
    ledger: LedgerSettings = field(default_factory=LedgerSettings)


def checked(cfg: DictConfig) -> DictConfig:
    """The config with every key and type checked, and what one place says for several filled in.

    That is a phase's missing ``data`` and ``prompts``, and ``evaluation.every`` below each entry of
    ``evaluation.splits``; an entry that is null is left out.

    Raises:
        InputError: an unknown key, a value of the wrong type, or a mandatory value that is missing.
    """
    try:
        config = OmegaConf.merge(OmegaConf.structured(Settings), _with_every(cfg))
        for phase in config.phases.values():
            if phase.data is None and config.data is not None:
                phase.data = OmegaConf.to_container(config.data, resolve=False)
            if phase.prompts is None:
                phase.prompts = config.prompts
        missing = sorted(OmegaConf.missing_keys(config))
        if missing:
            raise InputError(f"no value for {', '.join(missing)}: set it, for example {missing[0]}=...")
        OmegaConf.resolve(config)
    except OmegaConfBaseException as error:
        key = getattr(error, "full_key", None) or "config"
        raise InputError(f"{key}: {str(error).splitlines()[0]}") from error
    assert isinstance(config, DictConfig)
    return config


def _with_every(cfg: DictConfig) -> DictConfig:
    """The config with ``evaluation.every`` merged below each entry of ``evaluation.splits``, as the schema has it."""
    cfg = copy.deepcopy(cfg)
    OmegaConf.set_struct(cfg, False)
    for key in ("from", "to"):  # of task=convert and push; "from" cannot be a field's name
        cfg.pop(key, None)
    evaluation = cfg.get("evaluation")
    if not evaluation or not evaluation.get("splits"):
        return cfg
    for key in list(evaluation.splits):
        if evaluation.splits[key] is not None and evaluation.get("every"):
            evaluation.splits[key] = OmegaConf.merge(evaluation.every, evaluation.splits[key])
    return cfg
