"""Full-body motion and body shape from a headset, two controllers and up to three IMUs (HMD-Poser, CVPR 2024)."""
