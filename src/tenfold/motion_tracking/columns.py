"""The 135 input values of a frame, the tokens they belong to, and what each sensor set leaves out (specification section 2.2)."""

from tenfold.motion_tracking import skeleton

SENSORS = ("head", "lhand", "rhand", "lshin", "rshin", "pelvis")
SENSOR_JOINTS = (
    skeleton.HEAD, skeleton.LEFT_WRIST, skeleton.RIGHT_WRIST, skeleton.LEFT_KNEE, skeleton.RIGHT_KNEE, skeleton.PELVIS,
)  # fmt: skip
"""The joint whose rotation a sensor gives; a shin's is the knee joint's."""

WIDTH = 135
POSE_WIDTH = 132

ROTATION = (0, 36)
ROTATION_CHANGE = (36, 72)
POSITION = (72, 81)
VELOCITY = (81, 90)
HAND_ROTATION = (90, 102)
HAND_ROTATION_CHANGE = (102, 114)
HAND_POSITION = (114, 120)
HAND_VELOCITY = (120, 126)
ACCELERATION = (126, 135)

TOKENS: dict[str, tuple[tuple[int, int], ...]] = {
    "head": ((0, 6), (36, 42), (72, 75), (81, 84)),
    "lhand": ((6, 12), (42, 48), (75, 78), (84, 87)),
    "rhand": ((12, 18), (48, 54), (78, 81), (87, 90)),
    "lshin": ((18, 24), (54, 60), (126, 129)),
    "rshin": ((24, 30), (60, 66), (129, 132)),
    "pelvis": ((30, 36), (66, 72), (132, 135)),
    "lhand_in_head": ((90, 96), (102, 108), (114, 117), (120, 123)),
    "rhand_in_head": ((96, 102), (108, 114), (117, 120), (123, 126)),
}
"""Column ranges of each component token, in the network's order."""

MASKS: dict[str, tuple[tuple[int, int], ...]] = {
    "hmd": ((18, 36), (54, 72), (126, 135)),
    "hmd_2imus": ((30, 36), (66, 72), (132, 135)),
    "hmd_3imus": (),
}
"""Column ranges that are zero where a sensor set does not have the sensor."""
