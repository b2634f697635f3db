"""Compares the batch planner with pymoo's NSGA-II and NSGA-III on the same problem, with the same operators and repair.

    python3 -m venv venv && venv/bin/pip install pymoo
    cargo run --release -p betanet-scheduler --example batch json | venv/bin/python crates/scheduler/examples/compare.py [SEEDS]
"""
import json
import statistics
import sys
import time

import numpy as np
from pymoo.algorithms.moo.nsga2 import NSGA2
from pymoo.algorithms.moo.nsga3 import NSGA3
from pymoo.core.problem import Problem
from pymoo.indicators.hv import HV
from pymoo.core.mutation import Mutation
from pymoo.core.repair import Repair
from pymoo.operators.crossover.ux import UX
from pymoo.operators.sampling.rnd import IntegerRandomSampling
from pymoo.optimize import minimize
from pymoo.util.ref_dirs import get_reference_directions

told = json.load(sys.stdin)
seeds = int(sys.argv[1]) if len(sys.argv) > 1 else 11
free = np.array([n[0] for n in told["nodes"]], dtype=float)
factor = np.array([n[1] for n in told["nodes"]], dtype=float) / 1e6
rep = np.array([n[2] for n in told["nodes"]], dtype=float)
want = np.array([t[0] for t in told["tasks"]], dtype=float)
latency = np.array([t[1] for t in told["tasks"]], dtype=float)
within = np.array([t[2] for t in told["tasks"]], dtype=float)
price = np.array([t[3] for t in told["tasks"]], dtype=float)
count, nodes = len(want), len(free)
tasks = np.arange(count)
allowed = [np.flatnonzero((latency[t] <= within[t]) & (want[t] <= free).all(axis=1)) for t in tasks]


class Batch(Problem):
    def __init__(self):
        super().__init__(n_var=count, n_obj=4, n_ieq_constr=2, xl=0, xu=nodes - 1, vtype=int)

    def _evaluate(self, x, out, *args, **kwargs):
        x = x.astype(int)
        f = np.empty((len(x), 4))
        g = np.empty((len(x), 2))
        for i, plan in enumerate(x):
            used = np.zeros_like(free)
            np.add.at(used, plan, want)
            over = np.maximum(used - free, 0) / np.maximum(free, 1)
            late = np.maximum(latency[tasks, plan] - within, 0)
            g[i] = over.sum(), late.sum()
            load = (used[:, :2] / free[:, :2]).max(axis=1)
            f[i] = latency[tasks, plan].mean(), (price * factor[plan]).sum(), load.var(), (1e6 - rep[plan]).mean()
        out["F"], out["G"] = f, g


class Reset(Mutation):
    """One or two genes anew, as the planner does."""

    def _do(self, problem, x, **kwargs):
        x = x.copy()
        for plan in x:
            for _ in range(np.random.randint(1, 3)):
                task = np.random.randint(count)
                plan[task] = np.random.choice(allowed[task])
        return x


class Move(Repair):
    """Moves what does not fit to a random node that has room."""

    def _do(self, problem, x, **kwargs):
        x = x.astype(int)
        for plan in x:
            left = free.copy()
            homeless = []
            first = np.random.randint(count)
            for task in np.roll(tasks, -first):
                at = plan[task]
                if latency[task, at] <= within[task] and (want[task] <= left[at]).all():
                    left[at] -= want[task]
                else:
                    homeless.append(task)
            for task in homeless:
                room = allowed[task][(want[task] <= left[allowed[task]]).all(axis=1)]
                if len(room):
                    plan[task] = np.random.choice(room)
                    left[plan[task]] -= want[task]
        return x


def algorithm(name):
    same = dict(
        pop_size=100,
        sampling=IntegerRandomSampling(),
        crossover=UX(),
        mutation=Reset(),
        repair=Move(),
        eliminate_duplicates=True,
    )
    if name == "NSGA-II":
        return NSGA2(**same)
    return NSGA3(ref_dirs=get_reference_directions("das-dennis", 4, n_partitions=6), **same)


indicator = HV(ref_point=np.array(told["reference"]))
for search in told["searches"]:
    name = search["name"]
    gaps = [abs(indicator(np.array(f)) / v - 1) for f, v in zip(search["fronts"], search["volumes"])]
    print(f"{name}: hypervolumes of the {len(gaps)} fronts differ from pymoo's by at most {max(gaps):.1e}")
    volumes, seconds = [], []
    for seed in range(1, seeds + 1):
        start = time.process_time()
        found = minimize(Batch(), algorithm(name), ("n_gen", 200), seed=seed)
        seconds.append(time.process_time() - start)
        volumes.append(0.0 if found.F is None else float(indicator(np.atleast_2d(found.F))))
    ours, theirs = statistics.median(search["volumes"]), statistics.median(volumes)
    fast, slow = statistics.median(search["seconds"]), statistics.median(seconds)
    ratio = ours / theirs if theirs else float("inf")
    print(f"{name}: median volume: betanet {ours:.4e}, pymoo {theirs:.4e}, ratio {ratio:.2f}")
    print(f"{name}: median time: betanet {fast:.3f} s of CPU, pymoo {slow:.2f} s of CPU, {slow / fast:.1f} times as long", flush=True)
