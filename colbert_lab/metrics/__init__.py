"""How good a ranking is: measures, their significance, the evaluator."""
