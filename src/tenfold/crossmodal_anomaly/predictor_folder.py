"""The folder that prediction needs and nothing else: mappers, thresholds, the recipe of the features, the extractors' weights.

predictor.json         the content of `Recipe` but for the thresholds
mappers.safetensors    weights and channel norms
calibration.json       thresholds and the scores of the held-out good parts
mappers.onnx           both mappers as one graph, for other runtimes
extractor/             weight files; none for hand-made features
"""

import json
import shutil
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import safetensors.torch
from torch import nn

from tenfold.core import atomic, params
from tenfold.core.errors import BadData, Corrupt
from tenfold.crossmodal_anomaly import config, onnx_export, weights
from tenfold.crossmodal_anomaly.extractors import Extractors, load_extractors
from tenfold.crossmodal_anomaly.maps import MapOptions
from tenfold.crossmodal_anomaly.model import CrossModal
from tenfold.crossmodal_anomaly.scoring import Calibration

FORMAT = 1
CALIBRATION = "calibration.json"
LITE0 = "efficientnet_lite0.safetensors"


@dataclass(frozen=True)
class Serving:
    """How a raw scan becomes features: what `prepared` and `features` were made with. Stored coordinates times `xyz_scale` are metres.

    `weights` is the folder of the weight files that the user brought.
    """

    prepared: config.Prepared
    features: config.Features
    xyz_scale: float
    weights: Path


@dataclass(frozen=True)
class Recipe:
    """All numbers of a predictor. A part is anomalous above `image_threshold`, a pixel above `pixel_threshold`."""

    unit: str
    prepared: config.Prepared
    features: config.Features
    xyz_scale: float
    maps: MapOptions
    image_threshold: float
    pixel_threshold: float


def write(folder: Path, unit: str, network: CrossModal, calibration: Calibration, options: MapOptions, serving: Serving) -> None:
    """Write a predictor; an earlier one is replaced."""
    with atomic.new_folder(folder) as made:
        (made / "extractor").mkdir()
        block = _weights(serving, made / "extractor")
        (made / "mappers.safetensors").write_bytes(safetensors.torch.save(network.state_dict()))
        m23, m32 = _layers(network.m23), _layers(network.m32)
        norms = [(mean.numpy(), std.numpy()) for mean, std in ((network.mean2d, network.std2d), (network.mean3d, network.std3d))]
        onnx_export.export_mappers(m23, m32, made / "mappers.onnx", *norms)
        atomic.write_json(made / CALIBRATION, asdict(calibration))
        blocks = {"prepared": asdict(serving.prepared), "features": asdict(block), "maps": asdict(options)}
        atomic.write_json(made / "predictor.json", {"format": FORMAT, "unit": unit, "xyz_scale": serving.xyz_scale, **blocks})


def read(folder: Path) -> tuple[Recipe, Extractors]:
    """The numbers and the extractors of a predictor. BadData if it is not one, Corrupt if its description is damaged."""
    path = folder / "predictor.json"
    if not path.is_file():
        raise BadData(f"{folder} is no predictor of crossmodal_anomaly: it has no predictor.json; take the folder `predictor` of a model")
    try:
        values = json.loads(path.read_text())
        calibration = json.loads((folder / CALIBRATION).read_text())
        if values["format"] != FORMAT:
            raise BadData(f"{path} has format {values['format']}, this version reads {FORMAT}; train the model again")
        recipe = Recipe(
            unit=str(values["unit"]),
            prepared=params.typed(config.Prepared, values["prepared"], f"{path}: prepared"),
            features=params.typed(config.Features, values["features"], f"{path}: features"),
            xyz_scale=float(values["xyz_scale"]),
            maps=params.typed(MapOptions, values["maps"], f"{path}: maps"),
            image_threshold=float(calibration["image_threshold"]),
            pixel_threshold=float(calibration["pixel_threshold"]),
        )
    except (OSError, ValueError, LookupError, TypeError, RecursionError) as error:
        raise Corrupt(f"{folder} is damaged ({type(error).__name__}: {error}); take it from the model again") from error
    return recipe, load_extractors(recipe.features, folder / "extractor")


def _weights(serving: Serving, folder: Path) -> config.Features:
    """Put the extractors' weight files into `folder`; the block that finds them there."""
    block = serving.features
    if block.extractor_2d == "efficientnet_lite0" and not block.weights_2d:
        sha256 = weights.to_safetensors(weights.packaged(), folder / LITE0)
        block = replace(block, weights_2d={"file": LITE0, "sha256": sha256})
    else:
        shutil.copyfile(weights.user(serving.weights, block.weights_2d, block.extractor_2d), folder / block.weights_2d["file"])
    if block.extractor_3d != "fpfh_covariance":
        shutil.copyfile(weights.user(serving.weights, block.weights_3d, block.extractor_3d), folder / block.weights_3d["file"])
    return block


def _layers(mapper: nn.Sequential) -> onnx_export.Layers:
    return [(layer.weight.detach().numpy(), layer.bias.detach().numpy()) for layer in mapper if isinstance(layer, nn.Linear)]
