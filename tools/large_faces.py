"""Measure the sharpness of swaps in large faces, with and without the detail that is finer than the network's pixels.

    python tools/large_faces.py FOLDER

FOLDER holds photographs of one large face each; each is swapped onto the next. Writes `nbs/ch5_experiments/large_faces.json`.
"""
import json
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

from faceshifter.compositing import full_size
from faceshifter.evaluation.naturalness import _sharpness
from faceshifter.evaluation.protocol import bootstrap
from faceshifter.faces import align
from faceshifter.images import load_image
from faceshifter.swap import FaceSwapper

def main():
    torch.set_num_threads(1)
    swapper, rows = FaceSwapper.from_pretrained(), []
    photos = [load_image(path).convert("RGB") for path in sorted(Path(sys.argv[1]).glob("*.jpg"))]
    sides = [full_size(swapper.detector(photo)[0]) for photo in photos]
    crop = swapper._fine_crop
    for size in (256, 512, 1024):
        ratios = {"without": [], "with": []}
        for n, (photo, side) in enumerate(zip(photos, sides)):
            scaled = photo.resize([round(length * size / side) for length in photo.size], Image.Resampling.LANCZOS)
            face = swapper.detector(scaled)[0]
            for name, how in (("without", lambda *args: None), ("with", crop)):
                swapper._fine_crop = how
                result = swapper(photos[n - 1], scaled)
                pictures = [np.asarray(align(image, face, size)) for image in (result.image, scaled)]
                where = np.asarray(Image.fromarray((result.faces[0].mask > 0.9).astype(np.uint8)).resize((size, size))) > 0
                swapped, target = (_sharpness(picture, where) for picture in pictures)
                ratios[name].append(swapped / max(target, 1e-9))
        rows.append({"size": size, "photographs": len(photos)} | {name: dict(zip(("mean", "low", "high"), bootstrap(values))) for name, values in ratios.items()})
        print(rows[-1], flush=True)
    path = Path(__file__).parents[1] / "nbs" / "ch5_experiments" / "large_faces.json"
    path.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__": main()
