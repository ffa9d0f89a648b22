"""Time and peak memory of every pairing policy, each in a process of its own, on synthetic pools.

    python tests/benchmarks/pairing.py                  # 100,000 items, every policy and pool; prints a table
    python tests/benchmarks/pairing.py --items 10000 --policy similar --pool single

Pools: `single`, every item another instruction, graded scores (most neighbours to look for); `four`, four responses to
each instruction, wins and losses of which the instruction's kind decides most; `one`, a single instruction, only for
`conditional`. Instructions are 40 words from a Zipf law. Time is from the pool in memory to the report; on a
machine that others use too, go by cpu_seconds, of all threads together.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time

import numpy as np

from jpo_dist.pairing.config import PairConfig
from jpo_dist.pairing.pair import Pool, pair

POLICIES = ("conditional", "random", "similar", "dissimilar", "bucketed", "hard", "balanced", "assumed_wins")
WORDS, VOCABULARY, KINDS = 40, 50_000, 20


def pool(kind: str, num_items: int) -> Pool:
    """See the head of this file."""
    random = np.random.default_rng(0)
    responses = {"single": 1, "four": 4, "one": num_items}[kind]
    instruction_N = np.arange(num_items) // responses
    num_instructions = int(instruction_N[-1]) + 1
    ranks = np.minimum(random.zipf(1.3, (num_instructions, WORDS)), VOCABULARY)
    kind_Q = random.integers(KINDS, size=num_instructions)
    texts = [f"kind{k} " + " ".join(f"w{rank}" for rank in row) for k, row in zip(kind_Q, ranks.tolist(), strict=True)]
    easy_N = (kind_Q / KINDS)[instruction_N]
    graded_N = easy_N + random.normal(size=num_items)
    passed_N = (random.random(num_items) < easy_N).astype(float)
    same_N = np.zeros(num_items, np.int64)
    return Pool(
        instructions=[texts[q] for q in instruction_N],
        instruction_N=instruction_N,
        scores_N=passed_N if kind == "four" else graded_N,
        scales_N=same_N,
        splits_N=(random.random(num_instructions) < 0.05).astype(np.int64)[instruction_N],
        reference_N=-100 * random.gamma(4.0, size=num_items),
        lengths_N=random.integers(1, 2000, num_items),
    )


def measure(policy: str, kind: str, num_items: int, embedding: str) -> dict[str, object]:
    made_of = pool(kind, num_items)
    if policy == "assumed_wins":
        made_of = made_of._replace(scores_N=(made_of.scores_N > 0.5).astype(float))
    config = PairConfig.model_validate({"policy": policy, "embedding": embedding})
    start, cpu = time.perf_counter(), time.process_time()
    pairs = pair(made_of, config, seed=0)
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu
    peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    alone = pairs.report["instruction_only_accuracy"]["accuracy"]
    return {
        "seconds": round(seconds, 1),
        "cpu_seconds": round(cpu_seconds, 1),
        "peak_mib": round(peak_mib),
        "made": len(pairs.winners_C),
        "alone": alone,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--items", type=int, default=100_000)
    parser.add_argument("--policy", choices=POLICIES)
    parser.add_argument("--pool", choices=("single", "four", "one"))
    parser.add_argument("--embedding", default="tfidf")
    args = parser.parse_args()
    if args.policy and args.pool:
        print(json.dumps(measure(args.policy, args.pool, args.items, args.embedding)))  # noqa: T201
        return
    for policy in [args.policy] if args.policy else POLICIES:
        kinds = [args.pool] if args.pool else ["four", "one" if policy == "conditional" else "single"]
        for kind in kinds:
            command = [sys.executable, __file__, "--policy", policy, "--pool", kind, "--items", str(args.items)]
            done = subprocess.run(
                [*command, "--embedding", args.embedding], env=dict(os.environ), stdout=subprocess.PIPE, check=True
            )
            print(f"{policy:14}{kind:8}{done.stdout.decode().strip()}", flush=True)  # noqa: T201


if __name__ == "__main__":
    main()
