"""Train variants of the guided network for equally many samples and measure them on people that none of them saw: what the ablation page draws.

    python tools/ablation.py --data SET [SET ...] --held-out FOLDER [--steps 500] [--runs runs/ablation] [--only NAME]

SET is a folder that `faceshifter prepare` wrote; FOLDER has one folder of aligned crops a person, of which the sixty whose names have the smallest SHA-256 are measured.
Variants that `ablation.json` has already are skipped, so that a run can be stopped and started again. Swaps of the package's two portraits go into `ablation.png`.
"""
import argparse
import hashlib
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn
from torch.nn import functional as F

from faceshifter.evaluation.baselines import warp_swap
from faceshifter.evaluation.protocol import method_of, score_swaps
from faceshifter.faces import FaceDetector, align
from faceshifter.generator import AEIConfig, AEINet
from faceshifter.images import image_to_tensor, to_pil
from faceshifter.swap import FaceSwapper, demo_portraits
from faceshifter.training.guided import named_recipe, start_guided
from faceshifter.training.learner import _identity_encoder, train
from faceshifter.training.settings import TrainingSettings

PAGE = Path(__file__).parents[1] / "nbs" / "ch6_beyond"
SIZE = 128


class LearnedMask(AEINet):
    "The network may choose by itself how much of the target it passes through, within M."

    def __init__(self, config: AEIConfig):
        super().__init__(config)
        self.own_mask = nn.Conv2d(config.head_channels, config.patch_size**2, 3, padding=1)
        nn.init.constant_(self.own_mask.bias, 2.0)
        self.generator.features, features = self.keep_features, self.generator.features
        self._features = features

    def keep_features(self, *args) -> Tensor:
        self.seen = self._features(*args)
        return self.seen

    def forward(self, target: Tensor, z_id: Tensor, record=None, return_attributes: bool = False, guide=None, validity=None, mask=None, modulations=None):
        swapped, z_att = super().forward(target, z_id, record, True, guide, validity, None, modulations)
        own = torch.sigmoid(F.pixel_shuffle(self.own_mask(self.seen), self.config.patch_size))
        swapped = target + own * (1 if mask is None else mask) * (swapped - target)
        return (swapped, z_att) if return_attributes else swapped


GUIDED = {"network": {"img_size": SIZE, "patch_size": 2}, "stages": ()}
VARIANTS = {
    "guided": GUIDED,
    "guided, SFace alone": GUIDED | {"identity": "sface"},
    "guided, MobileFace alone": GUIDED | {"identity": "mobileface"},
    "guided, without landmark terms": GUIDED | {"weights.landmarks": 0.0},
    "guided, without triplets": GUIDED | {"samples": {"pasted": 0.0, "same": 0.3}},
    "guided, learned mask": GUIDED,
    "vector, triplets": {},
    "vector, pairs (thesis)": {"supervision": "pairs", "same_share": 0.2},
}


def settings_of(name: str, args: argparse.Namespace) -> TrainingSettings:
    common = {"data": args.data, "output": str(args.runs / hashlib.sha256(name.encode()).hexdigest()[:8]), "steps": args.steps, "held_out_share": 0.02, "held_out_pairs": 20,
              "num_workers": 1, "threads": args.threads, "lr_schedule": "linear", "decay_start": 0.6, "discriminator_start": args.steps // 3, "discriminator_warmup_steps": args.steps // 5,
              "eval_steps": args.steps // 2, "save_steps": args.steps // 2, "save_total_limit": 1}
    recipe = TrainingSettings.load(named_recipe("guided-256" if name.startswith("guided") else "aei-128"), **common)
    if "pairs" in name:  # the thesis's own loss and data
        recipe = TrainingSettings(preset="aei-128", identity="sface+mobileface", batch_size=10, seed=1, lr=6e-4, discriminator_lr=2e-4, betas=(0.5, 0.99), warmup_steps=50, max_grad_norm=5.0,
                                  ema_decay=0.998, precision="bfloat16", channels_last=False, discriminator_channels=24, discriminator_scales=2).replace(**common)
    return recipe.replace(**VARIANTS[name]).replace(**{"weights.identity": {"value": recipe.weights["identity"].value, "ramp_steps": args.steps // 2}})


def held_out(folder: Path, count: int = 60) -> tuple[Tensor, tuple[np.ndarray, np.ndarray]]:
    "One crop a person, and a fixed cycle of pairs through them."
    people = sorted((p for p in folder.iterdir() if p.is_dir()), key=lambda p: hashlib.sha256(p.name.encode()).hexdigest())[:count]
    files = [sorted(p.glob("*.jpg"))[0] for p in people]
    crops = torch.cat([image_to_tensor(Image.open(f).convert("RGB").resize((SIZE, SIZE), Image.Resampling.LANCZOS)) for f in files])
    order = np.random.default_rng(0).permutation(len(files))
    target = np.empty(len(files), int)
    target[order] = np.roll(order, 1)
    return crops, (np.arange(len(files)), target)


def measure(method: Callable, crops: Tensor, pairs: tuple) -> dict:
    source, target = pairs
    with torch.inference_mode():
        swapped = torch.cat([method(crops[s], crops[t]) for s, t in zip(np.array_split(source, 6), np.array_split(target, 6))])
    return score_swaps(swapped, crops, pairs).summary()


def trained(name: str, args: argparse.Namespace) -> FaceSwapper:
    settings = settings_of(name, args)
    model = Path(settings.output) / "model.safetensors"
    resume = model.parent.is_dir() and any(model.parent.glob("checkpoint_*.pt"))
    if "learned mask" not in name:
        train(settings, resume=resume)
        return FaceSwapper.from_pretrained(model)
    net = start_guided(LearnedMask(AEIConfig.preset(settings.preset, identity=settings.identity, **settings.network)))
    train(settings, resume=resume, net=net)
    from safetensors.torch import load_file
    net.load_state_dict({k: v.float() for k, v in load_file(model).items()})
    return FaceSwapper(net.eval(), _identity_encoder(settings.identity))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="+", required=True)
    parser.add_argument("--held-out", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=500)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--runs", type=Path, default=Path("runs/ablation"))
    parser.add_argument("--only", choices=VARIANTS)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    path, strips = PAGE / "ablation.json", PAGE / "ablation.png"
    results = json.loads(path.read_text()) if path.exists() else {}
    crops, pairs = held_out(args.held_out)
    demo = torch.cat([image_to_tensor(align(photo, FaceDetector()(photo)[0], SIZE)) for photo in demo_portraits()])
    for shape in (0.0, 0.25, 0.5, 0.75, 1.0):
        name = f"warp, shape {shape}"
        if name in results: continue
        results[name] = measure(warp_swap(shape), crops, pairs) | {"shape": shape}
        path.write_text(json.dumps(results, indent=1) + "\n")
    for name in [args.only] if args.only else VARIANTS:
        if name in results: continue
        method = method_of(trained(name, args))
        results[name] = measure(method, crops, pairs) | {"steps": args.steps, "samples": args.steps * 10}
        with torch.inference_mode(): pictures = torch.cat(list(method(demo, demo.flip(0))), 2)
        to_pil(pictures[None].cpu()).save(args.runs / f"{name}.png")
        path.write_text(json.dumps(results, indent=1) + "\n")
        print(name, {key: round(results[name][key]["mean"], 3) for key in ("retrieved_all", "nearer", "pose_degrees", "expression", "sharpness")}, flush=True)
    rows = [Image.open(file) for name in VARIANTS if (file := args.runs / f"{name}.png").exists()]
    sheet = Image.new("RGB", (rows[0].width, sum(row.height for row in rows)))
    for n, row in enumerate(rows): sheet.paste(row, (0, n * row.height))
    sheet.save(strips, optimize=True)


if __name__ == "__main__": main()
