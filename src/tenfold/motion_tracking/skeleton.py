"""The 22 body joints of SMPL-H, and which of them carry a sensor (specification section 2.1)."""

JOINTS = (
    "pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2", "left_ankle", "right_ankle", "spine3", "left_foot",
    "right_foot", "neck", "left_collar", "right_collar", "head", "left_shoulder", "right_shoulder", "left_elbow", "right_elbow",
    "left_wrist", "right_wrist",
)  # fmt: skip
PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19)
COUNT = len(JOINTS)
BETAS = 16

HEAD, LEFT_WRIST, RIGHT_WRIST, LEFT_KNEE, RIGHT_KNEE, PELVIS = 15, 20, 21, 4, 5, 0

MIRROR = (0, 2, 1, 3, 5, 4, 6, 8, 7, 9, 11, 10, 12, 14, 13, 15, 17, 16, 19, 18, 21, 20)
"""Joint that a joint becomes when left and right are exchanged."""

RATE_HZ = 60.0
"""Frames a second of everything behind the readers."""
