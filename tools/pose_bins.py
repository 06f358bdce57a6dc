"""Measure swaps by how far the target's head is turned, and by how far it is turned away from the source's.

    python tools/pose_bins.py FOLDER [FOLDER ...] [--people 60] [--pairs 40]

A folder holds aligned portraits, a folder a person; the same people may be in several. The people whose names have the smallest SHA-256 are taken,
and `--pairs` pairs are drawn for every bin of 15 degrees of the difference of yaw. Writes `nbs/ch6_beyond/pose_bins.json`.
"""
import argparse
import hashlib
import json
from itertools import product
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from faceshifter.evaluation.metrics import _identity_retrieval, expression_error, pose_error
from faceshifter.evaluation.naturalness import naturalness
from faceshifter.evaluation.protocol import bootstrap
from faceshifter.evaluation.recognizers import DlibRecognizer, face_landmarks
from faceshifter.images import image_to_tensor, to_pil
from faceshifter.landmarks import find_landmarks, head_pose
from faceshifter.swap import FaceSwapper

WIDTH = 15

def portraits(folders: list[Path], people: int) -> tuple[torch.Tensor, np.ndarray]:
    "Crops, upright and mirrored, and whose each is."
    names = sorted((path.name for path in folders[0].iterdir() if path.is_dir()), key=lambda name: hashlib.sha256(name.encode()).hexdigest())[:people]
    files = [(n, path) for n, name in enumerate(names) for folder in folders for path in sorted((folder / name).glob("*.jpg"))]
    crops = torch.cat([image_to_tensor(Image.open(path).convert("RGB").resize((256, 256), Image.Resampling.LANCZOS)) for _, path in files])
    return torch.cat([crops, crops.flip(3)]), np.array([n for n, _ in files] * 2)

def draw_pairs(yaw: np.ndarray, who: np.ndarray, per_bin: int) -> list[tuple[int, int]]:
    "As many pairs (source, target) of two people for every bin of the difference of yaw, no target more often than needed."
    rng, chosen = np.random.default_rng(0), []
    every = np.array([(s, t) for s, t in product(range(len(yaw)), repeat=2) if who[s] != who[t] and t < len(yaw) // 2])
    bins = (np.abs(yaw[every[:, 0]] - yaw[every[:, 1]]) // WIDTH).astype(int)
    for n in range(bins.max() + 1):
        among, used = rng.permutation(every[bins == n]), np.zeros(len(yaw), int)
        for _ in range(min(per_bin, len(among))):
            best = np.argmin(used[among[:, 0]] + used[among[:, 1]])
            used[among[best]] += 1
            chosen.append(tuple(among[best].tolist()))
            among = np.delete(among, best, 0)
    return chosen

@torch.inference_mode()
def measure(swapper: FaceSwapper, crops: torch.Tensor, pairs: list[tuple[int, int]], judge: DlibRecognizer) -> dict[str, np.ndarray]:
    "Of every pair: identity by a judge that the network was not trained with, pose, expression, sharpness, share of the face under the guide."
    rows, swaps = [], []
    for source, target in pairs:
        who, seen = swapper.source_of(crops[source][None]), crops[target][None]
        guides = swapper.guides(who, seen)
        swap = swapper.swap_crop(who, seen, guides=guides)
        picture, kept = (np.asarray(to_pil(x)) for x in (swap[0], seen[0]))
        a, b = face_landmarks(kept), face_landmarks(picture)
        swaps.append(swap)
        rows.append({"guide": float(guides[0].validity.sum() / guides[0].mask.sum()), "sharpness": naturalness(picture, kept, b, a)["sharpness"],
                     "expression": expression_error(a, b), "pose": pose_error(a, b)})
    source, target = np.array(pairs).T
    values = {name: np.array([row[name] for row in rows]) for name in rows[0]}
    return values | _identity_retrieval(judge(torch.cat(swaps)), judge(crops), source, target)

def table(values: dict[str, np.ndarray], degrees: np.ndarray, target: np.ndarray) -> list[dict]:
    "Means with intervals for every bin of 15 degrees."
    rows = []
    for n in range(int(degrees.max() // WIDTH) + 1):
        among = degrees // WIDTH == n
        if among.sum() < 8: continue
        rows.append({"from": WIDTH * n, "to": WIDTH * (n + 1), "pairs": int(among.sum()), "targets": len(np.unique(target[among]))}
                    | {name: dict(zip(("mean", "low", "high"), bootstrap(value[among]))) for name, value in values.items() if name not in ("retrieved", "retrieved_all")})
    return rows

def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("folders", type=Path, nargs="+")
    arguments.add_argument("--people", type=int, default=60)
    arguments.add_argument("--pairs", type=int, default=40)
    given = arguments.parse_args()
    torch.set_num_threads(1)
    swapper = FaceSwapper.from_pretrained()
    crops, who = portraits(given.folders, given.people)
    yaw = torch.cat([head_pose(find_landmarks(swapper.mesh, part))[:, 0] for part in crops.split(16)]).numpy()
    pairs = draw_pairs(yaw, who, given.pairs)
    values = measure(swapper, crops, pairs, DlibRecognizer())
    source, target = np.array(pairs).T
    result = {"people": given.people, "portraits": len(crops) // 2, "portraits_beyond": {str(n): int((np.abs(yaw[:len(yaw) // 2]) >= n).sum()) for n in (15, 30, 45)},
              "difference": table(values, np.abs(yaw[source] - yaw[target]), target), "target": table(values, np.abs(yaw[target]), target)}
    for name in ("difference", "target"):
        for row in result[name]: print(name, row["from"], row["pairs"], {k: round(v["mean"], 3) for k, v in row.items() if isinstance(v, dict)}, flush=True)
    path = Path(__file__).parents[1] / "nbs" / "ch6_beyond" / "pose_bins.json"
    path.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__": main()
