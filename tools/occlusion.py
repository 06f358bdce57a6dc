"""Measure what swaps keep of things in front of a face, with the first stage alone and, where there is one, with a second stage.

    python tools/occlusion.py FOLDER [--people 60] [--pairs 30] [--second FILE] [--kinds hand,scarf,...]

FOLDER holds aligned portraits, a folder a person; the people whose names have the smallest SHA-256 are taken, each swapped onto the next.
Writes `nbs/ch6_beyond/occlusion.json`.
"""
import argparse
import hashlib
import json
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from faceshifter.evaluation.occlusion import beside_occluder, occlusion_error, photo_kinds, photo_occluder, separability
from faceshifter.evaluation.protocol import bootstrap
from faceshifter.images import image_to_tensor
from faceshifter.landmarks import find_landmarks
from faceshifter.occluders import composite, kinds, random_occluder
from faceshifter.occlusion import HEARNet, heuristic_error
from faceshifter.swap import FaceSwapper

def portraits(folder: Path, people: int) -> torch.Tensor: # (N, 3, 256, 256)
    "The first photograph of every person."
    names = sorted((path.name for path in folder.iterdir() if path.is_dir()), key=lambda name: hashlib.sha256(name.encode()).hexdigest())[:people]
    files = [sorted((folder / name).glob("*.jpg"))[0] for name in names]
    return torch.cat([image_to_tensor(Image.open(path).convert("RGB").resize((256, 256), Image.Resampling.LANCZOS)) for path in files])

def swap(swapper: FaceSwapper, who, target: torch.Tensor, second: HEARNet | None, errors: torch.Tensor | None = None):
    "The first stage's swap, the second's where there is one, and M."
    guide = swapper.guides(who, target[None])[0]
    first = swapper.swap_crop(who, target[None], guides=[guide])
    refined = None
    if second:
        error = heuristic_error(swapper.model, swapper.identity_encoder, target[None], guide.mask[None]) if errors is None else errors[None]
        refined = second(first, error, guide.mask[None])[0]
    return first[0], refined, guide.mask[0]

@torch.inference_mode()
def measure(swapper: FaceSwapper, second: HEARNet | None, source: torch.Tensor, target: torch.Tensor, chosen: list[str], seed: int) -> list[dict]:
    "One pair with every kind of occluder."
    points, rows = find_landmarks(swapper.mesh, target[None])[0].numpy(), []
    who, own = swapper.source_of(source[None]), None
    plain = swap(swapper, who, target, second)
    for kind in chosen:
        rng = np.random.default_rng((seed, sum(map(ord, kind))))
        drawn = photo_occluder(rng, points, 256, kind) if kind in photo_kinds else random_occluder(rng, points, 256, target, [kind])
        covered, alpha = composite(target, drawn), torch.from_numpy(drawn.alpha)
        *stages, mask = swap(swapper, who, covered, second)
        error = heuristic_error(swapper.model, swapper.identity_encoder, covered[None], mask[None, None])[0]
        own = swapper.source_of(covered[None])
        guided = covered - swapper.swap_crop(own, covered[None], guides=swapper.guides(own, covered[None]))[0]
        row = {"heuristic": occlusion_error(covered - error, covered, alpha, mask), "separability": separability(error, alpha, mask),
               "separability_guided": separability(guided, alpha, mask)}
        for name, stage, alone in zip(("first", "second"), stages, plain):
            if stage is None: continue
            row |= {f"{name}_error": occlusion_error(stage, covered, alpha, mask), f"{name}_beside": beside_occluder(stage, covered, alone, target, alpha, mask)}
        rows.append(row)
    return rows

def main():
    arguments = argparse.ArgumentParser(description=__doc__)
    arguments.add_argument("folder", type=Path)
    arguments.add_argument("--people", type=int, default=60)
    arguments.add_argument("--pairs", type=int, default=30)
    arguments.add_argument("--second", type=Path)
    arguments.add_argument("--kinds", default=",".join((*photo_kinds, *(kind for kind in kinds if kind not in ("shadow", "hair", "glasses", "half_rim")))))
    given = arguments.parse_args()
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    second = HEARNet.from_pretrained(given.second).eval() if given.second else None
    swapper, crops, chosen = FaceSwapper.from_pretrained(device="cpu"), portraits(given.folder, given.people), given.kinds.split(",")
    found = []
    for n in range(given.pairs):
        found.append(measure(swapper, second, crops[n], crops[(n + 1) % len(crops)], chosen, n))
        print(n, {kind: round(100 * row["first_error"], 1) for kind, row in zip(chosen, found[-1])}, flush=True)
    rows = []
    for k, kind in enumerate(chosen):
        values = {name: [pair[k][name] for pair in found] for name in found[0][k]}
        rows.append({"kind": kind, "trained": kind not in photo_kinds} | {name: dict(zip(("mean", "low", "high"), bootstrap(value))) for name, value in values.items()})
        print(kind, {name: round(value["mean"], 3) for name, value in rows[-1].items() if isinstance(value, dict)}, flush=True)
    result = {"pairs": given.pairs, "people": given.people, "second": f"{second.metadata.get('step')} steps" if second else "", "kinds": rows}
    path = Path(__file__).parents[1] / "nbs" / "ch6_beyond" / "occlusion.json"
    path.write_text(json.dumps(result, indent=1) + "\n")


if __name__ == "__main__": main()
