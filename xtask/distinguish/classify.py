"""Trains simple classifiers to tell tunnels from page loads, by what an observer has, and says how well they do."""

import argparse
import json
import sys

import numpy as np
from sklearn.ensemble import GradientBoostingClassifier, RandomForestClassifier
from sklearn.metrics import balanced_accuracy_score
from sklearn.model_selection import StratifiedKFold

# Records that are features one by one, from the ClientHello on.
FIRST = 60


def features(sample):
    records = sample["records"]
    names, values = [], []

    def put(name, value):
        names.append(name)
        values.append(float(value))

    put("hello length", len(sample["hello"]) // 2)
    put("connections", sample["connections"])
    put("records", len(records))
    for way, label in ((1, "up"), (-1, "down")):
        mine = [r for r in records if r[1] == way]
        sizes = [r[3] for r in mine] or [0]
        gaps = np.diff([r[0] for r in mine]) if len(mine) > 1 else np.zeros(1)
        put(f"{label} records", len(mine))
        put(f"{label} bytes", sum(sizes))
        for q in (10, 25, 50, 75, 90):
            put(f"{label} size {q}%", np.percentile(sizes, q))
            put(f"{label} gap {q}%", np.percentile(gaps, q))
        put(f"{label} largest", max(sizes))
        put(f"{label} distinct sizes", len(set(sizes)))
        put(f"{label} longest gap", gaps.max())
        put(f"{label} last at", mine[-1][0] if mine else 0)
        for edge in (30, 60, 100, 200, 500, 1500, 5000, 16000):
            put(f"{label} records up to {edge}", sum(1 for s in sizes if s <= edge))
    turns = sum(1 for a, b in zip(records, records[1:]) if a[1] != b[1])
    put("turns", turns)
    for i in range(FIRST):
        r = records[i] if i < len(records) else [0, 0, 0, 0]
        put(f"record {i}: signed size", r[1] * r[3])
        put(f"record {i}: gap", r[0] - records[i - 1][0] if 0 < i < len(records) else 0)
    for at in (0.05, 0.1, 0.2, 0.5, 1.0, 2.0):
        for way, label in ((1, "up"), (-1, "down")):
            put(f"{label} bytes by {at} s", sum(r[3] for r in records if r[1] == way and r[0] <= at))
    return names, values


def load(path, clock):
    rows = []
    for line in open(path):
        sample = json.loads(line)
        for record in sample["records"]:
            record[0] = round(record[0] / clock) * clock
        names, values = features(sample)
        rows.append(values)
    return names, np.array(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("one", help="JSON lines, one session each")
    parser.add_argument("other")
    parser.add_argument("--name", default="")
    parser.add_argument("--list", action="store_true", help="also list the features that told most")
    parser.add_argument("--clock", type=float, default=1e-6, help="seconds that the observer's clock can tell apart")
    args = parser.parse_args()
    names, a = load(args.one, args.clock)
    _, b = load(args.other, args.clock)
    x = np.vstack([a, b])
    y = np.array([0] * len(a) + [1] * len(b))
    out = {"name": args.name, "sessions": [len(a), len(b)], "features": len(names), "classifiers": {}}
    for label, make in (
        ("gradient boosting", lambda s: GradientBoostingClassifier(n_estimators=120, max_depth=3, subsample=0.8, random_state=s)),
        ("random forest", lambda s: RandomForestClassifier(n_estimators=300, n_jobs=-1, random_state=s)),
    ):
        # Each session is whole in one fold; the interval is that of the sessions, drawn again.
        truth, said, weights = np.zeros(len(y)), np.zeros(len(y)), np.zeros(len(names))
        for fold, (train, test) in enumerate(StratifiedKFold(5, shuffle=True, random_state=1).split(x, y)):
            model = make(fold).fit(x[train], y[train])
            truth[test], said[test] = y[test], model.predict(x[test])
            weights += model.feature_importances_ / 5
        dice = np.random.default_rng(1)
        again = []
        for _ in range(1000):
            i = np.concatenate([dice.choice(np.where(truth == c)[0], int((truth == c).sum())) for c in (0, 1)])
            again.append(balanced_accuracy_score(truth[i], said[i]))
        low, high = np.percentile(again, [2.5, 97.5])
        out["classifiers"][label] = {
            "balanced_accuracy": round(float(balanced_accuracy_score(truth, said)), 4),
            "interval_95": [round(float(low), 4), round(float(high), 4)],
        }
        if args.list:
            out["classifiers"][label]["told_most"] = [
                [names[i], round(float(weights[i]), 3)] for i in np.argsort(weights)[::-1][:8]
            ]
    json.dump(out, sys.stdout)
    print()


main()
