"""Prompt ids in, token ids and probabilities out. Knows no picture, no file and no ROS."""
