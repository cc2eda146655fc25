"""Published models and operator cases through halfsafe, judged without it.

cases.py collects cases, run.py takes one through the program, judge.py says whether what came out is right, and table.py
counts and prints. A case is a model, samples, and what it has to give; where from doesn't matter.
"""
