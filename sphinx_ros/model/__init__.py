"""The SPHINX network in PyTorch: tensors in, tensors out. Knows no text, no file and no ROS."""
