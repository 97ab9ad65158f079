"""The body models of a dataset, one a gender, from `<body_dir>/<gender>/model.npz`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tenfold.core.errors import BadData
from tenfold.motion_tracking import body
from tenfold.motion_tracking.amass import GENDERS
from tenfold.motion_tracking.body import Body

_OBTAIN = (
    "What to obtain: (1) the body, 'extended SMPL+H model for AMASS' of mano.is.tue.mpg.de (register, accept the licence), unpacked to "
    "{folder}/<gender>/model.npz; (2) the motions, 'SMPL+H G' of each subset at amass.is.tue.mpg.de. Neither may be passed on."
)


@dataclass(frozen=True)
class Bodies:
    """`neutral` is the body that predictions stand on; `others` those of a gender, empty for `body: neutral`."""

    neutral: Body
    others: dict[str, Body]

    def of(self, gender: str) -> Body:
        """The body that a clip of this gender is put on."""
        return self.others.get(gender, self.neutral)


def load(folder: Path, which: Literal["neutral", "gendered"]) -> Bodies:
    """The body models in `folder`. Raises BadData with the list of what to obtain if one is missing, and for whatever `body.load` refuses."""
    wanted = ("neutral",) if which == "neutral" else GENDERS
    missing = [str(folder / gender / "model.npz") for gender in wanted if not (folder / gender / "model.npz").is_file()]
    if missing:
        raise BadData(f"no body model: {', '.join(missing)} is missing. {_OBTAIN.format(folder=folder)}")
    found = {gender: body.load(folder / gender / "model.npz") for gender in wanted}
    return Bodies(found.pop("neutral"), found)
