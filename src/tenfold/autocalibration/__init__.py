"""Camera intrinsics from point correspondences alone (Minimal Perspective Autocalibration, CVPR 2024)."""
