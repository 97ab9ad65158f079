"""Crossmodal feature mapping (CFM, CVPR 2024): RGB + 3D anomaly detection from good parts only."""
