"""What is said at the end of a search."""

from __future__ import annotations

from colbert_lab.analysis.trials import Trial
from colbert_lab.tuning.trial import best_command


def test_the_best_trials_command_is_that_of_one_run() -> None:
    again = (
        "python -m colbert_lab -m +experiment=kd hydra/sweeper=optuna hydra/launcher=joblib hydra.launcher.n_jobs=2 "
        "hydra.sweeper.n_trials=9 'a.lr=tag(log,interval(1e-5,1e-3))' name=n '+b=x,y'"
    )
    best = Trial(3, "finished", {"a.lr": 0.0001, "+b": "x"}, 0.5)
    assert best_command(again, best) == (
        "python -m colbert_lab +experiment=kd name=n a.lr=0.0001 +b=x hydra.mode=RUN"
    )
