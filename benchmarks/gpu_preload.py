"""Everything that the parts of ``gpu_check.py`` import, so that forked processes have it already."""

import colbert_lab_side  # noqa: F401
import gpu_correct  # noqa: F401
import gpu_peers  # noqa: F401
import gpu_search  # noqa: F401
import gpu_speed  # noqa: F401
import transformers.models.bert.modeling_bert
import transformers.models.modernbert.modeling_modernbert  # noqa: F401

import colbert_lab.run.run
import colbert_lab.tasks.certify  # noqa: F401
